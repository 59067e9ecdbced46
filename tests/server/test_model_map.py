"""model_map.json: people's files are read, never damaged."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

import gevent.os
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import ModelMapError
from hoshikage_server.registry.entries import parse
from hoshikage_server.registry.files import write_atomically
from hoshikage_server.registry.model_map import ModelMap

PATH = Path("/config/model_map.json")


def test_the_form_people_have() -> None:
    """{"label": {"path": folder, "model": file, "stop": [...]}}."""
    text = b'{"my model": {"path": "/models", "model": "x.gguf", "stop": ["</s>", "User:"]}}'
    entries = parse(text, PATH).entries
    assert entries["my model"].file == Path("/models/x.gguf")
    assert entries["my model"].stop == ("</s>", "User:")


def test_what_may_be_added_or_left_out() -> None:
    """Relative folders are relative to the map; unknown keys do no harm; null is as good as nothing."""
    text = {"a": {"path": "m", "model": "x.gguf", "stop": None, "sampling": {"top_k": 5}, "n_ctx": 9, "note": "mine"}}
    entry = parse(json.dumps(text).encode(), PATH).entries["a"]
    assert (entry.file, entry.stop, entry.given.n_ctx) == (Path("/config/m/x.gguf"), (), 9)
    assert entry.given.sampling == Sampling(top_k=5)


@pytest.mark.parametrize(
    "text",
    ["[]", "{", "null", '{"a": 1}', '{"a": {}}', '{"a": {"path": "/x"}}', '{"a": {"path": 1, "model": "y"}}', "\udcff"],
)
def test_broken(text: str) -> None:
    """A reason, and the file in it."""
    with pytest.raises(ModelMapError, match=r"/config/model_map\.json"):
        parse(text.encode("utf-8", "surrogateescape"), PATH)


def test_the_reason_names_the_entry() -> None:
    """Of many entries the one that is wrong."""
    with pytest.raises(ModelMapError, match=r"second: .*model"):
        parse(b'{"first": {"path": "a", "model": "b"}, "second": {"path": "a"}}', PATH)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"stop": [""]}, "stop"),
        ({"sampling": {"temperature": -5}}, r"sampling\.temperature"),
        ({"sampling": {"top_p": 1.5}}, r"sampling\.top_p"),
        ({"n_ctx": 0}, "n_ctx"),
    ],
)
def test_a_value_no_request_may_have_is_the_maps_error(values: dict[str, object], field: str) -> None:
    """It names the model and the field; otherwise every client would be blamed for it."""
    with pytest.raises(ModelMapError, match=f"mine: .*{field}"):
        parse(json.dumps({"mine": {"path": "a", "model": "b", **values}}).encode(), PATH)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "model", "stop", "sampling", "n_ctx", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=5), json_values, max_size=3).map(lambda v: json.dumps(v).encode()) | st.binary()
)
def test_any_file_is_read_or_refused(content: bytes) -> None:
    """Nothing but ModelMapError comes out, whatever is in it."""
    with contextlib.suppress(ModelMapError):
        parse(content, PATH)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "'' is left out, as its name is empty"),
        ("a\nb", "'a\\nb' is left out, as its name holds control characters"),
        ("\x1b[2J", "'\\x1b[2J' is left out, as its name holds control characters"),
        ("x\u202ey", "'x\\u202ey' is left out, as its name holds control characters"),
        ("x" * 201, "… is left out, as its name has more than 200 characters"),
    ],
)
def test_a_name_that_no_model_can_have(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, told: str) -> None:
    """The others are there; it is said once where it stands and why; it stays in the file, whatever else changes."""
    path = tmp_path / "model_map.json"
    entry = {"path": "x", "model": "y"}
    path.write_text(json.dumps({"first": entry, name: entry, " odd/../but used ": entry}))
    model_map = ModelMap(path)
    assert list(model_map.entries()) == ["first", " odd/../but used "]
    [refused] = model_map.refused
    assert told in str(refused)
    assert f"{path}, line 1, column 40" in str(refused)
    assert model_map.error is None
    model_map.add("new", tmp_path / "z.gguf")
    assert list(json.loads(path.read_text())) == ["first", name, " odd/../but used ", "new"]
    model_map.entries()
    assert len(caplog.messages) == 2, "in another line, as it has been written anew"
    assert model_map.remove(name)
    model_map.entries()
    assert model_map.refused == ()


def test_many_such_names(tmp_path: Path) -> None:
    """A few are told."""
    path = tmp_path / "model_map.json"
    path.write_text(json.dumps({f"\n{number}": {"path": "x", "model": "y"} for number in range(5000)}))
    model_map = ModelMap(path)
    assert model_map.entries() == {}
    assert len(model_map.refused) == 20


def test_an_edit_is_picked_up(tmp_path: Path) -> None:
    """A file that appears, changes, breaks, is mended and disappears."""
    path = tmp_path / "model_map.json"
    model_map = ModelMap(path)
    assert model_map.entries() == {}
    path.write_text('{"a": {"path": "x", "model": "y"}}')
    assert list(model_map.entries()) == ["a"]
    path.write_text('{"a": {"path": "x", "model": "y"}, ')
    assert list(model_map.entries()) == ["a"], "the last good state stays in use"
    assert model_map.error is not None
    path.write_text('{"b": {"path": "x", "model": "y"}}')
    assert list(model_map.entries()) == ["b"]
    assert model_map.error is None
    path.unlink()
    assert model_map.entries() == {}


@pytest.mark.parametrize("was_good", [True, False])
def test_a_break_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, was_good: bool) -> None:
    """For each change of the file, however many requests read it."""
    path = tmp_path / "model_map.json"
    model_map = ModelMap(path)
    if was_good:
        path.write_text("{}")
        model_map.entries()
    for n_logged, text in enumerate(["{", "{ "], start=1):
        path.write_text(text)
        for _ in range(3):
            with contextlib.suppress(ModelMapError):
                model_map.entries()
            with contextlib.suppress(ModelMapError):
                model_map.reread()
        assert len(caplog.records) == n_logged
    assert "model_map.json" in caplog.text


def test_a_file_broken_from_the_start_is_an_error(tmp_path: Path) -> None:
    """There is nothing to fall back to."""
    path = tmp_path / "model_map.json"
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(ModelMapError):
            ModelMap(path).entries()


def test_a_broken_file_is_never_overwritten(tmp_path: Path) -> None:
    """It may hold an hour of somebody's work, and one comma too many."""
    path = tmp_path / "model_map.json"
    path.write_text('{"a": 1,}')
    for change in (lambda: ModelMap(path).add("b", Path("/x/y.gguf")), lambda: ModelMap(path).remove("a")):
        with pytest.raises(ModelMapError):
            change()
    assert path.read_text() == '{"a": 1,}'


