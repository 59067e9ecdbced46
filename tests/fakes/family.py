"""A process with relatives, to be started as an engine is. Arguments, each `WHAT:MIB`, name them and what they hold:

    child       a child                                    orphan      a grandchild whose parent has ended
    setsid      a child with a session of its own          daemon      an orphan with a session of its own
    bare        a child with an empty environment          zombie      a child that has ended; nobody asks how
    half        a child whose first thread has ended       self        this process
    mapped      this process too, but it maps a file

When all hold what they shall, it writes their pids to stdout, a JSON object. It lives until its stdin is closed, the
others until they are killed (or for a minute).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]  # of this thread only
held: list[Any] = []


def hold(n_bytes: int) -> None:
    held.append(b"x" * n_bytes)


def say(what: str, tell: int) -> None:
    os.write(tell, f"{what} {os.getpid()}\n".encode())
    os.close(tell)


def say_when_half(tell: int) -> None:
    while "State:\tZ" not in Path("/proc/self/status").read_text():
        time.sleep(0.001)
    say("half", tell)
    signal.pause()


def live(what: str, n_bytes: int, tell: int) -> None:
    signal.alarm(60)
    hold(n_bytes)
    if what == "half":
        threading.Thread(target=say_when_half, args=(tell,)).start()
        ctypes.CDLL(None).syscall(SYS_EXIT, 0)
    say(what, tell)
    while True:
        signal.pause()


def beget(what: str, n_bytes: int, tell: int) -> int:
    """Returns the pid of the relative's first process, in this process."""
    if pid := os.fork():
        return pid
    if what == "zombie":
        os._exit(0)
    if what in ("setsid", "daemon"):
        os.setsid()
    if what in ("orphan", "daemon") and os.fork():
        os._exit(0)
    if what == "bare":
        os.set_inheritable(tell, True)
        os.execve(sys.executable, [sys.executable, __file__, f"--live:{n_bytes}:{tell}"], {})
    live(what, n_bytes, tell)
    raise AssertionError


def map_file(n_bytes: int) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * n_bytes)
        file.flush()
        held.append(mapped := mmap.mmap(file.fileno(), n_bytes, prot=mmap.PROT_READ))
        sum(mapped[i] for i in range(0, n_bytes, mmap.PAGESIZE))


def main() -> None:
    pids = {"self": os.getpid()}
    listen, tell = os.pipe()
    for argument in sys.argv[1:]:
        what, _, mib = argument.partition(":")
        if what == "--live":
            n_bytes, _, descriptor = mib.partition(":")
            live("bare", int(n_bytes), int(descriptor))
        n_bytes = int(mib or 0) << 20
        if what == "self":
            hold(n_bytes)
        elif what == "mapped":
            map_file(n_bytes)
        else:
            pid = beget(what, n_bytes, tell)
            if what == "zombie":
                pids[what] = pid
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            elif what in ("orphan", "daemon"):
                os.waitpid(pid, 0)
    os.close(tell)
    with open(listen) as lines:  # until the last of them has closed its end
        pids |= {what: int(pid) for what, pid in (line.split() for line in lines)}
    print(json.dumps(pids), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
