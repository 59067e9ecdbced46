"""Why an engine ended, in its last words: a library that ends the process leaves nothing else.

llama.cpp logs what went wrong ("CUDA error: out of memory") and aborts; hoshikage_core's handler writes the log's last
errors to stderr before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoshikage_server.messages import Said, said

OUT_OF_MEMORY_STATUS = 112  # of an engine process that has ended because an allocation failed

# Of cudaGetErrorString and cuGetErrorString, ggml's backends, and cublasGetStatusString.
_OUT_OF_MEMORY = (
    *("out of memory", "cudaMalloc failed", "failed to allocate", "unable to allocate", "insufficient memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"),
)
_GPU_ERROR = "CUDA error: "
_NO_CODE = ("no kernel image is available", "compiled with an unsupported toolchain")  # the latter: for newer drivers
_WORKER_LOST = "Remote RPC server crashed"
_LINES = 4  # more is older than its end
_CHARACTERS = 200


def shortage(last_words: Sequence[str]) -> str | None:
    """What speaks of memory that was short, if anything does."""
    return next((clause for clause in _clauses(last_words) if any(words in clause for words in _OUT_OF_MEMORY)), None)


def abort_reason(last_words: Sequence[str]) -> Said | None:
    """What else llama.cpp has ended the process for, where that is for people to mend."""
    for clause in _clauses(last_words):
        if _WORKER_LOST in clause:
            return said("engine_lost_worker")
        if clause.startswith(_GPU_ERROR):
            words = clause.removeprefix(_GPU_ERROR)
            return said(
                "engine_no_gpu_code" if any(map(words.__contains__, _NO_CODE)) else "engine_gpu_error", words=words
            )
    return None


def _clauses(last_words: Sequence[str]) -> Iterator[str]:
    for line in last_words[-_LINES:]:
        yield from (clause.strip()[:_CHARACTERS] for clause in line.split(";"))
