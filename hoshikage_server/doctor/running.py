"""Running checks: all at once, each within its time, whatever it does."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from hoshikage_server.doctor.finding import Finding
from hoshikage_server.messages import said

Check = Callable[[], list[Finding]]

LIMIT_S = 15.0


def run(checks: Mapping[str, Check], limit_s: float = LIMIT_S) -> Iterator[Finding]:
    """What checks find, in their order.

    Args:
        checks: By what they look at.
        limit_s: How long all of them may take; those that take longer are left behind.
    """
    deadline = time.monotonic() + limit_s
    answers = {name: _start(name, check) for name, check in checks.items()}
    for name, answer in answers.items():
        try:
            yield from answer.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield Finding(name, "error", said("doctor_too_slow", seconds=f"{limit_s:g}"))


def _start(name: str, check: Check) -> queue.SimpleQueue[list[Finding]]:
    answer: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()

    def work() -> None:
        try:
            found = check()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            found = [Finding(name, "error", said("doctor_check_failed", reason=reason))]
        answer.put(found)

    threading.Thread(target=work, name=name, daemon=True).start()
    return answer
