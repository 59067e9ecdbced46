"""What went wrong on a GPU, in the last words of an engine: a library that ends the process leaves nothing else.

llama.cpp's CUDA backend logs "CUDA error: out of memory", or another one, and aborts; hoshikage_core's handler writes
the log's last errors to stderr before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoshikage_server.messages import Said, said

EXIT_STATUS = 112  # of an engine process that has ended because an allocation failed

# Of cudaGetErrorString and cuGetErrorString, ggml's backends, and cublasGetStatusString.
_WORDS = (
    *("out of memory", "cudaMalloc failed", "failed to allocate", "unable to allocate", "insufficient memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"),
)
_GPU_ERROR = "CUDA error: "
_NO_CODE = "no kernel image is available"  # compiled for other GPUs
_LINES = 4  # more is older than its end
_CHARACTERS = 200


def told_in(last_words: Sequence[str]) -> str | None:
    """What speaks of memory that was short, if anything does."""
    return next((clause for clause in _clauses(last_words) if any(words in clause for words in _WORDS)), None)


def gpu_error_in(last_words: Sequence[str]) -> Said | None:
    """Another error of a GPU."""
    found = next((clause for clause in _clauses(last_words) if clause.startswith(_GPU_ERROR)), None)
    if found is None:
        return None
    words = found.removeprefix(_GPU_ERROR)
    return said("engine_no_gpu_code" if _NO_CODE in words else "engine_gpu_error", words=words)


def _clauses(last_words: Sequence[str]) -> Iterator[str]:
    for line in last_words[-_LINES:]:
        yield from (clause.strip()[:_CHARACTERS] for clause in line.split(";"))
