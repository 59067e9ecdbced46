"""How the next token is chosen: llama.cpp's sampler chain and its parameters."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from hoshikage_core import _checks
from hoshikage_core._ffi import Handle, call, call_text, ffi, lib
from hoshikage_core.errors import InvalidArgumentError, JsonSchemaError, Reason
from hoshikage_core.json_schema import complete_grammar, enforceable

if TYPE_CHECKING:
    from hoshikage_core.prompt import ChatPrompt

_DEFAULT_ORDER = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Parameters of the sampler chain; the defaults are llama.cpp's.

    Attributes:
        seed: 64 bits; None draws one. Equal seeds give equal choices for equal logits at equal positions, also when an
            answer is taken up in the middle (not with mirostat and adaptive_p, which learn from every logit they saw).
        temperature: 0 takes the likeliest token; 0.8 by default.
        dynatemp_range: Half the width of the dynamic temperature range; 0 is off (https://arxiv.org/abs/2309.02772).
        dynatemp_exponent: How entropy maps to temperature.
        top_k: Keeps the k likeliest tokens; 0 or less keeps all.
        top_p: Keeps the likeliest tokens that reach this probability together; 1 is off.
        min_p: Drops tokens below this fraction of the likeliest one's probability; 0 is off.
        typical_p: Locally typical sampling (https://arxiv.org/abs/2202.00666); 1 is off.
        top_n_sigma: Keeps logits within n standard deviations of the largest (https://arxiv.org/abs/2411.07641);
            negative is off.
        min_keep: The truncating samplers leave at least this many tokens.
        xtc_probability: How often XTC removes the likeliest tokens; 0 is off.
        xtc_threshold: Only tokens above this probability are removed; above 0.5 is off.
        repeat_last_n: How many tokens the penalties look back; 0 is off, -1 the whole context.
        repeat_penalty: Divides the logits of repeated tokens; 1 is off.
        frequency_penalty: Subtracted per occurrence; 0 is off.
        presence_penalty: Subtracted once for a token that occurred; 0 is off.
        dry_multiplier: Strength of DRY ("don't repeat yourself"); 0 is off.
        dry_base: DRY's penalty is multiplier * base ** (length of the repetition - dry_allowed_length).
        dry_allowed_length: Repetitions up to this length are free.
        dry_penalty_last_n: How many tokens DRY looks back; 0 is off, -1 the whole context.
        dry_sequence_breakers: Texts that end a repetition.
        mirostat: 0 off, 1 Mirostat, 2 Mirostat 2.0 (https://arxiv.org/abs/2007.14966); replaces the truncating
            samplers.
        mirostat_tau: Target surprise.
        mirostat_eta: Learning rate.
        adaptive_target: Target probability of the sampler "adaptive_p"; negative is off.
        adaptive_decay: How slowly adaptive_p forgets, 0 to 0.99.
        logit_bias: Token id to what is added to its logit; -inf bans it.
        ignore_eos: Never end by an end-of-generation token; excludes ``grammar`` and ``json_schema``.
        min_tokens: So many tokens come before one that ends the answer, and stop strings count only in the text after
            them; excludes ``grammar`` and ``json_schema``.
        grammar: GBNF the text must match (see llama.cpp's grammars/README.md).
        json_schema: JSON schema (an object or its JSON text) the text must match; excludes ``grammar``.
        samplers: The chain's order, by llama.cpp's names.
    """

    seed: int | None = None
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    min_keep: int = 0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    ignore_eos: bool = False
    min_tokens: int = 0
    grammar: str | None = None
    json_schema: Mapping[str, Any] | str | None = None
    samplers: Sequence[str] = _DEFAULT_ORDER

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError for a value no sampler can use."""
        for field in dataclasses.fields(self):
            self._check_type(field.name, field.default, getattr(self, field.name))
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                text = "must be from {low:g} to {high:g}, not {got}"
                reason = Reason("number_out_of_bounds", text, low=low, high=high, got=repr(getattr(self, name)))
                raise InvalidArgumentError(name, reason)
        if self.grammar is not None and self.json_schema is not None:
            raise InvalidArgumentError("json_schema", Reason("two_grammars", "cannot be combined with grammar"))
        if self.grammar is not None or self.json_schema is not None:
            self._require_free_end()
        for token, bias in self.logit_bias.items():
            _checks.integer("logit_bias", token, 0, _INT32)
            if not _is_number(bias) or math.isnan(bias) or bias == math.inf:
                raise InvalidArgumentError("logit_bias", Reason("no_bias", "must map token ids to numbers (or -inf)"))

    def require_no_grammar(self) -> None:
        """Raises an error unless another grammar may bind the answer.

        Raises:
            InvalidArgumentError: There is a grammar here, or something decides about the end where a grammar does.
        """
        for name in ("grammar", "json_schema"):
            if getattr(self, name) is not None:
                reason = Reason("prompt_has_grammar", "cannot be combined with a prompt that has a grammar")
                raise InvalidArgumentError(name, reason)
        self._require_free_end()

    def _require_free_end(self) -> None:
        """A finished grammar allows nothing but an end token."""
        for name in ("ignore_eos", "min_tokens"):
            if getattr(self, name):
                raise InvalidArgumentError(name, Reason("beside_grammar", "cannot be combined with a grammar"))

    @staticmethod
    def _check_type(name: str, default: object, value: object) -> None:
        if name == "seed":
            if value is not None:
                _checks.integer(name, value, -(2**63), 2**64 - 1)
        elif name == "logit_bias":
            _checks.instance(name, value, Mapping, "a mapping of token ids to numbers")
        elif name == "grammar":
            if value is not None:
                _checks.text_without_nul(name, value)
        elif name == "json_schema":
            if value is not None:
                _checks.instance(name, value, (Mapping, str), "a JSON schema")
        elif name in ("samplers", "dry_sequence_breakers"):
            if isinstance(value, str):
                raise InvalidArgumentError(name, Reason("one_text", "must be a list of texts, not one text"))
            _checks.texts(name, value)
        elif isinstance(default, bool):
            _checks.instance(name, value, bool, "True or False")
        elif isinstance(default, int):
            _checks.integer(name, value, -(2**63), 2**63)
        elif not _is_number(value) or not math.isfinite(value):
            raise InvalidArgumentError(name, Reason("no_finite_number", "must be a finite number"))


def _is_number(value: object) -> TypeGuard[float]:
    """A real number of a size that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not isinstance(value, int) or abs(value) < 2**63


