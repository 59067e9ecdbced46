"""An engine among threads and processes: shared, watched, closed and forked while it computes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from hoshikage_core import (
    ClosedError,
    Model,
    SamplingParams,
)

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


def test_closing_while_another_thread_generates(model: Model) -> None:
    """Closing an engine ends what runs on it, without a crash, a hang or a lost error."""
    for _ in range(20):
        engine = model.engine(n_ctx=65536)  # so long an answer that it does not end by itself
        generation = engine.stream("star", GREEDY)
        outcome: list[object] = []

        def run(generation: object = generation, outcome: list[object] = outcome) -> None:
            outcome.append(generation.result().finish_reason)  # type: ignore[attr-defined]

        thread = threading.Thread(target=run)
        thread.start()
        while generation.n_completion < 3:
            time.sleep(0.0001)
        engine.close()
        thread.join(60)
        assert not thread.is_alive()
        assert outcome == ["cancelled"]
        with pytest.raises(ClosedError):
            engine.step()


def test_other_threads_run_during_a_step(smollm2_path: Path) -> None:
    """The GIL is free while llama.cpp computes: another thread counts on during one single native call."""
    with Model(smollm2_path) as model, model.engine(n_ctx=1024, n_batch=512, n_threads=1) as engine:
        sequence = engine.open([5] * 500)
        done = threading.Event()
        ticks: list[float] = []

        def tick() -> None:
            while not done.wait(0.001):
                ticks.append(time.perf_counter())

        thread = threading.Thread(target=tick)
        thread.start()
        started = time.perf_counter()
        sequence.prefill()  # one call: 500 tokens fit one batch
        ended = time.perf_counter()
        done.set()
        thread.join()
        sequence.close()
        during = [moment for moment in ticks if started < moment < ended]
        assert len(during) > 10


def test_progress_moves_during_a_step(smollm2_path: Path) -> None:
    """Another thread sees, without waiting, that a single native call is getting on; and that none runs."""
    with Model(smollm2_path) as model, model.engine(n_ctx=1024, n_batch=512) as engine:
        sequence = engine.open([5] * 500)
        thread = threading.Thread(target=sequence.prefill)
        before = engine.progress
        thread.start()
        seen: set[int] = set()
        while thread.is_alive():
            seen.add(engine.progress)
            time.sleep(0.001)
        after = engine.progress
        assert len(seen - {before, after}) > 10
        assert min(seen) >= before
        assert max(seen) <= after
        time.sleep(0.01)
        assert engine.progress == after
    with pytest.raises(ClosedError):
        _ = engine.progress


def test_two_threads_share_an_engine(model: Model) -> None:
    """Threads that generate on one engine at the same time get their own answers."""
    with model.engine(n_ctx=512, parallel=2) as engine:
        alone = {prompt: engine.generate(prompt, GREEDY, max_tokens=40).tokens for prompt in ("star", "moon")}
        got: dict[str, tuple[int, ...]] = {}

        def run(prompt: str) -> None:
            got[prompt] = engine.generate(prompt, GREEDY, max_tokens=40).tokens

        threads = [threading.Thread(target=run, args=(prompt,)) for prompt in alone]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == alone


def run_script(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_interpreter_ends_cleanly_during_a_step(tiny_model_path: Path) -> None:
    """A daemon thread that generates while the program ends does not crash it."""
    code = """
        import sys, threading, time
        from hoshikage_core import Model
        engine = Model(sys.argv[1]).engine(n_ctx=2048)
        threading.Thread(target=lambda: [engine.generate("a") for _ in range(1000)], daemon=True).start()
        before = engine.progress
        while engine.progress == before:
            time.sleep(0.001)
    """
    for _ in range(3):
        done = run_script(code, tiny_model_path)
        assert done.returncode == 0, done.stderr


def test_a_forked_child_is_told(tiny_model_path: Path) -> None:
    """In a forked child the engine raises instead of waiting for threads that are not there; the child ends cleanly."""
    code = """
        import os, sys
        from hoshikage_core import Model, UnsupportedError
        engine = Model(sys.argv[1]).engine(n_ctx=64, n_threads=2)
        engine.generate("a", max_tokens=2)
        if os.fork() == 0:
            try:
                engine.generate("a")
            except UnsupportedError:
                sys.exit(7)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
        engine.generate("a", max_tokens=2)
    """
    # Under LeakSanitizer, what the child leaves alone because it is the parent's would count as a leak.
    options = f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0".lstrip(":")
    done = run_script(code, tiny_model_path, ASAN_OPTIONS=options)
    assert done.returncode == 0, done.stderr
