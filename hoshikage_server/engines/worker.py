"""The engine process: plain Python and hoshikage_core, started by exec as `python -m hoshikage_server.engines.worker`.

Two threads. The reader takes frames from the socket and acts at once on those that cannot wait: a Cancel interrupts the
native step that is running, a closed socket ends the process. The main thread does everything else: start what was
asked, step, send what came out. It ends with its parent, whatever way that ends.
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

from hoshikage_core import Engine, Generation, HoshikageError, Model, SamplingParams, build_info
from hoshikage_server import logs
from hoshikage_server.engines import wire
from hoshikage_server.engines.defaults import apply, recommended_sampling

log = logging.getLogger("hoshikage_server.engines.worker")

_BEAT_S = 1.0
# Tokens that come faster than anybody sees go out together: each wake of the server takes a core from the computation,
# and the other cores wait for it at the next barrier (2 cores, 7 ms a token: 4 % of decode).
_HOLD_S = 0.02
_RECV_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_LOAD_CODES = frozenset({"model_load_failed", "insufficient_memory"})


class Worker:
    """Serves one model over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._last_sent = 0.0
        self._held = bytearray()
        self._inbox: queue.SimpleQueue[wire.ToEngine] = queue.SimpleQueue()
        self._waiting: deque[wire.Generate] = deque()
        # Shared with the reader; an id is in `_known` from its Generate frame until its end.
        self._lock = threading.Lock()
        self._known: set[int] = set()
        self._cancelled: set[int] = set()
        self._active: dict[int, Generation] = {}

    def run(self) -> NoReturn:
        """Works until it is told to stop."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        load = self._inbox.get()
        if not isinstance(load, wire.Load):
            raise wire.WireError(f"{type(load).__name__} before Load")
        logs.configure(load.log_level)
        loaded = self._load(load.spec)
        while True:
            if loaded is None:  # the server has been told why; it ends this process
                self._inbox.get()
                continue
            self._admit(*loaded)
            if self._active:
                self._step(loaded[0])

    # ---- the reader's thread

    def _read(self) -> None:
        decoder = wire.frames_to_engine()
        try:
            while data := self._socket.recv(_RECV_BYTES):
                for frame in decoder.feed(data):
                    self._receive(frame)
        except OSError:
            pass
        except wire.WireError:
            log.exception("the server sent nonsense")
        finally:
            os._exit(0)  # nobody is left to work for

    def _receive(self, frame: wire.ToEngine) -> None:
        if isinstance(frame, wire.Stop):
            os._exit(0)  # ends a running step as well; the kernel frees everything
        if isinstance(frame, wire.Cancel):
            self._cancel(frame.id)
            return
        if isinstance(frame, wire.Generate):
            with self._lock:
                self._known.add(frame.id)
        self._inbox.put(frame)

    def _cancel(self, request_id: int) -> None:
        with self._lock:
            if request_id not in self._known:
                return
            self._cancelled.add(request_id)
            generation = self._active.get(request_id)
        if generation is not None:
            generation.cancel()

    # ---- the main thread

    def _load(self, spec: wire.EngineSpec) -> tuple[Engine, SamplingParams] | None:
        try:
            model = Model(spec.path, gpu_layers=spec.gpu_layers, on_progress=self._tell_progress)  # type: ignore[arg-type]
            engine = model.engine(spec.n_ctx, parallel=spec.parallel, n_threads=spec.n_threads)
        except HoshikageError as error:
            code = error.code if error.code in _LOAD_CODES else "model_load_failed"
            self._send(wire.Failed(0, code, str(error), _fields(error)))
            return None
        build = build_info()
        info = model.info
        self._send(
            wire.Ready(
                n_ctx=engine.n_ctx,
                name=info.name,
                build=f"{build.version} {build.llama_cpp_commit}",
                info={"arch": info.arch, "quantisation": info.quantisation, "n_params": info.n_params},
            )
        )
        return engine, recommended_sampling(info.metadata)

    def _tell_progress(self, progress: float) -> None:
        self._send(wire.Loading(progress))

    def _admit(self, engine: Engine, defaults: SamplingParams) -> None:
        """Starts what waits, as far as there is room; sleeps while there is nothing to do at all."""
        while True:
            try:
                frame = self._inbox.get(block=not self._active and not self._waiting)
            except queue.Empty:
                break
            if isinstance(frame, wire.Generate):
                self._waiting.append(frame)
        while self._waiting and len(self._active) < engine.parallel:
            self._start(engine, defaults, self._waiting.popleft())

    def _start(self, engine: Engine, defaults: SamplingParams, frame: wire.Generate) -> None:
        if frame.id in self._cancelled:
            self._forget(frame.id)
            return
        try:
            sampling = apply(frame.sampling, defaults)
            generation = engine.stream_chat(frame.messages, sampling, max_tokens=frame.max_tokens, stop=frame.stop)
        except HoshikageError as error:
            self._fail(frame.id, error)
            return
        with self._lock:
            self._active[frame.id] = generation
            is_cancelled = frame.id in self._cancelled
        if is_cancelled:
            generation.cancel()
        self._send(wire.Accepted(frame.id, generation.n_prompt))

    def _step(self, engine: Engine) -> None:
        began = time.monotonic()
        try:
            engine.step()
        except HoshikageError as error:  # about the step as a whole: whom it served is not known
            log.info("a step failed: %s", error)  # each of its requests is an error of its own
            for request_id, generation in list(self._active.items()):
                self._fail(request_id, error)
                generation.close()
            return
        for request_id, generation in list(self._active.items()):
            self._deliver(request_id, generation)
        now = time.monotonic()
        step_s = now - began
        if self._held and now - self._last_sent + step_s >= _HOLD_S:  # the next step would end too late for them
            self._flush()
        elif now - self._last_sent >= _BEAT_S:
            self._send(wire.Beat())

    def _deliver(self, request_id: int, generation: Generation) -> None:
        for event in generation.take():
            if event.text:
                self._held += wire.encode(wire.Token(request_id, event.text))
        if self._held and generation.n_completion == 1:  # the first one is waited for
            self._flush()
        if generation.failure is not None:
            self._fail(request_id, generation.failure)
        elif generation.finish_reason is not None:
            self._forget(request_id)
            self._send(wire.Done(request_id, generation.finish_reason, generation.n_prompt, generation.n_completion))

    def _fail(self, request_id: int, error: HoshikageError) -> None:
        self._forget(request_id)
        self._send(wire.Failed(request_id, error.code, str(error), _fields(error)))

    def _forget(self, request_id: int) -> None:
        with self._lock:
            self._active.pop(request_id, None)
            self._known.discard(request_id)
            self._cancelled.discard(request_id)

    def _send(self, frame: wire.Frame) -> None:
        self._held += wire.encode(frame)
        self._flush()

    def _flush(self) -> None:
        self._last_sent = time.monotonic()
        try:
            self._socket.sendall(self._held)
        except OSError:
            os._exit(0)
        self._held.clear()


def _fields(error: HoshikageError) -> dict[str, int | float | str | None]:
    return {name: value for name, value in vars(error).items() if isinstance(value, (int, float, str))}


def _die_with(parent: int) -> None:
    """The kernel kills this process when its parent ends, however that ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os._exit(0)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="hoshikage-engine")
    parser.add_argument("--fd", type=int, required=True, help="the socket to the server")
    parser.add_argument("--parent", type=int, required=True, help="the server's process id")
    arguments = parser.parse_args()
    _die_with(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=arguments.fd)
    sock.setblocking(True)  # gevent made it non-blocking
    assert "gevent" not in sys.modules
    Worker(sock).run()


if __name__ == "__main__":
    main()
