"""hoshikage persona, run as a person does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from asking import at, hoshikage, register
from server_process import ServerProcess


def editor(folder: Path, code: str) -> str:
    """An editor that runs some Python over `text`."""
    script = folder / "editor.py"
    lines = ["import pathlib, sys", "file = pathlib.Path(sys.argv[1])", "text = file.read_text()", code]
    script.write_text("\n".join([*lines, "file.write_text(text)"]))
    return f"{sys.executable} {script}"


def test_from_making_to_deleting(tmp_path: Path) -> None:
    """Without a server, and without a model."""
    made = hoshikage(
        tmp_path,
        *("persona", "add", "haiku", "--name", "Poet", "--system", "Answer in haiku.", "--language", "en"),
        *("--temperature", "0.9", "--stop", "END", "--stop", "FIN", "--no-thinking", "--avatar", "🍁"),
    )
    file = tmp_path / "personas" / "haiku.toml"
    assert (made.returncode, made.stdout, made.stderr) == (0, f"Made the persona 'haiku': {file}\n", "")
    listed = hoshikage(tmp_path, "persona", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["assistant", "storyteller", "translator", "haiku"]
    assert "yours" in listed[-1]
    assert "built in" in listed[1]
    shown = hoshikage(tmp_path, "persona", "show", "haiku").stdout
    assert shown == f"# {file}\n{file.read_text()}"
    told = json.loads(hoshikage(tmp_path, "persona", "show", "haiku", "--json").stdout)
    assert told == {
        "id": "haiku",
        "object": "hoshikage.persona",
        "name": "Poet",
        "avatar": "🍁",
        "language": "en",
        "thinking": False,
        "stop": ["END", "FIN"],
        "system": "Answer in haiku.",
        "sampling": {"temperature": 0.9},
        "builtin": False,
        "usable": False,
        "runs_on": None,
    }
    assert [one["id"] for one in json.loads(hoshikage(tmp_path, "persona", "list", "--json").stdout)][3:] == ["haiku"]
    again = hoshikage(tmp_path, "persona", "add", "haiku", "--name", "x")
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert hoshikage(tmp_path, "persona", "add", "haiku", "--name", "x", "--force").returncode == 0
    assert hoshikage(tmp_path, "persona", "rm", "haiku").stdout == "Deleted the persona 'haiku'.\n"
    gone = hoshikage(tmp_path, "persona", "rm", "haiku")
    assert (gone.returncode, "no persona 'haiku'" in gone.stderr) == (4, True)


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """With its comments; one that cannot be used is not taken, and told of by line."""
    text = '# Mine.\nname = "Poet"\n'
    (tmp_path / "poet.toml").write_text(text)
    assert hoshikage(tmp_path, "persona", "add", str(tmp_path / "poet.toml")).returncode == 0
    assert (tmp_path / "personas" / "poet.toml").read_text() == text
    assert hoshikage(tmp_path, "persona", "add", "other", str(tmp_path / "poet.toml")).returncode == 0
    (tmp_path / "bad.toml").write_text('name = "x"\nsytem = "y"\n')
    bad = hoshikage(tmp_path, "persona", "add", "bad", str(tmp_path / "bad.toml"))
    assert bad.returncode == 1
    assert f"{tmp_path}/bad.toml:2" in bad.stderr
    assert "'sytem'" in bad.stderr
    assert sorted(path.name for path in (tmp_path / "personas").iterdir()) == ["other.toml", "poet.toml"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["add", "x"], 1, "--name or --system"),
        (["add", "a b", "--name", "x"], 1, "cannot be a persona's id"),
        (["add", "../x", "--name", "x"], 1, "cannot be a persona's id"),
        (["add", "x", "--name", "y", "--temperature", "9"], 2, "from 0 to 2"),
        (["add", "x", "--name", "y", "--temperature", "nan"], 2, "from 0 to 2"),
        (["add", "x", "--name", "y", "--model", "translator"], 1, "which is a persona"),
        (["add", "x", "--name", "y", "--avatar", "http://a/b.png"], 1, "a data:image/ URL"),
        (["add", "x", "--name", "y", "--language", "fr"], 2, "ja, en, auto"),
        (["add", "x", "nowhere.toml"], 4, "nowhere.toml"),
        (["add", "./missing.toml"], 4, "missing.toml"),
        (["add", "x", "nowhere.toml", "--name", "x"], 1, "cannot be used together"),
        (["show", "nobody"], 4, "no persona 'nobody'"),
        (["edit", "nobody"], 4, "no persona 'nobody'"),
        (["rm", "assistant"], 1, "is built in"),
        (["try", "assistant"], 4, "none is registered"),
        (["try", "nobody"], 4, "no persona 'nobody'"),
        (["try", "nobody", "x"], 4, "no persona 'nobody'"),
        (["try", "assistant", "-n", "3"], 2, "need a MESSAGE"),
        (["try", "assistant", "--local"], 2, "need a MESSAGE"),
        (["try", "nobody@assistant"], 4, "No model 'nobody@assistant'"),
    ],
    ids=str,
)
def test_what_cannot_be(tmp_path: Path, arguments: list[str], status: int, told: str) -> None:
    """One sentence that says what to do, and an exit status."""
    run = hoshikage(tmp_path, "persona", *arguments)
    assert (run.returncode, run.stdout) == (status, "")
    assert told in run.stderr
    assert not list(tmp_path.glob("personas/*.toml"))


def test_a_broken_file_in_the_list(tmp_path: Path) -> None:
    """On stderr; the others are listed."""
    (tmp_path / "personas").mkdir()
    (tmp_path / "personas" / "x.toml").write_text("name = \n")
    run = hoshikage(tmp_path, "persona", "list", HOSHIKAGE_LANG="ja")
    assert run.returncode == 0
    assert "翻訳者" in run.stdout
    assert f"{tmp_path}/personas/x.toml:1 を読めません" in run.stderr


def test_editing_a_built_in_one(tmp_path: Path) -> None:
    """Makes a copy, which is only kept when it is another; deleting it brings the built-in one back."""
    same = hoshikage(tmp_path, "persona", "edit", "assistant", EDITOR="true")
    assert (same.returncode, same.stdout) == (0, "Nothing was changed.\n")
    file = tmp_path / "personas" / "assistant.toml"
    assert not file.exists()
    change = editor(tmp_path, "text = text.replace('careful', 'merry')")
    assert hoshikage(tmp_path, "persona", "edit", "assistant", EDITOR="false", VISUAL=change).returncode == 0
    assert "merry" in file.read_text()
    assert "in place of" in hoshikage(tmp_path, "persona", "list").stdout
    assert "built-in one is back" in hoshikage(tmp_path, "persona", "rm", "assistant").stdout


def test_a_mistake_in_the_editor_loses_nothing(tmp_path: Path) -> None:
    """What was written stays in the file; the next edit goes on with it."""
    hoshikage(tmp_path, "persona", "add", "x", "--name", "x")
    file = tmp_path / "personas" / "x.toml"
    run = hoshikage(tmp_path, "persona", "edit", "x", EDITOR=editor(tmp_path, "text += 'sytem = \"long text\"\\n'"))
    assert run.returncode == 1
    assert f"{file}:2" in run.stderr
    assert "hoshikage persona edit x" in run.stderr
    assert "long text" in file.read_text()
    mend = editor(tmp_path, "text = text.replace('sytem', 'system')")
    assert hoshikage(tmp_path, "persona", "edit", "x", EDITOR=mend).returncode == 0


def test_without_an_editor(tmp_path: Path) -> None:
    """How to choose one is said, and where the file is; that is there to be edited."""
    run = hoshikage(tmp_path, "persona", "edit", "assistant", EDITOR="/no/such/editor")
    assert run.returncode == 1
    assert "set VISUAL or EDITOR" in run.stderr
    assert (tmp_path / "personas" / "assistant.toml").exists()


def test_how_a_chat_begins(tmp_path: Path) -> None:
    """What the model is told, and what the person sees, in either language; nothing is loaded for it."""
    register(tmp_path, m={"path": "/nowhere", "model": "m.gguf", "system": "Be brief."})
    told = hoshikage(tmp_path, "persona", "try", "translator").stdout
    assert told.startswith("Model: m\nSystem prompt:\n  Be brief.\n")
    assert "駅への行き方を教えていただけますか？" in told
    assert "Send me a text" in told
    japanese = hoshikage(tmp_path, "persona", "try", "m@storyteller", "--language", "ja").stdout
    assert "必ず日本語で答えてください。" in japanese
    assert "物語のお題" in japanese


def test_a_message_is_answered(tmp_path: Path, fake_server: ServerProcess) -> None:
    """By the server that runs, as any client's would be."""
    run = hoshikage(tmp_path, "persona", "try", "assistant", "echo good evening", **at(fake_server))
    assert (run.returncode, run.stdout, run.stderr) == (0, "good evening\n", "")
    frame = json.loads(hoshikage(tmp_path, "persona", "try", "m@assistant", "params", **at(fake_server)).stdout)
    assert "careful and honest" in frame["messages"][0]["content"]
    assert frame["max_tokens"] is None
    limited = hoshikage(tmp_path, "persona", "try", "assistant", "params", "--max-tokens", "9", **at(fake_server))
    assert json.loads(limited.stdout)["max_tokens"] == 9
    cut = hoshikage(tmp_path, "persona", "try", "assistant", "count 3", "-n", "3", **at(fake_server))
    assert "limit of 3 tokens" in cut.stderr
    nobody = hoshikage(tmp_path, "persona", "try", "nobody", "x", **at(fake_server))
    assert (nobody.returncode, "nobody" in nobody.stderr) == (4, True)
    silent = hoshikage(tmp_path, "persona", "try", "assistant", "x", "--url", "http://127.0.0.1:1")
    assert (silent.returncode, "hoshikage serve" in silent.stderr) == (3, True)


def test_run_and_chat_take_personas(tmp_path: Path, tiny_model_path: Path) -> None:
    """Also without a server, and of a file."""
    register(tmp_path, tiny=tiny_model_path)
    for names in (["-p", "assistant"], ["-m", "tiny@assistant"], ["-m", str(tiny_model_path), "-p", "assistant"]):
        run = hoshikage(tmp_path, "run", *names, "--local", "--json", "-n", "2", "hi")
        assert run.returncode == 0, run.stderr
        assert json.loads(run.stdout)["usage"]["prompt_tokens"] > 100


def test_helps_are_in_both_languages(tmp_path: Path) -> None:
    """Of every command."""
    for language, word in (("ja", "使い方"), ("en", "Usage")):
        for name in ("", "list", "show", "add", "edit", "rm", "try"):
            shown = hoshikage(tmp_path, "persona", *([name] if name else []), "--help", HOSHIKAGE_LANG=language)
            assert word in shown.stdout
            assert ("ペルソナ" in shown.stdout) == (language == "ja")
