"""What a chat can be told besides questions: /help and the like."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from hoshikage_server.cli.asking import Wishes
from hoshikage_server.cli.backends import prepare
from hoshikage_server.cli.words import say
from hoshikage_server.engines.sampling import INT32_MAX, Sampling
from hoshikage_server.errors import ServerError
from hoshikage_server.invalid import from_validation
from hoshikage_server.messages import said

if TYPE_CHECKING:
    from hoshikage_server.cli.repl import Repl

_UNSET = "default"
_SETTABLE = (*Sampling.__struct_fields__, "max_tokens", "thinking")


class _Command(NamedTuple):
    obey: Callable[[Repl, str], None]
    argument: str
    words: str


def obey(repl: Repl, entry: str) -> None:
    """Does what an entry says that begins with a slash.

    Raises:
        ServerError: It cannot be done.
    """
    name, _, argument = entry[1:].partition(" ")
    found = _COMMANDS.get(_ALSO.get(name, name))
    if found is None:
        close = difflib.get_close_matches(name, _COMMANDS, n=1)
        raise ServerError("chat_no_such_command", name=f"/{name}", guess=f"/{close[0] if close else 'help'}")
    argument = argument.strip()
    if found.argument and not found.argument.startswith("[") and not argument:
        raise ServerError("chat_needs_argument", usage=f"/{name} {found.argument}")
    if not found.argument and argument:
        raise ServerError("chat_takes_no_argument", name=f"/{name}")
    found.obey(repl, argument)


def complete(repl: Repl, line: str) -> Iterable[str]:
    """What the beginning of a command may become."""
    if not line.startswith("/"):
        return
    name, space, argument = line[1:].partition(" ")
    if not space:
        yield from (f"/{other}" for other in _COMMANDS if other.startswith(name))
    elif name == "model":
        yield from _with_beginning(line, argument, _models(repl))
    elif name == "set":
        yield from _with_beginning(line, argument, _SETTABLE)


def _with_beginning(line: str, argument: str, names: Iterable[str]) -> Iterator[str]:
    beginning = line[: len(line) - len(argument)]
    return (beginning + name for name in names if name.startswith(argument))


def _models(repl: Repl) -> list[str]:
    try:
        return repl.backend.models()
    except ServerError:
        return []


def _help(repl: Repl, argument: str) -> None:
    from hoshikage_server.cli.output import table

    rows = [(f"/{name} {found.argument}".strip(), say(found.words)) for name, found in _COMMANDS.items()]
    table(("", ""), rows)
    repl.say(say("chat_help_keys"))


def _model(repl: Repl, argument: str) -> None:
    if not argument:
        current = repl.wishes.model
        repl.say(
            "\n".join(f"{'*' if name == current else ' '} {name}" for name in _with(current, repl.backend.models()))
        )
        return
    _turn_to(repl, argument)


def _persona(repl: Repl, argument: str) -> None:
    model = repl.wishes.model.rpartition("@")[0] or None  # a persona of its own brings its model
    if argument == _UNSET:
        _turn_to(repl, model or next(iter(repl.backend.models()), repl.wishes.model))
    else:
        repl.backend.require_persona(argument)
        _turn_to(repl, f"{model}@{argument}" if model else argument)


def _turn_to(repl: Repl, model: str) -> None:
    """Asks somebody else from now on; everything stays as it was if that cannot be."""
    known = repl.backend.models()
    if model not in known and not _is_composed(model, known) and not model.endswith(".gguf"):
        raise ServerError("chat_no_such_model", model=model)
    prepare(repl.backend, model)
    repl.wishes = msgspec.structs.replace(repl.wishes, model=model)
    repl.note(say("chat_now_with", model=model))
    repl.greet()


def _is_composed(model: str, known: list[str]) -> bool:
    """Whether it is MODEL@PERSONA of two that are known."""
    first, at, persona = model.rpartition("@")
    return bool(at) and first in known and persona in known


def _with(name: str, names: list[str]) -> list[str]:
    return names if name in names else [name, *names]


def _system(repl: Repl, argument: str) -> None:
    if not argument:
        repl.say(repl.conversation.system or say("chat_no_system"))
        return
    repl.conversation.system = "" if argument == _UNSET else argument
    repl.note(say("chat_system_set"))


def _clear(repl: Repl, argument: str) -> None:
    repl.conversation.clear()
    repl.note(say("chat_cleared"))


def _retry(repl: Repl, argument: str) -> None:
    question = repl.conversation.take_back()
    if question is None:
        raise ServerError("chat_nothing_yet")
    repl.ask(question)


def _undo(repl: Repl, argument: str) -> None:
    if repl.conversation.take_back() is None:
        raise ServerError("chat_nothing_yet")
    repl.note(say("chat_undone", n=len(repl.conversation.said) // 2))


def _save(repl: Repl, argument: str) -> None:
    file = _path(argument)
    repl.conversation.save(file)
    repl.note(say("chat_saved", path=file))


def _load(repl: Repl, argument: str) -> None:
    file = _path(argument)
    repl.conversation.load(file)
    repl.note(say("chat_loaded", path=file, n=len(repl.conversation.said)))


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ of somebody unknown
        raise ServerError("file_unreadable", path=text, reason=said("home_unknown")) from None


def _set(repl: Repl, argument: str) -> None:
    if not argument:
        repl.say(
            "\n".join(f"{name} {_shown(value)}" for name, value in _values(repl.wishes)) or say("chat_nothing_set")
        )
        return
    name, _, text = argument.partition(" ")
    name = name.replace("-", "_")
    if name not in _SETTABLE:
        names = difflib.get_close_matches(name, _SETTABLE) or _SETTABLE
        raise ServerError("chat_no_such_value", name=name, names=", ".join(names))
    text = text.strip()
    if not text:
        raise ServerError("chat_needs_argument", usage=f"/set {name} {say('chat_value')}")
    repl.wishes = _changed(repl.wishes, name, None if text == _UNSET else _value(name, text))
    repl.note(f"{name}: {_shown(None if text == _UNSET else dict(_values(repl.wishes))[name])}")


def _values(wishes: Wishes) -> Iterator[tuple[str, Any]]:
    for name in _SETTABLE:
        value = getattr(wishes.sampling if name in Sampling.__struct_fields__ else wishes, name)
        if value is not None:
            yield name, value


def _shown(value: object) -> str:
    return _UNSET if value is None else msgspec.json.encode(value).decode()


def _value(name: str, text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ServerError("chat_bad_value", name=name, reason=text) from None


def _changed(wishes: Wishes, name: str, value: object) -> Wishes:
    """The wishes with another value, which is checked as one of a request is."""
    if name in Sampling.__struct_fields__:
        given = msgspec.json.encode({**msgspec.to_builtins(wishes.sampling), name: value})
        try:
            return msgspec.structs.replace(wishes, sampling=msgspec.json.decode(given, type=Sampling))
        except msgspec.ValidationError as error:
            raise from_validation(str(error), given) from None
    is_count = name == "max_tokens" and type(value) is int and 1 <= value <= INT32_MAX
    if value is not None and not is_count and not (name == "thinking" and isinstance(value, bool)):
        raise ServerError("chat_bad_value", name=name, reason=_shown(value))
    return msgspec.structs.replace(wishes, **{name: value})


def _stats(repl: Repl, argument: str) -> None:
    answer = repl.view.answer
    if answer.usage is None:  # there is none, or it was stopped
        raise ServerError("chat_no_figures")
    usage = answer.usage
    speed = answer.tokens_per_s
    rows = [
        (say("chat_row_model"), repl.wishes.model),
        (say("chat_row_context"), say("status_tokens", n=usage.prompt_tokens + usage.completion_tokens)),
        (say("chat_row_cached"), say("status_tokens", n=usage.cached_tokens)),
        (say("chat_row_answer"), say("status_tokens", n=usage.completion_tokens)),
        (say("row_speed"), "" if speed is None else say("status_tokens_per_s", n=f"{speed:.1f}")),
        (say("chat_row_first"), "" if answer.first_s is None else say("time_s", s=f"{answer.first_s:.2f}")),
        (say("chat_row_all"), say("chat_all", n=repl.n_asked, n_tokens=repl.n_completion)),
    ]
    from hoshikage_server.cli.output import table

    table(("", ""), [row for row in rows if row[1]])


def _exit(repl: Repl, argument: str) -> None:
    repl.leave()


_COMMANDS = {
    "help": _Command(_help, "", "chat_help_help"),
    "model": _Command(_model, "[NAME]", "chat_help_model"),
    "persona": _Command(_persona, "NAME", "chat_help_persona"),
    "system": _Command(_system, "[TEXT]", "chat_help_system"),
    "clear": _Command(_clear, "", "chat_help_clear"),
    "retry": _Command(_retry, "", "chat_help_retry"),
    "undo": _Command(_undo, "", "chat_help_undo"),
    "save": _Command(_save, "FILE", "chat_help_save"),
    "load": _Command(_load, "FILE", "chat_help_load"),
    "set": _Command(_set, "[NAME VALUE]", "chat_help_set"),
    "stats": _Command(_stats, "", "chat_help_stats"),
    "exit": _Command(_exit, "", "chat_help_exit"),
}
_ALSO = {"quit": "exit", "?": "help"}
