"""The extension module hoshikage_core/_native.abi3.so: csrc, the wrapper CFFI writes for its header, and llama.cpp."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sysconfig
from pathlib import Path

from .cache import file_sha256, files_sha256, locked, publish_file
from .cmake import run_cmake
from .errors import BuildError, explained_os_errors, say
from .llama import build_llama
from .options import Options, read_options
from .source import ROOT, ensure_source, read_pin, source_commit

CSRC = ROOT / "csrc"
_BUNDLED_PYTHON = Path(__file__).parent / "python_abi3"
_MODULES_KEPT = 8
_SANITIZED_MODULES_KEPT = 2  # some 300 MB each


def build_module(target: Path, work: Path) -> None:
    """Makes the extension module at `target`; only what changed since the last time is compiled again.

    Args:
        target: Where the module goes.
        work: A folder for object files, kept between builds.
    """
    options = read_options()
    source = ensure_source()
    llama = build_llama(source, options)
    python = python_include()
    wrapper = wrapper_text(options, source)
    key = _module_key(llama, python, wrapper)
    # Beside the libraries it was linked with, so that a fresh clone or a wheel of the same sources compiles nothing.
    cached = llama / "modules" / f"{key}.abi3.so"
    with locked(cached.parent):
        if not cached.exists():
            compile_module(options, llama, python, wrapper, work / llama.name, cached)
        cached.touch()
        n_kept = _SANITIZED_MODULES_KEPT if options.sanitize else _MODULES_KEPT
        for old in sorted(cached.parent.iterdir(), key=lambda file: file.stat().st_mtime)[:-n_kept]:
            old.unlink()
        if not target.exists() or file_sha256(target) != file_sha256(cached):
            publish_file(cached, target)


def compile_module(options: Options, llama: Path, python: Path, wrapper: str, work: Path, target: Path) -> None:
    """Compiles csrc and the wrapper in `work` and links them with the built libraries into `target`."""
    say("csrc をビルドしています", "building csrc")
    wrapper_file = work / "_native.c"
    flags = {
        **options.cmake_options(),
        "HSK_LLAMA": str(llama),
        "HSK_WRAPPER": str(wrapper_file),
        "HSK_PYTHON_INCLUDE": str(python),
        "HSK_CUDA": "ON" if options.cuda else "OFF",
        "HSK_NATIVE": "ON" if options.native else "OFF",
    }
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        if not wrapper_file.exists() or wrapper_file.read_text(encoding="utf-8") != wrapper:
            wrapper_file.write_text(wrapper, encoding="utf-8")
        run_cmake(CSRC, work, flags, options.environment(), targets=("_native",))
    publish_file(work / "_native.abi3.so", target)


def _module_key(llama: Path, python: Path, wrapper: str) -> str:
    parts = {
        "llama": llama.name,
        "csrc": files_sha256(CSRC, (path for path in CSRC.iterdir() if path.is_file())),
        "wrapper": wrapper,
        "python": str(python),
        "script": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def python_include(own: Path | None = None) -> Path:
    """Returns the folder of Python.h: this Python's, else our own few declarations of the stable ABI.

    Debian and Ubuntu keep the headers in a package of their own that a newcomer seldom has.
    """
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise BuildError(
            "GIL のない Python にはまだ対応していません。通常の Python を使ってください。",
            "Python without a GIL is not supported yet: use an ordinary one.",
        )
    own = own or Path(sysconfig.get_path("include"))
    return own if (own / "Python.h").exists() else _BUNDLED_PYTHON


def wrapper_text(options: Options, source: Path) -> str:
    """Returns the C file that CFFI writes for csrc/hoshikage.h, with the description of this build in it."""
    import cffi

    header = subprocess.run(
        [*options.c.command, "-x", "c", "-E", "-P", "-DHSK_CDEF", str(CSRC / "hoshikage.h")],
        capture_output=True,
        text=True,
    )
    if header.returncode != 0:
        raise BuildError(
            f"csrc/hoshikage.h を読めません: {header.stderr.strip()}",
            f"Cannot read csrc/hoshikage.h: {header.stderr.strip()}",
        )
    ffi = cffi.FFI()
    ffi.cdef(header.stdout + "extern const char HSK_BUILD[];\n")
    described = json.dumps(json.dumps(describe_build(options, source)))
    preamble = f'#include "hoshikage.h"\nstatic const char HSK_BUILD[] = {described};\n'
    ffi.set_source("hoshikage_core._native", preamble)
    text = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it writes
        ffi.emit_c_code(text)
    return text.getvalue()


def describe_build(options: Options, source: Path) -> dict[str, object]:
    """Returns what the module says about itself; hoshikage_core.build_info() shows it."""
    pin = read_pin()
    return {
        "backend": options.backend,
        "cuda": {"version": options.cuda.dotted_version, "archs": options.cuda.archs} if options.cuda else None,
        "native": options.native,
        "sanitize": list(options.sanitize),
        "build_type": options.build_type,
        "compiler": options.cxx.name,
        "flags": dict(options.flags),
        "llama_cpp": {"commit": source_commit(source), "sdist": pin.file_name, "sha256": pin.sha256},
    }
