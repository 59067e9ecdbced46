"""hoshikage run: one answer, from a server or without one."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from asking import COMMAND, at, environment, hoshikage, register, start
from server_process import REAL_SERVER, ServerProcess, read_until, wait_for
from terminal import Terminal
from tiny_gguf import TinyModel

from hoshikage_core import Model, SamplingParams

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
LONG = {"HOSHIKAGE_N_CTX": "65536"}  # more text than a pipe holds: nobody can have ended before it is read


@pytest.fixture
def tiny(tmp_path: Path, tiny_model_path: Path) -> Path:
    register(tmp_path, tiny=tiny_model_path)
    return tmp_path


def params(folder: Path, server: ServerProcess, *options: str, piped: str = "") -> dict[str, object]:
    """The Generate frame of a run."""
    run = hoshikage(folder, "run", *options, "params", piped=piped, **at(server))
    assert run.returncode == 0, run.stderr
    frame: dict[str, object] = json.loads(run.stdout)
    return frame


def test_a_server_answers(tmp_path: Path, fake_server: ServerProcess) -> None:
    """The answer and nothing else, where nobody watches; its first model, where none is named."""
    run = hoshikage(tmp_path, "run", "echo", "good", "evening", **at(fake_server))
    assert (run.returncode, run.stdout, run.stderr) == (0, "good evening\n", "")
    run = hoshikage(tmp_path, "run", "--url", fake_server.url, "-m", "other", "echo 星影 🌟")
    assert (run.returncode, run.stdout) == (0, "星影 🌟\n")


def test_options_reach_the_engine(tmp_path: Path, fake_server: ServerProcess) -> None:
    """As fields of the request."""
    options = ["-s", "Be brief.", "-t", "0.5", "--top-p", "0.9", "--top-k", "7", "--min-p", "0.1", "--seed", "3"]
    frame = params(tmp_path, fake_server, *options, "-n", "9", "--no-thinking")
    assert frame["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "params"}]
    sampling = frame["sampling"]
    assert sampling == {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "seed": 3}
    assert frame["max_tokens"] == 9
    assert frame["form"] == {"template_kwargs": {"enable_thinking": False}}


def test_what_is_piped_in(tmp_path: Path, fake_server: ServerProcess) -> None:
    """Below the prompt, or alone."""
    run = hoshikage(tmp_path, "run", "params", "summarise", piped="one\ntwo\n", **at(fake_server))
    assert json.loads(run.stdout)["messages"] == [{"role": "user", "content": "params summarise\n\none\ntwo\n"}]
    assert hoshikage(tmp_path, "run", piped="echo alone", **at(fake_server)).stdout == "alone\n"
    not_text = hoshikage(tmp_path, "run", piped=b"echo \xff\xfe", **at(fake_server))
    assert (not_text.returncode, not_text.stdout) == (1, "")
    assert "UTF-8" in not_text.stderr
    large = hoshikage(tmp_path, "run", piped="x" * 2000, HOSHIKAGE_MAX_BODY="1024", **at(fake_server))
    assert "1024 bytes" in large.stderr


def test_json(tmp_path: Path, fake_server: ServerProcess) -> None:
    """One object at the end, with the reasoning."""
    told = json.loads(hoshikage(tmp_path, "run", "--json", "think 2 well then yes", **at(fake_server)).stdout)
    assert told["model"] == "m"
    assert told["content"] == " yes"
    assert told["reasoning"] == "well then"
    assert told["finish_reason"] == "stop"
    assert told["usage"]["prompt_tokens"] == 7
    assert told["usage"]["completion_tokens"] == 3


def test_reasoning_is_hidden_where_nobody_watches(tmp_path: Path, fake_server: ServerProcess) -> None:
    """It is no part of the answer."""
    run = hoshikage(tmp_path, "run", "think 2 well then yes", **at(fake_server))
    assert (run.stdout, run.stderr) == (" yes\n", "")


@pytest.mark.parametrize(("chosen", "words"), [("en", "limit of 3 tokens"), ("ja", "上限の 3 トークン")])
def test_an_answer_that_was_cut_is_told(tmp_path: Path, fake_server: ServerProcess, chosen: str, words: str) -> None:
    """On stderr, also where nobody watches; so is the speed where it was asked for."""
    run = hoshikage(tmp_path, "run", "-n", "3", "--stats", "count 3", HOSHIKAGE_LANG=chosen, **at(fake_server))
    assert run.stdout == "1 2 3 \n"
    assert words in run.stderr
    assert ("3 tokens" if chosen == "en" else "3 トークン") in run.stderr.splitlines()[-1]


def test_the_servers_refusal(tmp_path: Path, fake_server: ServerProcess) -> None:
    """Its sentence, before and in the middle of an answer; an exit status that says what is missing."""
    run = hoshikage(tmp_path, "run", "-m", "nope", "echo x", **at(fake_server))
    assert (run.returncode, run.stdout) == (4, "")
    assert "'nope'" in run.stderr
    run = hoshikage(tmp_path, "run", "refuse context_length_exceeded", **at(fake_server))
    assert (run.returncode, run.stdout) == (1, "")
    assert "4096" in run.stderr
    run = hoshikage(tmp_path, "run", "late engine_crashed", **at(fake_server))
    assert (run.returncode, run.stdout) == (1, "one two \n")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "makes no sense"),
        (STREAM + b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n', "broke off"),
        (STREAM + b'data: {"choices": []}\n\ndata: [DONE]\n\n', "broke off"),
        (STREAM + b"data: nonsense\n\n", "makes no sense"),
        (STREAM + b'data: {"error": {"message": "too bad", "code": null}}\n\n', "too bad"),
    ],
)
def test_a_server_that_tells_nonsense(tmp_path: Path, answer: bytes, words: str) -> None:
    """One sentence."""

    def serve() -> None:
        for body in (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"id": "m"}]}', answer):
            connection, _ = listening.accept()
            read_until(connection, b"\r\n\r\n")
            connection.sendall(body)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        run = hoshikage(tmp_path, "run", "x", HOSHIKAGE_PORT=str(listening.getsockname()[1]))
    assert run.returncode in (1, 3)
    assert words in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_nobody_to_ask(tmp_path: Path) -> None:
    """No server and no model: what to do. A server that was named is not replaced."""
    run = hoshikage(tmp_path, "run", "x")
    assert (run.returncode, run.stdout) == (4, "")
    assert "hoshikage add" in run.stderr
    assert "hoshikage model demo" in run.stderr
    run = hoshikage(tmp_path, "run", "--url", "http://127.0.0.1:1", "x")
    assert run.returncode == 3
    assert "hoshikage serve" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 2, "no question"),
        (["--local", "--url", "http://x", "q"], 2, "exclude"),
        (["-m", "none", "q"], 4, "hoshikage list"),
        (["-m", "none.gguf", "q"], 4, "none.gguf"),
        (["-t", "3", "q"], 2, "--temperature"),
        (["-t", "nan", "q"], 2, "from 0 to 2"),
        (["-t", "inf", "q"], 2, "from 0 to 2"),
        (["--top-p", "nan", "q"], 2, "from 0 to 1"),
        (["-m", "", "q"], 2, "--model cannot be used: it must not be empty"),
        (["-p", "", "q"], 2, "--persona cannot be used: it must not be empty"),
        (["--url", "", "q"], 2, "--url cannot be used: it must not be empty"),
    ],
)
def test_calls_that_cannot_be(tiny: Path, arguments: list[str], status: int, words: str) -> None:
    """An exit status that says of which kind, and a sentence."""
    run = hoshikage(tiny, "run", *arguments)
    assert (run.returncode, run.stdout) == (status, "")
    assert words in run.stderr


@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize("model", [[], ["-m", "m"]])
def test_a_persona_that_is_none(tmp_path: Path, fake_server: ServerProcess, is_local: bool, model: list[str]) -> None:
    """Personas are spoken of, whoever would answer; a model is none."""
    register(tmp_path, m={"path": "/nowhere", "model": "m.gguf"})
    for name in ("nope", "m"):
        run = hoshikage(tmp_path, "run", *(["--local"] if is_local else []), *model, "-p", name, "x", **at(fake_server))
        assert (run.returncode, run.stdout) == (4, "")
        assert f"no persona '{name}'" in run.stderr
        assert "hoshikage persona list" in run.stderr


def test_without_a_server(tiny: Path, tiny_model_path: Path) -> None:
    """The answer that the library gives; a file needs no name."""
    with Model(tiny_model_path) as model, model.engine(n_ctx=4096, n_threads=1) as engine:
        messages = [{"role": "user", "content": "hello"}]
        expected = engine.chat(messages, SamplingParams(temperature=0), max_tokens=20).text
    for name in ("tiny", str(tiny_model_path)):
        told = json.loads(hoshikage(tiny, "run", "-m", name, "-t", "0", "-n", "20", "--json", "hello").stdout)
        assert told["content"] == expected
        assert told["usage"]["completion_tokens"] == 20


def test_the_models_entry_counts_without_a_server(tmp_path: Path, tiny_model_path: Path) -> None:
    """Stop strings, sampling and n_ctx are those of the list, as on a server."""
    entry = {"path": str(tiny_model_path.parent), "model": tiny_model_path.name, "sampling": {"temperature": 0}}
    register(tmp_path, plain=entry)
    whole = hoshikage(tmp_path, "run", "-n", "40", "hello").stdout.rstrip("\n")
    assert whole == hoshikage(tmp_path, "run", "-n", "40", "hello").stdout.rstrip("\n"), "temperature 0"
    mark = whole[10:13]
    register(tmp_path, stops=entry | {"stop": [mark]}, small=entry | {"n_ctx": 16})
    assert hoshikage(tmp_path, "run", "-m", "stops", "hello").stdout == whole.partition(mark)[0] + "\n"
    small = hoshikage(tmp_path, "run", "-m", "small", "hello " * 50)
    assert small.returncode == 1
    assert "16 tokens" in small.stderr


def test_the_same_answer_with_and_without_a_server(tmp_path: Path, tiny_model_path: Path) -> None:
    """Nobody has to know who answers: text, reason and counts are the same."""
    sampling = {"temperature": 0.8, "top_k": 20, "repeat_penalty": 1.3}
    entry = {"path": str(tiny_model_path.parent), "model": tiny_model_path.name, "sampling": sampling, "n_ctx": 256}
    question = ("run", "--json", "--seed", "7", "-n", "30", "-s", "Be brief.", "hello")
    with ServerProcess(tmp_path, {"tiny": entry}, command=REAL_SERVER, threads=1) as server:
        served = json.loads(hoshikage(tmp_path, *question, **at(server)).stdout)
        local = json.loads(hoshikage(tmp_path, *question, "--local", **at(server)).stdout)
    for told in (served, local):
        for name in ("prompt_ms", "predicted_ms"):
            assert told["usage"].pop(name) > 0
        assert told.pop("first_s") > 0
        assert told.pop("total_s") > 0
        assert told.pop("tokens_per_s") > 0
    assert served == local
    assert local["usage"]["completion_tokens"] == 30


def test_a_broken_model_is_one_sentence(tmp_path: Path) -> None:
    """In the words of the server."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF nonsense")
    run = hoshikage(tmp_path, "run", "-m", str(tmp_path / "broken.gguf"), "x")
    assert (run.returncode, run.stdout) == (1, "")
    assert "could not be loaded" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_smollm2_answers(tmp_path: Path, smollm2_path: Path) -> None:
    """A real model, in a pipe."""
    register(tmp_path, smollm2=smollm2_path)
    run = hoshikage(tmp_path, "run", "-t", "0", "-n", "20", "What is 2+2?")
    assert run.returncode == 0
    assert "4" in run.stdout


