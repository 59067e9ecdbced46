"""Ctrl-C before a command has begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from asking import environment

TELLING = (sys.executable, "-X", "importtime", "-m", "hoshikage_server")  # names modules as they have been imported
# One after the other, from the first one on that is imported when our own code runs; Python itself starts before.
MOMENTS = ("click.exceptions", "msgspec", "hoshikage_server.messages.catalogue", "hoshikage_server.settings")
MOMENTS += ("hoshikage_server.cli.words", "hoshikage_server.cli.bench", "hoshikage_server.cli")


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_it_starts(tmp_path: Path, moment: str) -> None:
    """It ends as one that is interrupted, and nobody sees a traceback. At last it would wait for what is piped in."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*TELLING, "run", "x"], env=environment(tmp_path), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any(line.rpartition("|")[2].strip() == moment for line in lines), "it is imported"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    told = [line for line in err.splitlines() if line and not line.startswith("import time:")]
    assert process.returncode in (130, -signal.SIGINT), err  # shells tell a death by SIGINT as 130
    assert told == []
