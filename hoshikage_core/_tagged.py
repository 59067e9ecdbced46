"""Formats with something written around each argument of a call: their grammars, held closer to what schemas say.

llama.cpp lets a string between tags be any text, and some formats do not ask for the arguments that are required.
Answers are still read with its own parser: what is made here is for a grammar only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hoshikage_core._arena import Arena
from hoshikage_core._arena import children as children_of
from hoshikage_core.json_schema import texts_of
from hoshikage_core.json_schema.rules import literal

_NESTED = {"tool-arg-object", "tool-arg-array", "tool-arg-item"}
_ORDERS_MAX = 4  # of so many arguments any comes next: the grammar has 2 to this power rules for each tool
_GEMMA_DICT = "gemma4-dict"


class _Values(NamedTuple):
    """How a format writes values that is not JSON.

    Attributes:
        rules: The arena's, for some types.
        quotes: What is around a text.
        unquotable: Characters that do not stand for themselves in it.
        words: Schemas of one or two values, and what it writes for them besides JSON.
    """

    rules: Mapping[str, str]
    quotes: tuple[str, ...]
    unquotable: str
    words: tuple[tuple[Mapping[str, Any], tuple[str, ...]], ...]

    @property
    def any(self) -> str:
        """The rule for all values."""
        return self.rules["any"]


_GEMMA = _Values(
    {"any": "gemma4-value", "string": "gemma4-string", "array": "gemma4-array", "dict": _GEMMA_DICT},
    ('<|"|>',),
    "<|>",
    (),
)
_PYTHON = _Values(
    {
        "any": "python-or-json-value",
        "string": "python-string",
        "array": "python-or-json-array",
        "dict": "python-or-json-dict",
    },
    ("'", '"'),
    "\\'\"\n",
    (
        ({"type": "boolean"}, ("True", "False")),
        ({"type": "null"}, ("None",)),
        *(({"const": value}, (str(value),)) for value in (True, False, None)),
    ),
)
_Around = Callable[[int], int]
"""Makes a parser of another one with something around it."""


class Tagged:
    """An arena for the grammar of calls whose arguments stand one by one.

    Args:
        arena: llama.cpp's.
        tools: The tools, with schemas that a grammar enforces and that show their arguments.
        written: The same as the caller wrote them.

    Attributes:
        arena: Required arguments come, and what is one of some texts is one of them.
        schemas: Those of arguments that are JSON, by the arena's names for them.
        is_tighter: Whether anything was changed.
        misreads: Whether an argument that is no string would be read as one.
    """

    def __init__(
        self, arena: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], written: Sequence[Mapping[str, Any]]
    ) -> None:
        self.arena: Arena = copy.deepcopy(dict(arena))
        self.schemas: dict[str, Any] = {}
        self.is_tighter = self.misreads = False
        self._nodes: list[dict[str, Any]] = self.arena["parsers"]
        self._parameters = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
        self._texts = {tool["function"]["name"]: texts_of(tool["function"]["parameters"]) for tool in written}
        self._rules = {node["name"]: at for at, node in enumerate(self._nodes) if node["type"] == "rule"}
        self._tool = ""
        self._seen: set[int] = set()
        if not any(node["type"] == "tag" and node["tag"] in _NESTED for node in self._nodes):
            self._visit(self.arena["root"])

    def _visit(self, at: int) -> None:
        """Goes through a parser and its parts in the order of the text: a tool's name comes before its arguments."""
        if at in self._seen:
            return
        self._seen.add(at)
        node = self._nodes[at]
        if node["type"] == "tag" and node["tag"] == "tool-name":
            self._tool = self._literal_in(at)
        elif node["type"] == "tag" and node["tag"] == "tool-arg":
            self._hold(at)
            return
        elif (
            node["type"] == "tag"
            and node["tag"] == "tool-args"
            and self._nodes[node["child"]].get("name") == _GEMMA_DICT
        ):
            node["child"] = self._dict(node["child"])
            return
        elif node["type"] == "sequence":
            self._require_in_a_list(node)
        elif node["type"] == "repetition" and (node["min_count"], node["max_count"]) == (0, -1):
            self._require_in_repetition(node)
        for child in children_of(node):
            self._visit(child)

    def _hold(self, at: int) -> None:
        """Holds one argument to its schema."""
        name = self._name_of(at)
        schema = self._parameters[self._tool]["properties"][name]
        texts = self._texts[self._tool].get(name)
        parts = [self._nodes[part] for part in self._parts(at)]
        tags = {part["tag"] for part in parts if part["type"] == "tag"}
        self.misreads |= "tool-arg-string-value" in tags and not _may_be_text(schema)
        for node in parts:
            if node["type"] == "schema":
                self.schemas[node["name"]] = schema
            elif node.get("tag") == "tool-arg-value" and self._nodes[node["child"]].get("name") == _PYTHON.any:
                node["child"] = self._value(name, _PYTHON)
        sequence = self._nodes[self._nodes[at]["child"]]
        if texts and sequence["type"] == "sequence":
            sequence["children"] = [self._one_of(child, texts) for child in sequence["children"]]

    def _json(self, name: str, schema: Mapping[str, Any], at: int) -> int:
        """A parser of any value, as one of the JSON that an argument may be."""
        rule = f"tool-{self._tool}-arg-{name}-schema"
        self.schemas[rule] = schema
        self.is_tighter = True
        return self._add({"type": "schema", "child": at, "name": rule, "raw": False})

    def _one_of(self, at: int, texts: Sequence[str]) -> int:
        """A parser of free text, as one of some texts and what closes it; any other as it is."""
        parts = [self._nodes[part] for part in self._parts(at)]
        free = [part for part in parts if part["type"] == "ac"]  # these take the end with the text
        closing = free[-1]["delimiters"] if free else []
        if not free and any(part.get("tag") == "tool-arg-string-value" for part in parts):
            free = [part for part in parts if part["type"] == "until"]
            closing = [] if self._nodes[at]["type"] == "tag" else free[-1]["delimiters"]
        ends = [end for part in free for end in part["delimiters"]]
        if not free or len(closing) > 1 or any(end in text for end in ends for text in texts):
            return at
        self.is_tighter = True
        grammar = " ".join([f"({' | '.join(map(literal, texts))})", *map(literal, closing)])
        return self._add({"type": "gbnf", "child": at, "grammar": grammar})

    def _dict(self, at: int) -> int:
        """Gemma's braces around any arguments, as braces around those of the tool."""
        parameters = self._parameters[self._tool]
        if any(sign in name for name in parameters["properties"] for sign in ":}"):
            return at
        self.is_tighter = True
        members = {name: self._member(name) for name in sorted(parameters["properties"])}  # as its templates show them
        required = [members[name] for name in members if name in parameters["required"]]
        others = [members[name] for name in members if name not in parameters["required"]]
        comma = [self._add({"type": "literal", "literal": ","}), self._add({"type": "space"})]
        listed = self._in_any_order(required, others, lambda member: member, lambda member: self._all(*comma, member))
        if members and not required:
            listed = self._repeated(listed, 1)
        opening, closing = (self._add({"type": "literal", "literal": brace}) for brace in "{}")
        return self._all(opening, listed, closing)

    def _member(self, name: str) -> int:
        return self._all(self._add({"type": "literal", "literal": f"{name}:"}), self._value(name, _GEMMA))

    def _value(self, name: str, form: _Values) -> int:
        """A value of an argument's schema as the format writes it: in full, but for lists, objects and other texts."""
        self.is_tighter = True
        texts = self._texts[self._tool].get(name, ())
        if texts and not any(sign in text for sign in form.unquotable for text in texts):
            quoted = [f"{quote}{text}{quote}" for quote in form.quotes for text in texts]
            return self._any(*(self._add({"type": "literal", "literal": text}) for text in quoted))
        schema = self._parameters[self._tool]["properties"][name]
        options = schema.get("anyOf", [schema])
        if {} in options:
            return self._rules[form.any]
        kinds = [_kind(option) for option in options]
        values = [self._rules[form.rules[kind]] for kind in ("string", "array") if kind in kinds]
        others = [option for option, kind in zip(options, kinds, strict=True) if kind not in ("string", "array")]
        rest = {_kind(option) for option in others}
        if rest and rest <= {"dict", "sealed"}:
            values.append(self._rules[form.rules["dict"]])
        elif "dict" in rest or kinds.count("sealed") != kinds.count("number"):
            return self._rules[form.any]
        elif others:
            values.append(self._json(name, {"anyOf": others}, self._rules[form.any]))
            words = [word for option, written in form.words if option in others for word in written]
            values += [self._add({"type": "literal", "literal": word}) for word in words]
        return self._any(*values)

    def _require_in_repetition(self, node: dict[str, Any]) -> None:
        """Of arguments that may come again and again, the required ones come."""
        child = node["child"]
        choice = next((at for at in (child, *children_of(self._nodes[child])) if self._is_choice(at)), None)
        if choice is not None:
            listed = self._in_any_order(*self._sorted(choice), None, self._instead(choice, child))
            node.clear()
            node |= {"type": "sequence", "children": [listed]}

    def _require_in_a_list(self, node: dict[str, Any]) -> None:
        """The same where something stands between them."""
        for index, (choice, rest) in enumerate(zip(node["children"], node["children"][1:], strict=False)):
            more = self._nodes[rest]
            if not self._is_choice(choice) or more["type"] != "repetition":
                continue
            if choice in children_of(self._nodes[more["child"]]):
                first, others = self._instead(choice, choice), self._instead(choice, more["child"])
                node["children"][index : index + 2] = [self._in_any_order(*self._sorted(choice), first, others)]
                return

    def _in_any_order(self, required: list[int], others: list[int], first: _Around | None, more: _Around) -> int:
        """Arguments, of which each required one comes once, and others as often as there are any.

        They come in any order, but for some of many required ones: a model that has to keep to another order than its
        own leaves out what it would have written before. Without the bound small models would go on for ever.

        Args:
            required: The required ones.
            others: The others.
            first: What makes the first of several of an argument; None: nothing else than what makes those that follow.
            more: What makes one that follows another.
        """
        self.is_tighter = True
        named = tuple(map(self._rule, required))
        other = [self._rule(self._any(*others))] if others else []
        between = [self._repeated(more(at), len(others)) for at in other]
        made: dict[tuple[int, ...], int] = {}

        def begun(left: tuple[int, ...], around: _Around) -> list[int]:
            candidates = left if len(left) <= _ORDERS_MAX else left[:1]
            return [self._all(around(at), after(tuple(one for one in left if one != at))) for at in candidates]

        def after(left: tuple[int, ...]) -> int:
            if left not in made:
                following = [self._any(*begun(left, more))] if left else []
                parts = [*between, *following]
                made[left] = self._rule(self._all(*parts)) if parts else self._add({"type": "epsilon"})
            return made[left]

        if first is None or not (named or other):
            return after(named)
        return self._any(*begun(named, first), *(self._all(first(at), after(named)) for at in other))

    def _sorted(self, choice: int) -> tuple[list[int], list[int]]:
        """The required arguments of a choice, and the others."""
        names = set(self._parameters[self._tool]["required"])
        arguments = self._nodes[choice]["children"]
        required = [argument for argument in arguments if self._name_of(argument) in names]
        return required, [argument for argument in arguments if argument not in required]

    def _instead(self, choice: int, at: int) -> _Around:
        """What makes copies of a parser with other parsers in the place of its choice."""
        node = self._nodes[at]
        if at == choice:
            return lambda new: new
        return lambda new: self._add(
            {**node, "children": [new if part == choice else part for part in node["children"]]}
        )

    def _repeated(self, at: int, high: int) -> int:
        return self._add({"type": "repetition", "child": at, "min_count": 0, "max_count": high})

    def _rule(self, at: int) -> int:
        name = f"arguments-{len(self._nodes)}"
        self.arena["rules"][name] = len(self._nodes)
        return self._add({"type": "rule", "name": name, "child": at, "trigger": False})

    def _all(self, *parts: int) -> int:
        return self._add({"type": "sequence", "children": [*parts]})

    def _any(self, *parts: int) -> int:
        return self._add({"type": "choice", "children": [*parts]})

    def _is_choice(self, at: int) -> bool:
        node = self._nodes[at]
        arguments = node["children"] if node["type"] == "choice" else ()
        return bool(arguments) and all(map(self._is_argument, arguments))

    def _is_argument(self, at: int) -> bool:
        node = self._nodes[at]
        if node["type"] == "rule":
            node = self._nodes[node["child"]]
        return bool(node.get("tag") == "tool-arg")

    def _name_of(self, at: int) -> str:
        parts = (part for part in self._parts(at) if self._nodes[part].get("tag") == "tool-arg-name")
        return next(map(self._literal_in, parts), "")

    def _literal_in(self, at: int) -> str:
        return next((self._nodes[part]["literal"] for part in self._parts(at) if "literal" in self._nodes[part]), "")

    def _parts(self, at: int) -> Iterator[int]:
        pending, seen = [at], set()
        while pending:
            part = pending.pop()
            if part not in seen:
                seen.add(part)
                yield part
                pending += reversed(children_of(self._nodes[part]))

    def _add(self, node: dict[str, Any]) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1


def _may_be_text(schema: Mapping[str, Any]) -> bool:
    """Whether a schema that a grammar enforces is, to llama.cpp, one of strings."""
    return any(not option or _kind(option) == "string" for option in schema.get("anyOf", [schema]))


def _kind(option: Mapping[str, Any]) -> str:
    """What values a schema without alternatives is of; of sealed numbers and objects, the first part looks the same."""
    if "const" in option:
        constants = {str: "string", int: "number", dict: "sealed", list: "array"}
        return constants.get(type(option["const"]), "scalar")
    return {"string": "string", "array": "array", "object": "dict"}.get(option.get("type", ""), "scalar")
