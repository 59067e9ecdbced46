"""/v1/responses over HTTP, with the fake engine."""

from __future__ import annotations

import time
from typing import Any

import pytest
from api_client import Api, MakeApi
from openai.types.responses import Response, ResponseItemList
from responses_api import FUNCTION, ask, ask_stream, error_of, frame_of, post, refused, said, text_of

# What Codex 0.14x sends, as far as the server sees it: roles, parts, mixed tools, includes.
AGENT: dict[str, Any] = {
    "model": "m",
    "instructions": "You are a coding agent.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox: read-only."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look first."}], "encrypted_content": None},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
        {"type": "custom_tool_call", "name": "apply_patch", "input": "x", "call_id": "call_2"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Fixed."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "params"}]},
    ],
    "tools": [
        {**FUNCTION, "name": "shell", "strict": False},
        {"type": "custom", "name": "apply_patch", "description": "Patches.", "format": {
            "type": "grammar", "syntax": "lark", "definition": 'start: "x"'}},
        {"type": "web_search", "external_web_access": False},
        {"type": "image_generation", "output_format": "png"},
        {"type": "namespace", "name": "mcp__db", "description": "D", "tools": [{**FUNCTION, "name": "query"}]},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
    "client_metadata": {"unknown": "passes"},
}  # fmt: skip


def test_a_response(api: Api) -> None:
    """OpenAI's object, which the SDK's type takes; what was left open stands in it as it was taken."""
    body = ask(api, "echo hello world", metadata={"a": "b"}, temperature=0.5)
    Response.model_validate(body, strict=True)
    assert text_of(body) == "hello world"
    assert body["id"].startswith("resp_")
    assert (body["object"], body["status"], body["error"]) == ("response", "completed", None)
    assert (body["metadata"], body["temperature"], body["top_p"]) == ({"a": "b"}, 0.5, 0.9)
    assert (body["tool_choice"], body["tools"], body["truncation"]) == ("auto", [], "disabled")
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "medium"}
    assert abs(body["created_at"] - time.time()) < 60
    assert body["usage"]["total_tokens"] == 9


def test_a_stream(api: Api) -> None:
    """One id throughout; it ends with the whole response, without [DONE]."""
    events = ask_stream(api, "echo hello world")
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "hello world"
    assert text_of(events[-1]["response"]) == "hello world"


def test_reasoning_and_a_call(api: Api) -> None:
    """Each as an item of its own."""
    reasoning, message = ask(api, "think 2 a b c")["output"]
    assert (reasoning["type"], reasoning["content"][0]["text"]) == ("reasoning", "a b")
    assert message["content"][0]["text"] == " c"
    (called,) = ask(api, 'call f {"x": 12345}', tools=[FUNCTION])["output"]
    assert (called["type"], called["name"], called["arguments"]) == ("function_call", "f", '{"x": 12345}')


