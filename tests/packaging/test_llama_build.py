"""The build of llama.cpp in the cache: what an interruption leaves, and what a success does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from folders import left_overs

from build_support import llama
from build_support.errors import BuildError
from build_support.llama import build_llama
from build_support.options import read_options


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, BuildError("ja", "en")])
def test_an_interrupted_build_goes_on_where_it_was(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException | type[BaseException]
) -> None:
    """What was compiled is there for the next try, under the same key; after it only the result is left."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "pin.json").write_text('{"llama_cpp_commit": "abc"}')
    seen = []

    def run_cmake(source: Path, work: Path, flags: Mapping[str, str], environment: object, targets: object) -> None:
        work.mkdir(parents=True, exist_ok=True)
        seen.append(sorted(file.name for file in work.iterdir()))
        (work / "first.o").touch()
        if len(seen) == 1:
            raise interruption
        (work / "libllama.a").touch()

    monkeypatch.setattr(llama, "run_cmake", run_cmake)
    options = read_options({"PATH": os.environ["PATH"], "HOSHIKAGE_BACKEND": "cpu"})
    with pytest.raises(type(interruption) if isinstance(interruption, BaseException) else interruption):
        build_llama(source, options)
    built = build_llama(source, options)
    assert seen == [[], ["first.o"]]
    assert build_llama(source, options) == built
    assert left_overs(cache) == [f"build/{built.name}/build.json", f"build/{built.name}/lib/libllama.a"]
    assert len(seen) == 2