def test_ctrl_c_ends_an_answer_of_a_server(tmp_path: Path, fake_server: ServerProcess) -> None:
    """130, as shells tell it, and the server stops computing."""
    process = start(tmp_path, "run", "count 100000 20", **at(fake_server))
    assert process.stdout is not None
    assert process.stdout.read(4) == b"1 2 "
    assert fake_server.status["queue"]["running"] == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_for(lambda: fake_server.status["queue"]["running"] == 0, 5, "the answer is cancelled")
    _, err = process.communicate()
    assert err == b"\n"


def test_ctrl_c_ends_an_answer_without_a_server(tiny: Path) -> None:
    """The same."""
    process = start(tiny, "run", "-t", "0", "hello", **LONG)
    assert process.stdout is not None
    process.stdout.read(100)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"\n")


def test_a_crash_would_leave_no_prompt_on_the_disk(tiny: Path) -> None:
    """As little as one of the engine process."""
    process = start(tiny, "run", "-t", "0", "hello", **LONG)
    assert process.stdout is not None
    process.stdout.read(100)
    assert resource.prlimit(process.pid, resource.RLIMIT_CORE)[0] <= 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_ctrl_c_ends_a_prefill(tmp_path: Path) -> None:
    """In the middle of a step: all of them together would take minutes."""
    model = TinyModel(n_layer=8, n_embd=1024, n_head=16, n_ctx_train=16384).write(tmp_path / "slow.gguf")
    prompt = "a b c " * 2500
    environ = environment(tmp_path, HOSHIKAGE_N_CTX="16384")
    (tmp_path / "prompt").write_text(prompt)
    command = f"exec {' '.join(COMMAND)} run -m {model} < {tmp_path}/prompt"
    with Terminal(["sh", "-c", command], environ) as terminal:
        terminal.expect("Waiting for the answer")
        terminal.type("\x03")
        assert terminal.wait() == 130
        assert terminal.is_as_before


