"""Finding models in folders: each once, nothing else, and a word about every file that is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gguf_files import write_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage_server.errors import ServerError
from hoshikage_server.registry.gguf_header import read_header
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.registry.scanning import Scan, scan
from tests.tiny_gguf import TinyModel


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def models(tmp_path: Path) -> ModelMap:
    return ModelMap(tmp_path / "model_map.json")


def names(result: Scan) -> list[str]:
    return [found.id for found in result.found]


def codes(result: Scan) -> dict[str, str]:
    return {skipped.path.name: skipped.code for skipped in result.skipped}


def test_models_are_found(top: Path, models: ModelMap) -> None:
    """By their files' names, in order; a registered one not again, nor its other parts."""
    TinyModel().write(top / "Tiny-Q8_0.gguf")
    write_gguf(top / "b" / "my model.GGUF")
    for number in (1, 2, 3):
        write_gguf(top / f"big-{number:05}-of-00003.gguf")
    result = scan([top], models.entries())
    assert names(result) == ["Tiny-Q8_0", "big", "my-model"]
    assert result.skipped == []
    big = result.found[1]
    assert (big.file.name, big.n_files) == ("big-00001-of-00003.gguf", 3)
    assert big.size_bytes == sum(path.stat().st_size for path in top.glob("big-*"))
    models.add("mine", big.file)
    assert names(scan([top], models.entries())) == ["Tiny-Q8_0", "my-model"]


def test_what_is_no_model_is_told(top: Path, models: ModelMap, tmp_path: Path) -> None:
    """In both languages, and nothing of it is offered."""
    write_gguf(top / "mmproj-x.gguf")
    write_gguf(top / "eyes.gguf", arch="clip")
    write_gguf(top / "adapter.gguf", kind="adapter")
    write_gguf(top / "matrix.gguf", kind="imatrix")
    write_gguf(top / "vocab.gguf", n_tensors=0)
    write_gguf(top / "old.gguf", version=1)
    write_gguf(top / "cut.gguf", cut=32)
    write_gguf(top / "head.gguf", cut=150)
    (top / "page.gguf").write_text("<html>404</html>")
    (top / "empty.gguf").touch()
    (top / "notes.txt").write_text("GGUF")
    (top / "loading.gguf.part").write_text("x")
    write_gguf(top / "half-00002-of-00003.gguf")
    (top / "link.gguf").symlink_to(write_gguf(tmp_path / "elsewhere" / "x.gguf"))
    (top / "nowhere.gguf").symlink_to(tmp_path / "nothing")
    os.mkfifo(top / "pipe.gguf")
    (top / os.fsdecode(b"\xff.gguf")).write_text("x")
    result = scan([top, tmp_path / "missing"], models.entries())
    assert names(result) == []
    assert codes(result) == {
        "adapter.gguf": "scan_adapter",
        "cut.gguf": "gguf_truncated",
        "empty.gguf": "not_a_gguf",
        "eyes.gguf": "scan_projector",
        "half-00002-of-00003.gguf": "parts_missing",
        "head.gguf": "gguf_truncated",
        "link.gguf": "scan_leads_out",
        "matrix.gguf": "scan_imatrix",
        "missing": "scan_no_folder",
        "mmproj-x.gguf": "scan_projector",
        "nowhere.gguf": "file_not_found",
        "old.gguf": "gguf_version",
        "page.gguf": "not_a_gguf",
        "pipe.gguf": "not_a_gguf",
        "vocab.gguf": "scan_no_weights",
        os.fsdecode(b"\xff.gguf"): "scan_no_unicode",
    }
    for skipped in result.skipped:
        assert skipped.reason.text("ja") != skipped.reason.text("en")
        assert "{" not in skipped.reason.text("ja") + skipped.reason.text("en")


@pytest.mark.parametrize("name", ["{top}/adapter.gguf", "models/adapter.gguf", "~/models/adapter.gguf"])
def test_an_adapter_in_use_is_not_mentioned(
    top: Path, models: ModelMap, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It belongs to a model, however that names it."""
    monkeypatch.setenv("HOME", str(top.parent))
    write_gguf(top / "base.gguf")
    write_gguf(top / "adapter.gguf", kind="adapter")
    models.add("base", top / "base.gguf", {"lora": [{"path": name.format(top=top)}]})
    assert scan([top], models.entries()) == Scan()


def test_links_in_circles(top: Path, models: ModelMap) -> None:
    """Each folder and each file once, however often they are met."""
    write_gguf(top / "a" / "x.gguf")
    (top / "a" / "up").symlink_to(top)
    (top / "a" / "self").symlink_to(top / "a" / "self")
    (top / "b").symlink_to(top / "a")
    (top / "x-again.gguf").symlink_to(top / "a" / "x.gguf")
    result = scan([top, top, top / "a"], models.entries())
    assert len(result.found) == 1


def test_ids_are_unique_and_stable(top: Path, models: ModelMap) -> None:
    """The same name for the same file, whichever of them are registered first."""
    for folder in ("one", "two", "three"):
        write_gguf(top / folder / "model.gguf")
    write_gguf(top / "gpt.gguf")
    models.add("other", Path("/x/other.gguf"), {"aliases": ["gpt"]})
    first = {found.file: found.id for found in scan([top], models.entries()).found}
    assert sorted(first.values()) == ["gpt-2", "one/model", "three/model", "two/model"]
    models.add("one/model", top / "one" / "model.gguf")
    again = {found.file: found.id for found in scan([top], models.entries()).found}
    assert again == {file: name for file, name in first.items() if name != "one/model"}


def test_what_cannot_be_looked_into(top: Path, models: ModelMap) -> None:
    """A folder that is not ours; the others are searched all the same."""
    write_gguf(top / "a" / "x.gguf")
    write_gguf(top / "b" / "y.gguf")
    (top / "a").chmod(0)
    try:
        if os.access(top / "a", os.R_OK):
            pytest.skip("who runs this may read everything")
        result = scan([top], models.entries())
    finally:
        (top / "a").chmod(0o755)
    assert (names(result), codes(result)) == (["y"], {"a": "file_unreadable"})


def test_a_length_that_no_file_has(tmp_path: Path) -> None:
    """Within an array of texts, beyond what a file system seeks to."""
    path = write_gguf(tmp_path / "x.gguf")
    content = path.read_bytes()
    at = content.index((1).to_bytes(8, "little") + b"a")  # of the texts "a", "b" and one of 300 bytes
    path.write_bytes(content[:at] + (1 << 60).to_bytes(8, "little") + content[at + 8 :])
    with pytest.raises(ServerError) as caught:
        read_header(path)
    assert caught.value.code == "gguf_truncated"


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n_bytes=st.integers(1, 40))
def test_any_bytes_are_a_header_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n_bytes: int
) -> None:
    """Whatever counts and lengths it claims, it is refused in no time."""
    path = write_gguf(tmp_path_factory.mktemp("gguf") / "x.gguf")
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(4, len(content) - 1))
    content[at : at + n_bytes] = data.draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    path.write_bytes(content)
    code = ""
    try:
        read_header(path)
    except ServerError as error:
        code = error.code
    assert code in ("", "gguf_truncated", "gguf_version")