_INT32 = 2**31 - 1
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, 100),
    ("dynatemp_range", 0, 100),
    ("dynatemp_exponent", 0, 100),
    ("top_k", -1, _INT32),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("typical_p", 0, 1),
    ("top_n_sigma", -1, 1e6),
    ("min_keep", 0, _INT32),
    ("xtc_probability", 0, 1),
    ("xtc_threshold", 0, 1),
    ("repeat_last_n", -1, _INT32),
    ("repeat_penalty", 1e-6, 1e6),
    ("frequency_penalty", -1e6, 1e6),
    ("presence_penalty", -1e6, 1e6),
    ("dry_multiplier", 0, 1e6),
    ("dry_base", 0, 1e6),
    ("dry_allowed_length", 0, _INT32),
    ("dry_penalty_last_n", -1, _INT32),
    ("min_tokens", 0, _INT32),
    ("mirostat", 0, 2),
    ("mirostat_tau", 0, 1e6),
    ("mirostat_eta", 0, 1e6),
    ("adaptive_target", -1, 1),
    ("adaptive_decay", 0, 0.99),
)


def schema_to_grammar(schema: Mapping[str, Any] | str) -> str:
    """The GBNF grammar for a JSON schema, which allows nothing that the schema does not.

    Raises:
        JsonSchemaError: The schema is malformed or holds what cannot be enforced.
    """
    if isinstance(schema, str):
        schema = _read_schema(schema)
    data = json.dumps(
        enforceable(_checks.instance("json_schema", schema, (Mapping, bool), "a JSON schema")), ensure_ascii=False
    ).encode("utf-8")
    return complete_grammar(call_text(lib.hsk_schema_to_grammar, data, len(data)).decode("utf-8"))


def _read_schema(text: str) -> Any:
    try:
        return json.loads(_checks.text("json_schema", text))
    except (ValueError, RecursionError) as error:
        raise JsonSchemaError("#", "", Reason("schema_no_json", "is no JSON: {words}", words=str(error))) from None


def choice_seed(seed: int, choice: int) -> int:
    """The seed of one of several choices: a request with this seed alone gives that choice.

    Choice 0 has the seed itself. The others have 63 bits of SplitMix64 (Steele, Lea, Flood 2014), begun at the seed and
    taken ``choice`` steps on, so that no two choices of a seed have the same.
    """
    if choice == 0:
        return seed
    mask = 2**64 - 1
    mixed = (seed + choice * 0x9E3779B97F4A7C15) & mask
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    return (mixed ^ (mixed >> 31)) >> 1


def new_sampler(
    model: Any,
    params: SamplingParams,
    seed: int,
    n_ctx: int,
    shape: ChatPrompt | None = None,
    thinking_budget: int | None = None,
) -> Handle:
    """A native sampler for one sequence.

    Args:
        model: The native model.
        params: What to build.
        seed: Replaces ``params.seed``; any 64-bit integer.
        n_ctx: Bounds how far the penalties look back.
        shape: The rendered chat that is answered: its grammar binds, its reasoning block is watched.
        thinking_budget: Tokens in the reasoning block at most; None: no limit.
    """
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    values["seed"] = seed & (2**64 - 1)
    values["samplers"] = list(params.samplers)
    values["dry_sequence_breakers"] = list(params.dry_sequence_breakers)
    values["logit_bias"] = [(token, None if bias == -math.inf else bias) for token, bias in params.logit_bias.items()]
    for name in ("repeat_last_n", "dry_penalty_last_n"):
        values[name] = n_ctx if values[name] == -1 else min(values[name], n_ctx)
    schema = values.pop("json_schema")
    if schema is not None:
        values["grammar"] = schema_to_grammar(schema)
    if shape is not None:
        values.update(_shape_values(shape), thinking_budget=thinking_budget)
    data = json.dumps({name: value for name, value in values.items() if value is not None}).encode("utf-8")
    out = ffi.new("hsk_sampler **")
    call(lib.hsk_sampler_new, model, data, len(data), out)
    return Handle(out[0], lib.hsk_sampler_free, "sampler")


def _shape_values(shape: ChatPrompt) -> dict[str, Any]:
    names = ["thinking_start_tag", "thinking_end_tags", "generation_prompt"]
    if shape.grammar:
        names += ["grammar", "grammar_type", "grammar_lazy", "preserved_tokens"]
    values = {name: getattr(shape, name) for name in names}
    if shape.grammar:
        values["grammar_triggers"] = [dict(trigger) for trigger in shape.grammar_triggers]
    return values
