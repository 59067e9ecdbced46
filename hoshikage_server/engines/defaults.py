"""Where sampling values come from: the request, else the model map, else the GGUF's own, else llama.cpp's defaults.

The server has merged the first two into one `Sampling`; the engine process adds the rest.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

from hoshikage_core import HoshikageError, SamplingParams
from hoshikage_server.engines.failures import in_words
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.messages import said

log = logging.getLogger("hoshikage_server.engines.worker")

_FROM_METADATA: dict[str, tuple[str, Callable[[str], float]]] = {
    "general.sampling.temp": ("temperature", float),
    "general.sampling.top_k": ("top_k", int),
    "general.sampling.top_p": ("top_p", float),
    "general.sampling.min_p": ("min_p", float),
    "general.sampling.xtc_probability": ("xtc_probability", float),
    "general.sampling.xtc_threshold": ("xtc_threshold", float),
    "general.sampling.penalty_last_n": ("repeat_last_n", int),
    "general.sampling.penalty_repeat": ("repeat_penalty", float),
    "general.sampling.mirostat": ("mirostat", int),
    "general.sampling.mirostat_tau": ("mirostat_tau", float),
    "general.sampling.mirostat_eta": ("mirostat_eta", float),
}


def recommended_sampling(metadata: Mapping[str, str]) -> SamplingParams:
    """llama.cpp's defaults, with what the GGUF recommends; values that make no sense are left out."""
    params = SamplingParams()
    for key, (name, convert) in _FROM_METADATA.items():
        if key in metadata:
            try:
                value: Any = convert(metadata[key])
                params = dataclasses.replace(params, **{name: value})
            except (ValueError, HoshikageError) as error:
                log.warning(said("log_metadata_ignored", key=key, reason=in_words(error)))
    return params


def apply(sampling: Sampling, defaults: SamplingParams) -> SamplingParams:
    """The defaults with the values that were asked for."""
    values = {name: getattr(sampling, name) for name in sampling.__struct_fields__}
    return dataclasses.replace(defaults, **{name: value for name, value in values.items() if value is not None})
