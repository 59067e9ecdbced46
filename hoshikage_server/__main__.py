"""`hoshikage`, and `python -m hoshikage_server`."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point. Until the commands are there to end it well, Ctrl-C ends it as it ends any program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from hoshikage_server import cli

    signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
