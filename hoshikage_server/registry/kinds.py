"""GGUF files that hold no model of their own: parts of one, and what was made on the way to one."""

from __future__ import annotations

from pathlib import Path

from hoshikage_server.registry.gguf_header import Header

_ARCHS = {"clip": "scan_projector"}
_TYPES = {"mmproj": "scan_projector", "adapter": "scan_adapter", "lora": "scan_adapter", "imatrix": "scan_imatrix"}


def why_no_model(header: Header, file: Path, *, is_whole: bool) -> str | None:
    """The code of a message that says of a `path` what it is instead; None of what may be a model.

    Args:
        header: The file's.
        file: Its name tells of projectors that do not say so themselves.
        is_whole: It is all of the model, not one part.
    """
    kind = _TYPES.get(str(header.values.get("general.type")))
    kind = kind or _ARCHS.get(str(header.values.get("general.architecture")))
    if kind is None and file.name.lower().startswith("mmproj"):
        return "scan_projector"
    return kind or ("scan_no_weights" if is_whole and not header.n_tensors else None)
