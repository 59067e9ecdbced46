"""The file that engines sleep in: what it takes on the disk, and what stays in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefix_models import ROOM, logits, text, write_model

from hoshikage_core import Engine, Model, SleepingPrefix


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model("llama", tmp_path_factory.mktemp("models"))) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=tmp_path) as opened:
        yield opened.fileno()


def new_engine(model: Model, file: int, places: tuple[SleepingPrefix, ...] = (), parallel: int = 1) -> Engine:
    engine = model.engine(512, parallel=parallel, n_threads=1, cache_bytes=ROOM)
    engine.wake(file, places)
    return engine


def sleep(engine: Engine, file: int, limit_s: float = 60, s_per_token: float = 1) -> tuple[SleepingPrefix, ...]:
    engine._planner.s_per_token = s_per_token
    return engine.lie_down(file, room_bytes=ROOM, limit_s=limit_s)


def n_bytes(file: int) -> int:
    return os.fstat(file).st_blocks * 512


def test_what_is_gone_on_with_gives_its_room_back(model: Model, file: int) -> None:
    """A conversation over many sleeps takes the room of its last state."""
    talk, places = text(100), ()
    for _ in range(6):
        engine = new_engine(model, file, places)
        logits(engine, talk)
        places = sleep(engine, file)
        assert [len(place.tokens) // 4 for place in places] == [len(talk)]
        assert n_bytes(file) < places[0].n_bytes + 16384
        talk += text(10, len(talk))


def test_what_does_not_pay_takes_no_room(model: Model, file: int) -> None:
    """What takes longer to write than to compute is not left there."""
    engine = new_engine(model, file)
    logits(engine, text(100))
    assert sleep(engine, file, s_per_token=0) == ()
    assert n_bytes(file) == 0


def test_without_time_what_is_there_stays(model: Model, file: int) -> None:
    """What another engine has written costs no time: it stays, even where it could not be replaced by more of it."""
    engine = new_engine(model, file)
    for seed in (1, 2):
        logits(engine, text(100, seed))
    places = sleep(engine, file)
    engine = new_engine(model, file, places, parallel=2)
    logits(engine, text(80, 1) + text(60, 3))
    assert set(sleep(engine, file, limit_s=-1)) == set(places)
    with new_engine(model, file, places) as engine:
        assert logits(engine, text(120, 1))[0] == 100


def test_what_finds_no_room_now_finds_it_later(model: Model, file: int) -> None:
    """Where running sequences leave no room to restore one, it is not lost."""
    engine = new_engine(model, file)
    logits(engine, text(200))
    places = sleep(engine, file)
    with new_engine(model, file, places, parallel=2) as engine:
        with engine.open(text(400, 1)) as running:
            running.prefill()
            assert logits(engine, text(50))[0] == 0
        assert logits(engine, text(220))[0] == 200
