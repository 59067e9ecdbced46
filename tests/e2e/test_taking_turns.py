"""Several models, and several who want them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from questions import Question, Reply, ask
from server_process import ServerProcess, is_alive, wait_for

StartServer = Callable[..., ServerProcess]


class Asking(threading.Thread):
    """A client with one question, sent when it is made."""

    def __init__(self, server: ServerProcess, text: str, model: str) -> None:
        super().__init__()
        self._question = Question(server, text, model)
        self._began = time.monotonic()
        self.took_s = 0.0
        self.replied: Reply
        self.start()

    def run(self) -> None:
        self.replied = self._question.reply()
        self.took_s = time.monotonic() - self._began


def ask_in_turn(server: ServerProcess, n: int) -> list[Asking]:
    """Two clients, each with n questions for the two models in turn, all waiting at once."""
    asking: list[Asking] = []
    with Question(server, "hang", "m") as blocker:
        wait_for(lambda: server.status["queue"]["running"] == 1, 5, "one runs")
        for i in range(2 * n):
            asking.append(Asking(server, f"echo answer-{i}-", ("m", "other")[i % 2]))
            wait_for(lambda i=i: server.status["queue"]["waiting"] == i + 1, 5, "it waits")  # type: ignore[misc]
        blocker.close()
    for client in asking:
        client.join()
    assert [client.replied.text for client in asking] == [f"answer-{i}-" for i in range(2 * n)]
    return asking


def test_another_model_is_another_engine(start_server: StartServer) -> None:
    """The old one has ended before the new one starts."""
    server = start_server()
    pids = []
    for model in ("m", "other", "m"):
        assert ask(server, "echo hello", model).text == "hello"
        assert server.status["model"] == model
        pids.append(server.engine_pid)
    assert len(set(pids)) == 3
    assert not is_alive(pids[0])
    assert not is_alive(pids[1])
    told = [line.split()[1:3] for line in server.engine_log if line.split()[2] in ("load", "stop")]
    assert told == [["m", "load"], ["m", "stop"], ["other", "load"], ["other", "stop"], ["m", "load"]]


def test_a_switch_waits_for_answers_of_the_other_model(start_server: StartServer) -> None:
    """An engine in use is never ended."""
    server = start_server(parallel=2)
    with Question(server, "count 10 50", stream=True) as first:
        first.read_until('"1 "')
        assert ask(server, "echo other", "other").text == "other"
        assert first.reply().is_whole
    assert server.status["n_engine_crashes"] == 0


def test_two_clients_alternate_between_two_models(start_server: StartServer) -> None:
    """Requests that wait for the same model go together: a few swaps instead of one at each request."""
    server = start_server(overtake_limit=1000)
    ask_in_turn(server, 6)
    assert server.status["n_engine_starts"] == 2
    order = [int(line.split("answer-")[1].split("-")[0]) for line in server.engine_log if "answer-" in line]
    assert order == [*range(0, 12, 2), *range(1, 12, 2)], "in the order they came, for each model"


def test_strictly_in_turn_where_nobody_may_be_overtaken(start_server: StartServer) -> None:
    """With a limit of 0, first come is first served, whatever it costs."""
    server = start_server(overtake_limit=0)
    ask_in_turn(server, 2)
    order = [int(line.split("answer-")[1].split("-")[0]) for line in server.engine_log if "answer-" in line]
    assert order == [0, 1, 2, 3]
    assert server.status["n_engine_starts"] == 4


def test_nobody_waits_beyond_the_bound(start_server: StartServer) -> None:
    """However many keep asking for the model that is loaded."""
    server = start_server(overtake_limit=0.5)
    is_over = threading.Event()

    def keep_asking() -> None:
        while not is_over.is_set():
            ask(server, "wait 50 x", "m")

    crowd = [threading.Thread(target=keep_asking) for _ in range(3)]
    for client in crowd:
        client.start()
    try:
        wait_for(lambda: server.status["queue"]["waiting"] == 2, 5, "there is always somebody for the loaded model")
        other = Asking(server, "echo hello", "other")
        other.join()
    finally:
        is_over.set()
        for client in crowd:
            client.join()
    assert other.replied.text == "hello"
    assert 0.4 < other.took_s < 30, "overtaken for half a second, then its model is loaded"


def test_two_models_side_by_side(start_server: StartServer) -> None:
    """With two places nothing is swapped, and the one that was idle longest makes place for a third."""
    server = start_server(max_loaded_models=2, overtake_limit=0)
    ask_in_turn(server, 3)
    assert server.status["n_engine_starts"] == 2
    assert {engine["model"] for engine in server.status["engines"]} == {"m", "other"}
    ask(server, "echo x", "m")
    assert ask(server, "echo third", "slow").text == "third"
    assert {engine["model"] for engine in server.status["engines"]} == {"m", "slow"}
    assert server.status["n_engine_starts"] == 3


def test_two_answers_side_by_side(start_server: StartServer) -> None:
    """Two places and two permits: two models compute at once."""
    server = start_server(max_loaded_models=2, parallel=2)
    with (
        Question(server, "gate both 1 x y", "m", stream=True) as one,
        Question(server, "gate both 1 x y", "other", stream=True) as two,
    ):
        for question in (one, two):
            question.read_until('"x"')
        assert [engine["state"] for engine in server.status["engines"]] == ["generating"] * 2
        server.open_gate("both")
        assert one.reply().is_whole
        assert two.reply().is_whole
