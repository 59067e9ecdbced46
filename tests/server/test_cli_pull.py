"""hoshikage model pull, run as a person does, against a hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_client import wait_for
from tiny_gguf import TinyModel

HUB = Path(__file__).resolve().parent.parent / "fakes" / "hub.py"
TOKEN = "hf_" + "x" * 34
WHOLE = b"GGUF" + bytes(range(256)) * 40
# huggingface_hub writes pieces of 10 MiB; half of this is one and a part of one, which is fetched again.
PIECE_BYTES = 10 * 1024 * 1024
LARGE = WHOLE + bytes(3 * PIECE_BYTES)


class FakeHub:
    """The stand-in, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, str(HUB), str(folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def put(self, repo: str, *names: str, content: bytes = WHOLE) -> None:
        for name in names:
            path = self.folder / repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def wait_for(self, line: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: line in self.lines, timeout=60), self.lines

    def requests(self, method: str) -> list[str]:
        return [line.removeprefix(f"{method} ") for line in self.lines if line.startswith(f"{method} ")]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.strip())
                self._changed.notify_all()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    hub = FakeHub(tmp_path / "hub")
    yield hub
    hub.close()


def start(hub: FakeHub, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    own = ("HOSHIKAGE_", "HF_", "XDG_", "HTTP", "http", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    home = hub.folder.parent
    clean |= {"HOME": str(home), "HF_ENDPOINT": hub.url, "HOSHIKAGE_LANG": "en", "HF_TOKEN": TOKEN, **environ}
    clean["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "hoshikage_server", "model", *arguments]
    return subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home)


def model(hub: FakeHub, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    process = start(hub, *arguments, **environ)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def entries(hub: FakeHub) -> dict[str, dict[str, object]]:
    file = hub.folder.parent / ".config" / "hoshikage" / "model_map.json"
    found: dict[str, dict[str, object]] = json.loads(file.read_text()) if file.exists() else {}
    return found


def models_folder(hub: FakeHub) -> Path:
    return hub.folder.parent / ".local" / "share" / "hoshikage" / "models"


def stored(hub: FakeHub) -> set[str]:
    """Files in the models folder."""
    folder = models_folder(hub)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_usual_one_is_fetched_and_registered(hub: FakeHub) -> None:
    """Q4_K_M of several, under the repository's name, with its checksum; no file and no request beside it."""
    names = ("tiny-Q8_0.gguf", "tiny-Q4_K_M.gguf", "tiny-F16.gguf", "mmproj-tiny-F16.gguf", "imatrix.gguf", "README.md")
    hub.put("somebody/Tiny-GGUF", *names)
    result = model(hub, "pull", "hf:somebody/Tiny-GGUF")
    assert (result.returncode, "'tiny'" in result.stdout) == (0, True), result.stderr
    assert stored(hub) == {"somebody/Tiny-GGUF/tiny-Q4_K_M.gguf"}
    entry = entries(hub)["tiny"]
    assert entry["sha256"] == hashlib.sha256(WHOLE).hexdigest()
    assert Path(str(entry["path"])) / str(entry["model"]) == models_folder(hub) / "somebody/Tiny-GGUF/tiny-Q4_K_M.gguf"
    path = f"/somebody/Tiny-GGUF/resolve/{'a' * 40}/tiny-Q4_K_M.gguf - token"
    assert hub.lines == ["GET /api/models/somebody/Tiny-GGUF - token", f"HEAD {path}", f"GET {path}"]
    again = model(hub, "pull", "hf:somebody/Tiny-GGUF")
    assert again.returncode == 0
    assert len(hub.requests("GET")) == 3, "its file is there and right: only the list is fetched"


@pytest.mark.parametrize("wanted", ["q8_0", "tiny-Q8_0.gguf", "TINY-q8_0.GGUF"])
def test_a_quant_or_a_file_by_name(hub: FakeHub, wanted: str) -> None:
    """In any case of its letters."""
    hub.put("o/tiny", "tiny-Q8_0.gguf", "tiny-Q4_K_M.gguf")
    assert model(hub, "pull", f"hf:o/tiny:{wanted}", "--name", "mine").returncode == 0
    assert entries(hub)["mine"]["model"] == "tiny-Q8_0.gguf"


def test_a_split_model_in_a_folder(hub: FakeHub) -> None:
    """All parts, and the first one is registered."""
    parts = [f"Q4_K_M/big-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    hub.put("o/big", *parts, "Q8_0/big-Q8_0-00001-of-00002.gguf")
    assert model(hub, "pull", "hf:o/big:Q4_K_M").returncode == 0
    assert stored(hub) == {f"o/big/{part}" for part in parts}
    assert entries(hub)["big"]["model"] == "big-Q4_K_M-00001-of-00003.gguf"
    lacking = model(hub, "pull", "hf:o/big:Q8_0", "--name", "other")
    assert lacking.returncode == 1
    assert "big-Q8_0-00001-of-00002.gguf" in lacking.stderr


def test_eyes_only_when_asked(hub: FakeHub) -> None:
    """The exact one of several; the entry does not name it, as nothing uses it yet."""
    hub.put("o/seeing", "seeing-Q4_0.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf")
    assert model(hub, "pull", "hf:o/seeing", "--mmproj").returncode == 0
    assert stored(hub) == {"o/seeing/seeing-Q4_0.gguf", "o/seeing/mmproj-F16.gguf"}
    assert "mmproj" not in entries(hub)["seeing"]
    hub.put("o/blind", "blind-Q4_0.gguf")
    refused = model(hub, "pull", "hf:o/blind", "--mmproj")
    assert refused.returncode == 1
    assert "mmproj" in refused.stderr


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("hf:o/missing", ("o/missing", "no repository")),
        ("hf:o/private", ("o/private", "HF_TOKEN")),
        ("hf:o/gated", ("o/gated", "HF_TOKEN")),
        ("hf:o/down", ("HTTP 500",)),
        ("hf:o/several:Q2_K", ("Q4_K_M", "Q8_0")),
        ("hf:o/unnamed", ("a.gguf", "b.gguf", "hf:o/unnamed:")),
        ("hf:o/two", ("one-Q4_0.gguf", "two-Q4_0.gguf")),
        ("hf:o/none", ("-GGUF",)),
        ("hf:o/huge", ("free", "HOSHIKAGE_MODELS_DIR")),
        ("hf:o/wrong", ("sha256", "try again")),
        ("hf:o/no-gguf", ("not a GGUF",)),
        ("o/several", ("hf:OWNER/REPO",)),
        ("hf:../several", ("hf:OWNER/REPO",)),
        ("https://x/y", ("hf:OWNER/REPO",)),
    ],
)
def test_what_cannot_be_is_one_sentence(hub: FakeHub, reference: str, words: tuple[str, ...]) -> None:
    """What happened and what to do; nothing is registered, and no file stays under a model's name."""
    for repo in ("private", "gated", "down", "several", "huge", "wrong"):
        hub.put(f"o/{repo}", "x-Q4_K_M.gguf", "x-Q8_0.gguf")
    hub.put("o/unnamed", "a.gguf", "b.gguf")
    hub.put("o/two", "one-Q4_0.gguf", "two-Q4_0.gguf")
    hub.put("o/none", "model.safetensors")
    hub.put("o/no-gguf", "x-Q4_K_M.gguf", content=b"<html>")
    result = model(hub, "pull", reference)
    *_, sentence = result.stderr.splitlines()
    assert result.returncode == 1
    assert all(word in sentence for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert entries(hub) == {}
    if reference != "hf:o/no-gguf":
        assert stored(hub) == set()


def test_a_connection_that_is_cut_is_continued(hub: FakeHub) -> None:
    """Without anybody's doing: the rest is asked for."""
    hub.put("o/cut", "x-Q4_0.gguf", content=LARGE)
    result = model(hub, "pull", "hf:o/cut")
    assert result.returncode == 0, result.stderr
    assert (models_folder(hub) / "o/cut/x-Q4_0.gguf").read_bytes() == LARGE
    assert f"bytes={PIECE_BYTES}-" in hub.requests("GET")[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_another_try_goes_on_where_the_last_one_ended(hub: FakeHub, number: signal.Signals) -> None:
    """Also after kill -9: what had been written is not fetched again, and one process is at it at a time."""
    hub.put("o/stall", "x-Q4_0.gguf", content=LARGE)
    process = start(hub, "pull", "hf:o/stall")
    hub.wait_for("half")
    part = models_folder(hub) / "o/stall/.x-Q4_0.gguf.part"
    other = model(hub, "pull", "hf:o/stall")
    assert other.returncode == 1
    assert "Another process" in other.stderr
    wait_for(lambda: part.stat().st_size == PIECE_BYTES, "what has come is written")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert part.stat().st_size == PIECE_BYTES
    result = model(hub, "pull", "hf:o/stall")
    assert result.returncode == 0, result.stderr
    assert (models_folder(hub) / "o/stall/x-Q4_0.gguf").read_bytes() == LARGE
    assert not part.exists()
    assert f"bytes={PIECE_BYTES}-" in hub.requests("GET")[-1]


def test_the_token_stays_with_the_hub(hub: FakeHub) -> None:
    """Files that lie with another host are fetched without it."""
    hub.put("o/elsewhere", "x-Q4_0.gguf")
    assert model(hub, "pull", "hf:o/elsewhere").returncode == 0
    assert hub.requests("GET")[-1] == "/cdn/o/elsewhere/x-Q4_0.gguf - -"


def test_a_name_that_is_taken(hub: FakeHub) -> None:
    """Is told before anything is fetched; --force replaces it, --name goes beside it."""
    hub.put("o/tiny", "tiny-Q4_0.gguf")
    TinyModel(n_layer=1).write(hub.folder.parent / "own.gguf")
    assert model(hub, "add", "own.gguf", "tiny").returncode == 0
    taken = model(hub, "pull", "hf:o/tiny")
    assert taken.returncode == 1
    assert "--force" in taken.stderr
    assert stored(hub) == set()
    assert model(hub, "pull", "hf:o/tiny", "--force").returncode == 0
    assert entries(hub)["tiny"]["model"] == "tiny-Q4_0.gguf"


def test_a_folder_that_cannot_be_written(hub: FakeHub) -> None:
    """The models folder is a file."""
    hub.put("o/tiny", "tiny-Q4_0.gguf")
    (hub.folder.parent / "models").write_text("")
    result = model(hub, "pull", "hf:o/tiny", HOSHIKAGE_MODELS_DIR=str(hub.folder.parent / "models"))
    assert result.returncode == 1
    assert "could not be written" in result.stderr


def test_without_the_package(hub: FakeHub, tmp_path: Path) -> None:
    """The command that installs it, in the language of whoever asks."""
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError")
    environ = {"HOSHIKAGE_LANG": "ja"}
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from hoshikage_server.cli import run;"
        "sys.exit(run(['model', 'pull', 'hf:o/tiny']))"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"{sys.executable} -m pip install huggingface_hub" in result.stderr
    assert "必要" in result.stderr


def test_nobody_is_there(hub: FakeHub) -> None:
    """No hub, or no network."""
    result = model(hub, "pull", "hf:o/tiny", HF_ENDPOINT="http://127.0.0.1:1")
    assert result.returncode == 1
    assert "could not be reached" in result.stderr
