"""Progress bars for what takes a while: on a terminal, and on stderr, so that stdout stays what is asked for.

They go away when it is done. rich is imported for the first one that is seen.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hoshikage_server.cli.output import console, is_terminal, readable

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


class ProgressBar:
    """A bar that shows what part is done, from the first word of it; nothing where nobody looks.

    Args:
        words: What takes so long.
    """

    def __init__(self, words: str) -> None:
        self._words = words
        self._shown: Progress | None = None
        self._task: Any = None

    def tell(self, progress: float) -> None:
        """Shows how far it is, 0 to 1."""
        if self._shown is None:
            if not is_terminal(sys.stderr):
                return
            from rich.progress import TaskProgressColumn

            self._shown = _display(TaskProgressColumn())
            self._task = self._shown.add_task(readable(self._words), total=1.0)
            self._shown.start()
        self._shown.update(self._task, completed=progress)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:
            self._shown.stop()


class Bars:
    """Bars of bytes below each other; none where nobody looks.

    Args:
        shown: rich's progress display.
    """

    def __init__(self, shown: Progress | None = None) -> None:
        self._shown = shown

    def add(self, name: str, n_bytes: int | None) -> Callable[[int], None]:
        """Adds a bar; what is returned is told of bytes that were done."""
        shown = self._shown
        if shown is None:
            return lambda n_done: None
        task = shown.add_task(readable(name), total=n_bytes)
        return lambda n_done: shown.advance(task, n_done)


@contextlib.contextmanager
def progress() -> Iterator[Bars]:
    """Shows bars while its block runs."""
    if not is_terminal(sys.stderr):
        yield Bars()
        return
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    with _display(DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn()) as shown:
        yield Bars(shown)


def _display(*columns: ProgressColumn) -> Progress:
    """A name and a bar a line, and what else is told of it; none is started yet."""
    from rich.progress import BarColumn, Progress, TextColumn

    name = TextColumn("{task.description}", markup=False)
    return Progress(name, BarColumn(), *columns, console=console(err=True), transient=True)
