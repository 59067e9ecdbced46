"""What schemas say about objects and arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hoshikage_core.errors import Reason
from hoshikage_core.json_schema import charsets
from hoshikage_core.json_schema.alternatives import Alternative
from hoshikage_core.json_schema.automaton import Dfa, TooManyStatesError, explore, intersect
from hoshikage_core.json_schema.charsets import Ranges
from hoshikage_core.json_schema.document import UNENFORCEABLE
from hoshikage_core.json_schema.gather_scalars import count_range
from hoshikage_core.json_schema.patterns import compile_pattern
from hoshikage_core.json_schema.shapes import Array, Literals, Member, Object, Place, Text
from hoshikage_core.json_schema.values import is_match, items_of, member_patterns

if TYPE_CHECKING:
    from hoshikage_core.json_schema.gather import Gatherer

_N_SET_MAX = 64


def gather_object(gatherer: Gatherer, option: Alternative) -> Iterator[Object]:
    """The objects that match; nothing when there are none."""
    document = gatherer.document
    for schema in option:
        for keyword in ("dependentRequired", "dependentSchemas", "dependencies"):
            if schema.get(keyword):
                document.unsupported(schema, keyword, UNENFORCEABLE)
        _require_nothing_unevaluated(gatherer, schema, option, "unevaluatedProperties")
    low, high = count_range(document, option, "Properties")
    patterns = {id(schema): member_patterns(document, schema) for schema in option}

    def member(name: str) -> Place:
        applied: list[Any] = []
        for schema in option:
            own = [schema["properties"][name]] if name in schema.get("properties", ()) else []
            own += [part for dfa, part in patterns[id(schema)] if is_match(dfa, name)]
            applied += own or [_others(schema, option)]
        return gatherer.place(*applied)

    names = dict.fromkeys(name for schema in option for name in schema.get("properties", ()))
    required = dict.fromkeys(name for schema in option for name in schema.get("required", ()))
    others, keys = _other_members(gatherer, option, patterns)
    key_dfas = [] if keys is None else [keys]
    for schema in option:
        if isinstance(schema.get("propertyNames", True), dict) or schema.get("propertyNames") is False:
            listed, dfa = _names(gatherer, schema)

            def is_name(name: str, listed: list[str] | None = listed, dfa: Dfa | None = dfa) -> bool:
                return (listed is None or name in listed) and (dfa is None or is_match(dfa, name))

            names = dict.fromkeys(filter(is_name, names))
            if listed is not None:
                # Names from a list are declared members that need not be there.
                names.update(dict.fromkeys(listed if others is not None else ()))
                others = None
            if dfa is not None:
                key_dfas.append(dfa)
            if not all(map(is_name, required)):
                return
    members = tuple(Member(name, member(name), name in required) for name in dict.fromkeys([*names, *required]))
    if others is not None and (members or key_dfas):
        try:
            keys = intersect([_none_of([member.name for member in members]), *key_dfas])
        except TooManyStatesError:
            reason = Reason("beside_many", "cannot be enforced beside so many properties")
            document.unsupported(option[0], "additionalProperties", reason)
            others = None
        else:
            others = None if keys.is_empty else others
    n_sure = len(required)
    n_declared = len(members)
    if others is not None and low > n_sure + 1:
        # A model may write a name twice, which counts once.
        blamed = next(schema for schema in option if schema.get("minProperties", 0) > n_sure + 1)
        reason = Reason("names_free", "cannot be enforced where names are free")
        document.unsupported(blamed, "minProperties", reason)
        low = 0
    if (others is None and low > n_declared) or (high is not None and high < n_sure):
        return
    high = None if high is not None and others is None and high >= n_declared else high
    yield Object(members, others, keys if others is not None else None, low if low > n_sure else 0, high)


def _others(schema: dict[str, Any], option: Alternative) -> Any:
    return schema.get("additionalProperties", _unevaluated(schema, option, "unevaluatedProperties"))


def _other_members(
    gatherer: Gatherer, option: Alternative, patterns: dict[int, list[tuple[Dfa, Any]]]
) -> tuple[Place | None, Dfa | None]:
    """What members that are not declared hold, and an automaton for their names.

    Where declared properties are all that is said, others are left out: no answer needs them.
    """
    found = [(schema, dfa, part) for schema in option for dfa, part in patterns[id(schema)]]
    applied: list[Any] = []
    keys: Dfa | None = None
    if found:
        if len(found) > 1 or any(
            _others(schema, option) is not False
            for schema in option
            if schema is not found[0][0] and "additionalProperties" in schema
        ):
            reason = Reason("one_pattern", "can be enforced for one pattern only")
            gatherer.document.unsupported(found[-1][0], "patternProperties", reason)
        owner, keys, part = found[0]
        # Names that do not match are left out, which additionalProperties always allows.
        return gatherer.place(part, *(_others(schema, option) for schema in option if schema is not owner)), keys
    is_said = any("additionalProperties" in schema or "unevaluatedProperties" in schema for schema in option)
    if not is_said and any("properties" in schema for schema in option):
        return None, None
    applied = [_others(schema, option) for schema in option]
    return (None if any(part is False for part in applied) else gatherer.place(*applied)), None


def _names(gatherer: Gatherer, schema: dict[str, Any]) -> tuple[list[str] | None, Dfa | None]:
    """What propertyNames says: a list of names, or an automaton."""
    listed: list[str] = []
    dfa: Dfa | None = None
    place = gatherer.place(schema["propertyNames"])
    shapes = gatherer.shapes(place)
    for shape in shapes:
        if isinstance(shape, Literals):
            listed += [value for value in shape.values if isinstance(value, str)]
        elif isinstance(shape, Text) and len(shapes) == 1:
            any_text = compile_pattern("")
            dfa = intersect([shape.dfa or any_text], shape.min_length, shape.max_length)
            return None, dfa
        else:
            reason = Reason("names_only", "can be enforced for a list of names or a string only")
            gatherer.document.unsupported(schema, "propertyNames", reason)
            return None, None
    return listed, None


def _unevaluated(schema: dict[str, Any], option: Alternative, keyword: str) -> Any:
    """What ``unevaluated...`` says where it means what ``additional...`` does."""
    return schema.get(keyword, True) if len(option) == 1 else True


def _require_nothing_unevaluated(gatherer: Gatherer, schema: dict[str, Any], option: Alternative, keyword: str) -> None:
    if schema.get(keyword, True) is not True and len(option) > 1:
        reason = Reason("beside_schemas", "cannot be enforced beside other schemas")
        gatherer.document.unsupported(schema, keyword, reason)


def _none_of(names: list[str]) -> Dfa:
    """All texts but some."""
    begins = {name[:length] for name in names for length in range(len(name) + 1)}
    following: dict[str, set[str]] = {}
    for begin in begins - {""}:
        following.setdefault(begin[:-1], set()).add(begin[-1])

    def step(state: str | None) -> Iterator[tuple[Ranges, str | None]]:
        chars = following.get(state, set()) if state is not None else set()
        for char in chars:
            yield charsets.of(char), f"{state}{char}"
        yield charsets.complement(charsets.of("".join(chars))), None

    taken = set(names)
    return explore("" if names else None, step, lambda state: state is None or state not in taken)


def gather_array(gatherer: Gatherer, option: Alternative) -> Iterator[Array]:
    """The arrays that match; nothing when there are none."""
    document = gatherer.document
    for schema in option:
        if "contains" in schema and schema.get("minContains", 1) != 0:
            document.unsupported(schema, "contains", UNENFORCEABLE)
        if "contains" in schema and "maxContains" in schema:
            document.unsupported(schema, "maxContains", UNENFORCEABLE)
        _require_nothing_unevaluated(gatherer, schema, option, "unevaluatedItems")
    low, high = count_range(document, option, "Items")
    parts = [items_of(schema, _unevaluated(schema, option, "unevaluatedItems")) for schema in option]
    n_first = max((len(first) for first, _ in parts), default=0)
    first = tuple(
        gatherer.place(*(own[i] if i < len(own) else others for own, others in parts)) for i in range(n_first)
    )
    others: Place | None = gatherer.place(*(others for _, others in parts))
    is_said = any(not {"items", "additionalItems", "unevaluatedItems"}.isdisjoint(schema) for schema in option)
    if any(part is False for _, part in parts):
        others = None
    if n_first and not is_said and low <= n_first:
        others = None  # as with objects: no answer needs them
    if n_first and not any("minItems" in schema for schema in option):
        low = n_first if high is None else min(n_first, high)  # who lists items means all of them
    if others is None:
        high = n_first if high is None else min(high, n_first)
    if high is not None and high < low:
        return
    is_set = any(schema.get("uniqueItems") for schema in option) and (high is None or high > 1)
    if is_set and not _is_enumeration(gatherer, first, others):
        blamed = next(schema for schema in option if schema.get("uniqueItems"))
        text = "can be enforced for items from a list of at most {limit} values only"
        document.unsupported(blamed, "uniqueItems", Reason("set_too_large", text, limit=_N_SET_MAX))
        is_set = False
    yield Array(first, others, low, high, is_set)


def _is_enumeration(gatherer: Gatherer, first: tuple[Place, ...], others: Place | None) -> bool:
    if first or others is None:
        return False
    return set_values(gatherer, others) is not None


def set_values(gatherer: Gatherer, place: Place) -> tuple[str, ...] | None:
    """The values at a place if they are few and known, as JSON."""
    shapes = gatherer.shapes(place)
    if not all(isinstance(shape, Literals) for shape in shapes):
        return None
    texts = dict.fromkeys(text for shape in shapes if isinstance(shape, Literals) for text in shape.texts)
    return tuple(texts) if len(texts) <= _N_SET_MAX else None
