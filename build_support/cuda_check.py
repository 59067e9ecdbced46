"""Checks a module built for CUDA where there is no GPU: `python -m build_support.cuda_check FOLDER`.

FOLDER holds the packages with that module. The checks run in a process of its own, which sees no GPU even where there
is one: the module must not need the driver, and has to find CUDA's libraries by itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .errors import BuildError, say
from .source import ROOT

_PROGRAM = """
import sys
from hoshikage_core import Model, SamplingParams, build_info

info = build_info()
assert info.backend == "cuda", info.backend
assert "CUDA" in info.backends, info.backends
assert info.gpus == (), info.gpus
with Model(sys.argv[1]) as model, model.engine(n_ctx=256) as engine:
    text = engine.generate("The lighthouse", SamplingParams(temperature=0), max_tokens=16).text
assert text
backends, archs = ", ".join(info.backends), ", ".join(info.cuda_archs)
print(f"{backends}; CUDA {info.cuda_version} for {archs}; sees no GPU; generates on the CPU")
"""
_NEEDED = {"libcudart", "libcublas", "libcublasLt"}


def check(folder: Path) -> str:
    """Returns what the module says of itself.

    Raises:
        BuildError: It needs other libraries than it should, or does not work without a GPU.
    """
    module = next(folder.glob("hoshikage_core/_native*.so"))
    listed = subprocess.run(["objdump", "--private-headers", str(module)], capture_output=True, text=True, check=True)
    needed = set(re.findall(r"NEEDED\s+(libcu\w+)\.so", listed.stdout))
    if needed != _NEEDED:
        raise BuildError(f"{module} が使うライブラリが違います: {needed}", f"{module} needs {needed}.")
    with tempfile.TemporaryDirectory(prefix="hoshikage-cuda-") as temporary:
        model = Path(temporary, "tiny.gguf")
        subprocess.run([sys.executable, str(ROOT / "tests" / "tiny_gguf.py"), str(model)], check=True)
        environ = {**os.environ, "PYTHONPATH": str(folder.resolve()), "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", _PROGRAM, str(model)]
        done = subprocess.run(command, cwd=temporary, env=environ, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise BuildError(f"{module} が動きません: {reason}", f"{module} does not work: {reason}")
    return f"{done.stdout.strip()}; {module.stat().st_size / 1e6:.0f} MB"


if __name__ == "__main__":
    try:
        told = check(Path(sys.argv[1]))
    except BuildError as error:
        sys.exit(f"error: {error}")
    say(f"CUDA 用のモジュールは動きます: {told}", f"the module for CUDA works: {told}")
