"""What the README shows works as it is written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from server_process import REAL_SERVER, ServerProcess

from hoshikage_server.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent


def samples(name: str) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 3
    return found


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_library_sample_runs(name: str, tmp_path: Path) -> None:
    """Saved to a file and run, as the text above it says."""
    (tmp_path / "hello.py").write_text(samples(name)[2], encoding="utf-8")
    command = [sys.executable, str(tmp_path / "hello.py")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("llama 134515008 [")  # the model's own figures
    assert len(result.stdout.splitlines()) > 1


def test_the_client_samples_run(tmp_path: Path, smollm2_path: Path) -> None:
    """One after the other, on a server with the demo model; the shape that is asked for is the shape that comes."""
    ask, ask_for_a_shape, _ = samples("README.md")
    code = f"{ask}\n{ask_for_a_shape}\nprint(answer.choices[0].message.content)"
    models = {"smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name}}
    with ServerProcess(tmp_path, models, command=REAL_SERVER) as server:
        command = [sys.executable, "-c", code.replace("http://127.0.0.1:3030", server.url)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout[result.stdout.rindex("{") :]).keys() == {"fruit"}


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_settings_it_names_exist(name: str) -> None:
    """A variable that sets nothing would be ignored."""
    named = set(re.findall(r"HOSHIKAGE_([A-Z_]+)", (ROOT / name).read_text(encoding="utf-8")))
    assert {"LANG", "THREADS", "PORT"} <= named
    assert {variable.lower() for variable in named} <= set(Settings.__struct_fields__)


def test_the_sample_of_reuse_runs(tmp_path: Path, smollm2_path: Path) -> None:
    """The second turn finds the first one."""
    (sample,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "reuse.md").read_text(encoding="utf-8"), re.DOTALL)
    models = {"smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name}}
    with ServerProcess(tmp_path, models, command=REAL_SERVER) as server:
        command = [sys.executable, "-c", sample.replace("http://127.0.0.1:3030", server.url)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    first, second = (tuple(map(int, line.split())) for line in result.stdout.splitlines())
    assert first[1] < 20
    assert second[0] - second[1] < 40
