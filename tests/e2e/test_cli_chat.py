"""hoshikage chat: piped in line by line, and at a terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from asking import COMMAND, at, environment, hoshikage, register
from server_process import ServerProcess, wait_for
from terminal import Terminal


def chat(folder: Path, server: ServerProcess, *lines: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
    """What a chat shows that is told some lines: its answers, and its sentences."""
    run = hoshikage(folder, "chat", *options, piped="".join(f"{line}\n" for line in lines), **at(server))
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


def messages(shown: str) -> list[tuple[str, str]]:
    """The conversation that the engine saw last."""
    frame = json.loads(shown.splitlines()[-1])
    return [(message["role"], message["content"]) for message in frame["messages"]]


def test_the_conversation_grows(tmp_path: Path, fake_server: ServerProcess) -> None:
    """The engine sees what was said before; it ends with what is piped in."""
    shown, told = chat(tmp_path, fake_server, "echo hello", "", "params", options=("-s", "Be brief."))
    assert shown.splitlines()[0] == "hello"
    assert messages(shown) == [
        ("system", "Be brief."),
        ("user", "echo hello"),
        ("assistant", "hello"),
        ("user", "params"),
    ]
    assert told == ""


def test_taking_back(tmp_path: Path, fake_server: ServerProcess) -> None:
    """/undo, /retry and /clear change what the engine sees."""
    shown, _ = chat(tmp_path, fake_server, "echo a", "echo b", "/undo", "params")
    assert messages(shown) == [("user", "echo a"), ("assistant", "a"), ("user", "params")]
    shown, _ = chat(tmp_path, fake_server, "echo a", "/retry", "params")
    assert shown.startswith("a\na\n")
    assert messages(shown) == [("user", "echo a"), ("assistant", "a"), ("user", "params")]
    shown, _ = chat(tmp_path, fake_server, "echo a", "/clear", "params")
    assert messages(shown) == [("user", "params")]
    _, told = chat(tmp_path, fake_server, "/undo", "/retry")
    assert told.splitlines() == ["hoshikage: Nothing has been said yet."] * 2


def test_system_and_values(tmp_path: Path, fake_server: ServerProcess) -> None:
    """/system and /set reach the engine from the next question on."""
    lines = ["/system Speak like a keeper.", "/system", "/set temperature 0.5", "/set max-tokens 900", "/set", "params"]
    shown, _ = chat(tmp_path, fake_server, *lines)
    assert shown.splitlines()[:3] == ["Speak like a keeper.", "temperature 0.5", "max_tokens 900"]
    assert messages(shown)[0] == ("system", "Speak like a keeper.")
    frame = json.loads(shown.splitlines()[-1])
    assert (frame["sampling"]["temperature"], frame["max_tokens"]) == (0.5, 900)
    lines = ["/system default", "/set temperature default", "/set seed 1", "/set thinking false", "params"]
    frame = json.loads(chat(tmp_path, fake_server, *lines, options=("-s", "x", "-t", "1"))[0])
    assert (frame["sampling"], len(frame["messages"])) == ({"seed": 1}, 1)
    assert frame["form"]["template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/hepl", "/help"),
        ("/stats", "no figures"),
        ("/set temperatur 1", "temperature"),
        ("/set temperature 9", "<= 2"),
        ("/set temperature hot", "hot"),
        ("/set max_tokens 0", "max_tokens"),
        ("/set thinking 1", "thinking"),
        ("/set seed", "/set seed VALUE"),
        ("/save", "/save FILE"),
        ("/clear all", "/clear"),
        ("/load /nowhere/x", "/nowhere/x"),
        ("/load /etc/passwd", "no saved conversation"),
        ("/save /nowhere/x", "/nowhere/x"),
        ("/model nope", "nope"),
        ("/persona nope", "nope"),
        ("refuse context_length_exceeded", "4096"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path: Path, fake_server: ServerProcess, line: str, words: str) -> None:
    """And the chat goes on, as if it had not been said."""
    shown, told = chat(tmp_path, fake_server, line, "params")
    assert words in told
    assert told.startswith("hoshikage: ")
    assert len(told.splitlines()) == 1
    assert messages(shown) == [("user", "params")]


def test_an_answer_that_breaks_off_stays_said(tmp_path: Path, fake_server: ServerProcess) -> None:
    """As far as it came."""
    shown, told = chat(tmp_path, fake_server, "late engine_crashed", "params")
    assert shown.startswith("one two \n")
    assert messages(shown)[1] == ("assistant", "one two ")
    assert len(told.splitlines()) == 1


def test_several_lines_are_one_question(tmp_path: Path, fake_server: ServerProcess) -> None:
    """Between three quotation marks; a slash that begins a text is doubled."""
    shown, _ = chat(tmp_path, fake_server, '"""params one', "  two", '"""')
    assert messages(shown) == [("user", "params one\n  two")]
    shown, _ = chat(tmp_path, fake_server, "//echo", "params")
    assert messages(shown)[0] == ("user", "/echo")


def test_another_model(tmp_path: Path, fake_server: ServerProcess) -> None:
    """/model turns to it; without a name it lists."""
    shown, told = chat(tmp_path, fake_server, "/model", "/model other", "/model")
    assert "* m\n  other" in shown
    assert "  m\n* other" in shown
    assert "other" in told


def test_saved_and_loaded(tmp_path: Path, fake_server: ServerProcess) -> None:
    """For nobody else to read; nothing but a conversation is overwritten."""
    file = tmp_path / "chat.json"
    for _ in range(2):
        chat(tmp_path, fake_server, "echo hello", f"/save {file}", options=("-s", "Be brief."))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown, _ = chat(tmp_path, fake_server, f"/load {file}", "params")
    assert messages(shown) == [
        ("system", "Be brief."),
        ("user", "echo hello"),
        ("assistant", "hello"),
        ("user", "params"),
    ]
    file.write_text("my notes")
    _, told = chat(tmp_path, fake_server, f"/save {file}")
    assert "no saved conversation" in told
    assert file.read_text() == "my notes"


@pytest.mark.parametrize("chosen", ["en", "ja"])
def test_help_names_every_command(tmp_path: Path, fake_server: ServerProcess, chosen: str) -> None:
    """In the person's language."""
    run = hoshikage(tmp_path, "chat", piped="/help\n/exit\necho never\n", HOSHIKAGE_LANG=chosen, **at(fake_server))
    names = ["help", "model", "persona", "system", "clear", "retry", "undo", "save", "load", "set", "stats", "exit"]
    assert [line.split()[0] for line in run.stdout.splitlines()[: len(names)]] == [f"/{name}" for name in names]
    assert ("この一覧" in run.stdout) is (chosen == "ja")
    assert "never" not in run.stdout