def test_what_an_agent_sends(api: Api) -> None:
    """It runs: hosted tools beside its own are left out, and the response says so; the rest reaches the model."""
    (*_, last) = post_stream(api, AGENT)
    response = last["response"]
    Response.model_validate(response, strict=True)
    assert [tool["type"] for tool in response["tools"]] == ["function", "custom", "namespace"]
    assert response["tools"][1]["format"]["syntax"] == "lark"
    frame = frame_of(response)
    assert frame["messages"] == [
        said("system", "You are a coding agent.\n\nSandbox: read-only."),
        said("user", "Fix it."),
        {
            **said("assistant", ""),
            "reasoning_content": "Look first.",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "shell", "arguments": '{"command":["ls"]}'}},
                {"id": "call_2", "type": "function", "function": {"name": "apply_patch", "arguments": '{"input":"x"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "a.py"},
        {"role": "tool", "tool_call_id": "call_2", "content": "done"},
        said("assistant", "Fixed."),
        said("user", "params"),
    ]  # fmt: skip
    form = frame["form"]
    assert [tool["function"]["name"] for tool in form["tools"]] == ["shell", "apply_patch", "mcp__db__query"]
    assert 'start: "x"' in form["tools"][1]["function"]["description"]
    assert form["parallel_tool_calls"] is False
    assert form["template_kwargs"] == {"reasoning_effort": "medium", "verbosity": "low"}


def post_stream(api: Api, body: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {name: value for name, value in body.items() if name not in ("model", "input", "stream")}
    return ask_stream(api, body["input"], **fields)


def test_a_custom_tool_is_called(api: Api) -> None:
    """As OpenAI reports it: with its text."""
    body = ask(api, 'call patch {"input": "a\\"b"}', tools=[{"type": "custom", "name": "patch"}])
    (item,) = body["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", 'a"b')


def test_outputs_of_a_call_that_goes_on(api: Api) -> None:
    """All of them are told, one after the other."""
    given = [
        {"type": "custom_tool_call", "name": "exec", "input": "x", "call_id": "c"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "half"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "all"},
        said("user", "params"),
    ]
    told = frame_of(ask(api, given))["messages"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["half\nall"]


def test_going_on_behind_a_call_that_was_cut(api: Api) -> None:
    """Its item says that it is incomplete: the model is told what there is of it. Others have to be JSON."""
    cut = {"type": "function_call", "name": "f", "arguments": '{"x": 1', "call_id": "c", "status": "incomplete"}
    output = {"type": "function_call_output", "call_id": "c", "output": "No such call."}
    (called, _) = frame_of(ask(api, [cut, output, said("user", "params")]))["messages"][:2]
    assert called["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"input":"{\\"x\\": 1"}'}
    whole = {**cut, "status": "completed"}
    assert refused(api, [whole, output, said("user", "x")]) == ("arguments_not_json", "input[0].arguments")


def test_tools_that_items_bring(api: Api) -> None:
    """The model has them beside the request's, the latest of a name; a continued conversation keeps them."""
    old, new = {**FUNCTION, "name": "g", "description": "Old."}, {**FUNCTION, "name": "g", "description": "New."}
    given = [
        {"type": "additional_tools", "role": "developer", "tools": [old, {"type": "web_search"}]},
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "namespace", "name": "functions", "description": "D",
             "tools": [{"type": "custom", "name": "exec"}, FUNCTION]}, new]},
        said("user", "params"),
    ]  # fmt: skip
    body = ask(api, given, tools=[FUNCTION])
    tools = {tool["function"]["name"]: tool["function"] for tool in frame_of(body)["form"]["tools"]}
    assert list(tools) == ["f", "g", "functions__exec", "functions__f"]
    assert tools["g"]["description"] == "New."
    assert [tool["name"] for tool in body["tools"]] == ["f"]
    again = ask(api, "params", previous_response_id=body["id"])
    assert len(frame_of(again)["form"]["tools"]) == 3
    (item,) = ask(api, [*given[:2], said("user", 'call functions__exec {"input": "x"}')])["output"]
    assert (item["type"], item["namespace"], item["name"]) == ("custom_tool_call", "functions", "exec")
    listed = api.client.simulate_get(f"/v1/responses/{body['id']}/input_items", params={"order": "asc"}).json
    ResponseItemList.model_validate(listed)
    assert listed["data"][0]["tools"][0]["description"] == "Old."


def test_tools_that_the_client_finds(api: Api) -> None:
    """A search is a call, and what it found can be called."""
    search = {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}}
    body = ask(api, 'call tool_search {"query": "mail"}', tools=[search])
    Response.model_validate(body, strict=True)
    (found,) = body["output"]
    assert (found["type"], found["execution"], found["arguments"]) == ("tool_search_call", "client", {"query": "mail"})
    output = {"type": "tool_search_output", "call_id": found["call_id"], "execution": "client", "tools": [FUNCTION]}
    frame = frame_of(ask(api, [said("user", "x"), found, output, said("user", "params")], tools=[search]))
    assert [tool["function"]["name"] for tool in frame["form"]["tools"]] == ["tool_search", "f"]
    _, asked, answered, _ = frame["messages"]
    assert asked["tool_calls"][0]["function"] == {"name": "tool_search", "arguments": '{"query":"mail"}'}
    assert answered["content"] == '{"tools":["f"]}'
    forced = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "tool_search"}]}
    form = frame_of(ask(api, "params", tools=[search, FUNCTION], tool_choice=forced))["form"]
    assert [tool["function"]["name"] for tool in form["tools"]] == ["tool_search"]


def test_a_tool_of_openais_servers(api: Api) -> None:
    """Alone it is refused, in words that say what to do."""
    result = post(api, {"model": "m", "input": "x", "tools": [{"type": "web_search"}]})
    assert "'web_search'" in result.json["error"]["message"]
    assert "Leave it out" in result.json["error"]["message"]