def test_add_and_remove_keep_what_they_do_not_know(tmp_path: Path) -> None:
    """Keys of later versions and of people, in entries that are changed and in others."""
    path = tmp_path / "sub" / "model_map.json"
    model_map = ModelMap(path)
    model_map.add("a", Path("/x/y.gguf"))
    raw = json.loads(path.read_text())
    assert raw == {"a": {"stop": [], "path": "/x", "model": "y.gguf"}}
    raw["a"]["mine"] = [1]
    raw["b"] = {"path": "p", "model": "q", "persona": {"x": 1}}
    path.write_text(json.dumps(raw))
    model_map.change("a", {}, Path("/new/z.gguf"))
    assert json.loads(path.read_text()) == {
        "a": {"stop": [], "path": "/new", "model": "z.gguf", "mine": [1]},
        "b": {"path": "p", "model": "q", "persona": {"x": 1}},
    }
    assert model_map.remove("a")
    assert not model_map.remove("a")
    assert list(model_map.entries()) == ["b"]


def test_replacing_drops_what_was_said_of_the_old_file(tmp_path: Path) -> None:
    """Its stop strings would cut off the new model; what is not known here is somebody else's."""
    path = tmp_path / "model_map.json"
    entry = {"path": "p", "model": "q", "stop": ["x"], "sampling": {"top_k": 1}, "n_ctx": 9, "persona": {"x": 1}}
    path.write_text(json.dumps({"a": entry}))
    ModelMap(path).add("a", Path("/new/z.gguf"), replace=True)
    assert json.loads(path.read_text()) == {"a": {"persona": {"x": 1}, "path": "/new", "model": "z.gguf"}}


