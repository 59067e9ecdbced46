"""llama.cpp's parsers as data: an arena of small parsers that name each other by number.

The same arena reads an answer and becomes the grammar that binds it. What is changed here is what llama.cpp leaves
open: text before a call that has to be made, several calls where one was asked for, another format for the content.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

Arena = dict[str, Any]
_LITERAL_KINDS = {"epsilon", "start", "end"}
_UNSEEN_KINDS = {"epsilon", "end", "space"}
_REGEX_SIGN = re.compile(r"[\^$\\.*+?()\[\]{}|]")
_RUN_MAX = 16
_REASONING_MAX = 4
# Nine letters are an id for every template; Mistral's accept no other.
_ID = {"type": "chars", "pattern": "[A-Za-z0-9]", "ranges": [], "negated": False, "min_count": 9, "max_count": 9}


def schema_names(arena: Mapping[str, Any]) -> set[str]:
    """The names of the schemas that the arena's grammar enforces."""
    return {node["name"] for node in arena["parsers"] if node["type"] == "schema"}


def marks(arena: Mapping[str, Any]) -> frozenset[str]:
    """What ends a text, such as a tag."""
    return frozenset(mark for node in arena["parsers"] if node["type"] == "until" for mark in node["delimiters"])


def is_plain(arena: Mapping[str, Any], generation_prompt: str) -> bool:
    """Whether all text after the generation prompt is content."""
    literal, n_contents = "", 0
    for node in _flat(arena, arena["root"]):
        if node["type"] == "literal" and not n_contents:
            literal += node["literal"]
        elif node["type"] == "tag" and node["tag"] == "content" and _is_rest(arena, node["child"]) and not n_contents:
            n_contents += 1
        elif node["type"] not in _LITERAL_KINDS:
            return False
    return n_contents == 1 and generation_prompt.startswith(literal)


def _flat(arena: Mapping[str, Any], at: int) -> list[Mapping[str, Any]]:
    node = arena["parsers"][at]
    if node["type"] == "sequence":
        return [leaf for child in node["children"] for leaf in _flat(arena, child)]
    if node["type"] == "rule":
        return _flat(arena, node["child"])
    return [node]


def _is_rest(arena: Mapping[str, Any], at: int) -> bool:
    node = arena["parsers"][at]
    return node["type"] == "until" and not node["delimiters"]


def has_early_ids(arena: Mapping[str, Any]) -> bool:
    """Whether a call's id is written before its arguments, so that it is known when the call is told."""
    pending, seen = [arena["root"]], set()
    while pending:
        at = pending.pop()
        if at in seen:
            continue
        seen.add(at)
        node = arena["parsers"][at]
        if node["type"] == "tag" and node["tag"] in ("tool-id", "tool-args", "tool-arg"):
            return bool(node["tag"] == "tool-id")
        pending.extend(reversed(children(node)))
    return False


def without_content(arena: Mapping[str, Any]) -> Arena:
    """The arena of an answer that is calls only: there is no text in which it could go on for ever instead."""
    edited = copy.deepcopy(dict(arena))
    has_content = _marks(edited)
    for node in edited["parsers"]:
        if node["type"] == "choice":
            node["children"] = [at for at in node["children"] if not has_content[at]] or node["children"]
    for at, node in enumerate(edited["parsers"]):
        if _is_content(node):
            edited["parsers"][at] = {"type": "epsilon"}
    return edited


def with_one_call(arena: Mapping[str, Any]) -> Arena:
    """The arena of an answer with at most one call; in some formats, llama.cpp allows any number."""
    edited = copy.deepcopy(dict(arena))
    for node in edited["parsers"]:
        if node["type"] == "rule" and node["trigger"]:
            body = edited["parsers"][node["child"]]
            if body["type"] == "repetition" and body["max_count"] == -1:
                body["max_count"] = 1
    return edited


def name_pattern(arena: Mapping[str, Any]) -> str | None:
    """How a call begins up to its tool's name, as a regular expression whose group is the name with its quotes.

    None where nothing comes before the name, so that any text could be one.
    """
    names: dict[str, list[str]] = {}
    for before, named in _beginnings(arena):
        patterns = [_pattern(arena, at) for at in before]
        names.setdefault("".join(patterns), []).append(_pattern(arena, named))
    if not names or "" in names:
        return None
    return "|".join(f"{before}({'|'.join(named)})" for before, named in names.items())