def test_continuing(api: Api) -> None:
    """The conversation goes on from a kept response; instructions are not carried over."""
    first = ask(api, "echo one", instructions="Be brief.")
    second = ask(api, "params", previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]
    assert frame_of(second)["messages"] == [said("user", "echo one"), said("assistant", "one"), said("user", "params")]
    third = ask(api, [said("user", "params")], previous_response_id=second["id"], instructions="New.")
    assert [message["role"] for message in frame_of(third)["messages"]] == [
        *("system", "user", "assistant", "user", "assistant", "user"),
    ]


def test_a_round_trip_of_a_call(api: Api) -> None:
    """The result of a kept call is all that the next request has to say."""
    called = ask_stream(api, 'call f {"x":1}', tools=[FUNCTION])[-1]["response"]
    output = {"type": "function_call_output", "call_id": called["output"][0]["call_id"], "output": "params"}
    messages = frame_of(ask(api, [output], previous_response_id=called["id"]))["messages"]
    assert messages[-2]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}
    assert messages[-1] == {"role": "tool", "tool_call_id": "call_fake", "content": "params"}
    assert refused(api, "x", previous_response_id=called["id"]) == ("call_without_output", "input")


def test_kept_responses(api: Api) -> None:
    """They can be read and forgotten, as long as they were to be stored."""
    body = ask(api, "echo kept")
    assert api.get(f"/v1/responses/{body['id']}").json == body
    streamed = ask_stream(api, "echo kept")[-1]["response"]
    assert api.get(f"/v1/responses/{streamed['id']}").json == streamed
    result = api.client.simulate_delete(f"/v1/responses/{body['id']}")
    assert result.json == {"id": body["id"], "object": "response", "deleted": True}
    assert error_of(api.get(f"/v1/responses/{body['id']}"), 404) == (None, "response_id")
    assert error_of(api.client.simulate_delete(f"/v1/responses/{body['id']}"), 404) == (None, "response_id")
    secret = ask(api, "echo secret", store=False)
    assert secret["store"] is False
    assert error_of(api.get(f"/v1/responses/{secret['id']}"), 404) == (None, "response_id")
    assert refused(api, "x", previous_response_id=secret["id"]) == (
        "previous_response_not_found",
        "previous_response_id",
    )


def test_cancel_and_replay(api: Api) -> None:
    """Refused, as what was not begun in the background; unknown ids are 404."""
    body = ask(api, "echo x")
    assert error_of(api.client.simulate_post(f"/v1/responses/{body['id']}/cancel"), 400) == (None, None)
    assert error_of(api.client.simulate_post("/v1/responses/resp_no/cancel"), 404) == (None, "response_id")
    assert error_of(api.get(f"/v1/responses/{body['id']}?stream=true"), 400) == (None, "stream")


@pytest.mark.parametrize("name", ["include", "include[]"])
def test_what_a_kept_response_includes(api: Api, name: str) -> None:
    """All that was made; what OpenAI knows no such thing of is refused there too."""
    path = f"/v1/responses/{ask(api, 'echo x')['id']}"
    for under in (path, f"{path}/input_items"):
        good, bad = f"{name}=reasoning.encrypted_content", f"{name}=everything"
        assert api.get(f"{under}?{good}").json == api.get(under).json
        assert error_of(api.get(f"{under}?{good}&{bad}"), 400) == ("invalid_value", "include[1]")


def test_input_items(api: Api) -> None:
    """Pages of the whole conversation, the latest first; valid items."""
    given = [said("system", "s"), said("user", "a"), said("assistant", "b"), said("user", "echo c")]
    body = ask(api, given)
    path = f"/v1/responses/{body['id']}/input_items"
    listed = api.get(path).json
    ResponseItemList.model_validate(listed, strict=True)
    assert [item["content"][0]["text"] for item in listed["data"]] == ["echo c", "b", "a", "s"]
    assert (listed["has_more"], listed["object"]) == (False, "list")
    first = api.get(f"{path}?order=asc&limit=3").json
    assert (first["has_more"], [item["role"] for item in first["data"]]) == (True, ["system", "user", "assistant"])
    rest = api.get(f"{path}?order=asc&after={first['last_id']}").json
    assert [item["content"][0]["text"] for item in rest["data"]] == ["echo c"]
    for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("limit=101", "limit"), ("order=up", "order")):
        assert error_of(api.get(f"{path}?{query}"), 400)[1] == param
    assert error_of(api.get(f"{path}?after=no"), 404) == (None, "after")


