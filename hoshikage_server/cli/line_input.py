"""Reading what a person types: prompt_toolkit at a terminal, lines of stdin elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hoshikage_server.cli.output import is_terminal
from hoshikage_server.errors import ServerError
from hoshikage_server.messages import told_by_system

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

_FENCE = '"""'
_PROMPT, _MORE = "> ", "… "

Complete = Callable[[str], Iterable[str]]


def reader(complete: Complete, history_file: Path | None) -> Callable[[], str]:
    '''What reads one entry after the other; it raises EOFError at the end, KeyboardInterrupt at Ctrl-C.

    An entry is a line; or several, between """ and """, or with Alt-Enter between them at a terminal.

    Args:
        complete: What a beginning of a line may become.
        history_file: Where earlier entries are kept; None: in memory, until the end.

    Raises:
        ServerError: That file cannot be had.
    '''
    if is_terminal(sys.stdin) and is_terminal(sys.stdout):
        session = _session(complete, history_file)
        return lambda: _entry(session.prompt)
    return lambda: _entry(_read_line)


def _entry(read: Callable[[str], str]) -> str:
    line = read(_PROMPT)
    if not line.lstrip().startswith(_FENCE):
        return line
    text = line.lstrip().removeprefix(_FENCE)
    while _FENCE not in text:
        text += "\n" + read(_MORE)
    return text.partition(_FENCE)[0].strip("\n")


def _read_line(prompt: str) -> str:
    line = b"" if sys.stdin is None else sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ServerError("text_not_utf8") from None


def _session(complete: Complete, history_file: Path | None) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    if history_file is None:
        history: FileHistory | InMemoryHistory = InMemoryHistory()
    else:
        _make_private(history_file)
        history = FileHistory(history_file)
    return PromptSession(
        history=history,
        completer=_completer(complete),
        complete_while_typing=False,
        key_bindings=_keys(),
        prompt_continuation=_MORE,
        multiline=True,
    )


def _completer(complete: Complete) -> Completer:
    from prompt_toolkit.completion import Completer, Completion

    class LineCompleter(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            line = document.text_before_cursor
            for text in complete(line):
                yield Completion(text, start_position=-len(line))

    return LineCompleter()


def _keys() -> KeyBindings:
    """Enter sends; Alt-Enter (also typed as Esc, Enter) begins a new line."""
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()
    at_prompt = has_focus("DEFAULT_BUFFER")

    @keys.add("enter", filter=at_prompt)
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=at_prompt)
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _make_private(file: Path) -> None:
    """Makes a file that only its owner reads; prompts are nobody else's business."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        file.chmod(0o600)
    except OSError as error:
        raise ServerError("history_unwritable", path=file, reason=told_by_system(error)) from None
