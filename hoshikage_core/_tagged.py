"""Formats with something written around each argument of a call: their grammars, held closer to what schemas say.

llama.cpp lets a string between tags be any text, and some formats do not ask for the arguments that are required.
Answers are still read with its own parser: what is made here is for a grammar only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hoshikage_core._arena import Arena
from hoshikage_core._arena import children as children_of
from hoshikage_core.json_schema import texts_of
from hoshikage_core.json_schema.rules import literal

_NESTED = {"tool-arg-object", "tool-arg-array", "tool-arg-item"}
_ANY_VALUE = "python-or-json-value"
_DICT, _VALUE, _QUOTE = "gemma4-dict", "gemma4-value", '<|"|>'


class Tagged:
    """An arena for the grammar of calls whose arguments stand one by one.

    Args:
        arena: llama.cpp's.
        tools: The tools, with schemas that a grammar enforces and that show their arguments.
        written: The same as the caller wrote them.

    Attributes:
        arena: Required arguments come first, and what is one of some texts is one of them.
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
        elif node["type"] == "tag" and node["tag"] == "tool-args" and self._nodes[node["child"]].get("name") == _DICT:
            node["child"] = self._dict(node["child"])
            return
        elif node["type"] == "sequence":
            self._require_in_a_list(node)
        elif node["type"] == "repetition" and (node["min_count"], node["max_count"]) == (0, -1):
            self._require_in_any_order(node)
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
            elif node.get("tag") == "tool-arg-value" and self._nodes[node["child"]].get("name") == _ANY_VALUE:
                node["child"] = self._json(name, schema, node["child"])
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
        members = {name: self._member(name) for name in parameters["properties"]}
        required = [members.pop(name) for name in parameters["required"]]
        others = list(members.values())
        comma = [self._add({"type": "literal", "literal": ","}), self._add({"type": "space"})]
        listed = [part for member in required for part in (*comma, member)][len(comma) :]
        if others:
            other = self._add({"type": "choice", "children": others})
            more = self._repeated([*comma, other], len(others))
            listed += [more] if required else [self._repeated([other, more], 1)]
        opening, closing = (self._add({"type": "literal", "literal": brace}) for brace in "{}")
        return self._add({"type": "sequence", "children": [opening, *listed, closing]})

    def _member(self, name: str) -> int:
        key = self._add({"type": "literal", "literal": f"{name}:"})
        return self._add({"type": "sequence", "children": [key, self._value(name)]})

    def _value(self, name: str) -> int:
        texts = self._texts[self._tool].get(name, ())
        if texts and not any(_QUOTE in text for text in texts):
            quoted = [self._add({"type": "literal", "literal": f"{_QUOTE}{text}{_QUOTE}"}) for text in texts]
            return self._add({"type": "choice", "children": quoted})
        schema = self._parameters[self._tool]["properties"][name]
        options = schema.get("anyOf", [schema])
        if {} in options:
            return self._rules[_VALUE]
        kinds = [_kind(option) for option in options]
        values = [self._rules[f"gemma4-{kind}"] for kind in ("string", "array") if kind in kinds]
        others = [option for option, kind in zip(options, kinds, strict=True) if kind not in ("string", "array")]
        rest = {_kind(option) for option in others}
        if rest and rest <= {"dict", "sealed"}:
            values.append(self._rules[_DICT])
        elif "dict" in rest or kinds.count("sealed") != kinds.count("number"):
            return self._rules[_VALUE]
        elif others:
            values.append(self._json(name, {"anyOf": others}, self._rules[_VALUE]))
        return self._add({"type": "choice", "children": values})

    def _repeated(self, parts: list[int], high: int) -> int:
        child = self._add({"type": "sequence", "children": parts})
        return self._add({"type": "repetition", "child": child, "min_count": 0, "max_count": high})

    def _require_in_any_order(self, node: dict[str, Any]) -> None:
        """Of arguments that may come again and again, the required ones come first, and no more than there are."""
        child = node["child"]
        choice = next((at for at in (child, *children_of(self._nodes[child])) if self._is_choice(at)), None)
        if choice is None:
            return
        required, others = self._sorted(choice)
        first = [self._with_choice(child, choice, [argument]) for argument in required]
        more = self._listed(node, choice, others)
        node.clear()
        node |= {"type": "sequence", "children": [*first, more]}

    def _require_in_a_list(self, node: dict[str, Any]) -> None:
        """The same where something stands between them."""
        for index, (choice, rest) in enumerate(zip(node["children"], node["children"][1:], strict=False)):
            more = self._nodes[rest]
            if not self._is_choice(choice) or more["type"] != "repetition":
                continue
            required, others = self._sorted(choice)
            if choice not in children_of(self._nodes[more["child"]]) or not required:
                continue
            listed = [self._with_choice(more["child"], choice, [argument]) for argument in required[1:]]
            listed.append(self._listed(more, choice, others))
            node["children"][index : index + 2] = [required[0], *listed]
            return

    def _listed(self, repetition: Mapping[str, Any], choice: int, others: list[int]) -> int:
        """A repetition of arguments that may be there: as often as there are any, or small models go on for ever."""
        if not others:
            return self._add({"type": "epsilon"})
        child = self._with_choice(repetition["child"], choice, others)
        return self._add({**repetition, "child": child, "max_count": len(others)})

    def _sorted(self, choice: int) -> tuple[list[int], list[int]]:
        """The required arguments of a choice, and the others."""
        required: list[int] = []
        others: list[int] = []
        names = set(self._parameters[self._tool]["required"])
        for argument in self._nodes[choice]["children"]:
            (required if self._name_of(argument) in names else others).append(argument)
        self.is_tighter = True
        return required, others

    def _with_choice(self, at: int, choice: int, kept: list[int]) -> int:
        """A copy of a parser, with some of the choice's arguments in the choice's place."""
        left = self._add({"type": "choice", "children": kept})
        if at == choice:
            return left
        node = self._nodes[at]
        return self._add({**node, "children": [left if child == choice else child for child in node["children"]]})

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
