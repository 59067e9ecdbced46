"""hoshikage chat: a conversation at the terminal."""

from __future__ import annotations

from hoshikage_server.cli.asking_options import asking_options, wishes_of
from hoshikage_server.cli.backends import backend_options, choose
from hoshikage_server.cli.words import command, option
from hoshikage_server.settings import load_settings

_HISTORY = "chat_history"


@command("chat", "cli_chat")
@asking_options
@option("--history", is_flag=True, words="cli_chat_history")
@backend_options
def chat(
    model: str | None,
    persona: str | None,
    system: str | None,
    history: bool,
    url: str | None,
    local: bool,
    **values: object,
) -> None:
    """Talks with a model until it is told to end."""
    from hoshikage_server.cli.line_input import reader
    from hoshikage_server.cli.repl import Repl

    settings = load_settings()
    wished = wishes_of(values)
    with choose(settings, model, url, local, persona) as (backend, name):
        repl = Repl(backend, wished(name), system or "")
        repl.run(reader(repl.complete, settings.cache_dir / _HISTORY if history else None))
