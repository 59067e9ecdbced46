"""Hoshikage's OpenAI-compatible server: HTTP on one side, an engine process per model on the other."""

from importlib.metadata import version

__version__ = version("hoshikage")
