"""model_map.json is changed by several processes at once, killed ones among them; what is not changed stays exactly."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoshikage_server.errors import ModelMapError, RequestError, ServerError
from hoshikage_server.registry import raw_map
from hoshikage_server.registry.entry import Entry
from hoshikage_server.registry.model_map import ModelMap

ODD = (
    '{"$schema": "./s.json", "mine": {"z": 1e400, "path": "p", "n": ' + "9" * 100 + ', "model": "m", "t": "\\u3042あ",'
    ' "sampling": {"top_k": 5, "mine": 1.50e+02}, "d": {"x": [1E5, -0.0]}}, "b": {"path": "p", "model": "m"}}'
)


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    program = "import sys\nfrom pathlib import Path\nfrom hoshikage_server.registry.model_map import ModelMap\n"
    program += textwrap.dedent(code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model_map.json"


def test_what_is_not_changed_stays_as_it_is_written(path: Path) -> None:
    """Numbers that nothing can hold, escapes, the order of keys, keys of people: text for text."""
    path.write_text(ODD)
    models = ModelMap(path)
    models.add("new", Path("/x/y.gguf"), {"stop": None, "sampling": {"top_k": 1}})
    models.change("mine", {"sampling": {"top_p": 0.5, "top_k": None}, "n_ctx": 512})
    models.change("mine", {"n_ctx": None})
    assert models.remove("b")
    expected = ODD.replace('"top_k": 5, "mine": 1.50e+02', '"mine": 1.50e+02, "top_p": 0.5')
    expected = expected.replace(
        '"b": {"path": "p", "model": "m"}', '"new": {"sampling": {"top_k": 1}, "path": "/x", "model": "y.gguf"}'
    )
    assert path.read_bytes() == msgspec.json.format(expected.encode(), indent=2) + b"\n"


def test_a_change_is_a_merge_patch(path: Path) -> None:
    """RFC 7396: null takes away, objects are merged, lists are replaced."""
    models = ModelMap(path)
    models.add("a", Path("/x/y.gguf"), {"stop": ["x"], "sampling": {"top_k": 1, "top_p": 0.5}, "n_ctx": 8})
    models.change("a", {"stop": ["y", "z"], "sampling": {"top_k": None, "min_p": 0.1}, "n_ctx": None})
    raw = json.loads(path.read_text())["a"]
    assert raw == {
        "stop": ["y", "z"],
        "sampling": {"top_p": 0.5, "min_p": 0.1},
        "path": "/x",
        "model": "y.gguf",
    }
    models.change("a", {}, Path("/other/z.gguf"))
    assert models.find("a").file == Path("/other/z.gguf")


@pytest.mark.parametrize(
    ("keys", "code", "param"),
    [
        ({"n_ctx": 0}, "integer_below_min_value", "n_ctx"),
        ({"sampling": {"temperature": 5}}, "decimal_above_max_value", "sampling.temperature"),
        ({"sampling": {"temperature": float("nan")}}, "number_out_of_range", "sampling.temperature"),
        ({"kv_type": "q3"}, "invalid_value", "kv_type"),
        ({"path": None}, "missing_required_parameter", "path"),
        ({"aliases": ["ok", "b"]}, "alias_taken", "aliases[1]"),
        ({"aliases": ["other"]}, "alias_taken", "aliases[0]"),
    ],
)
def test_what_cannot_be_is_not_written(path: Path, keys: dict[str, Any], code: str, param: str) -> None:
    """Whoever wanted it is told what; the file is as it was."""
    path.write_text('{"a": {"path": "p", "model": "m"}, "b": {"path": "p", "model": "m", "aliases": ["other"]}}')
    before = path.read_bytes()
    with pytest.raises(RequestError) as caught:
        ModelMap(path).change("a", keys)
    assert (caught.value.code, caught.value.param) == (code, param)
    with pytest.raises(RequestError):
        ModelMap(path).add("other", Path("/x/y"))
    assert path.read_bytes() == before


def test_add_takes_no_place_unasked(path: Path) -> None:
    """Nor does a change make an entry."""
    models = ModelMap(path)
    models.add("a", Path("/x/y.gguf"), {"n_ctx": 8})
    with pytest.raises(ModelMapError) as exists:
        models.add("a", Path("/x/z.gguf"))
    with pytest.raises(ModelMapError) as missing:
        models.change("nobody", {"n_ctx": 8})
    assert (exists.value.code, missing.value.code) == ("model_exists", "model_not_registered")
    models.add("a", Path("/x/z.gguf"), replace=True)
    assert json.loads(path.read_text()) == {"a": {"path": "/x", "model": "z.gguf"}}


REGISTER = """
models = ModelMap(Path(sys.argv[1]))
for number in range(20):
    models.add(f"{sys.argv[2]}-{number}", Path(f"/x/{number}.gguf"))
