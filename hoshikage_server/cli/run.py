"""hoshikage run: one answer."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from hoshikage_server.cli.asking_options import asking_options, wishes_of
from hoshikage_server.cli.backends import backend_options, choose, prepare
from hoshikage_server.cli.output import is_terminal
from hoshikage_server.cli.words import command, json_option, option, say, warn_on_cpu
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import load_settings


@command("run", "cli_run")
@click.argument("prompt", nargs=-1)
@asking_options
@json_option(words="cli_run_json")
@option("--stats", is_flag=True, words="cli_run_stats")
@backend_options
def run(
    prompt: tuple[str, ...],
    model: str | None,
    persona: str | None,
    system: str | None,
    is_json: bool,
    stats: bool,
    url: str | None,
    local: bool,
    **values: object,
) -> None:
    """Answers one question."""
    from hoshikage_server.cli.answer_view import AnswerView
    from hoshikage_server.cli.output import print_json

    settings = load_settings()
    wished = wishes_of(values)
    question = _question(" ".join(prompt), settings.max_body)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    with choose(settings, model, url, local, persona) as (backend, name):
        wishes = wished(name)
        prepare(backend, name)
        view = AnswerView(shows_text=not is_json)
        with closing(backend.stream(messages, wishes)) as pieces:
            answer = view.show(pieces)
        if is_json:
            print_json({"model": name, **answer.as_object()})
        view.cut(wishes.max_tokens)
        warn_on_cpu(backend.no_gpu(name))
        if stats or (not is_json and is_terminal(sys.stderr)):
            view.stats()


def _question(prompt: str, limit: int) -> str:
    """What was asked on the command line, and what came in by the pipe below it."""
    piped = "" if sys.stdin is None or is_terminal(sys.stdin) else _read(limit)
    if not prompt and not piped.strip():
        raise click.UsageError(say("nothing_asked"), click.get_current_context())
    return f"{prompt}\n\n{piped}" if prompt and piped.strip() else prompt or piped


def _read(limit: int) -> str:
    data = sys.stdin.buffer.read(limit + 1)
    if len(data) > limit:
        raise ServerError("input_too_large", limit=limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ServerError("text_not_utf8") from None
