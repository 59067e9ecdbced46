"""Sleep that remembers: what an engine has computed, another one finds in a file."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefix_models import ROOM, is_near, logits, text, write_model

from hoshikage_core import Engine, Model, SleepingPrefix


@pytest.fixture(scope="module", params=["llama", "sliding", "mamba", "hybrid"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model(request.param, tmp_path_factory.mktemp("models"))) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    with tempfile.TemporaryFile(dir=tmp_path) as opened:
        yield opened.fileno()


def new_engine(model: Model, file: int | None = None, places: tuple[SleepingPrefix, ...] = ()) -> Engine:
    engine = model.engine(512, n_threads=1, cache_bytes=ROOM)
    if file is not None:
        engine.wake(file, places)
    return engine


def sleep(engine: Engine, file: int, room_bytes: int = ROOM, limit_s: float = 60) -> tuple[SleepingPrefix, ...]:
    engine._planner.s_per_token = 1.0  # as if computing took its time
    return engine.lie_down(file, room_bytes=room_bytes, limit_s=limit_s)


def test_the_next_engine_goes_on(model: Model, file: int) -> None:
    """Several conversations, over several sleeps: only what is new is computed, and the logits are right."""
    talks = [text(100, seed) for seed in (1, 2, 3)]
    places: tuple[SleepingPrefix, ...] = ()
    for turn in range(3):
        engine = new_engine(model, file, places)
        for talk in talks:
            n_before = len(talk)
            talk += text(10, seed=turn)
            n_cached, got = logits(engine, talk)
            assert n_cached == (n_before if turn else 0)
            with model.engine(512, n_threads=1) as plain:
                assert is_near(got, logits(plain, talk)[1])
        places = sleep(engine, file)
        assert len(places) == 3


def test_what_is_not_asked_for_stays(model: Model, file: int) -> None:
    """A conversation that is not gone on with sleeps on, where it is."""
    engine = new_engine(model)
    logits(engine, text(100, 1))
    places = sleep(engine, file)
    assert len(places) == 1
    for _ in range(2):
        assert sleep(new_engine(model, file, places), file) == places


@pytest.mark.parametrize("damage", ["bytes", "short", "closed", "crc"])
def test_damage(model: Model, file: int, damage: str) -> None:
    """What is not as it was is computed again, and nothing is wrong."""
    engine = new_engine(model)
    logits(engine, text(100, 1))
    (place,) = sleep(engine, file)
    if damage == "bytes":
        os.pwrite(file, b"damaged", place.offset + place.n_bytes // 2)
    elif damage == "short":
        os.ftruncate(file, place.offset + place.n_bytes - 1)
    elif damage == "crc":
        place = replace(place, crc=place.crc ^ 1)
    with new_engine(model, 2**20 if damage == "closed" else file, (place,)) as engine:
        n_cached, got = logits(engine, text(120, 1))
        assert n_cached == 0
        assert is_near(got, logits(engine, text(120, 1), reuse=False)[1])


def test_bounds(model: Model, file: int) -> None:
    """What was used last has the room; without time nothing is written, nor what is computed as fast."""
    engine = new_engine(model)
    for seed in (1, 2, 3):
        logits(engine, text(100, seed))
    places = sleep(engine, file)
    size = places[0].n_bytes
    assert sleep(new_engine(model, file, places), file, room_bytes=int(1.5 * size)) == places[:1]
    assert os.fstat(file).st_blocks * 512 < 2 * size + 8192
    engine = new_engine(model)
    logits(engine, text(100, 5))
    assert sleep(engine, file, limit_s=-1) == ()
    engine = new_engine(model)
    logits(engine, text(100, 5))
    engine._planner.s_per_token = 0
    assert engine.lie_down(file, room_bytes=ROOM, limit_s=60) == ()


def test_a_full_disk(model: Model, file: int) -> None:
    """What fits is kept."""
    engine = new_engine(model)
    logits(engine, text(100, 1))
    with tempfile.TemporaryFile() as other:
        size = sleep(engine, other.fileno())[0].n_bytes
    engine = new_engine(model)
    for seed in (1, 2, 3):
        logits(engine, text(100, seed))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(1.5 * size) + 8192, before[1]))
    try:
        places = sleep(engine, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(places) == 1
    with new_engine(model, file, places) as engine:
        assert logits(engine, text(120, 3))[0] == 100


@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_life(model: Model, data: st.DataObject) -> None:
    """Whatever happens in whatever order: no wrong logits."""
    places: tuple[SleepingPrefix, ...] = ()
    with tempfile.TemporaryFile() as opened, model.engine(300, n_threads=1) as plain:
        for _ in range(data.draw(st.integers(1, 3))):
            engine = model.engine(300, n_threads=1, cache_bytes=data.draw(st.sampled_from([0, 300_000, ROOM])))
            engine.wake(opened.fileno(), places)
            for _ in range(data.draw(st.integers(0, 4))):
                tokens = text(data.draw(st.integers(0, 120)), data.draw(st.integers(0, 1))) + text(20, 7)
                assert is_near(logits(engine, tokens)[1], logits(plain, tokens, reuse=False)[1])
            places = sleep(engine, opened.fileno(), data.draw(st.sampled_from([0, 300_000, ROOM])))
