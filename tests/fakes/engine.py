"""An engine process without a model, speaking wire.py. Run in place of hoshikage_server.engines.worker.

What it does is said by the last message of a request, as words:

    echo TEXT...        the words one by one, then stop
    count N [MS]        "1 " ... "N ", MS milliseconds between them, then length
    flood N KIB         N pieces of KIB KiB as fast as the socket takes them
    hang                accepts and falls silent       mute: not even that
    die [N]             N pieces, then SIGKILL to itself; once in an answer, as it goes on in another engine
    killer [N]          the same each time: it goes on, and dies after N more pieces
    refuse CODE         Failed with that code          late CODE: after two pieces
    wait MS TEXT...     as echo, accepted after MS milliseconds of heartbeats
    params              the Generate frame it got, as JSON

and by the file name of the model: refuse.gguf does not load, die.gguf says why and dies loading, slow.gguf takes a
second, never.gguf does not finish, poor.gguf lacks memory, lean.gguf is loaded in less of it, stubborn.gguf ignores
Stop, dieonce.gguf dies loading unless a file dieonce stands in the folder of the log, and makes it.

A prompt is always 7 tokens, which hold the text; a piece is one token. Count tells the text's length, as `refuse CODE`
Failed with that code, dies of `uncountable TEXT...` and says nothing to `uncounted TEXT...`, which are answered as an
echo. An event log (FAKE_ENGINE_LOG) tells tests what arrived, a line each.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from array import array

import msgspec

from hoshikage_server.engines import wire


class FakeEngine:
    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)
        self.lock = threading.Lock()
        self.cancelled: set[int] = set()
        self.name = ""

    def log(self, text: str) -> None:
        path = os.environ.get("FAKE_ENGINE_LOG")
        if path:
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {self.name} {text}\n")

    def send(self, frame: wire.Frame) -> None:
        with self.lock:
            self.socket.sendall(wire.encode(frame))

    def run(self) -> None:
        decoder = wire.frames_to_engine()
        while data := self.socket.recv(65536):
            for frame in decoder.feed(data):
                self.handle(frame)

    def handle(self, frame: wire.ToEngine) -> None:
        if isinstance(frame, wire.Load):
            self.load(frame.spec)
        elif isinstance(frame, wire.Generate):
            self.log(f"generate {frame.id} {prompt_of(frame)[:40]}")
            threading.Thread(target=self.answer, args=(frame,), daemon=True).start()
        elif isinstance(frame, wire.Count):
            self.log(f"count {frame.id}")
            self.count(frame)
        elif isinstance(frame, wire.Tokenize):
            tokens = frame.text.encode()
            self.send(wire.Tokens(frame.id, tuple(tokens), tuple(bytes([token]) for token in tokens)))
        elif isinstance(frame, wire.Detokenize):
            ids = array("i")
            ids.frombytes(frame.tokens)
            self.send(wire.Plain(frame.id, "".join(map(chr, ids))))
        elif isinstance(frame, wire.Cancel):
            self.log(f"cancel {frame.id}")
            self.cancelled.add(frame.id)
        elif self.name != "stubborn":
            self.log("stop")
            os._exit(0)

    def load(self, spec: wire.EngineSpec) -> None:
        self.name = os.path.basename(spec.path).removesuffix(".gguf")
        self.log("count-load" if spec.is_vocab_only else "load")
        if spec.is_vocab_only:
            self.send(wire.Ready(spec.n_ctx, self.name, "fake"))
            return
        if self.name == "never":
            return
        if self.name == "die":
            print("GGML_ASSERT(a reason) failed", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.name == "dieonce":
            mark = os.path.join(os.path.dirname(os.environ["FAKE_ENGINE_LOG"]), "dieonce")
            if not os.path.exists(mark):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.name == "slow":
            time.sleep(1)
        if self.name == "refuse":
            self.send(wire.Failed(0, "model_load_failed", "this is no model", {"path": spec.path}))
            return
        if self.name == "poor":
            gib = 1024**3
            fields = {"needed_bytes": 7 * gib, "free_bytes": gib // 2, "device": "host"}
            self.send(wire.Failed(0, "insufficient_memory", "it is large", fields))
            return
        self.send(wire.Loading(0.5))
        degraded = ("n_batch=128",) if self.name == "lean" else ()
        self.send(wire.Ready(spec.n_ctx, self.name, "fake", degraded=degraded))

    def count(self, frame: wire.Count) -> None:
        prompt = text_of(frame)
        verb, *words = prompt.split(" ")
        if verb == "uncountable":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "uncounted":
            return
        if verb == "refuse":
            self.send(wire.Failed(frame.id, words[0], "refused as told", {"reason": "the template says no"}))
            return
        if frame.n_ctx is not None and len(prompt) >= frame.n_ctx:
            fields: dict[str, int | float | str | None] = {"n_prompt": len(prompt), "n_ctx": frame.n_ctx}
            self.send(wire.Failed(frame.id, "context_length_exceeded", "it does not fit", fields))
            return
        self.send(wire.Counted(frame.id, len(prompt)))

    def answer(self, frame: wire.Generate) -> None:
        prompt = prompt_of(frame)
        verb, *words = (prompt or "echo").split(" ")
        n_before = len(frame.so_far.tokens) // 4 if frame.so_far else 0
        n_sent = n_before
        if verb == "mute":
            return
        if verb == "wait":
            until = time.monotonic() + int(words.pop(0)) / 1000
            while time.monotonic() < until:
                self.send(wire.Beat())
                time.sleep(0.05)
        if verb == "refuse":
            fields: dict[str, int | float | str | None] = {"n_prompt": 5000, "n_ctx": 4096}
            self.send(wire.Failed(frame.id, words[0], "refused as told", fields))
            return
        self.send(wire.Accepted(frame.id, 7, array("i", map(ord, prompt)).tobytes(), frame.stop))
        finish = "stop"
        for piece, pause_s in self.pieces(frame, verb, words)[n_before:]:
            if frame.id in self.cancelled:
                self.send(wire.Done(frame.id, "cancelled", 7, n_sent))
                return
            self.send(wire.Token(frame.id, piece, (n_sent,)))
            n_sent += 1
            if verb == "killer" and n_sent - n_before == int(words[0]):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(pause_s)
        if verb == "die" and not frame.so_far:
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "hang":
            return
        if verb == "late":
            self.send(wire.Failed(frame.id, words[0], "failed as told"))
            return
        if verb == "count":
            finish = "length"
        self.log(f"done {frame.id}")
        self.send(wire.Done(frame.id, finish, 7, n_sent, "", 10.0))

    def pieces(self, frame: wire.Generate, verb: str, words: list[str]) -> list[tuple[str, float]]:
        if verb == "count":
            pause_s = float(words[1]) / 1000 if len(words) > 1 else 0.0
            return [(f"{i + 1} ", pause_s) for i in range(int(words[0]))]
        if verb == "flood":
            return [("x" * (1024 * int(words[1])), 0.0)] * int(words[0])
        if verb == "killer":
            return [(f"{i + 1} ", 0.0) for i in range(1000)]
        if verb == "die":
            return [(f"{i + 1} ", 0.0) for i in range(int(words[0]) if words else 0)]
        if verb == "late":
            return [("one ", 0.0), ("two ", 0.0)]
        if verb == "params":
            return [(msgspec.json.encode(msgspec.structs.asdict(frame)).decode(), 0.0)]
        if verb == "hang":
            return []
        return [(word if i == 0 else f" {word}", 0.0) for i, word in enumerate(words)]


def text_of(frame: wire.Generate | wire.Count) -> str:
    if frame.text is None:
        return str(frame.messages[-1]["content"] or "")
    return frame.text.text or frame.text.tokens.hex()


def prompt_of(frame: wire.Generate) -> str:
    if frame.so_far is None:
        return text_of(frame)
    codes = array("i")
    codes.frombytes(frame.so_far.prompt)
    return "".join(map(chr, codes))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    assert "gevent" not in sys.modules
    FakeEngine(arguments.fd).run()
    os._exit(0)


if __name__ == "__main__":
    main()
