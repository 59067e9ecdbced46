"""hoshikage cache explain, of a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import at, hoshikage
from openai import OpenAI
from server_process import REAL_SERVER, ServerProcess

LONG = "The lighthouse stood on a rock in the sea. " * 20


@pytest.fixture
def server(tmp_path: Path, tiny_model_path: Path) -> Iterator[ServerProcess]:
    models = {"a": {"path": str(tiny_model_path.parent), "model": tiny_model_path.name, "n_ctx": 2048}}
    folder = tmp_path / "server"
    options: dict[str, Any] = {"threads": 1, "cache_dir": folder / "cache", "cache_ram": 0, "sleep_cache": 0}
    with ServerProcess(folder, models, command=REAL_SERVER, **options) as started:
        yield started


def test_it_says_why(server: ServerProcess, tmp_path: Path) -> None:
    """What was computed again, and why: in words, as JSON, and in the language of whoever asks."""
    client = OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=60)
    assert "no prompts yet" in hoshikage(tmp_path, "cache", "explain", **at(server)).stdout

    def ask(*contents: str, **body: Any) -> None:
        roles = ("system", "user", "assistant", "user")
        messages: list[Any] = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        client.chat.completions.create(model="a", messages=messages, max_tokens=1, extra_body=body)

    ask("It is 12:00.", LONG)
    ask("It is 12:00.", LONG, "I see.", "And then?")
    ask("It is 12:01.", LONG, "I see.", "And then?")
    ask("It is 12:01.", LONG, "I see.", "And then?", cache_prompt=False)
    ask("Another one.", LONG[::-1])
    ask("It is 12:01.", LONG, "I see.", "And then?")
    told = json.loads(hoshikage(tmp_path, "cache", "explain", "--json", **at(server)).stdout)
    assert [one["reason"] for one in told] == [None, None, "changed", "disabled", None, "evicted"]
    assert (told[2]["message"], told[2]["character"]) == (0, len("It is 12:0"))
    assert told[1]["n_cached"] >= told[1]["n_expected"] > 400
    assert told[5]["n_cached"] < 20 < 400 < told[5]["n_expected"] == told[5]["n_prompt"] - 1
    shown = hoshikage(tmp_path, "cache", "explain", **at(server)).stdout
    assert "messages[0] is the same as before for 10 characters" in shown
    assert "HOSHIKAGE_CACHE_RAM" in shown
    assert "文字目" in hoshikage(tmp_path, "cache", "explain", HOSHIKAGE_LANG="ja", **at(server)).stdout
    assert "lighthouse" not in server.log_path.read_text()
