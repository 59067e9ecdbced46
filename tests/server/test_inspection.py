"""What a model's file is: asked in a process of its own, so that no file can do harm here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gguf_files import split, write_gguf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_gguf import TinyModel, write_aborting
from tiny_lora import TinyLora

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.spec import as_it_is
from hoshikage_server.errors import ServerError
from hoshikage_server.registry import inspection
from hoshikage_server.registry.inspection import inspect
from hoshikage_server.registry.peaks import Peaks


def refusal(file: Path, **options: float) -> tuple[str, str]:
    with pytest.raises(ServerError) as caught:
        inspect(file, **options)
    return caught.value.code, caught.value.text("en")


def test_a_model(tiny_model_path: Path) -> None:
    """What people want to know of it, without loading a weight."""
    found = inspect(tiny_model_path, spec=EngineSpec(str(tiny_model_path), 512, parallel=2))
    assert (found.arch, found.name, found.n_layer, found.n_ctx_train) == ("llama", "tiny", 2, 2048)
    assert (found.size_bytes, found.n_parts) == (tiny_model_path.stat().st_size, 1)
    assert found.n_params > 100_000
    assert found.quantisation == "all F32"
    assert "im_start" in (found.chat_template or "")
    assert [need.n_ctx for need in found.memory] == [2048]
    assert found.memory[0].ram_bytes > found.size_bytes / 2
    assert found.plan is not None
    assert (found.plan.n_ctx, found.plan.parallel, found.plan.kv_type) == (512, 2, "f16")
    host = found.plan.devices[-1]
    assert host.name == "host"
    assert host.weights_bytes == pytest.approx(found.size_bytes, rel=0.1)
    assert host.context_bytes == 2 * 2 * 512 * 32 * 2  # K and V, layers, cells, width of two heads, f16
    assert 0 < host.needed_bytes < host.free_bytes < host.total_bytes
    plain = inspect(tiny_model_path)
    assert (plain.memory, plain.plan) == ((), None)


def test_an_embedding_model(tiny_bert_path: Path) -> None:
    """It says how it pools."""
    found = inspect(tiny_bert_path)
    assert (found.arch, found.pooling) == ("bert", "mean")


def test_memory_grows_with_the_context(smollm2_path: Path) -> None:
    """Up to the context it was trained with."""
    needs = inspect(smollm2_path, spec=EngineSpec(str(smollm2_path), 2048)).memory
    assert [need.n_ctx for need in needs] == [2048, 8192]
    assert needs[0].ram_bytes < needs[1].ram_bytes


def test_a_model_in_parts(tmp_path: Path) -> None:
    """Counted together; a part that is missing is named."""
    whole = TinyModel().write(tmp_path / "whole.gguf")
    names = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    split(whole, names)
    found = inspect(names[0])
    assert found.n_parts == 2
    assert found.size_bytes == sum(name.stat().st_size for name in names)
    assert refusal(names[1])[0] == "not_the_first_part"
    whole_part = names[1].read_bytes()
    names[1].write_bytes(whole_part[:200])
    code, text = refusal(names[0])
    assert (code, str(names[1]) in text) == ("gguf_truncated", True)
    names[1].unlink()
    code, text = refusal(names[0])
    assert (code, names[1].name in text) == ("parts_missing", True)


@pytest.mark.parametrize("kind", ["random", "cut", "empty", "text", "arch", "aborting"])
def test_what_is_no_model(tmp_path: Path, tiny_model_path: Path, kind: str) -> None:
    """One sentence says why; also where llama.cpp itself dies of the file."""
    file = tmp_path / "bad.gguf"
    whole = tiny_model_path.read_bytes()
    data = {"random": os.urandom(5000), "cut": whole[: len(whole) // 2], "empty": b"", "text": b"GGUF is nice" * 99}
    if kind == "arch":
        TinyModel().write(file, arch="nobody-knows")
    elif kind == "aborting":
        write_aborting(file)
    else:
        file.write_bytes(data[kind])
    code, text = refusal(file)
    assert code in ("not_a_gguf", "gguf_truncated", "gguf_version", "gguf_refused")
    assert "Traceback" not in text
    assert {"arch": "nobody-knows", "aborting": "damaged"}.get(kind, "") in text


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("lora.gguf", "scan_adapter"),
        ("eyes.gguf", "scan_projector"),
        ("vocab.gguf", "scan_no_weights"),
        ("old.gguf", "gguf_version"),
        ("folder.gguf", "file_is_folder"),
        ("pipe.gguf", "not_a_gguf"),
        ("none.gguf", "file_not_found"),
        ("/proc/self/mem", "file_unreadable"),
        ("x" * 300, "file_unreadable"),
        (os.fsdecode(b"\xff.gguf"), "gguf_truncated"),
    ],
)
def test_what_is_something_else(tmp_path: Path, name: str, code: str) -> None:
    """It is told what it is, in the reader's language; nothing is called damaged that is not."""
    TinyLora().write(tmp_path / "lora.gguf")
    write_gguf(tmp_path / "eyes.gguf", arch="clip")
    write_gguf(tmp_path / "vocab.gguf", n_tensors=0)
    write_gguf(tmp_path / "old.gguf", version=1)
    (tmp_path / os.fsdecode(b"\xff.gguf")).write_bytes(b"GGUF")
    (tmp_path / "folder.gguf").mkdir()
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ServerError) as caught:
        inspect(tmp_path / name)
    assert caught.value.code == code
    for language in ("en", "ja"):
        assert "{" not in caught.value.text(language)
    assert not caught.value.text("ja").isascii()