def test_item_references(api: Api) -> None:
    """Items of kept responses by their ids, in the long and in the short form."""
    first = ask(api, "echo one")
    (item,) = first["output"]
    reference = {"type": "item_reference", "id": item["id"]}
    for form in (reference, {"id": item["id"]}):
        body = ask(api, [said("user", "q"), form, said("user", "params")], store=False)
        assert frame_of(body)["messages"][1] == said("assistant", "one")
    api.client.simulate_delete(f"/v1/responses/{first['id']}")
    result = post(api, {"model": "m", "input": [reference]})
    assert error_of(result, 404) == (None, "input[0].id")


def test_bounds_of_what_is_kept(make_api: MakeApi) -> None:
    """The ones not used for longest are forgotten, by number and by size; 0 keeps none, and says so."""
    api = make_api(responses_max=2)
    first, second = ask(api, "echo 1"), ask(api, "echo 2")
    assert api.get(f"/v1/responses/{first['id']}").status_code == 200
    third = ask(api, "echo 3")
    found = [api.get(f"/v1/responses/{body['id']}").status_code for body in (first, second, third)]
    assert found == [200, 404, 200]
    small = make_api(responses_max_bytes=2000)
    first = ask(small, "echo 1")
    large = ask(small, "echo " + "x" * 3000)
    assert small.get(f"/v1/responses/{first['id']}").status_code == 200
    assert small.get(f"/v1/responses/{large['id']}").status_code == 404
    second = ask(small, "echo 2")
    assert small.get(f"/v1/responses/{first['id']}").status_code == 404
    assert small.get(f"/v1/responses/{second['id']}").status_code == 200
    none = make_api(responses_max=0)
    body = ask(none, "echo 1")
    assert body["store"] is False
    assert none.get(f"/v1/responses/{body['id']}").status_code == 404


def test_counting(api: Api) -> None:
    """The tokens of the same request, also one that continues another."""
    result = post(api, {"model": "m", "input": "12345"}, "/v1/responses/input_tokens")
    assert result.json == {"object": "response.input_tokens", "input_tokens": 5}
    first = ask(api, "echo x")
    body = {"model": "m", "input": "1234", "previous_response_id": first["id"]}
    assert post(api, body, "/v1/responses/input_tokens").json["input_tokens"] == 4
    assert error_of(post(api, {"input": "x"}, "/v1/responses/input_tokens"), 400)[1] == "model"


def test_what_the_engine_is_told(api: Api) -> None:
    """Sampling, limits and shapes reach it under its own names."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    body = ask(
        api,
        "params",
        temperature=0.1,
        top_p=0.2,
        top_k=3,
        seed=4,
        stop=["x"],
        max_output_tokens=9,
        include=["message.output_text.logprobs"],
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
    )
    frame = frame_of(body)
    assert frame["sampling"] == {"temperature": 0.1, "top_p": 0.2, "top_k": 3, "seed": 4}
    assert (frame["max_tokens"], frame["stop"], frame["n_top_logprobs"]) == (9, ["x"], 0)
    assert frame["form"] == {"json_schema": schema}
    assert body["text"]["format"] == {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    for choice, form in (
        ("required", {"tool_choice": "required"}),
        ({"type": "function", "name": "f"}, {"tool_choice": "required", "tool_name": "f"}),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, {}),
    ):
        body = ask(api, "params", tools=[FUNCTION, {"type": "custom", "name": "g"}], tool_choice=choice)
        got = frame_of(body)["form"]
        assert {name: got.get(name) for name in form} == form
        assert len(got["tools"]) == (1 if "mode" in choice else 2)
        assert body["tool_choice"] == choice
        Response.model_validate(body, strict=True)


@pytest.mark.parametrize("stream", [True, False])
def test_errors_of_the_engine(api: Api, stream: bool) -> None:
    """Before the first byte they are responses that name the field; afterwards they are events."""
    assert refused(api, "refuse context_length_exceeded", stream=stream) == ("context_length_exceeded", "input")
    if stream:
        events = ask_stream(api, "late engine_crashed")
        assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
        assert events[-1]["response"]["error"]["code"] == "server_error"
    else:
        assert post(api, {"model": "m", "input": "late engine_crashed"}).status_code == 500


def test_an_unknown_model(api: Api) -> None:
    """404, as for chat."""
    assert error_of(post(api, {"model": "no", "input": "x"}), 404)[0] == "model_not_found"