def test_writing_keeps_the_permissions(tmp_path: Path) -> None:
    """Whoever could read the list still can, and nobody else."""
    path = tmp_path / "model_map.json"
    ModelMap(path).add("a", Path("/x/y.gguf"))
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    ModelMap(path).add("b", Path("/x/y.gguf"))
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_name_json_cannot_hold(tmp_path: Path) -> None:
    """Refused in a sentence."""
    with pytest.raises(ModelMapError):
        ModelMap(tmp_path / "model_map.json").add("a", Path(os.fsdecode(b"/x/\xff.gguf")))


def test_writers_do_not_lose_each_others_entries(tmp_path: Path) -> None:
    """Reading, changing and writing happen under one lock."""
    path = tmp_path / "model_map.json"
    threads = [threading.Thread(target=ModelMap(path).add, args=(f"m{i}", Path(f"/x/{i}"))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(path.read_text())) == 20
    assert {name for name in os.listdir(tmp_path) if not name.endswith(".lock")} == {"model_map.json"}


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is told, and nothing half done stays."""
    path = tmp_path / "model_map.json"
    ModelMap(path).add("a", Path("/x/y"))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelMapError, match="no space left"):
        ModelMap(path).add("b", Path("/x/y"))
    assert path.read_bytes() == before
    assert {name for name in os.listdir(tmp_path) if not name.endswith(".lock")} == {"model_map.json"}


@pytest.mark.parametrize("kind", ["pipe", "device", "large", "loop"])
def test_what_is_no_ordinary_file(tmp_path: Path, kind: str) -> None:
    """Nothing waits for a pipe's other end, and nothing is read without end."""
    path = tmp_path / "model_map.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_text(json.dumps({"m": {"path": "/x", "model": "x.gguf", "more": "x" * 3_000_000}}))
    with pytest.raises(ModelMapError) as caught:
        ModelMap(path).entries()
    assert {"large": "too large", "loop": "symbolic links"}.get(kind, "no regular file") in str(caught.value)


def held_in(folder: Path) -> list[str]:
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [link for link in links if link.startswith(str(folder))]


def test_writing_in_a_thread_costs_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in one that has a loop of gevent's which never runs, as where two threads wanted the same lock."""
    monkeypatch.setattr(os, "close", gevent.os.close)  # as in the server

    def write() -> None:
        gevent.get_hub()
        write_atomically(tmp_path / "file", b"x")

    gevent.get_hub().threadpool.spawn(write).get()
    assert held_in(tmp_path) == []


def test_a_folder_in_its_place_costs_no_descriptor(tmp_path: Path) -> None:
    """It is looked at again whenever something in the folder changes."""
    for _ in range(3):
        with pytest.raises(ModelMapError, match="it is a folder"):
            ModelMap(tmp_path).entries()
    assert held_in(tmp_path) == []


def test_a_nul_is_in_no_path(tmp_path: Path) -> None:
    """It is refused where it stands, not where the file is opened."""
    for key in ("path", "model"):
        entry = {"path": "/x", "model": "x.gguf", key: "a\0b"}
        with pytest.raises(ModelMapError, match=key):
            parse(json.dumps({"m": entry}).encode(), tmp_path / "map.json")
