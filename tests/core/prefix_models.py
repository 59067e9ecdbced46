"""Models whose memories differ, and what their engines are asked."""

from __future__ import annotations

from pathlib import Path

from tiny_gguf import TinyModel

from hoshikage_core import Engine

ROOM = 64 * 1024 * 1024
_NEAR = 0.1  # computed one by one or together they differ by 0.01; those of another prompt by several units


def write_model(kind: str, folder: Path) -> Path:
    """One that sees all, one with a sliding window in most layers, a recurrent one, or a half recurrent one."""
    tiny, path = TinyModel(n_layer=4), folder / f"{kind}.gguf"
    writers = {
        "llama": tiny.write,
        "sliding": tiny.write_sliding,
        "mamba": tiny.write_mamba,
        "hybrid": tiny.write_hybrid,
    }
    return writers[kind](path)


def logits(engine: Engine, tokens: list[int], *, reuse: bool = True) -> tuple[int, list[float]]:
    """How many tokens were cached, and the logits after the last."""
    with engine.open(tokens, reuse=reuse) as sequence:
        sequence.prefill()
        return sequence.n_cached, list(sequence.logits())


def is_near(left: list[float], right: list[float]) -> bool:
    """Whether they are those of the same tokens."""
    return max(abs(a - b) for a, b in zip(left, right, strict=True)) < _NEAR


def text(n: int, seed: int = 0) -> list[int]:
    """Some tokens."""
    return [3 + (seed * 31 + i * 7) % 500 for i in range(n)]
