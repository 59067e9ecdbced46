"""What schemas say about strings and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import gcd, lcm
from typing import Any

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema.alternatives import Alternative
from hoshikage_core.json_schema.automaton import Dfa, TooManyStatesError, intersect, remembered
from hoshikage_core.json_schema.document import TOO_LARGE, Document
from hoshikage_core.json_schema.formats import FORMATS, INTEGER_BOUNDS, NUMBER_FORMATS, OTHER_FORMATS, TEXT_FORMATS
from hoshikage_core.json_schema.numbers import Interval, NumberRangeError, exact, number_rule
from hoshikage_core.json_schema.patterns import compile_pattern
from hoshikage_core.json_schema.regex import RegexError
from hoshikage_core.json_schema.rules import Rules
from hoshikage_core.json_schema.shapes import Number, Text

COUNT_MAX = 100_000
"""The largest number of characters, items or members that a grammar counts to."""


def gather_text(document: Document, option: Alternative) -> Iterator[Text]:
    """The strings that match; nothing when there are none."""
    min_length, max_length = count_range(document, option, "Length")
    if max_length is not None and max_length < min_length:
        return
    dfas = []
    blamed = ""
    for schema in option:
        for keyword, dfa in text_patterns(document, schema):
            dfas.append(dfa)
            blamed = keyword
    if not dfas:
        yield Text(min_length, max_length)
        return
    try:
        dfa = _intersect(tuple(dfas), min_length, max_length)
    except TooManyStatesError:
        reason = Reason("beside_others", "cannot be enforced together with what else is said about the string")
        document.unsupported(option[0], blamed, reason)
        dfa = dfas[0]
    if not dfa.is_empty:
        yield Text(dfa=dfa)


@remembered(128)
def _intersect(dfas: tuple[Dfa, ...], min_length: int, max_length: int | None) -> Dfa:
    return intersect(dfas, min_length, max_length)


def text_patterns(document: Document, schema: dict[str, Any]) -> Iterator[tuple[str, Dfa]]:
    """What ``pattern`` and ``format`` say about strings."""
    for keyword, pattern in _patterns(document, schema):
        try:
            yield keyword, compile_pattern(pattern)
        except RegexError as error:
            document.unsupported(schema, keyword, error.reason)
        except TooManyStatesError:
            document.unsupported(schema, keyword, TOO_LARGE)


def _patterns(document: Document, schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "pattern" in schema:
        yield "pattern", schema["pattern"]
    if (name := schema.get("format")) is not None:
        if name in FORMATS:
            yield "format", FORMATS[name]
        elif name not in TEXT_FORMATS and name not in INTEGER_BOUNDS and name not in NUMBER_FORMATS:
            if "pattern" in schema and name not in OTHER_FORMATS:
                return  # such as zod's: a name for what the pattern says
            names = ", ".join(sorted(FORMATS))
            document.unsupported(schema, "format", Reason("no_format_of", "is none of {names}", names=names))


def gather_number(document: Document, option: Alternative, *, is_integer: bool) -> Iterator[Number]:
    """The numbers that match; nothing when there are none."""
    interval = Interval()
    divisor: Fraction | None = None
    for schema in option:
        name = schema.get("format")
        if name in INTEGER_BOUNDS:
            low, high = INTEGER_BOUNDS[name]
            interval, is_integer = interval.intersect(Interval(Fraction(low), Fraction(high))), True
        elif name is not None and name not in {*NUMBER_FORMATS, *FORMATS, *TEXT_FORMATS}:
            document.unsupported(schema, "format", Reason("no_format", "is no known format"))
        for bound in _bounds(schema):
            interval = interval.intersect(bound)
        if "multipleOf" in schema:
            other = exact(schema["multipleOf"])
            divisor = other if divisor is None else _least_common_multiple(divisor, other)
    if interval.is_empty:
        return
    # As exact as can be: when not all of it can be enforced and that is no error, what can be.
    for attempt in (Number(is_integer, interval, divisor), Number(is_integer, interval), Number(is_integer)):
        try:
            if number_rule(Rules(), attempt.interval, attempt.divisor, is_integer=is_integer) is not None:
                yield attempt
            return
        except NumberRangeError as error:
            _refuse_number(document, option, attempt, error.reason, error.value)
        except TooManyStatesError:
            reason = Reason("bounds_too_large", "needs too large a grammar together with the bounds")
            _refuse_number(document, option, attempt, reason)


def _refuse_number(
    document: Document, option: Alternative, attempt: Number, reason: Reason, value: Fraction | None = None
) -> None:
    bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    for schema in option:
        for keyword in bounds:  # the one itself, where it is known
            if value is not None and keyword in schema and abs(exact(schema[keyword])) == value:
                document.unsupported(schema, keyword, reason)
                return
    blamed = bounds if attempt.divisor is None else ("multipleOf",)
    for schema in option:
        for keyword in blamed:
            if keyword in schema:
                document.unsupported(schema, keyword, reason)


def _bounds(schema: dict[str, Any]) -> Iterator[Interval]:
    if "minimum" in schema:
        yield Interval(low=exact(schema["minimum"]))
    if "exclusiveMinimum" in schema:
        yield Interval(low=exact(schema["exclusiveMinimum"]), has_low=False)
    if "maximum" in schema:
        yield Interval(high=exact(schema["maximum"]))
    if "exclusiveMaximum" in schema:
        yield Interval(high=exact(schema["exclusiveMaximum"]), has_high=False)


def _least_common_multiple(left: Fraction, right: Fraction) -> Fraction:
    return Fraction(lcm(left.numerator, right.numerator), gcd(left.denominator, right.denominator))


def count_range(document: Document, option: Alternative, what: str) -> tuple[int, int | None]:
    """The least and the most of what ``minWHAT`` and ``maxWHAT`` count; None is endless."""
    low, high = 0, None
    for schema in option:
        for keyword in (f"min{what}", f"max{what}"):
            count = int(schema.get(keyword, 0))
            if count > COUNT_MAX:
                reason = Reason("count_too_large", "is above {limit}, and cannot be enforced", limit=COUNT_MAX)
                document.unsupported(schema, keyword, reason)
            elif keyword in schema and keyword.startswith("min"):
                low = max(low, count)
            elif keyword in schema:
                high = count if high is None else min(high, count)
    return low, high
