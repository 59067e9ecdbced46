"""The engine process: plain Python and hoshikage_core, started by exec as `python -m hoshikage_server.engines.worker`.

Three threads. The reader takes frames from the socket and acts at once on those that cannot wait: a Cancel interrupts
the native step that is running, a closed socket ends the process. The main thread does everything else: start what was
asked, step, send what came out. The pulse tells the server that the native code makes progress, and sleeps while there
is nothing to do. The process ends with its parent, whatever way that ends.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections import deque
from typing import NoReturn

import msgspec

from hoshikage_core import Engine, HoshikageError, OutOfMemoryError, SamplingParams, SleepingPrefix, build_info
from hoshikage_server import __version__, dumps, logs
from hoshikage_server.engines import framing, last_words, wire
from hoshikage_server.engines.defaults import apply
from hoshikage_server.engines.embedding_work import EmbeddingWork
from hoshikage_server.engines.failures import CannotGenerateError, failed, failed_load, in_words
from hoshikage_server.engines.loading import Loaded, load
from hoshikage_server.engines.prompts import Prompts
from hoshikage_server.engines.running import Running
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.messages import said
from hoshikage_server.settings import language

log = logging.getLogger("hoshikage_server.engines.worker")

_BEAT_S = 1.0
# Tokens that come faster than anybody sees go out together: each wake of the server takes a core from the computation,
# and the other cores wait for it at the next barrier (2 cores, 7 ms a token: 4 % of decode).
_HOLD_S = 0.02
_RECV_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1


class Worker:
    """Serves one model over one socket."""

    def __init__(self, sock: socket.socket, bed: int | None = None) -> None:
        self._socket = sock
        self._bed = bed
        self._last_sent = 0.0
        self._held = bytearray()
        self._inbox: queue.SimpleQueue[wire.ToEngine] = queue.SimpleQueue()
        self._waiting: deque[wire.Generate] = deque()
        # Shared with the reader; an id is in `_known` from its Generate frame until its end.
        self._lock = threading.Lock()
        self._known: set[int] = set()
        self._cancelled: set[int] = set()
        self._active: dict[int, Running] = {}
        # Shared with the pulse.
        self._sending = threading.Lock()
        self._at_work = threading.Event()
        self._engine: Engine | None = None
        self._has_progress = False
        self._embedding = EmbeddingWork(self._send)

    def run(self) -> NoReturn:
        """Works until it is told to stop."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        threading.Thread(target=self._pulse, name="pulse", daemon=True).start()
        first = self._inbox.get()
        if not isinstance(first, wire.Load):
            raise framing.WireError(f"{type(first).__name__} before Load")
        logs.configure(first.log_level, language())
        self._at_work.set()
        loaded = self._load(first)
        while loaded is None:  # the server has been told why; it ends this process
            self._inbox.get()
        self._engine = loaded.engine
        if self._engine is not None and self._bed is not None:
            self._engine.wake(self._bed, [SleepingPrefix(*msgspec.structs.astuple(place)) for place in first.sleeping])
        self._has_progress = not first.spec.is_vocab_only
        prompts = Prompts(loaded.model, loaded.template)
        while True:
            self._take_frames(prompts)
            if loaded.engine is not None:
                self._admit(prompts, loaded.engine, loaded.defaults)
                if self._active:
                    self._step(loaded.engine)
            while loaded.engine is None and self._waiting:
                self._fail(self._waiting.popleft().id, CannotGenerateError())
            self._embedding.step(loaded.model, first.spec)

    # ---- the reader's thread

    def _read(self) -> None:
        decoder = wire.frames_to_engine()
        try:
            while data := self._socket.recv(_RECV_BYTES):
                for frame in decoder.feed(data):
                    self._receive(frame)
        except OSError:
            pass
        except framing.WireError:
            log.exception(said("log_server_nonsense"))
        finally:
            os._exit(0)  # nobody is left to work for

    def _receive(self, frame: wire.ToEngine) -> None:
        if isinstance(frame, wire.Stop) and (frame.sleep_s == 0 or self._bed is None or self._engine is None):
            os._exit(0)  # ends a running step as well; the kernel frees everything
        if isinstance(frame, wire.Cancel):
            self._cancel(frame.id)
            return
        if isinstance(frame, wire.Generate):
            with self._lock:
                self._known.add(frame.id)
        if isinstance(frame, wire.Embed):
            self._embedding.expect(frame)
        self._inbox.put(frame)

    def _cancel(self, request_id: int) -> None:
        self._embedding.cancel(request_id)
        with self._lock:
            if request_id not in self._known:
                return
            self._cancelled.add(request_id)
            running = self._active.get(request_id)
        if running is not None:
            running.generation.cancel()

    # ---- the pulse's thread

    def _pulse(self) -> None:
        told = -1
        while True:
            self._at_work.wait()
            time.sleep(_BEAT_S)
            if not self._has_progress:  # it loads or counts; how long that may take is the server's to say
                self._send_bytes(_BEAT)
                continue
            progress = self._embedding.progress + (self._engine.progress if self._engine else 0)
            if progress != told:
                told = progress
                self._send_bytes(_BEAT)

    # ---- the main thread

    def _load(self, frame: wire.Load) -> Loaded | None:
        spec = frame.spec
        try:
            loaded = load(spec, self._tell_progress, frame.measured, frame.n_given_up)
        except HoshikageError as error:
            self._send(failed_load(error))
            return None
        except Exception as error:
            log.exception(said("log_loading_failed"))
            self._send(failed_load(error))
            return None
        info = loaded.model.info
        self._send(
            wire.Ready(
                n_ctx=spec.n_ctx,
                name=info.name,
                build=f"{__version__} {build_info().llama_cpp_commit}",
                info={"arch": info.arch, "quantisation": info.quantisation, "n_params": info.n_params},
                degraded=loaded.degraded,
                cuts_anywhere=loaded.engine is None or loaded.engine.cuts_anywhere,
                n_gpu_layers=loaded.model.n_gpu_layers,
                n_layers=info.n_layer + 1,
                no_gpu=loaded.no_gpu,
                defaults=Sampling(temperature=loaded.defaults.temperature, top_p=loaded.defaults.top_p),
            )
        )
        return loaded

    def _tell_progress(self, progress: float) -> None:
        self._send(wire.Loading(progress))

    def _take_frames(self, prompts: Prompts) -> None:
        """Takes what has come; sleeps while there is nothing to do at all."""
        while True:
            is_idle = not self._active and not self._waiting and not self._embedding.has_work
            if is_idle and self._inbox.empty():
                self._at_work.clear()
            try:
                frame = self._inbox.get(block=is_idle)
            except queue.Empty:
                return
            self._at_work.set()
            if isinstance(frame, wire.Generate):
                self._waiting.append(frame)
            elif isinstance(frame, wire.Embed):
                self._embedding.add(frame)
            elif isinstance(frame, wire.Stop):
                self._sleep(frame)
            elif isinstance(frame, (wire.Count, wire.Tokenize, wire.Detokenize)):
                self._tell(prompts, frame)

    def _sleep(self, frame: wire.Stop) -> NoReturn:
        """Keeps what was computed, and ends."""
        assert self._engine is not None
        assert self._bed is not None
        try:
            places = self._engine.lie_down(self._bed, room_bytes=frame.room_bytes, limit_s=frame.sleep_s)
            slept = (wire.Sleeping(p.tokens, p.offset, p.n_bytes, p.crc, p.marks) for p in places)
            self._send(wire.Slept(tuple(slept)))
        finally:
            os._exit(0)

    def _tell(self, prompts: Prompts, frame: wire.Count | wire.Tokenize | wire.Detokenize) -> None:
        try:
            if isinstance(frame, wire.Count):
                self._send(wire.Counted(frame.id, prompts.count(frame)))
            elif isinstance(frame, wire.Tokenize):
                self._send(prompts.tokenize(frame))
            else:
                self._send(prompts.detokenize(frame))
        except Exception as error:
            self._fail(frame.id, error)

    def _admit(self, prompts: Prompts, engine: Engine, defaults: SamplingParams) -> None:
        """Starts what waits, as far as there is room."""
        while self._waiting and len(self._active) < engine.parallel:
            self._start(prompts, engine, defaults, self._waiting.popleft())

    def _start(self, prompts: Prompts, engine: Engine, defaults: SamplingParams, frame: wire.Generate) -> None:
        if frame.id in self._cancelled:
            self._forget(frame.id)
            return
        try:
            running = Running(prompts.start(engine, frame, apply(frame.sampling, defaults)), frame)
        except Exception as error:
            self._fail(frame.id, error)
            return
        with self._lock:
            self._active[frame.id] = running
            is_cancelled = frame.id in self._cancelled
        if is_cancelled:
            running.generation.cancel()
        self._send(running.accepted)

    def _step(self, engine: Engine) -> None:
        began = time.monotonic()
        try:
            engine.step()
        except OutOfMemoryError as error:  # another engine goes on, in less memory where that is allowed
            print(error, file=sys.stderr, flush=True)
            os._exit(last_words.OUT_OF_MEMORY_STATUS)
        except HoshikageError as error:  # about the step as a whole: whom it served is not known
            log.info(said("log_step_failed", reason=in_words(error)))  # each of its requests is an error of its own
            for request_id, running in list(self._active.items()):
                self._fail(request_id, error)
                running.generation.close()
            return
        for request_id, running in list(self._active.items()):
            self._deliver(request_id, running)
        now = time.monotonic()
        if self._held and now - self._last_sent + (now - began) >= _HOLD_S:  # the next step would end too late for them
            self._flush()

    def _deliver(self, request_id: int, running: Running) -> None:
        for frame in running.frames():
            if isinstance(frame, wire.Done) and frame.is_last:
                self._forget(request_id)
                self._send(frame)
                return
            self._held += framing.encode(frame)
            if running.is_first_token or not isinstance(frame, wire.Token):  # these are waited for
                self._flush()
        if running.generation.failure is not None:
            self._fail(request_id, running.generation.failure)

    def _fail(self, request_id: int, error: Exception) -> None:
        self._forget(request_id)
        self._send(failed(request_id, error))

    def _forget(self, request_id: int) -> None:
        with self._lock:
            self._active.pop(request_id, None)
            self._known.discard(request_id)
            self._cancelled.discard(request_id)

    def _send(self, frame: wire.Frame) -> None:
        self._held += framing.encode(frame)
        self._flush()

    def _flush(self) -> None:
        self._last_sent = time.monotonic()
        self._send_bytes(self._held)
        self._held.clear()

    def _send_bytes(self, data: bytes | bytearray) -> None:
        with self._sending:
            try:
                self._socket.sendall(data)
            except OSError:
                os._exit(0)


_BEAT = framing.encode(wire.Beat())


def _die_with(parent: int) -> None:
    """The kernel kills this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os._exit(0)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="hoshikage-engine")
    parser.add_argument("--fd", type=int, required=True)  # the socket to the server
    parser.add_argument("--parent", type=int, required=True)  # the server's process id
    parser.add_argument("--bed", type=int)  # the file to sleep in
    arguments = parser.parse_args()
    _die_with(arguments.parent)
    dumps.leave_none()
    # A service manager sends SIGTERM to all processes of a server at once; running answers shall finish all the same.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=arguments.fd)
    sock.setblocking(True)  # gevent made it non-blocking
    assert "gevent" not in sys.modules
    Worker(sock, arguments.bed).run()


if __name__ == "__main__":
    main()
