"""The way of the sdist into the cache: verified each time, whole or not there."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from folders import left_overs
from sdists import HEAD, vendored, write_sdist

from build_support import errors, source
from build_support.cache import cache_root, file_sha256
from build_support.errors import BuildError
from build_support.source import Pin, ensure_source, members_folder, read_pin, sdist

Usage = namedtuple("Usage", "total used free")


def offline(monkeypatch: pytest.MonkeyPatch, found_in: Path | None = None) -> None:
    """Leaves pip no index; with a folder, what lies there is all there is."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(found_in or ""))


def one_sentence(error: BuildError) -> bool:
    return "\n" not in str(error)


def test_a_verified_file_is_not_fetched_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the cache with the right hash is used, without pip."""
    archive, pin = write_sdist(tmp_path, HEAD)
    (cache / "downloads").mkdir(parents=True)
    shutil.copy(archive, cache / "downloads")
    offline(monkeypatch)
    assert file_sha256(sdist(pin)) == pin.sha256


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing: one sentence with its reason, and an empty cache."""
    offline(monkeypatch)
    with pytest.raises(
        BuildError, match=r"Cannot download llama_cpp_python-\S+ \(ERROR: .*\): check the network"
    ) as caught:
        sdist()
    assert one_sentence(caught.value)
    assert left_overs(cache) == []


def test_a_file_with_another_hash_is_never_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip offers a file under the right name with the wrong content: refused before any of its code runs."""
    _, pin = write_sdist(tmp_path, {**HEAD, vendored("setup.py"): b"raise SystemExit"})
    offline(monkeypatch, tmp_path)
    with pytest.raises(BuildError, match="HASH") as caught:
        sdist(Pin(pin.name, pin.version, "0" * 64))
    assert one_sentence(caught.value)
    assert left_overs(cache) == []


def test_an_interrupted_or_changed_file_is_thrown_away(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncated file in the cache is noticed, removed and fetched again (which fails here: no network)."""
    archive, pin = write_sdist(tmp_path, HEAD)
    kept = cache / "downloads" / pin.file_name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(archive.read_bytes()[:100])
    offline(monkeypatch)
    with pytest.raises(BuildError, match="Cannot download"):
        sdist(pin)
    assert not kept.exists()


def test_a_killed_download_is_swept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a download that was killed does not stay for ever."""
    half = cache / "downloads" / f"{read_pin().file_name}.tmp-abc"
    half.mkdir(parents=True)
    (half / "half").write_bytes(b"x")
    offline(monkeypatch)
    with pytest.raises(BuildError):
        sdist()
    assert left_overs(cache) == []


def test_too_little_space_is_said_before_downloading(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the folder, the need and what is free; nothing was started."""
    monkeypatch.setattr(errors.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 20 * 1024 * 1024))
    with pytest.raises(
        BuildError, match=r"Not enough disk space: .*downloads needs 400 MiB, 20 MiB are free"
    ) as caught:
        sdist()
    assert one_sentence(caught.value)
    assert left_overs(cache) == []


def test_a_disk_that_fills_up_while_unpacking(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle: a sentence, and no half-filled folder that would be taken for whole."""
    archive, pin = write_sdist(tmp_path, {**HEAD, vendored("models/a"): b"a"})
    (cache / "downloads").mkdir(parents=True)
    shutil.copy(archive, cache / "downloads")
    monkeypatch.setattr(source, "read_pin", lambda: pin)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(source.shutil, "copyfileobj", full)
    with pytest.raises(BuildError, match="No disk space left in"):
        members_folder("models/")
    assert left_overs(cache) == [f"downloads/{pin.file_name}"]


def test_the_source_is_replaced_as_a_whole(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pin and selection: untouched. Another selection: the new tree, nothing of the old one."""
    archive, pin = write_sdist(tmp_path, {**HEAD, vendored("src/a"): b"a", vendored("include/b"): b"b"})
    (cache / "downloads").mkdir(parents=True)
    shutil.copy(archive, cache / "downloads")
    monkeypatch.setattr(source, "read_pin", lambda: pin)
    target = tmp_path / "source"

    monkeypatch.setattr(source, "read_patterns", lambda: ("src/",))
    ensure_source(target)
    (target / "src" / "touched").touch()
    ensure_source(target)
    assert left_overs(target) == ["pin.json", "src/a", "src/touched"]

    monkeypatch.setattr(source, "read_patterns", lambda: ("include/",))
    ensure_source(target)
    assert left_overs(target) == ["include/b", "pin.json"]


def test_the_pin_is_read_from_one_place(tmp_path: Path) -> None:
    """requirements.txt is what pip itself would check; anything but one hash-pinned line is refused."""
    assert read_pin().file_name.startswith("llama_cpp_python-")
    file = tmp_path / "requirements.txt"
    file.write_text("llama-cpp-python==1.0\n")
    with pytest.raises(BuildError, match="exactly one"):
        read_pin(file)


def test_the_cache_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOSHIKAGE_CACHE_DIR over XDG_CACHE_HOME over ~/.cache."""
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("HOSHIKAGE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == Path("/h/.cache/hoshikage")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_root() == Path("/x/hoshikage")
    monkeypatch.setenv("HOSHIKAGE_CACHE_DIR", "~/mine")
    assert cache_root() == Path("/h/mine")
