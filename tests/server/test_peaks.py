"""What engines took of memory: a small file for the next load, which may be damaged, and never grows large."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import msgspec
import pytest

from hoshikage_server.engines.engine_spec import Adapter, EngineSpec, SpecFile
from hoshikage_server.registry.files import locked
from hoshikage_server.registry.peaks import Peaks

SPEC = EngineSpec("/models/a.gguf", 4096, mtime_ns=1, size_bytes=100, ctime_ns=1)
GIB = 1024**3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "memory-peaks.json"


def figures(peaks: Peaks, spec: EngineSpec = SPEC) -> tuple[int, int | None] | None:
    peak = peaks.of(spec)
    return None if peak is None else (peak.private_bytes, peak.vram_bytes)


def test_what_is_noted_outlives_the_server(path: Path) -> None:
    """With the steps that were taken to fit, apart from what is asked for."""
    peaks = Peaks(path, "build")
    assert peaks.note(SPEC, (), 100, 5 * GIB)
    assert peaks.note(SPEC, ("n_batch=128",), 90, 4 * GIB)
    peaks.write()
    again = Peaks(path, "build")
    assert figures(again) == (100, 5 * GIB)
    assert [(peak.given_up, peak.private_bytes) for peak in again.all_of(SPEC)] == [((), 100), (("n_batch=128",), 90)]
    assert figures(Peaks(path, "another build")) is None


@pytest.mark.parametrize(
    "change",
    [
        *({"n_ctx": 8192}, {"parallel": 2}, {"kv_type": "q8_0"}, {"gpu_layers": 3}, {"flash_attention": False}),
        *({"mtime_ns": 2}, {"size_bytes": 101}, {"path": "/models/b.gguf"}, {"guesses": True}),
        {"lora": (Adapter(SpecFile("/x.gguf")),)},
        {"draft_model": SpecFile("/small.gguf")},
    ],
)
def test_other_settings_are_another_matter(change: dict[str, object]) -> None:
    """All that decides how much memory is taken."""
    peaks = Peaks(None, "build")
    peaks.note(SPEC, (), 100, None)
    assert figures(peaks, msgspec.structs.replace(SPEC, **change)) is None


def test_what_takes_no_memory_is_none() -> None:
    """Threads, permissions and a template change nothing."""
    peaks = Peaks(None, "build")
    peaks.note(SPEC, (), 100, None)
    other = msgspec.structs.replace(SPEC, n_threads=3, may_degrade=True, chat_template="x", cache_bytes=5)
    assert figures(peaks, other) == (100, None)


def test_the_most_counts() -> None:
    """Of RAM and of VRAM; what is no news need not be written."""
    peaks = Peaks(None, "build")
    assert peaks.note(SPEC, (), 100, None)
    assert not peaks.note(SPEC, (), 99, None)
    assert peaks.note(SPEC, (), 101, 1000)
    assert peaks.note(SPEC, (), 90, 1010)
    assert figures(peaks) == (101, 1010)


def test_layers_that_did_not_fit() -> None:
    """What `auto` took with fewer layers on the GPU, and more in RAM, is not what it takes with all of them there."""
    peaks = Peaks(None, "build")
    peaks.note(SPEC, (), 3 * GIB, 2 * GIB)
    assert peaks.note(SPEC, (), GIB, 6 * GIB)
    assert not peaks.note(SPEC, (), 3 * GIB, 2 * GIB)
    assert figures(peaks) == (GIB, 6 * GIB)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff\xfe", b'{"version": 2, "peaks": {}}', b'{"version": 1, "peaks": {"x": {}}}'),
        b'{"version": 1, "peaks": {"x": {"model": 1, "private_bytes": "a"}}}',
        b" " * 2_000_000,
    ],
)
def test_a_damaged_file(path: Path, content: bytes) -> None:
    """Is begun anew."""
    path.parent.mkdir()
    path.write_bytes(content)
    peaks = Peaks(path, "build")
    assert figures(peaks) is None
    peaks.note(SPEC, (), 100, None)
    peaks.write()
    assert figures(Peaks(path, "build")) == (100, None)


def test_it_is_bounded(path: Path) -> None:
    """The last 256 stay, in a file that a person can read."""
    peaks = Peaks(path, "build")
    for n_ctx in range(1, 400):
        peaks.note(msgspec.structs.replace(SPEC, n_ctx=n_ctx), (), n_ctx, None)
    peaks.write()
    stored = json.loads(path.read_text())["peaks"].values()
    assert sorted(peak["private_bytes"] for peak in stored) == list(range(144, 400))
    assert {peak["model"] for peak in stored} == {"a.gguf"}


def test_two_servers(path: Path) -> None:
    """One does not forget what the other has noted meanwhile."""
    one, other = Peaks(path, "build"), Peaks(path, "build")
    one.note(SPEC, (), 100, None)
    one.write()
    second = msgspec.structs.replace(SPEC, n_ctx=1)
    other.note(second, (), 50, None)
    other.write()
    again = Peaks(path, "build")
    assert (figures(again), figures(again, second)) == ((100, None), (50, None))


def test_what_another_server_has_measured_since(path: Path) -> None:
    """Stays, though this one has an older figure of the same."""
    first = Peaks(path, "build")
    first.note(SPEC, (), 100, None)
    first.write()
    one, other = Peaks(path, "build"), Peaks(path, "build")
    one.note(SPEC, (), 200, None)
    one.write()
    other.note(msgspec.structs.replace(SPEC, n_ctx=1), (), 50, None)
    other.write()
    assert figures(Peaks(path, "build")) == (200, None)


def test_two_servers_write_one_after_the_other(path: Path) -> None:
    """Neither takes away what the other has not finished, nor misses what it is about to store."""
    peaks = Peaks(path, "build")
    peaks.note(SPEC, (), 100, None)
    with ThreadPoolExecutor(1) as pool:
        with locked(path):
            writing = pool.submit(peaks.write)
            assert not wait([writing], timeout=0.2).done
            assert not path.exists()
        writing.result(20)
    assert figures(Peaks(path, "build")) == (100, None)
