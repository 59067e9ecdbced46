"""Cancelling an answer, in whatever moment: it ends soon, and the engine and the others are as good as before."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from tiny_gguf import TinyModel

from hoshikage_core import (
    CancelledError,
    Engine,
    Model,
    SamplingParams,
)

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


def test_one_cancelled_of_several(model: Model) -> None:
    """Cancelling one leaves the others' answers as they are."""
    with model.engine(n_ctx=512, parallel=2) as engine:
        alone = engine.generate("star", GREEDY, max_tokens=24).tokens
        kept, dropped = engine.stream("star", GREEDY, max_tokens=24), engine.stream("moon", GREEDY, max_tokens=24)
        for _ in range(5):
            engine.step()
        dropped.cancel()
        assert kept.result().tokens == alone
        assert dropped.result().finish_reason == "cancelled"


@pytest.mark.parametrize("n_tokens", [2000])
def test_cancel_in_the_middle_of_prefill(smollm2_path: Path, n_tokens: int) -> None:
    """Cancelling from another thread ends the computing of a long prompt: hardly more of it is computed."""
    with Model(smollm2_path) as model, model.engine(n_ctx=4096) as engine:
        with engine.open([5] * n_tokens, reuse=False) as sequence:
            begun = engine.progress
            sequence.prefill()
            n_whole = engine.progress - begun
        generation = engine.stream([5] * n_tokens, GREEDY, reuse=False)
        begun = engine.progress
        at_cancel: list[int] = []

        def cancel() -> None:
            while engine.progress < begun + n_whole // 4:
                time.sleep(0.001)
            generation.cancel()
            at_cancel.append(engine.progress)

        thread = threading.Thread(target=cancel)
        thread.start()
        answer = generation.result()
        thread.join()
        assert (answer.finish_reason, answer.tokens) == ("cancelled", ())
        assert engine.progress - at_cancel[0] < n_whole // 20  # 0.1 s is what a quiet machine stays far below; see docs
        assert engine.generate("The", GREEDY, max_tokens=3).n_completion == 3


def test_a_cancelled_prefill_can_be_gone_on_with(model: Model, tmp_path: Path) -> None:
    """An interrupted step leaves the sequence as it was: the logits come out as without the interruption."""
    with model.engine(n_ctx=2048, parallel=2, n_batch=256) as engine:
        other = engine.open([6])
        whole = engine.open([5] * 1500)
        whole.prefill()
        expected = list(whole.logits())
        whole.close()
        for _ in range(3):
            sequence = engine.open([5] * 1500, reuse=False)
            interrupts = threading.Event()

            def interrupt(stop: threading.Event = interrupts) -> None:
                while not stop.wait(0.002):
                    engine._interrupt()

            thread = threading.Thread(target=interrupt)
            thread.start()
            timer = threading.Timer(0.1, interrupts.set)
            timer.start()
            sequence.prefill()
            interrupts.set()
            thread.join()
            assert list(sequence.logits()) == expected
            sequence.close()
        other.close()


def test_a_recurrent_model_survives_a_cancel(tmp_path: Path) -> None:
    """Its memory cannot be cut back to before an interrupted step: then it is computed again from the beginning."""
    path = TinyModel().write_mamba(tmp_path / "mamba.gguf")
    with Model(path) as model, model.engine(n_ctx=4096, parallel=2, n_batch=512) as engine:
        prompt = [5 + i % 200 for i in range(1500)]
        alone = engine.generate(prompt, GREEDY, max_tokens=8).tokens
        for delay_s in (0.001, 0.01, 0.03):
            kept, dropped = engine.stream(prompt, GREEDY, max_tokens=8), engine.stream(prompt, GREEDY)
            timer = threading.Timer(delay_s, dropped.cancel)
            timer.start()
            assert kept.result().tokens == alone
            timer.join()
            assert dropped.result().finish_reason in ("cancelled", "length")


def test_an_interrupt_from_the_keyboard_ends_the_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in the middle of a step the answer is cancelled and the engine is as good as before."""
    generation = engine.stream("star", GREEDY)
    for _ in range(3):
        engine.step()
    with monkeypatch.context() as patch:
        patch.setattr(engine.native_step, "run", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.step()
    assert generation.result().finish_reason == "cancelled"
    assert engine.generate("star", GREEDY, max_tokens=2).n_completion == 2


def test_a_cancelled_sequence_raises(engine: Engine) -> None:
    """At the low level, cancelling shows as an error, and the engine is as good as before."""
    with engine.open([5, 6]) as sequence:
        sequence.cancel()
        with pytest.raises(CancelledError):
            sequence.prefill()
    assert engine.generate("star", GREEDY, max_tokens=2).n_completion == 2
