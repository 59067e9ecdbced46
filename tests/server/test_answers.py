"""One answer and its engines, which may die under it; fake engines as processes."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from api_client import FAKE_ENGINE, give_up_silent, wait_for
from memory_engines import no_memory_log, settings_of

from hoshikage_server.engines.answers import Answer, Answers
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.framing import WireError
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.lane import Lane
from hoshikage_server.engines.process import EngineProcess
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.spec import as_it_is
from hoshikage_server.engines.supervisor import Supervisor
from hoshikage_server.engines.vocabulary import Vocabulary
from hoshikage_server.engines.wire import Done, Token
from hoshikage_server.errors import EngineError
from hoshikage_server.settings import LiveSettings

LONG_S = 60
WORDS = "a b c d e f g h i j"


@pytest.fixture
def live() -> LiveSettings:
    return LiveSettings(settings_of(load_timeout=60.0, stop_timeout=0.3, max_unsent=100))


@pytest.fixture
def answers(live: LiveSettings, engine_log: Path) -> Iterator[Answers]:
    spawn = functools.partial(EngineProcess, FAKE_ENGINE, Gpu(), Dormitory(live), no_memory_log())
    engines = Supervisor(spawn, live, lambda model: live.now.idle_timeout)
    counters = Supervisor(spawn, live, lambda model: 5.0)
    lane = Lane(engines.is_awake)
    made = Answers(lane, engines, Vocabulary(counters, live), live)
    yield made
    for answer in list(made.running):
        answer.close()
    wait_for(lambda: (lane.n_running, lane.n_waiting) == (0, 0))
    counters.close(60)
    engines.close(60)


def ask(answers: Answers, text: str, path: str = "/nowhere/m.gguf", **options: Any) -> Answer:
    question = {"messages": [{"role": "user", "content": text}], "sampling": Sampling(), "stop": ()}
    name = Path(path).stem
    return answers.ask("req_1", name, as_it_is(EngineSpec(path, 4096)), question, **options)


def rest(answer: Answer) -> tuple[str, Done]:
    """Its text from here, and its end."""
    text = ""
    while True:
        frame = answer.next_frame(LONG_S)
        assert frame is not None, "not in time"
        text += frame.text
        if isinstance(frame, Done):
            return text, frame


def whole(answer: Answer) -> tuple[str, Done]:
    assert answer.wait_until_accepted(LONG_S)
    return rest(answer)


def numbers(n: int) -> str:
    return "".join(f"{i + 1} " for i in range(n))


def pid_of(answers: Answers) -> int:
    return answers.supervisor.snapshot().engines[0].pid


def test_an_answer(answers: Answers) -> None:
    """Accepted, the pieces, the end; then nothing of it is left."""
    with ask(answers, "echo a b") as answer:
        assert answers.running == {answer}
        assert answer.wait_until_accepted(LONG_S)
        assert answer.next_frame(LONG_S) == Token(1, "a", (0,))
        assert rest(answer) == (" b", Done(1, "stop", 7, 2, "", 10.0))
        assert (answer.n_prompt, answer.n_completion, answer.n_resumed) == (7, 2, 0)
    assert answers.running == set()
    wait_for(lambda: answers.last_tokens_per_s == 10)
    assert answers.supervisor.settled().state == "ready"


@pytest.mark.parametrize("n_before", [0, 1, 7])
def test_it_goes_on_in_another_engine(answers: Answers, engine_log: Path, n_before: int) -> None:
    """Wherever the first one dies: with the next piece, none missing and none twice, and with the same question."""
    question = f"gate go {n_before} {WORDS}"
    with ask(answers, question) as answer:
        assert answer.wait_until_accepted(LONG_S)
        text = ""
        while answer.n_completion < n_before:
            frame = answer.next_frame(LONG_S)
            assert frame is not None
            text += frame.text
        pid = pid_of(answers)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: answer.n_resumed == 1)
        engine_log.with_name("go").touch()
        more, done = rest(answer)
        assert text + more == WORDS
        assert (done.finish_reason, done.n_completion) == ("stop", 10)
        assert answer.n_resumed == 1
        assert pid_of(answers) != pid
    generated = [line.split(" ", 4)[4] for line in engine_log.read_text().splitlines() if " generate " in line]
    assert generated == [question] * 2


def test_an_engine_that_dies_before_it_accepts(answers: Answers, engine_log: Path) -> None:
    """The question is asked again."""
    with ask(answers, "shut go a b") as answer:
        wait_for(lambda: answer.phase == "prefill")
        os.kill(pid_of(answers), signal.SIGKILL)
        wait_for(lambda: answer.n_resumed == 1)
        engine_log.with_name("go").touch()
        assert whole(answer)[0] == "a b"
        assert answer.n_resumed == 1


def test_an_engine_that_falls_silent(answers: Answers, live: LiveSettings, engine_log: Path) -> None:
    """It is given up after stall_timeout since its last sign of life; the answer goes on."""
    with ask(answers, f"gate go 1 {WORDS}") as answer:
        assert answer.wait_until_accepted(LONG_S)
        os.kill(pid_of(answers), signal.SIGSTOP)
        give_up_silent(live, answers.supervisor)
        engine_log.with_name("go").touch()
        assert rest(answer)[0] == WORDS
    assert "no sign of life for 0.3 s" in str(answers.supervisor.snapshot().crashes[0].reason)


def test_silence_is_a_stall_twice(answers: Answers, live: LiveSettings) -> None:
    """A question that silences its second engine too is refused."""
    with ask(answers, "mute") as answer:
        for n_before in range(2):
            wait_for(lambda n=n_before: (answer.n_resumed, answer.phase) == (n, "prefill"))
            give_up_silent(live, answers.supervisor)
        with pytest.raises(EngineError) as caught:
            answer.wait_until_accepted(LONG_S)
        assert caught.value.code == "engine_crashed"
    with ask(answers, "echo again") as answer:
        assert whole(answer)[0] == "again"


@pytest.mark.parametrize("text", ["count 50 40", "wait 2000 a"])
def test_signs_of_life(answers: Answers, live: LiveSettings, text: str) -> None:
    """Tokens or heartbeats: whoever gives them may take longer than stall_timeout."""
    with ask(answers, text) as answer:
        wait_for(lambda: answer.phase in ("prefill", "decode"))
        began = time.monotonic()
        live.now = msgspec.structs.replace(live.now, stall_timeout=1.5)  # only now: an engine's start may take longer
        assert whole(answer)[0] in (numbers(50), "a")
        assert time.monotonic() - began > 1.5
    assert answers.supervisor.settled().n_crashes == 0


def test_the_second_death_ends_it(answers: Answers) -> None:
    """What there was is told, then engine_crashed with how; the next request starts another engine."""
    with ask(answers, "killer 2") as answer:
        assert answer.wait_until_accepted(LONG_S)
        texts = [getattr(answer.next_frame(LONG_S), "text", "") for _ in range(4)]
        assert "".join(texts) == numbers(4)
        with pytest.raises(EngineError) as caught:
            answer.next_frame(LONG_S)
        assert caught.value.code == "engine_crashed"
        assert "SIGKILL" in str(caught.value)
    with ask(answers, "echo again") as answer:
        assert whole(answer)[0] == "again"
    assert answers.supervisor.snapshot().n_starts == 3


def test_a_death_while_loading_is_not_seen(answers: Answers) -> None:
    """The model is loaded again; a second time it is told."""
    with ask(answers, "echo hello", "/nowhere/dieonce.gguf") as answer:
        assert whole(answer)[0] == "hello"
    with ask(answers, "echo hello", "/nowhere/die.gguf") as answer, pytest.raises(EngineError) as caught:
        answer.wait_until_accepted(LONG_S)
    assert caught.value.code == "model_load_failed"
    assert answers.supervisor.snapshot().n_starts == 4


def test_a_replaced_file_is_another_model(answers: Answers, tmp_path: Path) -> None:
    """The engine that holds the old content is not asked again."""
    file = tmp_path / "m.gguf"
    file.write_bytes(b"old")
    starts = []
    for content in (b"", b"", b"er"):
        with file.open("ab") as opened:
            opened.write(content)
        with ask(answers, "echo a", str(file)) as answer:
            assert whole(answer)[0] == "a"
        starts.append(answers.supervisor.snapshot().n_starts)
    assert starts == [1, 1, 2]


def test_an_answer_of_a_replaced_file_cannot_go_on(answers: Answers, tmp_path: Path) -> None:
    """Its tokens mean something else in the new one."""
    file = tmp_path / "m.gguf"
    file.write_bytes(b"old")
    with ask(answers, "count 10000 10", str(file)) as answer:
        assert answer.wait_until_accepted(LONG_S)
        file.write_bytes(b"newer")
        os.kill(pid_of(answers), signal.SIGKILL)
        with pytest.raises(EngineError) as caught:
            rest(answer)
        assert caught.value.code == "engine_crashed"


def test_the_lane_is_free_before_the_answer_is_read(live: LiveSettings, answers: Answers) -> None:
    """Whoever reads slowly holds nobody up; only the engine's idle time waits for the last byte."""
    live.now = msgspec.structs.replace(live.now, idle_timeout=0.1)
    with ask(answers, "count 50") as slow:
        wait_for(lambda: answers.lane.n_running == 0 and slow.n_completion == 50)
        with ask(answers, "echo next") as other:
            assert whole(other)[0] == "next"
        gevent.sleep(0.3)
        assert answers.supervisor.settled().state == "ready"
        assert whole(slow)[0] == numbers(50)


