"""Numbers in a range, and multiples of something, as automata over their decimal digits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import charsets
from hoshikage_core.json_schema.automaton import Dfa, explore, remembered, spend
from hoshikage_core.json_schema.charsets import Ranges
from hoshikage_core.json_schema.rules import Rules
from hoshikage_core.json_schema.spelling import bare_rule

ANY_INTEGER = '"-"? ("0" | [1-9] [0-9]{0,18})'
"""Up to 19 digits: what 64 bits hold, such as the ids that other services hand out."""

ANY_NUMBER = '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?'
"""Two digits of exponent keep it finite."""

_N_INTEGER_DIGITS = 19
_N_DIVIDED_DIGITS = 9  # every digit takes as many rules as the divisor has remainders
_N_EXACT_DIGITS = 15  # two numbers of so many digits are never the same float
_N_DIGITS_MAX = 40
_N_REMAINDERS_MAX = 300
_AT_WORK = 80


class NumberRangeError(Exception):
    """Bounds or a divisor that no grammar of sensible size can hold to.

    Attributes:
        reason: Why.
        value: The bound that it is about; None for the divisor.
    """

    def __init__(self, reason: Reason, value: Fraction | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value


@dataclass(frozen=True)
class Interval:
    """Which numbers.

    Attributes:
        low: The smallest; None is endless.
        high: The largest.
        has_low: Whether ``low`` itself is one.
        has_high: Whether ``high`` itself is one.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    has_low: bool = True
    has_high: bool = True

    def intersect(self, other: Interval) -> Interval:
        """What is in both."""
        low, has_low = self.low, self.has_low
        if other.low is not None and (low is None or (other.low, not other.has_low) > (low, not has_low)):
            low, has_low = other.low, other.has_low
        high, has_high = self.high, self.has_high
        if other.high is not None and (high is None or (other.high, other.has_high) < (high, has_high)):
            high, has_high = other.high, other.has_high
        return Interval(low, high, has_low, has_high)

    def holds(self, value: Fraction) -> bool:
        """Whether a number is in it."""
        is_above = self.low is None or value > self.low or (self.has_low and value == self.low)
        return is_above and (self.high is None or value < self.high or (self.has_high and value == self.high))

    @property
    def is_empty(self) -> bool:
        """Whether no number is in it."""
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and not (self.has_low and self.has_high))

    def integers(self) -> Interval:
        """The same integers between bounds that are integers themselves."""
        low = self.low if self.low is None else Fraction(ceil(self.low))
        if low is not None and low == self.low and not self.has_low:
            low += 1
        high = self.high if self.high is None else Fraction(floor(self.high))
        if high is not None and high == self.high and not self.has_high:
            high -= 1
        return Interval(low, high)


def number_rule(rules: Rules, interval: Interval, divisor: Fraction | None, *, is_integer: bool) -> str | None:
    """A rule for the numbers of an interval that a divisor divides; None when there are none.

    Raises:
        NumberRangeError: It cannot be done.
        TooManyStatesError: The rule would be too large.
    """
    if interval == Interval() and divisor is None:
        return rules.add(ANY_INTEGER if is_integer else ANY_NUMBER)
    n_zeros = 0
    if is_integer or (divisor is not None and divisor.denominator == 1):
        interval, is_integer = interval.integers(), True
        divisor = None if divisor is None else Fraction(divisor.numerator)
        while divisor is not None and divisor % 10 == 0:
            divisor /= 10
            n_zeros += 1
        scale = 10**n_zeros
        low = None if interval.low is None else interval.low / scale
        high = None if interval.high is None else interval.high / scale
        interval = Interval(low, high).integers()
    if interval.is_empty:
        return None
    n_digits = _N_EXACT_DIGITS
    if is_integer:
        is_long = divisor is None or divisor <= 12
        n_digits = (_N_INTEGER_DIGITS if is_long else _N_DIVIDED_DIGITS) - n_zeros
    options = _signed(rules, interval, divisor, n_digits, is_integer=is_integer, n_zeros=n_zeros)
    return rules.add(" | ".join(options)) if options else None


def _signed(
    rules: Rules, interval: Interval, divisor: Fraction | None, n_digits: int, *, is_integer: bool, n_zeros: int
) -> list[str]:
    zeros = f' "{"0" * n_zeros}"' if n_zeros else ""
    above = interval.intersect(Interval(low=Fraction(0), has_low=not zeros))
    below = interval.intersect(Interval(high=Fraction(0), has_high=False))
    options = ['"0"'] if zeros and interval.holds(Fraction(0)) else []
    for sign, part in (
        ("", above),
        ('"-" ', Interval(_negated(below.high), _negated(below.low), below.has_high, below.has_low)),
    ):
        if not part.is_empty:
            dfa = _magnitudes(part, divisor, n_digits, is_integer)
            if not dfa.is_empty:
                options.append(f"{sign}{bare_rule(rules, dfa)}{zeros}")
    return options


def _negated(value: Fraction | None) -> Fraction | None:
    return None if value is None else -value


