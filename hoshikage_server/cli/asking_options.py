"""Options of the commands that ask a model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
import msgspec

from hoshikage_server.cli.asking import Wishes
from hoshikage_server.cli.completing import complete_model, complete_persona
from hoshikage_server.cli.words import FloatRange, Name, option
from hoshikage_server.engines.sampling import INT32_MAX, Sampling

F = TypeVar("F", bound=Callable[..., Any])

max_tokens_option = option("-n", "--max-tokens", type=click.IntRange(1, INT32_MAX), metavar="N", words="cli_max_tokens")
_OPTIONS = (
    option("-m", "--model", type=Name(), metavar="MODEL", shell_complete=complete_model, words="cli_model"),
    option("-p", "--persona", type=Name(), metavar="PERSONA", shell_complete=complete_persona, words="cli_persona"),
    option("-s", "--system", metavar="TEXT", words="cli_system"),
    max_tokens_option,
    option("-t", "--temperature", type=FloatRange(0, 2), metavar="T", words="cli_temperature"),
    option("--top-p", type=FloatRange(0, 1), metavar="P", words="cli_top_p"),
    option("--top-k", type=click.IntRange(-1, INT32_MAX), metavar="K", words="cli_top_k"),
    option("--min-p", type=FloatRange(0, 1), metavar="P", words="cli_min_p"),
    option("--seed", type=click.IntRange(-(2**63), 2**63 - 1), metavar="N", words="cli_seed"),
    option("--thinking/--no-thinking", default=None, words="cli_thinking"),
)


def asking_options(command: F) -> F:
    """Gives a command all options that say whom to ask and how."""
    return functools.reduce(lambda made, add: add(made), reversed(_OPTIONS), command)


def wishes_of(values: Mapping[str, Any]) -> Callable[[str], Wishes]:
    """What was wished for, without the name of whom to ask; `values` are those of the options, by their names."""
    sampling = {name: value for name, value in values.items() if name in Sampling.__struct_fields__}
    made = Wishes("", Sampling(**sampling), values["max_tokens"], values["thinking"])
    return lambda model: msgspec.structs.replace(made, model=model)
