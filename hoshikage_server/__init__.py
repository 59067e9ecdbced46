"""Hoshikage's OpenAI-compatible server: HTTP on one side, an engine process per model on the other."""

__version__ = "0.1.0"
