"""A running engine process, as the server sees it: frames in, frames out, its last words and its end."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gevent
import gevent.fileobject  # else Popen imports it between opening pipes and using them, and loses them if it cannot
from gevent import socket, subprocess
from gevent.event import AsyncResult
from gevent.queue import SimpleQueue

from hoshikage_server.engines import framing, wire
from hoshikage_server.engines.channel import Channel
from hoshikage_server.engines.energy import EnergyMeter, Spent
from hoshikage_server.engines.engine_spec import EngineSpec
from hoshikage_server.engines.footprint import Footprint, Freed, Usage
from hoshikage_server.engines.gpu import Gpu
from hoshikage_server.engines.last_words import OUT_OF_MEMORY_STATUS, abort_reason, shortage
from hoshikage_server.engines.memory_log import MemoryLog
from hoshikage_server.engines.nvml import Device
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.sleep import Dormitory
from hoshikage_server.errors import is_out_of_memory
from hoshikage_server.messages import Said, said

log = logging.getLogger(__name__)

_RECV_BYTES = 64 * 1024
_EXIT_WAIT_S = 1.0  # between closing its socket and ending, a healthy process needs milliseconds
_KILL_WAIT_S = 5.0  # SIGKILL cannot be refused, but a process in a driver's call ends after it
_LAST_WORDS_WAIT_S = 0.1  # its end closes the pipe, unless a child of its own holds it
_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}  # merely asking the driver for its devices takes memory there
_LOOK_S = 1.0  # a driver may think for longer; ending the engine does not wait for that
_LINE_BYTES = 8 * 1024
_LINES_KEPT = 20
_MISSING = re.compile(r"(?:ImportError|ModuleNotFoundError): (.+)")


@dataclass(frozen=True)
class Gone:
    """The process has ended.

    Attributes:
        reason: How, in words.
        labels: The requests whose answers broke off.
        last_words: The last lines it wrote to stderr.
    """

    reason: str | Said
    labels: tuple[str, ...] = ()
    last_words: tuple[str, ...] = ()


Question = wire.Count | wire.Tokenize | wire.Detokenize
Reply = wire.Counted | wire.Tokens | wire.Plain | wire.Failed
R = TypeVar("R", wire.Counted, wire.Tokens, wire.Plain)
EngineEvent = wire.Loading | wire.Ready | wire.Failed | Gone | Freed | Spent
Notify = Callable[["EngineProcess", EngineEvent], None]


class EngineProcess:
    """Starts an engine process and carries frames to and from it.

    Everything here that is not a greenlet of its own returns without switching, so that cleaning up after a request
    cannot be interrupted half-way.

    Args:
        command: The engine program; `--fd N --parent PID` is appended, and `--bed N` where there is a file to sleep in.
        gpu: Where the memory of GPUs is looked up.
        dormitory: Where what it has computed is kept when it ends.
        memory: What engines take.
        spec: The model it shall load.
        notify: Told about the load, the energy of answers and the end of the process. Must not switch greenlets.

    Attributes:
        spec: The model it was started for.
        last_heard: When it last gave a sign of life (monotonic clock).
        fingerprint: Which build and model it is, as OpenAI's system_fingerprint; known when it is ready.
        defaults: How tokens are chosen where nobody says, as far as clients are told; known when it is ready.

    Raises:
        OSError: It could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        gpu: Gpu,
        dormitory: Dormitory,
        memory: MemoryLog,
        spec: EngineSpec,
        notify: Notify,
    ) -> None:
        self.spec = spec
        self._dormitory = dormitory
        self._memory = memory
        self._degraded: tuple[str, ...] | None = None  # known when it is ready
        self._kept_bytes: int | None = 0  # of other conversations; None from an answer's beginning to its end there
        self.last_heard = time.monotonic()
        self.fingerprint = ""
        self.defaults = Sampling()
        self._notify = notify
        self._ids = itertools.count(1)
        self._channels: dict[int, Channel] = {}
        self._asked: dict[int, AsyncResult[Reply]] = {}
        self._embeds: dict[int, SimpleQueue[wire.Embedded | wire.Failed]] = {}
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()  # bounded by the lane: two frames a request
        self._last_words: deque[str] = deque(maxlen=_LINES_KEPT)
        self._gone: Gone | None = None
        self._kill_reason: str | Said | None = None
        self._footprint = Footprint(None if spec.is_vocab_only else gpu)
        self._meter = EnergyMeter(self._footprint, lambda spent: notify(self, spent))
        self._n_before: dict[int, int] = {}  # tokens that an answer had when it came here
        self._bed = dormitory.bed_for(spec)
        try:
            sleeping = () if self._bed is None else self._bed.sleeping
            known = (memory.measured(spec), memory.n_given_up(spec))
            self._outbox.put(framing.encode(wire.Load(spec, log.getEffectiveLevel(), sleeping, *known)))
            self._socket, self._process = self._begin(command)
        except BaseException:
            dormitory.vacate(spec)
            raise
        self._listener = gevent.spawn(self._listen)
        self._reader = gevent.spawn(self._read)
        gevent.spawn(self._write)

    def _begin(self, command: Sequence[str]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        inherited = [theirs.fileno()] if self._bed is None else [theirs.fileno(), self._bed.descriptor]
        bed = () if self._bed is None else ("--bed", str(self._bed.descriptor))
        no_gpu = _NO_GPU if self.spec.is_vocab_only else {}
        try:
            # Of its own DEVNULL gevent would lose a descriptor each time that there are too few to start a process.
            with theirs, open(os.devnull, "r+b", buffering=0) as nothing:
                process: subprocess.Popen[bytes] = subprocess.Popen(
                    [*command, "--fd", str(theirs.fileno()), "--parent", str(os.getpid()), *bed],
                    pass_fds=inherited,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=subprocess.PIPE,
                    env={**os.environ, **self._footprint.environment, **no_gpu},
                    start_new_session=True,  # Ctrl-C at the terminal is for the server, which ends its engine itself
                )
        except BaseException:
            ours.close()
            raise
        return ours, process

    @property
    def pid(self) -> int:
        """The process id."""
        pid: int = self._process.pid
        return pid

    def send(self, frame: wire.Frame) -> None:
        """Sends a frame as soon as the engine reads it."""
        self._outbox.put(framing.encode(frame))

    def generate(self, channel: Channel, question: dict[str, Any]) -> int:
        """Asks for an answer, or for its continuation; its frames go to the channel.

        Returns:
            The number to `forget` it by.
        """
        request_id = next(self._ids)
        data = framing.encode(wire.Generate(id=request_id, **question))
        if self._gone is not None:
            channel.break_off(self._gone.reason)
            return request_id
        self._channels[request_id] = channel
        self._n_before[request_id] = channel.n_tokens
        self._kept_bytes = None
        self._meter.begins()
        self._outbox.put(data)
        return request_id

    def forget(self, request_id: int) -> None:
        """Nobody waits for this answer any more: if the engine still computes it, it stops."""
        if request_id in self._channels:
            self._release(request_id)
            self.send(wire.Cancel(request_id))

    def _release(self, request_id: int) -> None:
        channel = self._channels.pop(request_id)
        self._meter.ends(channel.n_tokens - self._n_before.pop(request_id))

    def ask(self, question: Callable[[int], Question], kind: type[R], timeout_s: float) -> R | wire.Failed:
        """Asks what an engine with vocabulary only can tell, and waits for its answer.

        Args:
            question: Makes the frame with this id.
            kind: What the answer is.
            timeout_s: How long it may take.

        Raises:
            gevent.Timeout: It did not come in time.
        """
        frame = question(next(self._ids))
        result = self._asked[frame.id] = AsyncResult()
        try:
            if self._gone is not None:
                return _crashed(frame.id, self._gone.reason)
            self.send(frame)
            answer = result.get(timeout=timeout_s)
            assert isinstance(answer, (kind, wire.Failed))
            return answer
        finally:
            del self._asked[frame.id]

    def embed(self, question: dict[str, Any]) -> Generator[wire.Embedded | wire.Failed, None, None]:
        """Asks for embeddings; the last frame says so, or is Failed. Whoever closes it before then cancels the rest.

        Args:
            question: The fields of `wire.Embed`, without the id.
        """
        request_id = next(self._ids)
        if self._gone is not None:
            yield _crashed(request_id, self._gone.reason)
            return
        inbox = self._embeds[request_id] = SimpleQueue()
        try:
            self.send(wire.Embed(request_id, **question))
            while True:
                frame: wire.Embedded | wire.Failed = inbox.get()
                is_last = isinstance(frame, wire.Failed) or frame.is_last
                if is_last:
                    del self._embeds[request_id]
                yield frame
                if is_last:
                    return
        finally:
            if self._embeds.pop(request_id, None) is not None:
                self.send(wire.Cancel(request_id))

    def usage(self) -> Usage | None:
        """What it holds now. May switch greenlets, where there is a GPU."""
        usage = self._footprint.usage_of(self.pid)
        kept_bytes = None if self._channels or self._embeds else self._kept_bytes
        if usage is not None and usage.rss_bytes and self._degraded is not None and kept_bytes is not None:
            self._memory.note(self.spec, self._degraded, usage, kept_bytes)
        return usage

    def devices(self) -> list[tuple[Device, float | None]]:
        """The GPUs while it runs, and what each has drawn since its start, in joules. May switch greenlets."""
        use = self._footprint.look_at_gpu(max_age_s=1.0) if self._gone is None else None
        return [(device, self._footprint.energy_of(device)) for device in use.devices] if use else []

    def stop(self, sleep_s: float = 0.0) -> None:
        """Asks the process to end, after a look at what it holds.

        Args:
            sleep_s: How long it may take to keep what it has computed; 0: that is forgotten.
        """
        self._memory.ended_well(self.spec)
        gevent.spawn(self._stop, sleep_s)

    def kill(self, reason: str | Said) -> None:
        """Ends the process without asking it; `reason` becomes the reason of its end."""
        if self._gone is None and self._process.poll() is None:
            self._kill_reason = self._kill_reason or reason
            self._process.kill()
            gevent.spawn_later(_KILL_WAIT_S, self._stop_reading)  # then it counts as gone all the same

    def _stop_reading(self) -> None:
        with contextlib.suppress(OSError):  # it has ended, and the socket is closed
            self._socket.shutdown(socket.SHUT_RDWR)

    def _stop(self, sleep_s: float) -> None:
        with gevent.Timeout(_LOOK_S, False):
            self.usage()  # what is freed is what it holds now
        room_bytes = 0 if self._bed is None else self._dormitory.room_in(self._bed)
        self.send(wire.Stop(sleep_s if room_bytes else 0.0, room_bytes))

    def _write(self) -> None:
        while (data := self._outbox.get()) is not None:
            try:
                self._socket.sendall(data)
            except OSError:
                return  # the reader finds out why

    def _listen(self) -> None:
        """Passes on what the engine writes to its stderr: its log, and what a dying library says last."""
        with self._process.stderr as stderr:
            while line := stderr.readline(_LINE_BYTES):
                text = line.decode("utf-8", "replace").rstrip("\n")
                self._last_words.append(text)
                with contextlib.suppress(OSError):  # on a full disk its log is lost, and no more than that
                    print(text, file=sys.stderr)

    def _read(self) -> None:
        decoder = wire.frames_from_engine()
        try:
            while data := self._socket.recv(_RECV_BYTES):
                self.last_heard = time.monotonic()
                for frame in decoder.feed(data):
                    self._dispatch(frame)
                if len(data) == _RECV_BYTES:
                    gevent.sleep(0)  # more is waiting, and recv would not let anybody else run
        except OSError as error:
            log.debug(said("log_engine_socket", pid=self.pid, reason=error))
        except framing.WireError as error:
            log.error(said("log_engine_nonsense", pid=self.pid, reason=error))
        finally:
            self._bury()

    def _dispatch(self, frame: wire.FromEngine) -> None:
        if isinstance(frame, wire.Token):
            self._deliver(frame)
        elif isinstance(frame, wire.Beat):
            pass
        elif isinstance(frame, wire.Slept):
            self._dormitory.tuck_in(self.spec, frame.sleeping)
        elif isinstance(frame, wire.Embedded) or (isinstance(frame, wire.Failed) and frame.id in self._embeds):
            if (inbox := self._embeds.get(frame.id)) is not None:  # else it was forgotten meanwhile
                inbox.put(frame)
        elif isinstance(frame, (wire.Loading, wire.Ready)) or (isinstance(frame, wire.Failed) and frame.id == 0):
            if isinstance(frame, wire.Ready):
                self.fingerprint = _fingerprint(frame, self.spec)
                self.defaults = frame.defaults
                if not self.spec.is_vocab_only:
                    self._degraded = frame.degraded
                    gevent.spawn(self.usage)  # what it takes is remembered
            self._notify(self, frame)
        elif frame.id in self._asked:
            self._asked[frame.id].set(frame)
        elif not isinstance(frame, (wire.Counted, wire.Tokens, wire.Plain)):
            self._deliver(frame)

    def _deliver(self, frame: wire.Accepted | wire.Progress | wire.Token | wire.Done | wire.Failed) -> None:
        if isinstance(frame, wire.Done):
            self._kept_bytes = frame.kept_bytes
        channel = self._channels.get(frame.id)
        if channel is None:
            return  # forgotten meanwhile
        channel.put(frame)
        if isinstance(frame, wire.Failed) or (isinstance(frame, wire.Done) and frame.is_last):
            self._release(frame.id)
        elif channel.is_ended:  # its reader was too slow
            self.forget(frame.id)

    def _wait(self) -> int | None:
        """The exit status; None if it does not end, as it may be held in a driver's call even when it is killed."""
        try:
            code: int = self._process.wait(timeout=_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return None
        return code

    def _bury(self) -> None:
        code = self._wait()
        if code is None:
            self.kill(said("engine_went_on"))
            code = self._wait()
        self._outbox.put(None)
        self._socket.close()
        self._listener.join(_LAST_WORDS_WAIT_S)
        labels = tuple(channel.label for channel in self._channels.values())
        self._dormitory.vacate(self.spec)
        reason = self._kill_reason or _exit_reason(code, tuple(self._last_words))
        if is_out_of_memory(reason):
            self._memory.ran_out(self.spec)
        gone = self._gone = Gone(reason, labels, tuple(self._last_words))
        self._notify(self, gone)  # first: who loses this engine now asks for another one
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.break_off(gone.reason)
        for request_id, result in self._asked.items():
            result.set(_crashed(request_id, gone.reason))
        for request_id, inbox in self._embeds.items():
            inbox.put(_crashed(request_id, gone.reason))
        self._notify(self, self._footprint.freed(self.pid))


def _crashed(request_id: int, reason: str | Said) -> wire.Failed:
    return wire.Failed(request_id, "engine_crashed", "", {"reason": reason})


def _exit_reason(code: int | None, last_words: Sequence[str]) -> Said:
    if code is None:
        return said("engine_does_not_end")
    is_aborted = code == -signal.SIGABRT
    short_of = shortage(last_words)
    if code == OUT_OF_MEMORY_STATUS or (is_aborted and short_of):
        return said("engine_out_of_memory", words=short_of or said("none"))
    if is_aborted and (reason := abort_reason(last_words)):
        return reason
    if code >= 0:
        # A library is missing, and hoshikage_core has a remedy.
        missing = _MISSING.fullmatch(last_words[-1]) if last_words else None
        return said("engine_cannot_start", words=missing[1]) if missing else said("engine_exit_status", status=code)
    try:
        return said("engine_signal", signal=signal.Signals(-code).name)
    except ValueError:
        return said("engine_signal", signal=-code)


def _fingerprint(ready: wire.Ready, spec: EngineSpec) -> str:
    made_of = repr((ready.build, ready.name, ready.info, spec)).encode()
    return f"fp_{hashlib.sha256(made_of).hexdigest()[:12]}"
