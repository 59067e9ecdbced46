"""A look at what may crash or hang, in a process of its own: `python -m hoshikage_server.doctor.probe WHAT ...`.

It prints JSON; what is wrong is a field of it as long as the process lives to tell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from hoshikage_server.engines import nvml
from hoshikage_server.messages import Sentence, said, told_by_system

LIMIT_S = 12.0
_RPC_ANSWER_S = 3


class ProbeError(Exception):
    """The process did not tell; `reason` is why, `is_crash` whether it died of it."""

    def __init__(self, reason: str | Sentence, *, is_crash: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_crash = is_crash


def ask(what: str, *arguments: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Has a process look.

    Raises:
        ProbeError: It died, or did not end.
    """
    command = [sys.executable, "-m", __spec__.name, what, *arguments]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=limit_s
        )
    except subprocess.TimeoutExpired:
        raise ProbeError(said("inspection_timeout", seconds=f"{limit_s:g}")) from None
    except OSError as error:
        raise ProbeError(told_by_system(error)) from error
    if result.returncode:
        words = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        raise ProbeError(words, is_crash=result.returncode < 0)
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


def _backend() -> dict[str, Any]:
    try:
        import hoshikage_core
        from hoshikage_core.memory import available_bytes
    except ImportError as error:
        return {"error": str(error)}
    info = hoshikage_core.build_info()
    return {
        "backend": info.backend,
        "backends": info.backends,
        "gpus": info.gpus,
        "gpu_problem": info.gpu_problem,
        "cuda_version": info.cuda_version,
        "cuda_archs": info.cuda_archs,
        "cpu_features": info.cpu_features,
        "commit": info.llama_cpp_commit,
        "available_bytes": available_bytes(),
    }


def _gpu() -> dict[str, Any]:
    import pynvml

    use = nvml.look()
    if isinstance(use, nvml.Problem):
        return {"error": use.text, "has_library": not use.is_final}
    pynvml.nvmlInit()
    try:
        cuda, driver = pynvml.nvmlSystemGetCudaDriverVersion(), pynvml.nvmlSystemGetDriverVersion()
    finally:
        pynvml.nvmlShutdown()
    return {
        "driver": driver.decode("utf-8", "replace") if isinstance(driver, bytes) else driver,
        "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
        "gpus": [
            {"name": device.name, "free_bytes": device.free_bytes, "total_bytes": device.total_bytes}
            for device in use.devices
        ],
    }


def _no_gpu() -> dict[str, Any]:
    from hoshikage_core.devices import gpu_memory
    from hoshikage_server.engines.no_gpu import why_none

    return {"why": None if gpu_memory() else msgspec.to_builtins(why_none(expects=True))}


def _rpc(*servers: str) -> dict[str, Any]:
    """Why each of them cannot be used."""
    try:
        from hoshikage_server.engines.failures import of_reason
    except ImportError as error:
        return {"error": str(error)}
    from hoshikage_core import RpcServerError
    from hoshikage_core.rpc import require_servers

    def problem(server: str) -> Any:
        try:
            require_servers([server], _RPC_ANSWER_S)
        except RpcServerError as error:
            return msgspec.to_builtins(of_reason(error.reason))
        return None

    with ThreadPoolExecutor(len(servers)) as pool:
        return dict(zip(servers, pool.map(problem, servers), strict=True))


PROBES: dict[str, Callable[..., dict[str, Any]]] = {"backend": _backend, "gpu": _gpu, "no_gpu": _no_gpu, "rpc": _rpc}

if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(PROBES[sys.argv[1]](*sys.argv[2:]))}\n")
