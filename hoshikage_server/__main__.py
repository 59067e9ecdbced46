"""`hoshikage`, and `python -m hoshikage_server`."""

from __future__ import annotations

import contextlib
import os
import signal


def main() -> None:
    """Entry point. Until the commands are there to end it well, Ctrl-C ends it as it ends any program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _take_closed_places()
    from hoshikage_server import cli

    cli.main()


def _take_closed_places() -> None:
    """Opens the standard streams that are closed, or a file or a connection would get the number of one.

    That of stdout cannot be written: who has something to print fails, as with a full disk.
    """
    for descriptor, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.set_inheritable(os.open(os.devnull, mode), True)


if __name__ == "__main__":
    main()
