"""hoshikage serve."""

from __future__ import annotations

import click

from hoshikage_server.settings import load_settings


@click.command()
@click.option("--host", help="Address to listen on (HOSHIKAGE_HOST, 127.0.0.1).")
@click.option("--port", type=int, help="Port to listen on (HOSHIKAGE_PORT, 3030).")
def serve(host: str | None, port: int | None) -> None:
    """Serve the registered models."""
    from hoshikage_server.serving import Server, check_exposure

    overrides: dict[str, object] = {"host": host, "port": port}
    settings = load_settings({name: value for name, value in overrides.items() if value is not None})
    check_exposure(settings.host, settings)
    Server(settings).run()
