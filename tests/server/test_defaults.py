"""Sampling precedence below the request: the GGUF's own values, then llama.cpp's."""

from __future__ import annotations

import logging

import pytest

from hoshikage_core import SamplingParams
from hoshikage_server.engines.defaults import apply, recommended_sampling
from hoshikage_server.engines.sampling import Sampling


def test_recommended_values() -> None:
    """general.sampling.* of the GGUF, as text; the rest is llama.cpp's."""
    params = recommended_sampling({"general.sampling.temp": "0.6", "general.sampling.top_k": "20", "general.name": "x"})
    assert params == SamplingParams(temperature=0.6, top_k=20)


def test_nonsense_in_the_metadata_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """And said in the log; a model is not refused for it."""
    metadata = {"general.sampling.temp": "warm", "general.sampling.top_p": "7", "general.sampling.top_k": "5"}
    with caplog.at_level(logging.WARNING, "hoshikage_server"):
        assert recommended_sampling(metadata) == SamplingParams(top_k=5)
    assert len(caplog.records) == 2


def test_the_request_wins() -> None:
    """Also with a 0."""
    recommended = SamplingParams(temperature=0.6, top_k=20)
    assert apply(Sampling(temperature=0.0, seed=1), recommended) == SamplingParams(temperature=0, top_k=20, seed=1)