def test_the_server_goes(tmp_path: Path, start_server) -> None:  # type: ignore[no-untyped-def]
    """The chat tells it and goes on; the question is taken back."""
    server: ServerProcess = start_server()
    with Terminal([*COMMAND, "chat"], environment(tmp_path, **at(server))) as terminal:
        terminal.expect(">")
        server.close()
        terminal.type("echo hello\r")
        terminal.expect("hoshikage serve")
        terminal.expect(">")
        terminal.type("/undo\r")
        terminal.expect("Nothing has been said yet")
        terminal.expect(">")
        terminal.type("\x04")
        assert terminal.wait() == 0


def test_without_a_server(tmp_path: Path, tiny_model_path: Path) -> None:
    """The same conversation in this process; another model takes the place of the first one."""
    register(tmp_path, tiny=tiny_model_path, other=tiny_model_path)
    lines = "hello\n/stats\n/model other\nagain\n/stats\n/model nope\n"
    run = hoshikage(tmp_path, "chat", "-t", "0", "-n", "8", piped=lines)
    assert run.returncode == 0
    assert run.stdout.count("Last answer        8 tokens") == 2
    assert "nope" in run.stderr.splitlines()[-1]


def test_at_a_terminal(tmp_path: Path, fake_server: ServerProcess) -> None:
    """Ctrl-C stops an answer and keeps what was said, Ctrl-D leaves, and the terminal is as it was."""
    with Terminal([*COMMAND, "chat"], environment(tmp_path, **at(fake_server))) as terminal:
        terminal.expect("Ctrl-D leaves")
        terminal.expect(">")
        terminal.type("count 100000 20\r")
        terminal.expect("1 2 3 ")
        terminal.type("\x03")
        terminal.expect("(stopped)")
        terminal.expect(">")
        wait_for(lambda: fake_server.status["queue"]["running"] == 0, 5, "the answer is cancelled")
        terminal.type("\x03")
        terminal.expect("Ctrl-D or /exit leaves")
        terminal.expect(">")
        terminal.type("params one\x1b\rtwo\r")
        terminal.expect('"role":"assistant","content":"1 2 3 ')
        terminal.expect('"content":"params one\\ntwo"')
        terminal.expect("first after")
        terminal.expect(">")
        terminal.type("/sta\t")
        terminal.expect("/stats")
        terminal.type("\r")
        terminal.expect("All together")
        terminal.expect(">")
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert terminal.is_as_before
    assert not (tmp_path / "cache").exists(), "prompts are kept nowhere"


def test_history_is_kept_where_it_is_asked_for(tmp_path: Path, fake_server: ServerProcess) -> None:
    """For nobody else to read, and for the arrow keys of the next chat."""
    for keys in ("echo hello\r", "\x1b[A\r"):
        with Terminal([*COMMAND, "chat", "--history"], environment(tmp_path, **at(fake_server))) as terminal:
            terminal.expect(">")
            terminal.type(keys)
            terminal.expect("tokens")
            terminal.expect(">")
            terminal.type("\x04")
            assert terminal.wait() == 0
    file = tmp_path / "cache" / "chat_history"
    assert "echo hello" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
