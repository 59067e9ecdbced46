"""hoshikage serve."""

from __future__ import annotations

import errno
import socket

from hoshikage_server.cli.words import command, option
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import said, told_by_system
from hoshikage_server.settings import LiveSettings, cli_language, load_settings


@command("serve", "cli_serve")
@option("--host", words="cli_serve_host")
@option("--port", type=int, words="cli_serve_port")
def serve(host: str | None, port: int | None) -> None:
    """Serves the registered models."""
    from hoshikage_server.serving import Server, check_exposure, tell_unknown_variables

    given: dict[str, object] = {"host": host, "port": port}
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(overrides)
    tell_unknown_variables(cli_language())
    check_exposure(settings.host, settings)
    check_address(settings.host, settings.port)
    Server(LiveSettings(settings, lambda: load_settings(overrides))).run()


def check_address(host: str, port: int) -> None:
    """Tries to bind to an address and lets go of it: gunicorn would retry for seconds, and tell it in many lines.

    Raises:
        ServerError: It is in use, or no address of this machine.
    """
    if host.startswith("unix:"):
        return
    host = host.strip("[]")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServerError("address_in_use", address=address) from None
            raise ServerError("cannot_listen", address=address, reason=told_by_system(error)) from None
        except UnicodeError:  # no name of a host: an empty or overlong label
            raise ServerError("cannot_listen", address=address, reason=said("address_unusable")) from None