def from_names(arena: Mapping[str, Any]) -> Arena:
    """The arena of one call without what comes before its tool's name."""
    edited = copy.deepcopy(dict(arena))
    nodes = edited["parsers"]
    has_call = _marks(edited, "tool")
    for node in nodes:
        if node["type"] == "repetition" and node["max_count"] == -1 and has_call[node["child"]]:
            node["max_count"] = node["min_count"]
    for _, named in _beginnings(arena):
        for node in nodes:
            if node["type"] == "sequence" and named in node["children"]:
                node["children"] = node["children"][node["children"].index(named) :]
    return edited


def _beginnings(arena: Mapping[str, Any]) -> Iterator[tuple[list[int], int]]:
    """Of each call: what comes before the part that holds its tool's name, and this part."""
    nodes = arena["parsers"]
    has_name = _marks(arena, "tool-name")
    for node in nodes:
        if node["type"] == "tag" and node["tag"] == "tool" and nodes[node["child"]]["type"] == "sequence":
            parts = nodes[node["child"]]["children"]
            named = next((i for i, at in enumerate(parts) if has_name[at]), None)
            if named is not None:
                yield parts[:named], parts[named]


def _pattern(arena: Mapping[str, Any], at: int) -> str:
    """What a parser of plain text takes, as a regular expression of C++'s."""
    node = arena["parsers"][at]
    if node["type"] == "literal":
        return _REGEX_SIGN.sub(r"\\\g<0>", node["literal"])
    if node["type"] == "space":
        return r"\s*"
    inner = "".join(_pattern(arena, child) for child in children(node))
    return f"(?:{inner})?" if node["type"] == "repetition" else inner


def with_space_before_closing(arena: Mapping[str, Any]) -> Arena:
    """The arena that reads white space where its grammar lets a model write it: before the tag that closes a call.

    Otherwise the call would never be read to its end, and its arguments lack their last bracket.
    """
    edited = copy.deepcopy(dict(arena))
    nodes = edited["parsers"]
    for node in list(nodes):
        peek = nodes[node["child"]] if node["type"] == "tag" and node["tag"] == "tool-close" else {}
        if peek.get("type") == "and" and nodes[peek["child"]]["type"] == "literal":
            nodes += [{"type": "space"}, {"type": "sequence", "children": [len(nodes), peek["child"]]}]
            peek["child"] = len(nodes) - 1
    return edited


def bounded(arena: Mapping[str, Any]) -> Arena:
    """The arena of an answer that comes to an end: no ids and names of any length, no reasoning again and again.

    Nor is there white space at its end, which nobody sees, and which small models go on with for many tokens.
    """
    edited = copy.deepcopy(dict(arena))
    nodes = edited["parsers"]
    _drop_last_space(nodes, edited["root"], _n_uses(edited))
    has_reasoning = _marks(edited, "reasoning")
    for node in nodes:
        if node.get("max_count") == -1:
            if node["type"] == "chars":
                node["max_count"] = _RUN_MAX
            elif node["type"] == "repetition" and has_reasoning[node["child"]]:
                node["max_count"] = _REASONING_MAX
        elif node["type"] == "tag" and node["tag"] == "tool-id" and nodes[node["child"]]["type"] == "until":
            nodes[node["child"]] = _ID
    return edited


