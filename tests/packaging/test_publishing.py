"""Whole or not at all, and one at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from folders import left_overs

from build_support.cache import locked, publish_file, published_folder
from build_support.errors import BuildError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_folder_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    """Failure or Ctrl-C in the middle: the earlier result stands, the draft is gone."""
    target = tmp_path / "target"
    with published_folder(target) as draft:
        (draft / "file").write_text("old")

    def interrupted() -> None:
        with published_folder(target) as draft:
            (draft / "file").write_text("new")
            raise error

    with pytest.raises(error):
        interrupted()
    assert left_overs(tmp_path) == ["target/file"]
    assert (target / "file").read_text() == "old"


def test_what_a_killed_process_left_is_not_taken_over(tmp_path: Path) -> None:
    """A draft of a process that died by SIGKILL starts from nothing."""
    target = tmp_path / "target"
    script = (
        "import os, signal, sys; from pathlib import Path; from build_support.cache import published_folder\n"
        "with published_folder(Path(sys.argv[1])) as draft:\n"
        "    (draft / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(target)], cwd=ROOT).returncode == -9
    assert not target.exists()
    with published_folder(target) as draft:
        (draft / "whole").touch()
    assert left_overs(tmp_path) == ["target/whole"]


def test_the_lock_keeps_a_second_process_out(tmp_path: Path) -> None:
    """The other process says that it waits, and goes on only when the first is done."""
    target = tmp_path / "target"
    script = (
        "import sys; from pathlib import Path; from build_support.cache import locked\n"
        "with locked(Path(sys.argv[1])): print(Path(sys.argv[1]).exists())"
    )
    with locked(target):
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(target)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stderr is not None
        assert "waiting for another build" in other.stderr.readline()
        assert other.poll() is None
        target.touch()
    out, _ = other.communicate(timeout=120)
    assert out == "True\n"


def test_a_published_file_is_replaced_not_rewritten(tmp_path: Path) -> None:
    """A process that has the old module mapped keeps it: overwriting in place would crash it."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    with target.open() as old:
        publish_file(source, target)
        assert old.read() == "old"
    assert target.read_text() == "new"
    assert left_overs(tmp_path) == ["source", "target"]


def test_a_read_only_cache_is_explained() -> None:
    """The sentence names the setting that helps. (In /sys not even root can make a folder.)"""
    with (
        pytest.raises(BuildError, match="HOSHIKAGE_CACHE_DIR names another place"),
        locked(Path("/sys/hoshikage/target")),
    ):
        pass
