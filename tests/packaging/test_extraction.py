"""What comes out of an sdist, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest
from sdists import COMMIT, HEAD, STEM, VERSION, vendored, write_sdist

from build_support.errors import BuildError
from build_support.source import extract, matches


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("src/llama.cpp", "src/", True),
        ("src/models/llama.cpp", "src/", True),
        ("ggml/src/ggml.c", "ggml/src/*", True),
        ("ggml/src/ggml-cpu/ops.cpp", "ggml/src/*", False),
        ("vendor/stb/CMakeLists.txt", "vendor/*/CMakeLists.txt", True),
        ("models/ggml-vocab-gpt-2.gguf.inp", "models/ggml-vocab-*", True),
        ("source/x", "src/", False),
    ],
)
def test_patterns(path: str, pattern: str, expected: bool) -> None:
    """A folder means all below it; * stays within one folder."""
    assert matches(path, pattern) is expected


def test_only_what_matches_is_extracted(tmp_path: Path) -> None:
    """Nothing outside the patterns or outside vendor/llama.cpp comes out; the submodule's commit is found."""
    files = {**HEAD, vendored("src/a.cpp"): b"a", vendored("docs/b.md"): b"b", f"{STEM}/src/c.cpp": b"c"}
    archive, pin = write_sdist(tmp_path, files)
    target = tmp_path / "out"
    target.mkdir()
    assert extract(archive, pin, ["src/"], target) == COMMIT
    assert [str(file.relative_to(target)) for file in target.rglob("*") if file.is_file()] == ["src/a.cpp"]


def test_commit_from_the_changelog(tmp_path: Path) -> None:
    """An sdist without git's folder: the changelog's entry for this very version names the commit."""
    changelog = f"## [Unreleased]\n- ggml-org/llama.cpp@aaaaaaaaa\n## [{VERSION}]\n- ggml-org/llama.cpp@bbbbbbbbb\n"
    archive, pin = write_sdist(tmp_path, {f"{STEM}/CHANGELOG.md": changelog.encode(), vendored("src/a"): b""})
    assert extract(archive, pin, ["src/"], tmp_path) == "bbbbbbbbb"


def test_unknown_commit_is_an_error(tmp_path: Path) -> None:
    """Without a word about the commit nothing is built: the module could not say what it is."""
    archive, pin = write_sdist(tmp_path, {vendored("src/a"): b""})
    with pytest.raises(BuildError, match="which llama"):
        extract(archive, pin, ["src/"], tmp_path)


@pytest.mark.parametrize("name", ["src/../../../escaped", "src/..", "src//../../escaped"])
def test_no_path_leaves_the_target(tmp_path: Path, name: str) -> None:
    """Members with .. in their path stop the extraction."""
    archive, pin = write_sdist(tmp_path, {**HEAD, vendored(name): b"x"})
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True)
    with pytest.raises(BuildError, match="cannot be extracted safely"):
        extract(archive, pin, ["src/"], target)
    assert not list(tmp_path.rglob("escaped"))


def test_links_are_refused(tmp_path: Path) -> None:
    """A symbolic link could make a later member land anywhere."""
    archive, pin = write_sdist(tmp_path, HEAD, links={vendored("src/link"): "/etc"})
    with pytest.raises(BuildError, match="cannot be extracted safely"):
        extract(archive, pin, ["src/"], tmp_path)


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path) -> None:
    """After a bump, members.txt cannot silently go out of date."""
    archive, pin = write_sdist(tmp_path, {**HEAD, vendored("src/a"): b""})
    with pytest.raises(BuildError, match=r"holds no moved/"):
        extract(archive, pin, ["src/", "moved/"], tmp_path)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    """An archive that ends in the middle is one sentence, not a traceback."""
    archive, pin = write_sdist(tmp_path, {**HEAD, vendored("src/a"): bytes(range(256)) * 400})
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(BuildError, match="Cannot read"):
        extract(archive, pin, ["src/"], tmp_path)
