"""hoshikage model ..., and the short add, rm and list. They work on the list itself; no server need run."""

from __future__ import annotations

from hoshikage_server.cli.model.changing import set_keys
from hoshikage_server.cli.model.fetching import demo, pull
from hoshikage_server.cli.model.listing import list_models, show
from hoshikage_server.cli.model.registering import add, rm, scan, schema
from hoshikage_server.cli.model.verifying import verify
from hoshikage_server.cli.words import group

__all__ = ["add", "list_models", "model", "rm"]


@group("model", "cli_model_group")
def model() -> None:
    """The commands' group; what it says of itself is in the catalogue."""


for _command in (add, rm, list_models, show, set_keys, scan, verify, pull, demo, schema):
    model.add_command(_command)
