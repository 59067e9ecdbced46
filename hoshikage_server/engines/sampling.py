"""How tokens are chosen: the values, and the bounds that a request, a persona and the model map have in common."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

INT32_MAX = 2**31 - 1
Text = Annotated[str, Meta(min_length=1)]
Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopK = Annotated[int, Meta(ge=-1, le=INT32_MAX)]
RepeatPenalty = Annotated[float, Meta(ge=0.01, le=100)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count32 = Annotated[int, Meta(ge=0, le=INT32_MAX)]
LookBack = Annotated[int, Meta(ge=-1, le=INT32_MAX)]
Strength = Annotated[float, Meta(ge=0, le=100)]
TokenId = Annotated[int, Meta(ge=0, le=INT32_MAX)]
Bias = Annotated[float, Meta(ge=-100, le=100)]


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How tokens are chosen, under hoshikage_core's names. None: whoever comes next in precedence decides.

    The bounds are those of a request and of an entry of the model map alike.
    """

    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: Unit | None = None
    min_p: Unit | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    typical_p: Unit | None = None
    top_n_sigma: Annotated[float, Meta(ge=-1, le=100)] | None = None
    xtc_probability: Unit | None = None
    xtc_threshold: Unit | None = None
    repeat_last_n: LookBack | None = None
    dry_multiplier: Strength | None = None
    dry_base: Strength | None = None
    dry_allowed_length: Count32 | None = None
    dry_penalty_last_n: LookBack | None = None
    dry_sequence_breakers: Annotated[tuple[Text, ...], Meta(max_length=64)] | None = None
    mirostat: Annotated[int, Meta(ge=0, le=2)] | None = None
    mirostat_tau: Strength | None = None
    mirostat_eta: Unit | None = None
    dynatemp_range: Annotated[float, Meta(ge=0, le=2)] | None = None
    dynatemp_exponent: Strength | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    ignore_eos: bool | None = None
    min_tokens: Count32 | None = None

    def over(self, other: Sampling) -> Sampling:
        """These values, and the other's where these are None."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return msgspec.structs.replace(other, **{name: value for name, value in values if value is not None})
