"""Reading chat requests: what is refused and how, what passes, and what becomes of it."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator

import msgspec
import pytest
from bad_builders import Bad
from bad_requests import BAD
from bodies import CALL, FULL, FUNCTION, GOOD, TOOL, mutated
from hypothesis import given
from msgspec import inspect

from hoshikage_server import invalid
from hoshikage_server.api import conversation
from hoshikage_server.api.schema import ChatRequest, decode_chat
from hoshikage_server.engines import framing, wire
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.errors import RequestError, kind_of


def decoded(**fields: object) -> ChatRequest:
    return decode_chat(json.dumps({**GOOD, **fields}).encode())


def refusal(body: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_chat(body if isinstance(body, bytes) else json.dumps(body).encode())
    error = caught.value
    for language in ("en", "ja"):
        text = error.text(language)
        assert not re.search(r"\{[a-z_]+\}", text), "every placeholder is filled"
        assert len(text.encode()) < 1000, "however long the body is"
    return error


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_requests(bad: Bad) -> None:
    """400, with the field that is to blame and what about it."""
    error = refusal(bad.body)
    kind = kind_of(error.code)
    assert "something else" not in error.text("en")
    assert (kind.public_code, error.param) == (bad.code, bad.param)
    assert (kind.status, kind.type) == (400, "invalid_request_error")


def test_the_table_is_large_and_names_each_field() -> None:
    """150 rows at least, none of them twice; what is not in it is a number, and tested below."""
    assert len({row.body for row in BAD}) == len(BAD) >= 150
    blamed = {re.split(r"[.\[]", row.param)[0] for row in BAD if row.param}
    numbers = {"dry_base", "dry_penalty_last_n", "xtc_threshold", "mirostat_eta", "dynatemp_exponent"}
    assert set(ChatRequest.__struct_fields__) - blamed == numbers


@pytest.mark.parametrize("number", ["-1e9", '"x"', "1e999"])
@pytest.mark.parametrize("name", sorted({*Sampling.__struct_fields__} - {"logit_bias", "ignore_eos"}))
def test_every_number_has_bounds(name: str, number: str) -> None:
    """Of every sampling value: nothing negative without end, no text, no infinity."""
    body = json.dumps(GOOD)[:-1] + f', "{name}": {number}}}'
    assert refusal(body.encode()).param == name


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","temperature":1,"messages":[{"role":"user","content":"x"}],"temperature":9}',
        b'{"model":"m","seed":1,"messages":[{"role":"user","content":"x"}],"seed":9223372036854775808}',
        b'{"model":"m","stop":["a","a","a","a","a"],"stop":["a","a","a","a","a","a"]}',
        b'{"model":"m","messages":[{"role":1}],"messages":[]}',
        b'{"model":"m","logit_bias":{"x":1},"logit_bias":1}',
        b'{"model":"m","metadata":{"a":1},"metadata":[]}',
        b'{"model":"m","temperature":9,"messages":[',
        b'{"model":"m","stop":["a","a","a","a","a"],"messages":[',
        b'{"model":"m","stop":1,"messages":[',
        b'{"model":"m","logit_bias":{"x":1},"messages":[',
        b'{"model":"m","chat_template_kwargs":' + b'{"a":' * 100 + b"1e999" + b"}" * 100 + b"}",
    ],
    ids=range(11),
)
def test_values_that_are_not_found(body: bytes) -> None:
    """A duplicate that is bad too, a path that leads elsewhere, a body that is no JSON further on: still a 400."""
    assert kind_of(refusal(body).code).status == 400


@pytest.mark.parametrize(
    ("fields", "english", "japanese"),
    [
        ({"stop": 1}, "expected a string or an array, but got an integer", "文字列または配列が必要ですが、整数でした"),
        ({"model": None}, "expected a string, but got null", "文字列が必要ですが、nullでした"),
        ({"temperature": "x"}, "expected a decimal, but got a string", "数値が必要ですが、文字列でした"),
        ({"stream": {}}, "expected a boolean, but got an object", "真偽値が必要ですが、オブジェクトでした"),
        ({"modalities": ["text", "x"]}, 'does not support ["text", "x"] ', '値 ["text", "x"] には'),
        ({"verbosity": "a\n\u2028'"}, "for 'verbosity': 'a\\n\\u2028''", "値 'a\\n\\u2028'' は"),
        ({"max_tokens": 10**30}, f"<= 2147483647, but got {10**30}", "2147483647 以下"),
        ({"logit_bias": {"hello": 1}}, "Invalid key in 'logit_bias': 'hello'. You should only", "キー 'hello' は"),
        ({"metadata": {"k" * 65: ""}}, "length 64, but got a string with length 65", "64 文字まで"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "pattern '^[a-zA-Z0-9_-]+$'", "'a b' は"),
        (
            {"tool_choice": {"type": "x"}, "tools": [TOOL]},
            "'custom', 'allowed_tools'",
            "'allowed_tools'。",
        ),
        ({"return_progress": True}, "The 'return_progress' parameter", "'return_progress' は"),
    ],
    ids=range(12),
)
def test_messages_of_bad_values(fields: dict[str, object], english: str, japanese: str) -> None:
    """Wholly in one language; values are spelled as in JSON."""
    error = refusal({**GOOD, **fields})
    assert english in error.text("en")
    assert japanese in error.text("ja")


def test_half_a_surrogate_pair_is_called_that() -> None:
    """Wherever the escape stands: Python's json makes such bodies of what it read with errors ignored."""
    for text in (r"\ud800", r"\udc00", r"\ud800 and more", r"\ud800\u0041"):
        error = refusal(json.dumps(GOOD)[:-1].encode() + b', "user": "' + text.encode() + b'"}')
        assert "one half of a surrogate pair" in error.text("en")
        assert "サロゲートペアの片方" in error.text("ja")


