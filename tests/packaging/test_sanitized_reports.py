"""What counts in the sanitizers' reports. The reports are cut from real runs (GCC 12)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from build_support.sanitized import _environment, read_reports
from build_support.source import ROOT

OUR_LEAK = """
==1==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 16 byte(s) in 1 object(s) allocated from:
    #0 0x7f58ed2b94c8 in operator new(unsigned long) ../../../../src/libsanitizer/asan/asan_new_delete.cpp:95
    #1 0x7f58d81d519e in llama_sampler_init llama.cpp/src/llama-sampler.cpp:361
    #2 0x7f58d605756c in hsk_sampler_new /home/me/hoshikage/csrc/sampling.cpp:149
    #3 0x7f58ec9a6cc0 in cfunction_call Objects/methodobject.c:553

SUMMARY: AddressSanitizer: 16 byte(s) leaked in 1 allocation(s).
"""
PYTHONS_LEAK = """
==1==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 336 byte(s) in 6 object(s) allocated from:
    #0 0x7fb6be8b89cf in __interceptor_malloc ../../../../src/libsanitizer/asan/asan_malloc_linux.cpp:69
    #1 0x7fb6be4d2c10 in PyObject_Malloc Objects/obmalloc.c:712
    #2 0x7fb6be4d2c10 in type_new_alloc Objects/typeobject.c:3211

Indirect leak of 16 byte(s) in 1 object(s) allocated from:
    #0 0x7f58ed2b94c8 in operator new(unsigned long) ../../../../src/libsanitizer/asan/asan_new_delete.cpp:95
    #1 0x7f58d605756c in hsk_model_load /home/me/hoshikage/csrc/model.cpp:120

SUMMARY: AddressSanitizer: 352 byte(s) leaked in 7 allocation(s).
"""
LLAMA_CPPS_LEAK = """
==1==ERROR: LeakSanitizer: detected memory leaks

Direct leak of 128 byte(s) in 8 object(s) allocated from:
    #0 0x7fa1abab94c8 in operator new(unsigned long) ../../../../src/libsanitizer/asan/asan_new_delete.cpp:95
    #1 0x7fa192d7dc1a in rpc_dispatcher::event_new(ggml_backend_device*) llama.cpp/ggml/src/ggml-rpc/ggml-rpc.cpp:506
    #2 0x7fa1924f7448 in fit_layers /home/me/hoshikage/csrc/memory.cpp:113

SUMMARY: AddressSanitizer: 128 byte(s) leaked in 8 allocation(s).
"""
USE_AFTER_FREE = """
=================================================================
==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010 at pc 0x7f bp 0x7f sp 0x7f
READ of size 8 at 0x602000000010 thread T0
    #0 0x7f58d605756c in hsk_step /home/me/hoshikage/csrc/context.cpp:250
==1==ABORTING
"""
UNDEFINED = "llama.cpp/ggml/src/ggml.c:100:12: runtime error: left shift of negative value -1\n    #0 0x7f in f\n"


def test_a_leak_counts_when_our_module_allocated_it() -> None:
    """Python's own leaks, and what hangs off them, are not ours to mend; nor is what llama.cpp is known to keep."""
    findings = read_reports([OUR_LEAK, PYTHONS_LEAK, LLAMA_CPPS_LEAK])
    assert findings.errors == []
    assert len(findings.leaks) == 1
    assert "llama_sampler_init" in findings.leaks[0]


def test_memory_errors_always_count() -> None:
    """A leak report is not one of them."""
    findings = read_reports([USE_AFTER_FREE, PYTHONS_LEAK])
    assert len(findings.errors) == 1
    assert "heap-use-after-free" in findings.errors[0]


def test_undefined_behaviour_is_counted_by_place() -> None:
    """llama.cpp's is listed once, with how often it happened."""
    assert read_reports([UNDEFINED, UNDEFINED]).undefined == {
        "llama.cpp/ggml/src/ggml.c:100: left shift of negative value -1": 2
    }


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has no safe path")
def test_processes_that_tests_start(tmp_path: Path) -> None:
    """They have the sanitized module too: Python would look into the checkout first."""
    (tmp_path / "hoshikage_core").mkdir()
    (tmp_path / "hoshikage_core" / "__init__.py").touch()
    environ = {**_environment(tmp_path, tmp_path), "LD_PRELOAD": ""}
    command = [sys.executable, "-c", "import hoshikage_core; print(hoshikage_core.__file__)"]
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    assert Path(told.strip()).is_relative_to(tmp_path)