def test_a_reader_that_is_too_slow(answers: Answers, engine_log: Path) -> None:
    """What is kept for it is bounded; then the engine stops, and whoever owns the connection is told."""
    told: list[str] = []
    with ask(answers, "count 5000 1", on_overflow=lambda: told.append("overflow")) as answer:
        wait_for(lambda: told)
        wait_for(lambda: answers.lane.n_running == 0)
        assert answer.n_completion == 100
        with pytest.raises(EngineError) as caught:
            whole(answer)
        assert caught.value.code == "reader_too_slow"
    wait_for(lambda: " cancel " in engine_log.read_text())


@pytest.mark.parametrize(
    ("phase", "text", "model"),
    [("loading", "echo x", "never"), ("prefill", "mute", "m"), ("decode", "count 100000 5", "m")],
)
def test_closing_gives_everything_back(answers: Answers, engine_log: Path, phase: str, text: str, model: str) -> None:
    """In whatever phase: the lane is free, nobody waits or uses an engine, a running one is told to stop."""
    answer = ask(answers, text, f"/nowhere/{model}.gguf")
    wait_for(lambda: answer.phase == phase)
    answer.close()
    answer.close()  # twice does no harm
    gevent.sleep(0)
    wait_for(lambda: answers.lane.n_running == 0)
    snapshot = answers.supervisor.settled()
    assert snapshot.state == ("loading" if phase == "loading" else "ready")
    if phase != "loading":
        assert snapshot.engines[0].idle_until is not None
        wait_for(lambda: " cancel " in engine_log.read_text())


def test_closing_at_once(answers: Answers) -> None:
    """Before anything of it has begun, and while it waits in the queue."""
    ask(answers, "echo x").close()
    with ask(answers, "mute") as first:
        wait_for(lambda: first.phase == "prefill")
        second = ask(answers, "echo x")
        wait_for(lambda: answers.lane.n_waiting == 1)
        assert second.phase == "queued"
        second.close()
        wait_for(lambda: answers.lane.n_waiting == 0)
    assert answers.supervisor.settled().n_starts == 1


def test_a_question_that_is_too_large_leaves_nothing_behind(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame's bound holds on this side too, and the engine serves on."""
    monkeypatch.setattr("hoshikage_server.engines.framing.MAX_FRAME_BYTES", 1000)
    with ask(answers, "x" * 2000) as answer, pytest.raises(WireError, match="too large"):
        answer.wait_until_accepted(LONG_S)
    with ask(answers, "echo a") as answer:
        assert whole(answer)[0] == "a"
    assert answers.supervisor.snapshot().n_starts == 1