def _words(kind: inspect.Type, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every field that takes one of a few words, and these."""
    if isinstance(kind, inspect.UnionType):
        for inner in kind.types:
            yield from _words(inner, path)
    elif isinstance(kind, inspect.StructType):
        if kind.tag_field:
            yield f"{path}.{kind.tag_field}", [str(kind.tag)]
        for field in kind.fields:
            yield from _words(field.type, f"{path}.{field.name}".lstrip("."))
    elif isinstance(kind, (inspect.ListType, inspect.VarTupleType)):
        yield from _words(kind.item_type, path)
    elif isinstance(kind, inspect.LiteralType):
        yield path, [str(value) for value in kind.values]
    elif isinstance(kind, inspect.Metadata):
        yield from _words(kind.type, path)


def test_the_supported_values_are_those_of_the_types() -> None:
    """msgspec does not tell them; of those that OpenAI has and we have not, a message says nothing."""
    refused = {"'image_url'", "'input_audio'", "'file'", "'refusal'"}
    found: dict[str, set[str]] = {}
    for path, words in _words(inspect.type_info(ChatRequest)):
        found.setdefault(path, set()).update(words)
    assert len(found) >= 18
    for path, values in found.items():
        said = invalid._supported(path, invalid.WORDS).split(", ")
        assert set(said) == {f"'{word}'" for word in values} - refused, path


BIG = {
    "arrays": b'"x":' + b"[" * 5_000_000 + b"]" * 5_000_000,
    "arrays in a text": b'"user":' + b"[" * 5_000_000 + b"]" * 5_000_000,
    "objects": b'"chat_template_kwargs":' + b'{"a":' * 1_500_000 + b"1" + b"}" * 1_500_000,
    "wide and deep": b'"chat_template_kwargs":' + b'{"a":' * 100 + b'[1e999,"' + b"x" * 9_000_000 + b'"]' + b"}" * 100,
    "many strings": b'"stop":[' + b'"a",' * 1_000_000 + b'"a"]',
    "many modalities": b'"modalities":[' + b'"a",' * 1_000_000 + b'"a"]',
    "many keys": b'"metadata":{' + b",".join(b'"%d":"a"' % i for i in range(300_000)) + b"}",
    "one bad key": b'"logit_bias":{' + b",".join(b'"%d":1' % i for i in range(300_000)) + b',"x":1}',
    "one bad value": b'"logit_bias":{' + b",".join(b'"%d":1' % i for i in range(300_000)) + b',"1":"x"}',
    "a key 300,000 times": b'"temperature":9,' * 300_000 + b'"temperature":1',
    "a nested key 300,000 times": b'"metadata":{' + b'"a":1,' * 300_000 + b'"a":"b"}',
    "digits": b'"max_tokens":' + b"9" * 10_000_000,
    "a long word": b'"verbosity":"' + b"x" * 10_000_000 + b'"',
    "a long key": b'"metadata":{"' + b"x" * 10_000_000 + b'":"a"}',
    "a long name": b'"tools":[{"type":"function","function":{"name":"' + b"x" * 10_000_000 + b'"}}]',
    "many tools": b'"tools":[' + b",".join([json.dumps(TOOL).encode()] * 30_000) + b"]",
    "many messages": b'"messages":[' + b",".join([b'{"role":"user","content":"x"}'] * 200_000) + b"]",
    "many calls without results": b'"messages":[{"role":"assistant","tool_calls":['
    + b",".join(json.dumps({**CALL, "id": f"{i}-" + "x" * 1000}).encode() for i in range(1024))
    + b"]}]",
    "a long unanswered id": b'"messages":[{"role":"tool","content":"","tool_call_id":"' + b"x" * 10_000_000 + b'"}]',
}


@pytest.mark.parametrize("name", BIG)
def test_large_and_hostile_bodies(name: str) -> None:
    """Refused in linear time (0.1 to 0.6 s each on a free machine), with a message of bounded length."""
    body = json.dumps(GOOD).encode()[:-1] + b", " + BIG[name] + b"}"
    began = time.process_time()
    refusal(body)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict.fromkeys(name for name in ChatRequest.__struct_fields__ if name not in GOOD),
        {"user": "u", "metadata": {"a": "b"}, "store": True, "safety_identifier": "x", "service_tier": "auto"},
        {"metadata": {"k" * 64: "v" * 512, "": "", "a.b": "c", "__proto__": "x"}},
        {"no_such_field": [1, {"a": None}], "__proto__": {"a": 1}, "constructor": 1, "": None},
        {"logprobs": False, "logit_bias": {}, "stop": []},
        {"response_format": {"type": "text"}, "modalities": ["text"], "grammar": "root ::= [a]"},
        {"temperature": 0, "top_p": 1, "seed": -(2**63), "stop": ["a", "b", "c", "d"], "max_tokens": 1},
        {"temperature": -0.0, "top_k": -1, "repeat_last_n": -1, "logit_bias": {"0": -100, "2147483647": 100}},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False, "more": 1}},
        {"tools": [{"type": "function", "function": {"name": "f" * 64, "parameters": {}}}]},
        {"tools": [TOOL], "tool_choice": "none", "grammar": "root ::= [a]"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}},
        {"json_schema": {"type": "array"}},
        {"user": "\ud83d\ude00 星影 \u2028"},
        *FULL,
    ],
    ids=range(15 + len(FULL)),
)
def test_good_fields(fields: dict[str, object]) -> None:
    """Null is as good as nothing; what has no effect and what is unknown passes; an engine can be told of all of it."""
    request = decoded(**fields)
    frame = wire.Generate(1, conversation.plain(request.messages), request.sampling(), form=request.form())
    (told,) = wire.frames_to_engine().feed(framing.encode(frame))
    assert told == frame


def test_messages_become_plain() -> None:
    """All roles, and content as text or in parts; calls of functions become calls of tools."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": parts, "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}], "reasoning_content": "hm"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "r", "tool_call_id": "call_1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
        {"role": "function", "name": "f", "content": None},
    ]
    plain = conversation.plain(decoded(messages=messages).messages)
    assert [(m["role"], m["content"]) for m in plain] == [
        ("system", "s"),
        ("developer", "d"),
        ("user", "a\nb"),
        ("assistant", "no"),
        ("assistant", "never"),
        ("assistant", ""),
        ("tool", "r"),
        ("assistant", ""),
        ("tool", ""),
    ]
    assert plain[4]["reasoning_content"] == "hm"
    assert plain[5]["tool_calls"] == [CALL]
    assert plain[6]["tool_call_id"] == "call_1"
    assert plain[7]["tool_calls"][0]["id"] == plain[8]["tool_call_id"]
    assert plain[7]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_sampling_holds_what_was_said_and_no_more() -> None:
    """None leaves the choice to those further down."""
    request = decoded(temperature=0, seed=3, top_k=0, top_p=None)
    assert request.sampling() == Sampling(temperature=0, seed=3, top_k=0)
    assert request.stops == ()
    assert decoded(stop="x", max_completion_tokens=4).token_limit == 4
    assert decoded(repetition_penalty=1.5).sampling() == Sampling(repeat_penalty=1.5)
    assert decoded(logit_bias={"7": -1}).sampling() == Sampling(logit_bias={7: -1.0})


