"""The files in which conversations sleep."""

from __future__ import annotations

from pathlib import Path

from memory_engines import settings_of

from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.engines.wire import Sleeping
from hoshikage_server.settings import LiveSettings


def test_a_file_that_gave_way_while_its_engine_ran(tmp_path: Path) -> None:
    """The engine is told that it has no room, and so to end; what needs its place keeps it."""
    dormitory = Dormitory(LiveSettings(settings_of(cache_dir=tmp_path, sleep_cache=4096)))
    running, ended = EngineSpec(path="a.gguf", n_ctx=256), EngineSpec(path="b.gguf", n_ctx=256)
    bed, other = dormitory.bed_for(running), dormitory.bed_for(ended)
    assert bed is not None
    assert other is not None
    assert dormitory.room_in(bed) > 0
    other.file.write(b"x" * 8192)
    other.file.flush()
    dormitory.tuck_in(ended, (Sleeping(b"", 0, 8192, 0),))
    assert bed.file.closed
    assert dormitory.room_in(bed) == 0
    assert not other.file.closed


def test_a_file_of_a_model_that_was_replaced(tmp_path: Path) -> None:
    """It can never be read again, so it is given back; that of the same file with other settings is kept."""
    dormitory = Dormitory(LiveSettings(settings_of(cache_dir=tmp_path, sleep_cache=4096)))
    before = EngineSpec(path="a.gguf", n_ctx=256, mtime_ns=1)
    bed = dormitory.bed_for(before)
    assert bed is not None
    dormitory.tuck_in(before, (Sleeping(b"", 0, 1, 0),))
    assert dormitory.bed_for(EngineSpec(path="a.gguf", n_ctx=512, mtime_ns=1)) is not None
    assert dormitory.bed_for(before) is bed
    assert dormitory.bed_for(EngineSpec(path="a.gguf", n_ctx=256, mtime_ns=2)) is not bed
    assert bed.file.closed
