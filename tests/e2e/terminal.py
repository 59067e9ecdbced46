"""A program at a pseudo terminal of its own, as a person has it in front of them."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """Starts a program; a context manager that ends it.

    Attributes:
        seen: All that it has written.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, n_columns: int = 100) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, n_columns, 0, 0))
        self._before = termios.tcgetattr(self._ours)
        # Nobody here answers where the cursor stands.
        env = {**environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=env, close_fds=True
        )
        os.close(theirs)
        self.seen = ""
        self._n_passed = 0

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def expect(self, text: str, timeout_s: float = 60) -> str:
        """Waits for a text after those that were waited for before, and returns what came up to it, without escapes."""
        deadline = time.monotonic() + timeout_s
        while (found := self.plain.find(text, self._n_passed)) < 0:
            assert self._read(deadline - time.monotonic()), f"{text!r} did not come: {self.plain[self._n_passed :]!r}"
        before = self.plain[self._n_passed : found]
        self._n_passed = found + len(text)
        return before

    @property
    def plain(self) -> str:
        return _ESCAPES.sub("", self.seen).replace("\r", "")

    @property
    def is_as_before(self) -> bool:
        """Whether lines are edited and echoed as they were."""
        return termios.tcgetattr(self._ours) == self._before

    def wait(self, timeout_s: float = 60) -> int:
        """Waits for the end, and returns the exit status."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(deadline - time.monotonic(), 0.1))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._ours)

    def _read(self, timeout_s: float) -> bool:
        if timeout_s <= 0 or not select.select([self._ours], [], [], timeout_s)[0]:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: it has ended
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)