@dataclass(frozen=True)
class _At:
    """Where in a number we are.

    Attributes:
        n: How many digits its integer part will have.
        at: Digits read; those behind the point count on from ``n``.
        has_point: Whether the point was read.
        is_low: Whether all digits so far are those of the lower bound.
        is_high: The same for the upper bound.
        remainder: Of the digits so far, divided by the divisor's.
    """

    n: int
    at: int
    has_point: bool
    is_low: bool
    is_high: bool
    remainder: int


@remembered(256)
def _magnitudes(interval: Interval, divisor: Fraction | None, n_digits: int, is_integer: bool) -> Dfa:
    return _Magnitudes(interval, divisor, n_digits, is_integer=is_integer).automaton()


class _Magnitudes:
    """The automaton of the numbers from ``low`` to ``high``, none below zero, without a sign."""

    def __init__(self, interval: Interval, divisor: Fraction | None, n_digits: int, *, is_integer: bool) -> None:
        self.interval = interval
        low = interval.low or Fraction(0)
        n_low = len(str(floor(low)))
        n_digits = n_low + 1 if n_low >= n_digits else n_digits
        if interval.high is None or interval.high >= 10**n_digits:
            self.interval = interval = Interval(interval.low, Fraction(10**n_digits), interval.has_low, False)
        assert interval.high is not None
        self.low_int, self.low_places = _digits(low)
        self.high_int, self.high_places = _digits(interval.high)
        self.n_places = 0
        self.n_digits = n_digits
        self.divisor = 1
        self.n_divisor_places = 0
        if divisor is not None:
            while (divisor * 10**self.n_divisor_places).denominator != 1:
                self.n_divisor_places += 1
                if self.n_divisor_places > _N_DIGITS_MAX:
                    raise NumberRangeError(Reason("no_decimal", "is no decimal fraction"))
            self.divisor = (divisor * 10**self.n_divisor_places).numerator
            if self.divisor > _N_REMAINDERS_MAX:
                text = "is not supported: only up to {limit}, and powers of ten times that"
                raise NumberRangeError(Reason("divisor_too_large", text, limit=_N_REMAINDERS_MAX))
        self.is_integer = is_integer

    def automaton(self) -> Dfa:
        lengths = range(len(self.low_int), len(self.high_int) + 1)
        start = frozenset(_At(n, 0, False, n == len(self.low_int), n == len(self.high_int), 0) for n in lengths)
        return explore(start, self._step, lambda state: any(map(self._ends, state)))

    def _step(self, state: frozenset[_At]) -> Iterable[tuple[Ranges, frozenset[_At]]]:
        spend(_AT_WORK * len(state))
        for char in ".0123456789":
            if target := frozenset(after for at in state if (after := self._after(at, char)) is not None):
                yield charsets.of(char), target

    def _after(self, at: _At, char: str) -> _At | None:
        if char == ".":
            if at.has_point or at.at < at.n or not self._max_places(at.n):
                return None
            return _At(at.n, at.at, True, at.is_low, at.is_high, at.remainder)
        if (not at.has_point and at.at == at.n) or (at.at - at.n == self._max_places(at.n) and at.has_point):
            return None
        digit = int(char)
        if digit == 0 and at.at == 0 and at.n > 1:
            return None
        low = self._bound_digit(self.low_int, self.low_places, at)
        high = self._bound_digit(self.high_int, self.high_places, at)
        if (at.is_low and digit < low) or (at.is_high and digit > high):
            return None
        remainder = (at.remainder * 10 + digit) % self.divisor
        return _At(at.n, at.at + 1, at.has_point, at.is_low and digit == low, at.is_high and digit == high, remainder)

    def _ends(self, at: _At) -> bool:
        if at.at < at.n or (at.has_point and at.at == at.n):
            return False
        n_places = at.at - at.n
        if at.is_low and (self.low_places[n_places:].strip("0") or not self.interval.has_low):
            return False
        if at.is_high and not self.high_places[n_places:].strip("0") and not self.interval.has_high:
            return False
        return at.remainder * 10 ** (self.n_divisor_places - n_places) % self.divisor == 0 if self.divisor > 1 else True

    def _max_places(self, n: int) -> int:
        if self.is_integer:
            return 0
        if self.n_divisor_places:
            return self.n_divisor_places
        return max(_N_EXACT_DIGITS - n, len(self.low_places), len(self.high_places), 1)

    @staticmethod
    def _bound_digit(integer: str, places: str, at: _At) -> int:
        if not at.has_point:
            return int(integer[at.at]) if len(integer) == at.n else 0
        place = at.at - at.n
        return int(places[place]) if place < len(places) else 0


def _digits(value: Fraction) -> tuple[str, str]:
    """The digits before and behind the decimal point."""
    n_places = 0
    while (value * 10**n_places).denominator != 1:
        n_places += 1
        if n_places > _N_DIGITS_MAX:
            raise NumberRangeError(Reason("too_many_digits", "has too many digits"), value)
    digits = str((value * 10**n_places).numerator).rjust(n_places + 1, "0")
    if len(digits) - n_places > _N_DIGITS_MAX:
        raise NumberRangeError(Reason("too_many_digits", "has too many digits"), value)
    return digits[: len(digits) - n_places], digits[len(digits) - n_places :]


def exact(value: float) -> Fraction:
    """A number of a JSON text as what was written there."""
    return Fraction(Decimal(repr(value)))
