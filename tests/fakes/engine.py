"""An engine process without a model, speaking wire.py. Run in place of hoshikage_server.engines.worker.

What it does is said by the last message of a request, as words:

    echo TEXT...        the words one by one, then stop
    count N [MS]        "1 " ... "N ", MS milliseconds between them, then length
    flood N KIB         N pieces of KIB KiB as fast as the socket takes them
    hang                accepts and falls silent       mute: not even that
    die [N]             N pieces, then SIGKILL to itself; once in an answer, as it goes on in another engine
    killer [N]          the same each time: it goes on, and dies after N more pieces
    starve [N]          as die, but it runs out of a GPU's memory: llama.cpp's words on stderr, and an abort
    starver [N]         the same each time
    refuse CODE         Failed with that code          late CODE: after two pieces
    wait MS TEXT...     as echo, accepted after MS milliseconds of heartbeats
    shut GATE TEXT...   as echo, accepted when a file GATE lies beside the log; until then heartbeats
    gate GATE N TEXT... as echo, and only N words before that; whatever is cancelled meanwhile
    params              the Generate frame it got, as JSON
    say TEXT...         as echo, with all that n, logprobs and the like ask for
    reason TEXT...      two pieces of reasoning, then as say
    calls JSON...       a tool call for each word, named tool_0, tool_1, ...: the word in halves is its arguments
    talk JSON...        the same after a piece of text
    bits HEX...         each word's bytes are a token, of text that is whole characters as soon as they are
    think N TEXT...     as echo, the first N words as reasoning
    call NAME JSON...   calls a tool; its arguments in pieces of 4 characters

and by the file name of the model: refuse.gguf does not load, die.gguf says why and dies loading, slow.gguf takes a
second, gated.gguf until a file gated lies beside the log, never.gguf does not finish, poor.gguf lacks memory, lean.gguf
is loaded in less of it, crawls.gguf without the GPU it was to have, stubborn.gguf ignores Stop, starved.gguf runs out
of a GPU's memory unless it may do with less, dieonce.gguf dies loading unless a file dieonce lies beside the log, and
makes it.

The embedding of a text is [its length, 1] (cut to `dimensions`), of token ids [their sum, 1]; each is a frame of its
own. A text may say `die` (once the vectors before it are sent; in another engine not again), `killer` (each time),
`hang`, `refuse CODE` or `slowly MS`.

A prompt is always 7 tokens, which hold the text, and 3 of which are known from before; a piece is one token. Answers
of say, reason, calls, talk and bits come as often as n_choices says, all but the first in capitals; with n_top_logprobs
each token has its probability, -1.0, and so many others in its place. With n_prompt_logprobs each character of the
prompt is told as a token, in two pieces; its probability is its index, negative. With wants_progress the prompt is
computed in two steps. Count tells the text's length, as `refuse CODE` Failed with that code, dies of `uncountable
TEXT...` and says nothing to `uncounted TEXT...`, which are answered as an echo. Tokenize tells its bytes, after a 1 if
special tokens are wanted; Detokenize takes bytes, or else characters. An event log (FAKE_ENGINE_LOG) tells tests what
arrived, a line each.
"""

from __future__ import annotations

import argparse
import codecs
import os
import signal
import socket
import sys
import threading
import time
from array import array
from collections.abc import Callable
from typing import Any

import msgspec

from hoshikage_server import dumps
from hoshikage_server.engines import framing, wire
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.messages import said

# What hoshikage_core's handler of aborts writes of what ggml_cuda_error says (ggml-cuda.cu of the pinned llama.cpp).
OUT_OF_MEMORY = """\
CUDA error: out of memory;   current device: 0, in function alloc at /src/ggml/src/ggml-cuda/ggml-cuda.cu:502;   err
/src/ggml/src/ggml-cuda/ggml-cuda.cu:109: CUDA error
"""


