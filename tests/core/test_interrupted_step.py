"""A step that is interrupted costs nobody a right answer, whatever the model's memory can go back to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from prefix_models import ROOM, is_near, logits, text, write_model

from hoshikage_core import CancelledError, Engine, Model, Sequence


@pytest.fixture(scope="module", params=["llama", "sliding", "mamba", "hybrid"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with Model(write_model(request.param, tmp_path_factory.mktemp("models"))) as made:
        yield made


def new_engine(model: Model) -> Engine:
    return model.engine(2048, parallel=4, n_batch=2048, n_threads=1, cache_bytes=ROOM)


def is_right(model: Model, sequence: Sequence) -> bool:
    """Whether its logits are those of computing all its tokens."""
    with new_engine(model) as engine:
        return is_near(list(sequence.logits()), logits(engine, sequence.tokens, reuse=False)[1])


def step(engine: Engine, *sequences: Sequence, after: int, do: Callable[[], None]) -> bool:
    """Computes what is pending of these and does something in the middle; whether all was computed."""
    begun = engine.progress
    is_over = threading.Event()

    def watch() -> None:
        while engine.progress < begun + after and not is_over.is_set():
            pass
        do()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with engine.lock:
            engine.compute([(sequence, sequence.n_pending, False, ()) for sequence in sequences])
    except CancelledError:
        return False
    finally:
        is_over.set()
        thread.join()
    return True


def n_nodes(engine: Engine, n_tokens: int) -> int:
    """How far `progress` goes in a step."""
    with engine.open(text(n_tokens), reuse=False) as sequence:
        begun = engine.progress
        sequence.prefill()
        return engine.progress - begun


def test_bystanders(model: Model) -> None:
    """What is not part of the step stays as it was, or is computed again: recurrent states are moved in a step."""
    with new_engine(model) as engine:
        n_whole = n_nodes(engine, 200)
        for part in (0.2, 0.4, 0.6, 0.8):
            first, beside, second = (engine.open(text(100, seed), reuse=False) for seed in (1, 2, 3))
            for sequence in (first, beside, second):
                sequence.prefill()
                sequence.extend(text(200, 4))
            if not step(engine, first, second, after=int(n_whole * part), do=engine._interrupt):
                for sequence in (beside, first, second):
                    sequence.prefill()
                    assert is_right(model, sequence)
            for sequence in (first, beside, second):
                sequence.close()


def test_cancelling_one_of_several(model: Model) -> None:
    """The others hold what they held."""
    with new_engine(model) as engine:
        cancelled, other = engine.open(text(100, 1), reuse=False), engine.open(text(100, 2), reuse=False)
        for sequence in (cancelled, other):
            sequence.prefill()
            sequence.extend(text(200, 3))
        step(engine, cancelled, other, after=n_nodes(engine, 200) // 2, do=cancelled.cancel)
        assert other.n_computed >= 100
        other.prefill()
        assert is_right(model, other)


def test_what_was_lost_is_computed_in_cells_of_its_own(model: Model) -> None:
    """The room is counted as it is, where a sequence that shared its beginning had to begin anew."""
    with new_engine(model) as engine:
        logits(engine, text(100))
        first, second = engine.open(text(160)), engine.open(text(140) + text(10, 1))
        first.prefill()
        second.prefill()
        first.extend(text(200, 2))
        is_whole = step(engine, first, after=n_nodes(engine, 200) // 2, do=engine._interrupt)
        n_kept = first.n_computed
        first.prefill()
        n_shared = 0 if n_kept == 0 and not is_whole else second.n_cached
        engine._prefixes.make_room(2048)
        assert engine._prefixes.n_free == 2048 - 360 - 150 + n_shared


def test_a_window_that_has_moved_on(model: Model) -> None:
    """A step that is computed in two pieces and interrupted in the second: the window of its beginning is gone."""
    with new_engine(model) as engine:
        n_piece = n_nodes(engine, 512)
        for n_more in (640, 600, 620, 640, 630, 640, 750, 1000):
            with engine.open(text(100), reuse=False) as sequence:
                sequence.prefill()
                sequence.extend(text(n_more, 1))
                if not step(engine, sequence, after=n_piece * 3 // 2, do=engine._interrupt):
                    del sequence.tokens[120:]
                    sequence.prefill()
                    assert is_right(model, sequence)