def with_content(host: Mapping[str, Any], guest: Mapping[str, Any]) -> Arena:
    """The host's arena with the guest's in place of its content, which must come, once."""
    edited = copy.deepcopy(dict(host))
    nodes = edited["parsers"]
    has_content = _marks(edited)
    for node in nodes:
        if node["type"] == "repetition" and has_content[node["child"]]:
            if node["min_count"] == 0 and _without(nodes, node["child"], has_content):
                continue  # what may come before, like a preamble, comes without content
            node["min_count"] = node["max_count"] = 1
    has_content = _marks(edited)
    nodes.append({"type": "epsilon"})
    for node in nodes:
        if node["type"] == "choice":
            node["children"] = [at for at in node["children"] if has_content[at]] or node["children"]
        elif node["type"] == "sequence":
            *others, _ = [at for at in node["children"] if has_content[at]] or [None]
            node["children"] = [len(nodes) - 1 if at in others else at for at in node["children"]]
    offset = len(nodes)
    nodes.extend(_moved(node, offset) for node in guest["parsers"])
    for at in range(offset):
        if _is_content(nodes[at]):
            nodes[at] = {"type": "sequence", "children": [guest["root"] + offset]}
    taken = set(edited["rules"])
    for name, at in guest["rules"].items():
        new = name if name not in taken else f"answer-{name}"
        edited["rules"][new] = at + offset
        for node in nodes[offset:]:
            if node["type"] in ("rule", "ref") and node["name"] == name:
                node["name"] = new
    return edited


def _drop_last_space(nodes: list[dict[str, Any]], at: int, n_uses: Mapping[int, int]) -> None:
    node = nodes[at]
    if n_uses.get(at, 0) > 1 or (node["type"] == "repetition" and node["max_count"] != 1):
        return  # it stands elsewhere too, where something follows
    if node["type"] == "sequence":
        visible = [i for i, child in enumerate(node["children"]) if nodes[child]["type"] not in _UNSEEN_KINDS]
        if not visible or _may_go_on(nodes, node["children"][visible[-1]]):
            return
        node["children"] = node["children"][: visible[-1] + 1]
    for child in _last(node):
        _drop_last_space(nodes, child, n_uses)


def _may_go_on(nodes: list[dict[str, Any]], at: int) -> bool:
    """Whether it ends with what may come again: space that may come before that must not oblige to it."""
    node = nodes[at]
    if node["type"] == "repetition" and node["max_count"] != 1:
        return True
    return any(_may_go_on(nodes, child) for child in _last(node))


def _last(node: Mapping[str, Any]) -> list[int]:
    """The parts that a parser's text may end with."""
    if node["type"] == "choice":
        return list(node["children"])
    return children(node)[-1:] if node["type"] != "schema" else []


def _n_uses(arena: Mapping[str, Any]) -> dict[int, int]:
    """How often each parser is part of another, of those that the root needs."""
    n_uses = {arena["root"]: 0}
    queue = [arena["root"]]
    while queue:
        for child in children(arena["parsers"][queue.pop()]):
            if child not in n_uses:
                queue.append(child)
            n_uses[child] = n_uses.get(child, 0) + 1
    return n_uses


def _without(nodes: list[dict[str, Any]], at: int, has_content: list[bool]) -> bool:
    """Drops the alternatives with content below; False where there is content without an alternative."""
    node = nodes[at]
    if not has_content[at]:
        return True
    if node["type"] == "choice":
        left = [child for child in node["children"] if not has_content[child]]
        if left:
            node["children"] = left
        return bool(left)
    if _is_content(node):
        return False
    return all(_without(nodes, child, has_content) for child in children(node))


def _moved(node: Mapping[str, Any], offset: int) -> dict[str, Any]:
    moved = dict(node)
    if "child" in moved:
        moved["child"] += offset
    if "children" in moved:
        moved["children"] = [child + offset for child in moved["children"]]
    return moved


def _is_content(node: Mapping[str, Any]) -> bool:
    return bool(node["type"] == "tag" and node["tag"] == "content")


def children(node: Mapping[str, Any]) -> list[int]:
    """The numbers of a parser's parts."""
    return node["children"] if "children" in node else [node["child"]] if "child" in node else []


def _marks(arena: Mapping[str, Any], tag: str = "content") -> list[bool]:
    """For each parser: whether there is something of this kind in it."""
    nodes = arena["parsers"]
    parents: dict[int, list[int]] = {}
    for at, node in enumerate(nodes):
        for child in children(node):
            parents.setdefault(child, []).append(at)
    marks = [False] * len(nodes)
    found = [at for at, node in enumerate(nodes) if node["type"] == "tag" and node["tag"] == tag]
    while found:
        at = found.pop()
        if not marks[at]:
            marks[at] = True
            found.extend(parents.get(at, ()))
    return marks
