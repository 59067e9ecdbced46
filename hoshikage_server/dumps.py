"""Keeping what is in memory off the disk."""

from __future__ import annotations

import resource


def leave_none() -> None:
    """Has this process leave no core dump: it would hold prompts.

    A limit of one byte turns away those handlers too that 0 does not: core(5).
    """
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    if hard != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
