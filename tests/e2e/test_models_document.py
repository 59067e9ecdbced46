"""What docs/models.md shows works as it is written, and it forgets no key."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import ServerProcess

from hoshikage_server.errors import ModelMapError
from hoshikage_server.registry.entries import parse
from hoshikage_server.registry.entry import UNUSED, Entry
from tests.tiny_gguf import TinyModel

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
MAP = Path("/home/me/.config/hoshikage/model_map.json")


def test_every_key_has_a_row() -> None:
    """And no other; those without effect are named as such."""
    table = DOCUMENT.partition("| key | what it is |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", table, re.MULTILINE)
    keys = {key: words for names, words in rows for key in re.findall(r"`(\w+)`", names)}
    assert keys.keys() == set(Entry.__struct_fields__)
    assert {key for key, words in keys.items() if "not used yet" in words} == set(UNUSED)


def test_the_sample_is_read() -> None:
    """With its schema line."""
    (sample,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    entry = parse(sample.encode(), MAP).entries["smollm2"]
    assert (entry.given.aliases, entry.given.n_ctx) == (("gpt-4o-mini",), 8192)


def test_the_error_is_what_is_said() -> None:
    """Of a file with a comma too many."""
    (shown,) = re.findall(r"```\n(The model map .*?)\n```", DOCUMENT)
    lines = ['"path": "/m"', '"model": "x.gguf"', '"stop": []', '"aliases": ["b", "c", "d", "ef"]']
    text = '{\n  "a": {\n' + "".join(f"    {line},\n" for line in lines) + "}}"
    with pytest.raises(ModelMapError) as caught:
        parse(text.encode(), MAP)
    assert str(caught.value).split(":")[-2:] == shown.split(":")[-2:]
    assert "line 6, column" in str(caught.value)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_lines_of_curl(tmp_path: Path) -> None:
    """One after the other; the last one says what is shown."""
    (console,) = re.findall(r"```console\n(.*?)```", DOCUMENT, re.DOTALL)
    lines = re.findall(r"^\$ ((?:.*\\\n)*.*)\n", console, re.MULTILINE)
    (tmp_path / "models").mkdir()
    TinyModel().write(tmp_path / "models" / "tiny.gguf")
    answers = []
    with ServerProcess(tmp_path / "server", {}, models_dir=tmp_path / "models") as server:
        for line in lines:
            command = line.replace("http://127.0.0.1:3030", server.url)
            answers.append(subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60).stdout)
    made, changed, gone = map(json.loads, answers)
    assert (made["id"], made["hoshikage"]["aliases"]) == ("tiny", ["gpt-4o"])
    assert (changed["hoshikage"]["n_ctx"], changed["hoshikage"]["aliases"]) == (512, [])
    assert gone == json.loads(console.splitlines()[-1])
