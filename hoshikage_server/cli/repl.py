"""The loop of a chat: reads an entry, answers it or obeys it. An error is one sentence, and the chat goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import closing

import click

from hoshikage_server.cli import repl_commands
from hoshikage_server.cli.answer_view import Answer, AnswerView
from hoshikage_server.cli.asking import Backend, Wishes
from hoshikage_server.cli.backends import prepare
from hoshikage_server.cli.conversation import Conversation
from hoshikage_server.cli.output import Dim, is_terminal, readable
from hoshikage_server.cli.words import say, warn_on_cpu
from hoshikage_server.errors import ServerError
from hoshikage_server.settings import cli_language


class Repl:
    """A chat.

    Args:
        backend: Who answers.
        wishes: How.
        system: What stands at the beginning of the conversation.

    Attributes:
        backend: Who answers.
        wishes: How; commands change it.
        conversation: What was said.
        view: Shows answers, and knows the latest one.
        n_asked: Questions so far that were answered.
        n_completion: Tokens of all answers.
    """

    def __init__(self, backend: Backend, wishes: Wishes, system: str) -> None:
        self.backend = backend
        self.wishes = wishes
        self.conversation = Conversation(system)
        self.view = AnswerView()
        self.n_asked = 0
        self.n_completion = 0
        self._dim = Dim()
        self._is_watched = is_terminal(sys.stdin) and is_terminal(sys.stdout)
        self._is_over = False

    def run(self, read: Callable[[], str]) -> None:
        """Talks until the end of what is read.

        Raises:
            ServerError: The model cannot be loaded at the beginning.
        """
        prepare(self.backend, self.wishes.model)
        warn_on_cpu(self.backend.no_gpu(self.wishes.model))
        if self._is_watched:
            self.note(say("chat_welcome", model=self.wishes.model))
        self.greet()
        while not self._is_over:
            try:
                entry = read()
            except EOFError:
                break
            except KeyboardInterrupt:
                if not self._is_watched:
                    raise
                self.note(say("chat_how_to_leave"))
                continue
            except ServerError as error:
                self.tell(error)
                continue
            self._take(entry)

    def complete(self, line: str) -> Iterable[str]:
        """What the beginning of a line may become."""
        return repl_commands.complete(self, line)

    def say(self, text: str) -> None:
        """Tells something that was asked for."""
        click.echo(readable(text))

    def note(self, text: str) -> None:
        """Tells something beside the matter."""
        self._dim.line(text)

    def tell(self, error: ServerError) -> None:
        """Tells what went wrong."""
        click.echo(f"hoshikage: {readable(error.text(cli_language()))}", err=True)

    def greet(self) -> None:
        """Shows what a persona says first."""
        greeting = self.backend.greeting(self.wishes.model)
        if greeting:
            self.say(greeting)

    def leave(self) -> None:
        """Ends the chat after this entry."""
        self._is_over = True

    def ask(self, question: str) -> None:
        """Asks, and shows the answer. What was said of it before Ctrl-C stays said.

        Raises:
            ServerError: There is no answer, and the question is taken back; or it broke off.
        """
        self.conversation.ask(question)
        view = self.view
        view.answer = Answer()
        try:
            prepare(self.backend, self.wishes.model)
            with closing(self.backend.stream(self.conversation.messages, self.wishes)) as pieces:
                view.show(pieces)
        except KeyboardInterrupt:
            click.echo()
            self.note(say("chat_stopped"))
        finally:
            if view.answer.text or view.answer.finish_reason is not None:
                self.conversation.answer(view.answer.text)
                self._count()
            else:
                self.conversation.take_back()
        view.cut(self.wishes.max_tokens)
        if is_terminal(sys.stderr):
            view.stats()

    def _count(self) -> None:
        self.n_asked += 1
        usage = self.view.answer.usage
        self.n_completion += 0 if usage is None else usage.completion_tokens

    def _take(self, entry: str) -> None:
        try:
            if entry.startswith("/") and not entry.startswith("//"):
                repl_commands.obey(self, entry)
            elif entry.strip():
                self.ask(entry[1:] if entry.startswith("//") else entry)
        except ServerError as error:
            self.tell(error)
        except KeyboardInterrupt:
            click.echo()