@pytest.mark.parametrize(
    ("choice", "form"),
    [
        (None, {"tool_choice": "auto"}),
        ("none", {"tool_choice": "none"}),
        ("required", {"tool_choice": "required"}),
        ({"type": "function", "function": {"name": "f"}}, {"tool_choice": "required", "tool_name": "f"}),
    ],
)
def test_tools_and_the_choice_among_them(choice: object, form: dict[str, object]) -> None:
    """Each choice says to an engine what it must do; the tools go there as they came."""
    other = {"type": "function", "function": {"name": "g"}}
    made = decoded(tools=[TOOL, other], tool_choice=choice).form()
    assert made.tools == (TOOL, other)
    assert {name: getattr(made, name) for name in form} == form
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}
    some = decoded(tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}).form()
    assert (some.tools, some.tool_choice, some.tool_name) == ((other,), "required", None)


@pytest.mark.parametrize("choice", ["auto", "none", {"name": "f"}, None])
def test_functions_are_tools(choice: object) -> None:
    """Under their older name: an answer calls one at most, which the engine is told."""
    older = decoded(functions=[FUNCTION], function_call=choice).form()
    named = {"type": "function", "function": choice} if isinstance(choice, dict) else choice
    assert older == decoded(tools=[TOOL], tool_choice=named, parallel_tool_calls=False).form()


def test_reasoning_is_told_to_the_template() -> None:
    """Efforts that templates do not know mean the nearest; the client's own variables go over ours."""
    assert decoded(reasoning_effort="none").form().enable_thinking is False
    form = decoded(reasoning_effort="xhigh", verbosity="low", chat_template_kwargs={"verbosity": "x"}).form()
    assert (form.enable_thinking, form.template_kwargs) == (True, {"reasoning_effort": "high", "verbosity": "x"})
    assert decoded(thinking_budget_tokens=-1).form().thinking_budget is None
    assert decoded(thinking_budget_tokens=0).form().thinking_budget == 0


@given(mutated())
def test_mutated_bodies(body: bytes) -> None:
    """Decoded, and then an engine can be told; or refused with a 400 that can be said in both languages."""
    refused: RequestError | None = None
    try:
        request = decode_chat(body)
        assert request.temperature is None or not math.isnan(request.temperature)
        framing.encode(wire.Generate(1, conversation.plain(request.messages), request.sampling(), form=request.form()))
    except RequestError as error:
        refused = error
    if refused is not None:
        assert kind_of(refused.code).status == 400
        for language in ("en", "ja"):
            msgspec.json.encode(refused.text(language))
