"""What to do when the native module, built for CUDA, does not find CUDA's libraries: the loader only says which."""

from __future__ import annotations

import re

_MISSING = re.compile(r"(lib(?:cudart|cublas|cublasLt)\.so\.(\d+))\S*: cannot open shared object file")


def explained(error: ImportError) -> ImportError:
    """Returns the error to raise for one of importing the module: with a remedy if a library of CUDA is missing."""
    found = _MISSING.search(str(error))
    if not found:
        return error
    library, major = found[1], int(found[2])
    packages = " ".join(
        f"nvidia-{name}-cu{major}" if major < 13 else f"'nvidia-{name}=={major}.*'"
        for name in ("cuda-runtime", "cublas")
    )
    return ImportError(
        f"{library} was not found: hoshikage was built for CUDA {major}. In a checkout, `make build` gets what is "
        f"missing; for an installed package, `pip install {packages}` does. HOSHIKAGE_BACKEND=cpu builds without CUDA.",
        name=error.name,
        path=error.path,
    )
