"""JSON schemas for grammars; the one place that says where from."""

from __future__ import annotations

try:
    from hoshikage_core.json_schema import complete_grammar, enforceable  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from collections.abc import Mapping
    from typing import Any

    def enforceable(schema: Mapping[str, Any] | bool, *, strict: bool = True) -> dict[str, Any]:
        """The schema as it is."""
        return dict(schema) if isinstance(schema, Mapping) else {}

    def complete_grammar(grammar: str) -> str:
        """The grammar as it is."""
        return grammar


__all__ = ["complete_grammar", "enforceable"]
