"""A running engine process, as the server sees it: frames in, frames out, and its end."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent import socket, subprocess
from gevent.queue import SimpleQueue

from hoshikage_server.engines import wire
from hoshikage_server.engines.channel import Channel

log = logging.getLogger(__name__)

_RECV_BYTES = 64 * 1024
_STDERR = 2
_EXIT_WAIT_S = 1.0  # between closing its socket and ending, a healthy process needs milliseconds


class Gone:
    """The process has ended; `reason` says how, in words, and `n_answers` how many answers ended with it."""

    def __init__(self, reason: str, n_answers: int) -> None:
        self.reason = reason
        self.n_answers = n_answers


EngineEvent = wire.Loading | wire.Ready | wire.Failed | Gone
Notify = Callable[["EngineProcess", EngineEvent], None]


class EngineProcess:
    """Starts an engine process and carries frames to and from it.

    Everything here that is not a greenlet of its own returns without switching, so that cleaning up after a request
    cannot be interrupted half-way.

    Args:
        command: The engine program; `--fd N --parent PID` is appended.
        spec: The model it shall load.
        notify: Told about the load and the end of the process. Must not switch greenlets.
    """

    def __init__(self, command: Sequence[str], spec: wire.EngineSpec, notify: Notify) -> None:
        self.spec = spec
        self.last_heard = time.monotonic()
        self.fingerprint = ""
        self._notify = notify
        self._ids = itertools.count(1)
        self._channels: dict[int, Channel] = {}
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()  # bounded by the lane: two frames a request
        self._socket, theirs = socket.socketpair()
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [*command, "--fd", str(theirs.fileno()), "--parent", str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                start_new_session=True,  # Ctrl-C at the terminal is for the server, which ends its engine itself
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self.send(wire.Load(spec, log.getEffectiveLevel()))
        self._reader = gevent.spawn(self._read)
        gevent.spawn(self._write)

    @property
    def pid(self) -> int:
        """The process id."""
        pid: int = self._process.pid
        return pid

    def send(self, frame: wire.Frame) -> None:
        """Sends a frame as soon as the engine reads it."""
        self._outbox.put(wire.encode(frame))

    def generate(self, make_channel: Callable[[int], Channel], **question: Any) -> Channel:
        """Asks for an answer; its frames arrive in the channel."""
        channel = make_channel(next(self._ids))
        frame = wire.Generate(id=channel.id, **question)
        data = wire.encode(frame)
        self._channels[channel.id] = channel
        self._outbox.put(data)
        return channel

    def cancel(self, channel: Channel) -> None:
        """Forgets an answer; the engine stops computing it."""
        if self._channels.pop(channel.id, None) is not None:
            self.send(wire.Cancel(channel.id))

    def kill(self) -> None:
        """Ends the process without asking it."""
        if self._process.poll() is None:
            self._process.kill()

    def _write(self) -> None:
        while (data := self._outbox.get()) is not None:
            try:
                self._socket.sendall(data)
            except OSError:
                return  # the reader finds out why

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
            log.debug("engine %d: %s", self.pid, error)
        except wire.WireError as error:
            log.error("engine %d sent nonsense: %s", self.pid, error)
        finally:
            self._bury()

    def _dispatch(self, frame: wire.FromEngine) -> None:
        if isinstance(frame, wire.Beat):
            return
        if isinstance(frame, (wire.Loading, wire.Ready)) or (isinstance(frame, wire.Failed) and frame.id == 0):
            if isinstance(frame, wire.Ready):
                self.fingerprint = _fingerprint(frame, self.spec)
            self._notify(self, frame)
            return
        channel = self._channels.get(frame.id)
        if channel is None:
            return  # cancelled meanwhile
        if not channel.put(frame):
            self.cancel(channel)
        elif channel.is_ended:
            del self._channels[frame.id]

    def _bury(self) -> None:
        try:
            code = self._process.wait(timeout=_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()  # SIGKILL cannot be refused
        self._outbox.put(None)
        self._socket.close()
        reason = _exit_reason(code)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.end(wire.Failed(channel.id, "engine_crashed", "", {"reason": reason}))
        self._notify(self, Gone(reason, len(channels)))


def _exit_reason(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _fingerprint(ready: wire.Ready, spec: wire.EngineSpec) -> str:
    made_of = repr((ready.build, ready.name, ready.info, spec)).encode()
    return f"fp_{hashlib.sha256(made_of).hexdigest()[:12]}"