@pytest.mark.parametrize("is_local", [False, True])
def test_a_reader_that_leaves(tiny: Path, fake_server: ServerProcess, is_local: bool) -> None:
    """`| head -1`: silence, and nobody computes any more."""
    question = "hello" if is_local else "count 100000 5"
    environ = environment(tiny, **(LONG if is_local else at(fake_server)))
    command = [*COMMAND, "run", "-t", "0", question]
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    wait_for(lambda: fake_server.status["queue"]["running"] == 0, 5, "the answer is cancelled")


def test_a_terminal_that_does_not_know_a_character(tmp_path: Path, fake_server: ServerProcess) -> None:
    """The rest of the answer is shown."""
    run = hoshikage(tmp_path, "run", "echo a 🌟 b", PYTHONIOENCODING="shift_jis", **at(fake_server))
    assert (run.returncode, run.stdout) == (0, "a ? b\n")


def test_no_standard_streams(tiny: Path) -> None:
    """As some services start programs. An answer that goes nowhere is a failure, and told where that can be."""
    for closed, status, told in (
        ("<&- 2>&-", 0, ""),
        ("<&- >&- 2>&-", 1, ""),
        (">&-", 1, "hoshikage: The output could not be written: standard output is closed\n"),
    ):
        command = f"exec {' '.join(COMMAND)} run -n 3 hello {closed}"
        run = subprocess.run(["sh", "-c", command], env=environment(tiny), capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (status, told)


def test_at_a_terminal(tmp_path: Path, fake_server: ServerProcess) -> None:
    """Reasoning is dimmed, the speed follows, and escape sequences of a model do nothing."""
    with Terminal([*COMMAND, "run", "think 1 well \x1b[2J yes"], environment(tmp_path, **at(fake_server))) as terminal:
        assert terminal.wait() == 0
        assert terminal.is_as_before
    assert "\x1b[2mwell\x1b[0m" in terminal.seen
    assert "\x1b[2J" not in terminal.seen
    assert "?[2J yes\n" in terminal.plain
    assert "3 tokens" in terminal.plain
    with Terminal([*COMMAND, "run", "echo x"], environment(tmp_path, NO_COLOR="1", **at(fake_server))) as terminal:
        assert terminal.wait() == 0
    assert "\x1b[3" not in terminal.seen, "no colours"
