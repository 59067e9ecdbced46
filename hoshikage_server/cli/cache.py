"""hoshikage cache explain: what a running server reused of earlier prompts, and why not more."""

from __future__ import annotations

import time

import click
import msgspec

from hoshikage_server.api.status_objects import PromptStatus, StatusObject
from hoshikage_server.cli.client import Client
from hoshikage_server.cli.output import print_json, table
from hoshikage_server.cli.status_view import StatusView
from hoshikage_server.cli.words import command, group, json_option, say, url_option
from hoshikage_server.settings import cli_language, load_settings

_ANSWER_S = 10.0
_COLUMNS = ("at", "model", "prompt", "reused", "expected", "reason")


@group("cache", "cli_cache")
def cache() -> None:
    """What was computed before."""


@command("explain", "cli_cache_explain")
@json_option(words="cli_cache_json")
@url_option
def explain(is_json: bool, url: str | None) -> None:
    """Tells of the last prompts."""
    prompts = Client(load_settings(), url).get("/v1/status", StatusObject, _ANSWER_S).prompts
    if is_json:
        print_json(msgspec.to_builtins(prompts))
    elif not prompts:
        click.echo(say("cache_none"))
    else:
        view, now = StatusView(cli_language()), time.time()
        rows = [_row(prompt, say("time_ago", time=view.duration(now - prompt.at))) for prompt in prompts]
        table([say(f"cache_{name}") for name in _COLUMNS], rows, right=(2, 3, 4))


def _row(prompt: PromptStatus, ago: str) -> list[object]:
    reason = prompt.reason
    why = say(f"cache_{reason}", message=prompt.message, character=prompt.character) if reason else ""
    return [ago, prompt.model, prompt.n_prompt, prompt.n_cached, prompt.n_expected, why]


cache.add_command(explain)
