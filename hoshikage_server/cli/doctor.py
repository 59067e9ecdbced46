"""hoshikage doctor."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import click

from hoshikage_server.cli.columns import columns
from hoshikage_server.cli.output import print_json
from hoshikage_server.cli.words import command, json_option, say
from hoshikage_server.doctor import lists, machine, place, probe, rpc
from hoshikage_server.doctor.finding import Finding
from hoshikage_server.doctor.running import Check, run
from hoshikage_server.settings import cli_language, usable_settings

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@command("doctor", "cli_doctor")
@json_option(words="cli_json")
def doctor(is_json: bool) -> int:
    """Looks at what Hoshikage needs; the exit status is 1 where something is wrong."""
    found = list(run(checks()))
    language = cli_language()
    if is_json:
        print_json(
            [
                {"check": one.check, "status": one.status, "message": one.what.text(language), "fix": one.fix}
                for one in found
            ]
        )
    else:
        _show(found, language)
    return 1 if any(one.status == "error" for one in found) else 0


def checks() -> Mapping[str, Check]:
    """All checks, in the order in which they are told."""
    settings, errors = usable_settings()
    ask = functools.cache(probe.ask)
    places = [*settings.models_dir[:1], settings.cache_dir]
    return {
        "python": machine.python,
        "compiler": machine.compiler,
        "backend": lambda: machine.backend(ask),
        "gpu": lambda: machine.gpu(ask, expects=lambda: lists.expects_gpu(settings)),
        "memory": lambda: machine.memory(ask),
        "disk": lambda: machine.disk(places),
        "settings": lambda: place.settings(settings, errors),
        "folders": lambda: place.folders(settings),
        "port": lambda: place.port(settings),
        "models": lambda: lists.models(settings),
        "personas": lambda: lists.personas(settings),
        "rpc": lambda: rpc.servers(settings),
    }


def _show(found: list[Finding], language: str) -> None:
    rows = [[say(f"doctor_{one.status}"), say(f"check_{one.check}"), one.what.text(language)] for one in found]
    for one, row, line in zip(found, rows, columns(rows), strict=True):
        status = row[0]
        click.echo(click.style(status, fg=_COLOURS[one.status]) + line.removeprefix(status))
        if one.fix is not None and one.status != "ok":
            click.echo(f"    → {one.fix}")
    n_errors, n_warnings = (sum(one.status == status for one in found) for status in ("error", "warning"))
    key = "doctor_all_well" if not n_errors and not n_warnings else "doctor_counted"
    click.echo(say(key, n_errors=n_errors, n_warnings=n_warnings))
