"""Runs tests on a module built with AddressSanitizer and UndefinedBehaviorSanitizer, and judges what they report.

Usage: python -m build_support.sanitized FOLDER [PYTEST ARGUMENT ...], FOLDER holding the sanitized hoshikage_core.

LeakSanitizer's suppressions match any frame of a stack, and every stack of ours has Python below it, so suppressing
Python's leaks would hide ours. Instead everything is reported to files, and a leak counts when our module allocated it.
llama.cpp's own undefined behaviour is listed but does not fail; in csrc it ends the process at once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .compiler import cxx_compiler

_OURS = re.compile(r"/csrc/|llama\.cpp/|_native\.abi3\.so| hsk_")
# llama.cpp keeps what it knows of RPC servers as long as the process lives, and of each of their events 16 bytes.
_KNOWN = re.compile(r"#1 .* in (ggml_backend_rpc_add_server|ggml_backend_rpc_buffer_type|rpc_dispatcher::event_new)\b")
_LEAK = re.compile(r"^Direct leak of .*?(?=^\s*$|\Z)", re.MULTILINE | re.DOTALL)
_UNDEFINED = re.compile(r"^(\S+?:\d+):\d+: runtime error: (.*)$", re.MULTILINE)
_ERROR = re.compile(r"^==\d+==\s*ERROR: AddressSanitizer.*?(?=^==\d+==ABORTING|\Z)", re.MULTILINE | re.DOTALL)


@dataclass
class Findings:
    """What the sanitizers reported.

    Attributes:
        errors: Memory errors: use after free, overflow and the like.
        leaks: Leaks of memory that our module allocated.
        undefined: Undefined behaviour: how often, by place and kind.
    """

    errors: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    undefined: Counter[str] = field(default_factory=Counter)


def read_reports(reports: Iterable[str]) -> Findings:
    """Sorts the sanitizers' reports into what is to be judged."""
    findings = Findings()
    for report in reports:
        findings.errors += _ERROR.findall(report)
        findings.leaks += [leak for leak in _LEAK.findall(report) if _OURS.search(leak) and not _KNOWN.search(leak)]
        findings.undefined.update(f"{place}: {what}" for place, what in _UNDEFINED.findall(report))
    return findings


def _environment(folder: Path, reports: Path) -> dict[str, str]:
    def library(name: str) -> str:
        command = [*cxx_compiler(os.environ).command, f"-print-file-name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    log = f"log_path={reports}/report"
    return {
        **os.environ,
        # The sanitizer must come first in the process, and finds __cxa_throw only if libstdc++ is there by then.
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so.6')}",
        "PYTHONPATH": str(folder.resolve()),
        "PYTHONSAFEPATH": "1",  # else processes that tests start take the module of the checkout
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=1:detect_stack_use_after_return=1:{log}",
        "LSAN_OPTIONS": "exitcode=0:print_suppressions=0",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
    }


def main(folder: Path, arguments: list[str]) -> int:
    """Runs pytest and returns 1 if it fails, or if the sanitizers found something that counts."""
    with tempfile.TemporaryDirectory(prefix="hoshikage-sanitized-") as reports:
        environment = _environment(folder, Path(reports))
        pytest = [sys.executable, str(Path(sys.executable).with_name("pytest")), *(arguments or ["tests/core"])]
        failed = subprocess.run(pytest, env=environment).returncode
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in Path(reports).iterdir()]
    findings = read_reports(texts)
    for text in [*findings.errors, *findings.leaks]:
        print(text)
    for text, count in findings.undefined.most_common():
        print(f"undefined behaviour, {count} times: {text}")
    print(f"sanitizers: {len(findings.errors)} memory errors, {len(findings.leaks)} leaks of ours")
    return int(bool(failed or findings.errors or findings.leaks))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