def test_a_name_need_not_be_unicode(tmp_path: Path, tiny_model_path: Path) -> None:
    """With the memory it needs, and looking for what it took, which nobody has noted."""
    file = tmp_path / os.fsdecode(b"\xff.gguf")
    file.write_bytes(tiny_model_path.read_bytes())
    spec = as_it_is(EngineSpec(str(file), 512))
    found = inspect(file, spec=spec)
    assert found.plan is not None
    assert found.plan.n_ctx == 512
    assert Peaks(None, "build").of(spec) is None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n_bytes=st.integers(1, 16))
def test_any_header_is_a_model_or_an_error(
    tmp_path: Path, tiny_model_path: Path, data: st.DataObject, n_bytes: int
) -> None:
    """Whatever llama.cpp does of it."""
    content = bytearray(tiny_model_path.read_bytes())
    at = data.draw(st.integers(4, content.index(b"tokenizer.ggml.tokens")))
    content[at : at + n_bytes] = data.draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    file = tmp_path / "mutated.gguf"
    file.write_bytes(content)
    code, text = "", ""
    try:
        inspect(file)
    except ServerError as error:
        code, text = error.code, error.text("en")
    assert code.startswith(("gguf_", "scan_")) or not code
    assert "Traceback" not in text


def test_it_does_not_wait_forever(tmp_path: Path, tiny_model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that says nothing is ended, and other greenlets go on meanwhile."""
    monkeypatch.setattr(inspection, "_COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    began = time.monotonic()
    code, text = refusal(tiny_model_path, timeout_s=0.5)
    assert (code, "0.5 seconds" in text) == ("gguf_refused", True)
    assert time.monotonic() - began < 40


def test_under_gevent(tiny_model_path: Path) -> None:
    """In a patched process the hub is not blocked."""
    code = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent, sys, pathlib\n"
        "from hoshikage_server.registry.inspection import inspect\n"
        "ticks = []\n"
        "def tick():\n"
        "    while True:\n"
        "        ticks.append(1); gevent.sleep(0.01)\n"
        "gevent.spawn(tick)\n"
        "found = inspect(pathlib.Path(sys.argv[1]))\n"
        "assert 'hoshikage_core' not in sys.modules\n"
        "print(found.arch, len(ticks) > 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny_model_path)], capture_output=True, text=True)
    assert done.stdout.split() == ["llama", "True"], done.stderr
