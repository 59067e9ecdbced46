"""Beside a process that wants a core, fewer threads compute; when it has ended, all of them do again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hoshikage_core import Engine, Model, SamplingParams

N_THREADS = 2
DEADLINE_S = 180
N_FREE = 20  # moments, in each of which an engine may look whether it was one
SHARE_OF_A_CORE = """if True:
    import time
    began, taken = time.monotonic(), time.thread_time()
    while time.monotonic() < began + 0.1:
        pass
    print((time.thread_time() - taken) / (time.monotonic() - began))
"""


def test_it_gives_way_and_comes_back(smollm2_path: Path) -> None:
    """A machine where others compute all the time is no reason to fail, nor a place to see the second half."""
    with Model(smollm2_path) as model, Watch() as watch, model.engine(n_ctx=256, n_threads=N_THREADS) as engine:
        undisturbed = answer(engine)
        with busy_machine():
            assert answers_until(engine, lambda: watch.n_threads == 1) == {undisturbed}
        watch.most = n_free = 0
        deadline = time.monotonic() + DEADLINE_S
        while watch.most < N_THREADS:
            assert answer(engine) == undisturbed
            n_free += is_free()
            assert n_free < N_FREE, "the machine is free, and one thread computes"
            if time.monotonic() > deadline:
                pytest.skip("this machine is never free")


class Watch:
    """Looks how many threads compute: on a machine that is never quiet, all of them do for a moment only."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._n_others = 0
        self.n_threads = self.most = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        self._n_others = count_threads() - 1
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.002):
            self.n_threads = count_threads() - self._n_others
            self.most = max(self.most, self.n_threads)


def is_free() -> bool:
    """Whether as many processes get a core each."""
    command = [sys.executable, "-c", SHARE_OF_A_CORE]
    asked = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(N_THREADS)]
    shares = [float(one.communicate()[0]) for one in asked]
    return min(shares) > 0.85


def answer(engine: Engine) -> str:
    return engine.generate("Once upon a time", SamplingParams(temperature=0, ignore_eos=True), max_tokens=60).text


def answers_until(engine: Engine, is_so: Callable[[], bool]) -> set[str]:
    deadline = time.monotonic() + DEADLINE_S
    answers = {answer(engine)}
    while not is_so():
        assert time.monotonic() < deadline
        answers.add(answer(engine))
    return answers


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


@contextmanager
def busy_machine() -> Iterator[None]:
    """Every core has something else to do."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
