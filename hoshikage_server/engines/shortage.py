"""Out of memory, in the last words of an engine: a library that ends the process over it leaves nothing else.

llama.cpp's CUDA backend logs "CUDA error: out of memory" and aborts; hoshikage_core's handler writes the log's last
errors to stderr before that.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_STATUS = 112  # of an engine process that has ended because an allocation failed

# Of cudaGetErrorString and cuGetErrorString, ggml's backends, and cublasGetStatusString.
_WORDS = (
    *("out of memory", "cudaMalloc failed", "failed to allocate", "unable to allocate", "insufficient memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "the resource allocation failed"),
)
_LINES = 4  # more is older than its end
_CHARACTERS = 200


def told_in(last_words: Iterable[str]) -> str | None:
    """What speaks of it, if it does."""
    clauses = (clause.strip() for line in [*last_words][-_LINES:] for clause in line.split(";"))
    return next((clause[:_CHARACTERS] for clause in clauses if any(words in clause for words in _WORDS)), None)
