"""benchmarks/random_model.py: its models load, compute with sane numbers, and are as large as the real ones."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import gguf
import pytest

from hoshikage_core import Model, SamplingParams

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def random_model() -> Iterator[ModuleType]:
    sys.path.append(str(BENCHMARKS))
    import random_model

    yield random_model
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def path(random_model: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written: Path = random_model.write("tiny", tmp_path_factory.mktemp("models") / "tiny.gguf")
    return written


def test_the_8b_is_as_large_as_the_real_one(random_model: ModuleType) -> None:
    """Meta-Llama-3-8B-Instruct as Q4_K_M has files of 4.92 GB; Llama 3.2 1B, of 0.81 GB."""
    sizes = {"8b": 4.92e9, "1b": 0.81e9}
    for name, real in sizes.items():
        n_bytes = sum(
            matrix.n_out * matrix.n_in // 256 * gguf.GGML_QUANT_SIZES[matrix.kind][1]
            for matrix in random_model.matrices(random_model.SHAPES[name])
        )
        assert n_bytes == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("name", ["blk.0.ffn_up.weight", "blk.1.ffn_down.weight", "output.weight"])
def test_weights_are_what_they_say(name: str, path: Path) -> None:
    """As the gguf package reads them, of either type: mean 0, and a spread that keeps the size of what passes."""
    (tensor,) = (each for each in gguf.GGUFReader(path).tensors if each.name == name)
    weights = gguf.dequantize(tensor.data, tensor.tensor_type)
    expected = weights.shape[1] ** -0.5 * (2 if name == "output.weight" else 1)
    assert weights.std() == pytest.approx(expected, rel=0.05)
    assert abs(weights.mean()) < 0.01 * expected


def test_it_answers_without_end(path: Path) -> None:
    """Greedily it never chooses an end token, and the same token has the same successor wherever it stands."""
    with Model(path) as model, model.engine(n_ctx=512) as engine:
        answer = list(engine.generate("x", GREEDY, max_tokens=200).tokens)
        assert len(answer) == 200
        successors = dict(pairwise(answer))
        assert all(successors[a] == b for a, b in pairwise(answer))
        with engine.open(answer[:50]) as sequence:
            sequence.prefill()
            assert all(map(math.isfinite, sequence.logits()))


@pytest.mark.slow
def test_it_copies(path: Path, tmp_path: Path) -> None:
    """copying.py needs a model that gives its own answer again, and this is one."""
    output = tmp_path / "found.json"
    command = [sys.executable, str(BENCHMARKS / "copying.py"), "--quick", "--model", str(path), "--json", str(output)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(output.read_text(encoding="utf-8"))["reports"]
    assert set(found["samples"]) == {"without", "n-gram"}
