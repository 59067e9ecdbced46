"""From automata to GBNF: the characters of a JSON string with what JSON wants escaped, or a bare number."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from hoshikage_core.json_schema import charsets
from hoshikage_core.json_schema.automaton import Dfa
from hoshikage_core.json_schema.charsets import Ranges
from hoshikage_core.json_schema.rules import NAME_MARK, Rules, char_class, digest

RAW: Ranges = charsets.intersection(charsets.ANY, charsets.complement(charsets.union([(0, 0x1F), *charsets.of('"\\')])))
"""What stands for itself in a JSON string."""

_SHORT_ESCAPES = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': "x22", "\\": "x5C"}

STRING_CHAR = (
    f"{char_class(charsets.intersection(RAW, charsets.complement(((0x7F, 0x7F),))))}"
    r' | "\\" (["\\bfnrt] | "u" ([0-9a-ce-fA-CE-F] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}'
    r' | [dD] [89abAB] [0-9a-fA-F]{2} "\\u" [dD] [c-fC-F] [0-9a-fA-F]{2}))'
)
"""One character of a JSON string: escapes of surrogates only as pairs, which are one character."""

_UNASSIGNED = re.compile("[\U00040000-\U000dffff]")


def json_text(value: Any) -> str:
    """A value as JSON, with each character as itself if a vocabulary can be expected to have it.

    Those of Unicode's empty planes are escaped: no text begins with their first bytes, and so what was learned from
    texts may have no token for these bytes, SmolLM2's vocabulary for one.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _UNASSIGNED.sub(lambda found: json.dumps(found[0])[1:-1], text)


def is_raw(text: str) -> bool:
    """Whether ``json_text`` escapes nothing but what JSON wants escaped."""
    return _UNASSIGNED.search(text) is None


def string_rule(rules: Rules, dfa: Dfa) -> str:
    """A rule for the JSON strings that an automaton accepts, each spelled in one way only."""
    return rules.add(r'"\"" ' + _emit(rules, dfa, spell_in_string, r'"\""'))


def bare_rule(rules: Rules, dfa: Dfa) -> str:
    """A rule for the texts that an automaton accepts, as they are."""
    return _emit(rules, dfa, char_class, '""')


def spell_in_string(ranges: Ranges) -> str:
    """GBNF for one of the given characters inside a JSON string."""
    options = []
    if raw := charsets.intersection(ranges, RAW):
        options.append(char_class(raw))
    special = [
        chr(code)
        for low, high in charsets.intersection(ranges, charsets.complement(RAW))
        for code in range(low, high + 1)
    ]
    if short := [char for char in special if char in _SHORT_ESCAPES]:
        letters = "".join(
            letter if len(letter) == 1 else f"\\{letter}" for letter in map(_SHORT_ESCAPES.__getitem__, short)
        )
        options.append(rf'"\\" [{letters}]')
    for begin in ("0", "1"):
        codes = (ord(char) for char in special if char not in _SHORT_ESCAPES)
        if ends := "".join(f"{code % 16:x}" for code in codes if code // 16 == int(begin)):
            options.append(rf'"\\u00{begin}" [{ends}]')
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"


def _emit(rules: Rules, dfa: Dfa, spell: Callable[[Ranges], str], end: str) -> str:
    """One rule for each state that is more than a link in a chain; returns the name of the first."""
    prefix = NAME_MARK + digest(f"{spell.__name__} {dfa.edges} {dfa.accepts}") + "-"
    n_incoming = [0] * len(dfa.edges)
    for edges in dfa.edges:
        for _, target in edges:
            n_incoming[target] += 1
    # A link has one way in and one way out: it needs no name.
    is_link = [
        state != 0 and n_incoming[state] == 1 and len(dfa.edges[state]) == 1 and not dfa.accepts[state]
        for state in range(len(dfa.edges))
    ]
    for state, edges in enumerate(dfa.edges):
        if is_link[state]:
            continue
        options = [end] if dfa.accepts[state] else []
        for ranges, target in edges:
            chain = [spell(ranges)]
            while is_link[target]:
                link_ranges, target = dfa.edges[target][0]
                chain.append(spell(link_ranges))
            if dfa.accepts[target] and not dfa.edges[target]:
                chain += [end] if end != '""' else []
            else:
                chain.append(f"{prefix}{target}")
            options.append(" ".join(chain))
        rules.bodies[f"{prefix}{state}"] = " | ".join(options)
    return f"{prefix}0"
