"""Hoshikage's OpenAI-compatible server: HTTP on one side, an engine process per model on the other."""

__version__ = "0.1.0"  # the one place; asking the installed package for it takes longer than starting Python