"""


def test_two_processes_lose_nothing(path: Path) -> None:
    """Twenty entries each, at the same time."""
    writers = [process(REGISTER, path, name) for name in ("one", "two")]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    assert set(json.loads(path.read_text())) == {f"{name}-{n}" for name in ("one", "two") for n in range(20)}


def test_kill_leaves_the_old_or_the_new_file(path: Path) -> None:
    """Whenever it comes; the next writer finds the lock free, and what was left behind goes."""
    ModelMap(path).add("base", Path("/x/y.gguf"), {"description": "x" * 200_000})
    rewrite = """
    models = ModelMap(Path(sys.argv[1]))
    while True:
        models.add("more", Path("/x/z.gguf"), {"description": "y" * 200_000})
        print("in", flush=True)
        models.remove("more")
        print("out", flush=True)
    """
    for n_lines in range(1, 6):
        writer = process(rewrite, path)
        assert writer.stdout is not None
        for _ in range(n_lines):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=10)
        writer.stdout.close()
        assert writer.stderr is not None
        writer.stderr.close()
        entries = ModelMap(path).entries()
        assert len(entries["base"].given.description or "") == 200_000
        assert entries.keys() <= {"base", "more"}
        with contextlib.suppress(ModelMapError):
            ModelMap(path).add("more", Path("/x/z.gguf"))
    assert {name for name in os.listdir(path.parent) if not name.endswith(".lock")} == {path.name}


def test_a_full_disk_leaves_the_old_file(path: Path) -> None:
    """The kernel lets the process write no further; it says so."""
    ModelMap(path).add("base", Path("/x/y.gguf"))
    before = path.read_bytes()
    full = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    ModelMap(Path(sys.argv[1])).add("big", Path("/x/z.gguf"), {"description": "x" * 100_000})
    """
    writer = process(full, path)
    _, errors = writer.communicate(timeout=60)
    assert writer.returncode == 1
    assert "could not be written: the file would be too large" in errors
    assert path.read_bytes() == before
    assert {name for name in os.listdir(path.parent) if not name.endswith(".lock")} == {path.name}


def test_a_link_stays_one_and_has_one_lock(tmp_path: Path) -> None:
    """People keep their settings elsewhere, in a repository of dotfiles."""
    (tmp_path / "dotfiles").mkdir()
    link = tmp_path / "model_map.json"
    link.symlink_to(tmp_path / "dotfiles" / "map.json")
    ModelMap(link).add("a", Path("/x/y.gguf"))
    assert link.is_symlink()
    assert set(os.listdir(tmp_path)) == {"dotfiles", "model_map.json"}
    assert list(json.loads((tmp_path / "dotfiles" / "map.json").read_text())) == ["a"]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from([*Entry.__struct_fields__, "x", "星"])
entries = st.fixed_dictionaries({"path": st.just("p"), "model": st.just("m")}, optional={"note": anything}) | (
    st.dictionaries(known, anything, max_size=4)
)
names = st.sampled_from(["a", "b", "$schema", "", "星"])
actions = st.sampled_from(["add", "replace", "change", "remove"])


@settings(max_examples=100, deadline=None)
@given(
    content=st.dictionaries(names | st.text(max_size=3), entries | anything, max_size=4).map(json.dumps)
    | st.text(max_size=20),
    steps=st.lists(st.tuples(actions, names, st.dictionaries(known, anything, max_size=3)), max_size=4),
)
def test_no_entry_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory, content: str, steps: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """Whatever is in the file, and whatever is asked for: a named error, or only the one entry is another one."""
    path = tmp_path_factory.mktemp("map") / "model_map.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    models = ModelMap(path)
    for action, name, keys in steps:
        before = path.read_bytes()
        try:
            if action == "remove":
                models.remove(name)
            elif action == "change":
                models.change(name, keys)
            else:
                models.add(name, Path("/x/y.gguf"), keys, replace=action == "replace")
        except ServerError:
            assert path.read_bytes() == before
            continue
        old, new = (raw_map.read(data, path) for data in (before, path.read_bytes()))
        old.pop(name, None)
        new.pop(name, None)
        assert raw_map.write(old) == raw_map.write(new)
        models.entries()
