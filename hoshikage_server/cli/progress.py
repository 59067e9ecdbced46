"""Progress bars for what takes a while: on a terminal, and on stderr, so that stdout stays what is asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from hoshikage_server.cli.output import console, is_terminal, readable


class Bars:
    """Bars below each other; none where nobody looks.

    Args:
        shown: rich's progress display.
    """

    def __init__(self, shown: Any = None) -> None:
        self._shown = shown

    def add(self, name: str, n_bytes: int | None) -> Callable[[int], None]:
        """Adds a bar; what is returned is told of bytes that were done."""
        if self._shown is None:
            return lambda n_done: None
        task = self._shown.add_task(name, total=n_bytes)

        def advance(n_done: int) -> None:
            self._shown.advance(task, n_done)

        return advance


@contextlib.contextmanager
def progress() -> Iterator[Bars]:
    """Shows bars while its block runs."""
    if not is_terminal(sys.stderr):
        yield Bars()
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Name(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(readable(task.description))

    columns = (Name(), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(err=True), transient=True) as shown:
        yield Bars(shown)