def run_out_of_memory() -> None:
    dumps.leave_none()
    sys.stderr.write(OUT_OF_MEMORY)
    sys.stderr.flush()
    os.abort()


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
            self.socket.sendall(framing.encode(frame))

    def wait_at(self, gate: str) -> None:
        while not os.path.exists(os.path.join(os.path.dirname(os.environ["FAKE_ENGINE_LOG"]), gate)):
            self.send(wire.Beat())
            time.sleep(0.01)

    def run(self) -> None:
        decoder = wire.frames_to_engine()
        while data := self.socket.recv(65536):
            for frame in decoder.feed(data):
                self.handle(frame)

    def handle(self, frame: wire.ToEngine) -> None:
        if isinstance(frame, wire.Load):
            self.load(frame)
        elif isinstance(frame, wire.Generate):
            self.log(f"generate {frame.id} {prompt_of(frame)[:40]}")
            threading.Thread(target=self.answer, args=(frame,), daemon=True).start()
        elif isinstance(frame, wire.Embed):
            inputs = len(frame.texts) + len(frame.tokens)
            self.log(f"embed {frame.id} inputs={inputs} pooling={frame.pooling} dimensions={frame.dimensions}")
            threading.Thread(target=self.embed, args=(frame,), daemon=True).start()
        elif isinstance(frame, wire.Count):
            self.log(f"count {frame.id}")
            self.count(frame)
        elif isinstance(frame, wire.Tokenize):
            self.log(f"tokenize {frame.id}")
            self.tokenize(frame)
        elif isinstance(frame, wire.Detokenize):
            self.log(f"detokenize {frame.id}")
            self.detokenize(frame)
        elif isinstance(frame, wire.Cancel):
            self.cancelled.add(frame.id)
            self.log(f"cancel {frame.id}")
        elif self.name != "stubborn":
            self.log("stop")
            os._exit(0)

    def load(self, frame: wire.Load) -> None:
        spec = frame.spec
        self.name = os.path.basename(spec.path).removesuffix(".gguf")
        for one in frame.measured:
            self.log(f"measured {one.private_bytes} {one.vram_bytes} {' '.join(one.given_up)}")
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
        n_given_up = frame.n_given_up if spec.may_degrade else 0
        if self.name == "starved" and not n_given_up:
            run_out_of_memory()
        if self.name == "slow":
            time.sleep(1)
        if self.name == "gated":
            self.wait_at("gated")
        if self.name == "refuse":
            self.send(wire.Failed(0, "model_load_failed", "this is no model", {"path": spec.path}))
            return
        if self.name == "poor":
            gib = 1024**3
            fields = {"needed_bytes": 7 * gib, "free_bytes": gib // 2, "device": "host"}
            self.send(wire.Failed(0, "insufficient_memory", "it is large", fields))
            return
        self.send(wire.Loading(0.5))
        degraded = ("n_batch=128",) if self.name == "lean" else ("n_batch=128", "kv_type=q8_0")[:n_given_up]
        info = {"arch": "fake", "quantisation": "Q4_0", "n_params": 7}
        no_gpu = said("no_gpu_container") if self.name == "crawls" else None
        defaults = Sampling(temperature=0.7, top_p=0.9)
        ready = wire.Ready(spec.n_ctx, self.name, "fake", info, degraded, n_layers=33, no_gpu=no_gpu, defaults=defaults)
        self.send(ready)

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

    def tokenize(self, frame: wire.Tokenize) -> None:
        tokens = [1] * frame.add_special + [*frame.text.encode()]
        self.send(wire.Tokens(frame.id, tuple(tokens), tuple(bytes([token]) for token in tokens)))

    def detokenize(self, frame: wire.Detokenize) -> None:
        tokens = array("i")
        tokens.frombytes(frame.tokens)
        ids = tokens.tolist()
        highest = max(ids, default=0)
        if highest > sys.maxunicode:
            self.send(wire.Failed(frame.id, "invalid_argument", "no such token", {"reason": f"token {highest}"}))
            return
        is_bytes = highest < 256
        self.send(wire.Plain(frame.id, bytes(ids).decode("utf-8", "replace") if is_bytes else "".join(map(chr, ids))))

    def embed(self, frame: wire.Embed) -> None:
        texts = list(frame.texts) or [array("i", data).tolist() for data in frame.tokens]
        for index, text in enumerate(texts):
            verb, *words = text.split(" ") if isinstance(text, str) else [""]
            if verb == "killer" or (verb == "die" and index):
                os.kill(os.getpid(), signal.SIGKILL)
            if verb == "slowly":
                time.sleep(int(words[0]) / 1000)
            if verb == "hang" or frame.id in self.cancelled:
                return
            if verb == "refuse":
                fields: dict[str, int | float | str | None] = {"n_prompt": 5000, "n_ctx": 4096, "index": index}
                self.send(wire.Failed(frame.id, words[0], "refused as told", fields))
                return
            vector = array("f", [len(text) if isinstance(text, str) else sum(text), 1])[: frame.dimensions]
            self.send(wire.Embedded(frame.id, (vector.tobytes(),), 3, index == len(texts) - 1))

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
        if verb == "shut":
            self.wait_at(words.pop(0))
        if verb == "refuse":
            fields: dict[str, int | float | str | None] = {"n_prompt": 5000, "n_ctx": 4096}
            self.send(wire.Failed(frame.id, words[0], "refused as told", fields))
            return
        self.send(wire.Accepted(frame.id, 7, array("i", map(ord, prompt)).tobytes(), frame.stop))
        for n_done in (5, 7) if frame.wants_progress else ():
            self.send(wire.Progress(frame.id, n_done, 7, n_done * 1.0, 3))
        self.send_echo(frame, prompt)
        if verb in MADE:
            self.send_made(frame, MADE[verb](words))
            return
        finish = "stop"
        gate, n_before_it = (words.pop(0), int(words.pop(0))) if verb == "gate" else ("", sys.maxsize)
        for piece, pause_s in self.pieces(frame, verb, words)[n_before:]:
            if n_sent >= n_before_it:
                self.wait_at(gate)
            if frame.id in self.cancelled:
                self.send(wire.Done(frame.id, "cancelled", 7, n_sent, kept_bytes=12345))
                return
            self.send(self.token(frame.id, verb, words, piece, n_sent))
            n_sent += 1
            if verb == "starver" and n_sent - n_before == int(words[0]):
                run_out_of_memory()
            if verb == "killer" and n_sent - n_before == int(words[0]):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(pause_s)
        if n_sent == n_before_it:
            self.wait_at(gate)
        if verb == "die" and not frame.so_far:
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "starve" and not frame.so_far:
            run_out_of_memory()
        if verb == "hang":
            return
        if verb == "late":
            self.send(wire.Failed(frame.id, words[0], "failed as told"))
            return
        if verb == "count":
            finish = "length"
        self.log(f"done {frame.id}")
        self.send(wire.Done(frame.id, finish, 7, n_sent, "", 10.0))

    def send_echo(self, frame: wire.Generate, prompt: str) -> None:
        """Each character as a token, in two pieces."""
        if frame.n_prompt_logprobs is None:
            return
        n_told = frame.so_far.n_echoed if frame.so_far else 0
        self.log(f"echo {frame.id} after {n_told}")
        top = tuple(wire.TokenProb(1, b"x", -0.5 - index) for index in range(frame.n_prompt_logprobs))
        entries = tuple(
            wire.Logprob(wire.TokenProb(index, character.encode(), -float(index)), top)
            for index, character in enumerate(prompt)
        )
        for piece in (entries[n_told:3], entries[max(n_told, 3) :]):
            if piece:
                self.send(wire.Token(frame.id, "", echo=piece))

    def send_made(self, frame: wire.Generate, pieces: list[Made]) -> None:
        """All choices, with all that a frame may hold."""
        timings = wire.Timings(4, 8.0, 2, 20.0, 3) if frame.wants_timings else None
        for choice in range(frame.n_choices):
            for index, (made, text) in enumerate(pieces):
                fields = {"choice": choice, "timings": timings, "logprobs": logprobs_of(frame, text), **made}
                if choice and "text" in made:
                    fields["text"] = str(made["text"]).upper()
                self.send(wire.Token(frame.id, tokens=(index,), **{"text": "", **fields}))
            is_first, is_last = choice == 0, choice == frame.n_choices - 1
            n_reasoning = sum("reasoning" in made for made, _ in pieces)
            done = wire.Done(frame.id, "stop", 7 * is_first, len(pieces), choice=choice, is_last=is_last)
            more = {"n_reasoning": n_reasoning, "n_cached": 3 * is_first, "timings": timings}
            self.send(msgspec.structs.replace(done, **more))

    def token(self, number: int, verb: str, words: list[str], piece: str, n_sent: int) -> wire.Token:
        if verb == "think" and n_sent < int(words[0]):
            return wire.Token(number, "", (n_sent,), reasoning=piece)
        if verb == "call":
            key, name = ("call_fake", words[0]) if n_sent == 0 else (None, None)
            return wire.Token(number, "", (n_sent,), tool_calls=(wire.ToolDelta(0, key, name, piece),))
        return wire.Token(number, piece, (n_sent,))

    def pieces(self, frame: wire.Generate, verb: str, words: list[str]) -> list[tuple[str, float]]:
        if verb == "count":
            pause_s = float(words[1]) / 1000 if len(words) > 1 else 0.0
            return [(f"{i + 1} ", pause_s) for i in range(int(words[0]))]
        if verb == "flood":
            return [("x" * (1024 * int(words[1])), 0.0)] * int(words[0])
        if verb in ("killer", "starver"):
            return [(f"{i + 1} ", 0.0) for i in range(1000)]
        if verb in ("die", "starve"):
            return [(f"{i + 1} ", 0.0) for i in range(int(words[0]) if words else 0)]
        if verb == "late":
            return [("one ", 0.0), ("two ", 0.0)]
        if verb == "params":
            return [(msgspec.json.encode(msgspec.structs.asdict(frame)).decode(), 0.0)]
        if verb == "hang":
            return []
        if verb == "think":
            words = words[1:]
        if verb == "call":
            arguments = " ".join(words[1:])
            return [(arguments[i : i + 4], 0.0) for i in range(0, len(arguments), 4)]
        return [(word if i == 0 else f" {word}", 0.0) for i, word in enumerate(words)]


Made = tuple[dict[str, Any], bytes]  # fields of a Token, and its token's bytes


def made_say(words: list[str]) -> list[Made]:
    texts = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
    return [({"text": text}, text.encode()) for text in texts]


def made_reason(words: list[str]) -> list[Made]:
    return [({"reasoning": text}, text.encode()) for text in ("let me ", "think")] + made_say(words)


def made_calls(words: list[str]) -> list[Made]:
    deltas: list[wire.ToolDelta] = []
    for index, word in enumerate(words):
        half = len(word) // 2
        deltas.append(wire.ToolDelta(index, f"call_{index}", f"tool_{index}"))
        deltas += [wire.ToolDelta(index, None, None, part) for part in (word[:half], word[half:])]
    return [({"tool_calls": (delta,)}, delta.arguments.encode()) for delta in deltas]


def made_bits(words: list[str]) -> list[Made]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [({"text": decoder.decode(bytes.fromhex(word))}, bytes.fromhex(word)) for word in words]


MADE: dict[str, Callable[[list[str]], list[Made]]] = {
    "say": made_say,
    "reason": made_reason,
    "calls": made_calls,
    "talk": lambda words: made_say(["well"]) + made_calls(words),
    "bits": made_bits,
}


def logprobs_of(frame: wire.Generate, text: bytes) -> tuple[wire.Logprob, ...]:
    if frame.n_top_logprobs is None:
        return ()
    top = tuple(
        wire.TokenProb(index, text if index == 0 else b"x", -1.0 - index) for index in range(frame.n_top_logprobs)
    )
    return (wire.Logprob(wire.TokenProb(0, text, -1.0), top),)


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
    parser.add_argument("--bed", type=int)
    arguments = parser.parse_args()
    assert "gevent" not in sys.modules
    FakeEngine(arguments.fd).run()
    os._exit(0)


if __name__ == "__main__":
    main()
