"""Personas over HTTP: as models that are asked, and as files that are managed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from api_client import Api, MakeApi
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Model

from hoshikage_server.registry.persona import Persona

CAT = {
    "name": {"ja": "ねこ", "en": "Cat"},
    "system": {"ja": "ニャーと鳴く。", "en": "Say meow."},
    "sampling": {"temperature": 0.25, "top_k": 7},
    "stop": ["P"],
    "examples": [{"user": "hi", "assistant": "meow"}],
}
MODELS: dict[str, Any] = {
    "vectors": {"path": "/nowhere", "model": "v.gguf", "embedding": {"pooling": "mean"}},
    "m": {"path": "/nowhere", "model": "m.gguf", "stop": ["E"], "sampling": {"top_k": 1, "top_p": 0.5}},
    "a@b": {"path": "/nowhere", "model": "m.gguf", "system": "Be brief.", "thinking": True},
}


@pytest.fixture(scope="module")
def api(make_api: MakeApi) -> Api:
    made = make_api(MODELS)
    assert made.client.simulate_put("/v1/personas/cat", body=json.dumps(CAT)).status_code == 200
    return made


def folder(api: Api) -> Path:
    return api.deps.personas.folder


def put(api: Api, persona_id: str, **fields: object) -> Any:
    result = api.client.simulate_put(f"/v1/personas/{quote(persona_id)}", body=json.dumps({"name": "x", **fields}))
    assert result.status_code == 200, result.text
    return result.json


def error_of(result: Any, status: int) -> Any:
    assert result.status_code == status, result.text
    return result.json["error"]


def frame(api: Api, model: str, *messages: dict[str, str], headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """The frame that an engine gets for a chat; the fake one tells it."""
    body = {"model": model, "messages": [*messages, {"role": "user", "content": "params"}], **fields}
    result = api.post(body, headers=headers or {})
    assert result.status_code == 200, result.text
    return json.loads(result.json["choices"][0]["message"]["content"])


def system(text: str, role: str = "system") -> dict[str, str]:
    return {"role": role, "content": text}


def test_a_persona_is_asked_like_a_model(api: Api) -> None:
    """By itself, or of a model: also one whose own name holds an @."""
    for name, model in (("cat", "m"), ("m@cat", "m"), ("a@b@cat", "a@b")):
        got = frame(api, name)
        texts = [message["content"] for message in got["messages"]]
        assert texts[0].endswith("Say meow.")
        assert texts[1:] == ["hi", "meow", "params"]
        assert api.chat("echo x", model=name).json["model"] == name
        assert ("Be brief." in texts[0]) == (model == "a@b")


def test_values_of_request_persona_and_model(api: Api) -> None:
    """The request's win over the persona's, and those over the model's; stop strings add up."""
    got = frame(api, "cat", stop=["R"], temperature=0.5, seed=1)
    assert got["sampling"] == {"temperature": 0.5, "top_k": 7, "top_p": 0.5, "seed": 1}
    assert got["stop"] == ["R", "P", "E"]
    assert frame(api, "cat", seed=1)["sampling"] == {"temperature": 0.25, "top_k": 7, "top_p": 0.5, "seed": 1}
    assert frame(api, "m", seed=1)["sampling"] == {"top_k": 1, "top_p": 0.5, "seed": 1}


def test_one_system_message_at_the_front(api: Api) -> None:
    """The model's, the persona's and the client's, in this order; later ones stay where they are."""
    got = frame(api, "a@b@cat", system("One."), system("Two.", "developer"), headers={"Accept-Language": "ja"})
    assert got["messages"][0] == system("Be brief.\n\nニャーと鳴く。\n\nOne.\n\nTwo.")
    assert [message["role"] for message in got["messages"]] == ["system", "user", "assistant", "user"]
    later = frame(api, "cat", {"role": "user", "content": "x"}, system("Later."))["messages"]
    assert [message["role"] for message in later] == ["system", "user", "assistant", "user", "system", "user"]
    assert frame(api, "a@b")["messages"][0] == system("Be brief.")


def test_a_model_alone_is_as_it_was(api: Api) -> None:
    """Not a word is added, and none is moved."""
    messages = [system("One."), system("Two.", "developer")]
    assert frame(api, "m", *messages)["messages"][:2] == messages


def test_a_personas_beginning_is_always_the_same(api: Api) -> None:
    """So that it is computed once: what requests differ in stands behind it."""
    put(api, "fixed", system="Text.", language="en")
    own = "Text.\n\nAlways answer in English."
    assert frame(api, "fixed")["messages"][0]["content"] == own
    assert frame(api, "fixed", system("One."))["messages"][0]["content"] == f"{own}\n\nOne."


@pytest.mark.parametrize(
    ("own", "asked", "header", "text", "sentence"),
    [
        (None, None, "en", "Say meow.", None),
        (None, None, "ja", "ニャーと鳴く。", None),
        (None, "ja", "en", "ニャーと鳴く。", "必ず日本語で答えてください。"),
        ("ja", None, "en", "ニャーと鳴く。", "必ず日本語で答えてください。"),
        ("ja", "en", "ja", "Say meow.", "Always answer in English."),
        ("ja", "auto", "en", "ニャーと鳴く。", "ユーザーが使っている言語で答えてください。 Answer in"),
        ("auto", None, "ja", "ニャーと鳴く。", "ユーザーが使っている言語で答えてください。 Answer in"),
    ],
)
def test_languages(api: Api, own: str | None, asked: str | None, header: str, text: str, sentence: str | None) -> None:
    """Whose text is used, and which language the model is told to answer in."""
    put(api, "speaks", **{**CAT, "language": own})
    fields = {} if asked is None else {"language": asked}
    got = frame(api, "speaks", system("One."), headers={"Accept-Language": header}, **fields)
    told = got["messages"][0]["content"]
    assert told.startswith(text)
    assert told.count("One.") == 1
    if sentence is None:
        assert told == f"{text}\n\nOne."
    else:
        assert told.index(sentence) > told.index("One.") if asked else told.index(sentence) < told.index("One.")


def test_language_without_a_persona(api: Api) -> None:
    """A model takes it as well; then there is a system message where there was none."""
    assert frame(api, "m", language="ja")["messages"][0] == system("必ず日本語で答えてください。")
    wrong = error_of(api.chat("echo x", language="fr"), 400)
    assert (wrong["param"], "'ja', 'en', 'auto'" in wrong["message"]) == ("language", True)
    wrong = error_of(api.post({"model": "m", "input": "x", "language": "fr"}, "/v1/responses"), 400)
    assert (wrong["param"], "'ja', 'en', 'auto'" in wrong["message"]) == ("language", True)


def test_thinking(api: Api) -> None:
    """The request's word, in any of its forms, over the persona's, over the model's."""
    put(api, "quick", thinking=False)
    assert frame(api, "a@b")["form"]["enable_thinking"] is True
    assert frame(api, "a@b@quick")["form"]["enable_thinking"] is False
    assert frame(api, "quick", reasoning_effort="high")["form"]["enable_thinking"] is True
    form = frame(api, "quick", chat_template_kwargs={"enable_thinking": True})["form"]
    assert "enable_thinking" not in form
    assert form["template_kwargs"] == {"enable_thinking": True}


def test_counting_counts_all_of_it(api: Api) -> None:
    """The fake engine counts characters of the last message, so a persona's are told by what it was sent."""
    body = {"model": "cat", "messages": [{"role": "user", "content": "12345"}], "language": "ja"}
    counted = api.post(body, "/v1/chat/completions/input_tokens")
    assert counted.status_code == 200, counted.text
    counted = api.post({"model": "m@cat", "input": "12345"}, "/v1/responses/input_tokens")
    assert counted.status_code == 200, counted.text


def test_responses_are_answered_by_personas(api: Api) -> None:
    """With the client's instructions behind the persona's."""
    body = {"model": "cat", "input": "params", "instructions": "One.", "language": "en"}
    result = api.post(body, "/v1/responses")
    assert result.status_code == 200, result.text
    got = json.loads(result.json["output"][0]["content"][0]["text"])
    assert got["messages"][0] == system("Say meow.\n\nOne.\n\nAlways answer in English.")
    assert got["stop"] == ["P", "E"]
    assert (result.json["model"], result.json["instructions"], result.json["temperature"]) == ("cat", "One.", 0.25)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
@pytest.mark.parametrize("model", ["cat", "m@cat"])
def test_what_is_no_chat(api: Api, path: str, model: str) -> None:
    """A persona is a way to chat."""
    error = error_of(api.post({"model": model, "prompt": "x", "input": "x"}, path), 400)
    assert (error["code"], error["param"]) == ("persona_only_chats", "model")
    assert "'cat'" in error["message"]
    assert "'m'" in error["message"]


def test_tokens_are_the_models(api: Api) -> None:
    """What a persona says has nothing to do with them."""
    assert api.post({"model": "cat", "content": "ab"}, "/v1/tokenize").json["tokens"] == [97, 98]


def test_among_the_models(api: Api) -> None:
    """Behind them, each with the model it runs on: never one that is there for embeddings, if there is another."""
    listed = api.get("/v1/models").json["data"]
    names = [model["id"] for model in listed]
    assert names[:3] == ["vectors", "m", "a@b"]
    assert {"assistant", "cat", "storyteller", "translator"} <= set(names[3:])
    for model in listed:
        Model.model_validate(model, strict=True)
        assert api.get(f"/v1/models/{quote(model['id'], safe='')}").json == model
    cat = api.get("/v1/models/cat", headers={"Accept-Language": "ja"}).json["hoshikage"]
    assert cat["persona"] == {"model": "m", "name": "ねこ"}
    assert (cat["n_ctx"], cat["description"]) == (4096, None)
    assistant = api.get("/v1/models/assistant", headers={"Accept-Language": "ja"}).json["hoshikage"]
    assert assistant["description"].startswith("質問に簡潔に")
    assert api.get("/v1/models/a@b@cat").json["id"] == "a@b@cat"


def test_load_and_unload(api: Api) -> None:
    """A persona's model, under its own name."""
    assert api.client.simulate_post("/v1/models/cat/load").json["model"] == "m"
    assert api.client.simulate_post("/v1/models/m@cat/unload").json["model"] == "m"


def test_a_model_wins_over_a_persona_of_its_name(make_api: MakeApi) -> None:
    """It is asked for as "model@persona" only, and listed once; where the model was there first, it is refused."""
    api = make_api({"n": {"path": "/nowhere", "model": "n.gguf"}})
    put(api, "m", system="Persona.")
    api.deps.settings.now.model_map.write_text('{"m": {"path": "/nowhere", "model": "m.gguf"}}')
    assert api.post({"id": "m", "name": "M"}, "/v1/personas").json["error"]["code"] == "persona_named_as_model"
    assert frame(api, "m")["messages"][0]["role"] == "user"
    assert frame(api, "m@m")["messages"][0] == system("Persona.")
    assert [model["id"] for model in api.get("/v1/models").json["data"]].count("m") == 1


def test_what_cannot_be_used_says_why(make_api: MakeApi) -> None:
    """And what to do about it; it is not listed as a model."""
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}})
    put(api, "lost", model="gone")
    error = error_of(api.chat("echo x", model="lost"), 404)
    assert error["code"] == "model_not_found"
    assert "hoshikage add FILE.gguf gone" in error["message"]
    assert "lost" not in [model["id"] for model in api.get("/v1/models").json["data"]]
    assert api.get("/v1/personas/lost").json["usable"] is False
    assert said(api.chat("echo x", model="m@lost")) == "x", "with a model that is there it works"
    error = error_of(api.chat("echo x", model="m@nobody"), 404)
    assert error["code"] == "model_not_found"
    assert "no persona 'nobody'" in error["message"]
    for model in ("nobody", "nobody@assistant", "@assistant", "assistant@", "m@", "@"):
        assert error_of(api.chat("echo x", model=model), 404)["code"] == "model_not_found"


def said(result: Any) -> str:
    assert result.status_code == 200, result.text
    text: str = result.json["choices"][0]["message"]["content"]
    return text


def test_without_models(tmp_path: Path, make_api: MakeApi) -> None:
    """Personas are there, and say what they lack."""
    api = make_api({"m": {"path": "/nowhere", "model": "m.gguf"}})
    api.deps.models.path.write_text("{}")
    assert api.get("/v1/models").json["data"] == []
    error = error_of(api.chat("echo x", model="assistant"), 404)
    assert "hoshikage add FILE.gguf NAME" in error["message"]
    assert [one["usable"] for one in api.get("/v1/personas").json["data"]] == [False] * 3


def test_making_changing_and_deleting(make_api: MakeApi) -> None:
    """Each is a file; what GET tells may be sent back."""
    api = make_api()
    made = api.post({"id": "俳人", **CAT}, "/v1/personas")
    assert made.status_code == 201, made.text
    assert (made.json["id"], made.json["builtin"], made.json["usable"], made.json["runs_on"]) == (
        "俳人",
        False,
        True,
        "m",
    )
    assert (folder(api) / "俳人.toml").exists()
    assert error_of(api.post({"id": "俳人", **CAT}, "/v1/personas"), 409)["code"] == "persona_exists"
    assert error_of(api.post({"id": "assistant", **CAT}, "/v1/personas"), 409)["code"] == "persona_exists"
    path = f"/v1/personas/{quote('俳人')}"
    told = api.get(path).json
    assert told == made.json
    again = api.client.simulate_put(path, body=json.dumps({**told, "name": "y"}))
    assert again.json == {**told, "name": "y"}
    gone = api.client.simulate_delete(path)
    assert gone.json == {"id": "俳人", "object": "hoshikage.persona", "deleted": True, "restored": False}
    assert error_of(api.get(path), 404)["code"] == "persona_not_found"
    assert error_of(api.client.simulate_delete(path), 404)["code"] == "persona_not_found"


def test_built_in_ones_stay(make_api: MakeApi) -> None:
    """They can be replaced, and are back when that is deleted."""
    api = make_api()
    assert error_of(api.client.simulate_delete("/v1/personas/assistant"), 409)["code"] == "persona_builtin"
    assert put(api, "assistant")["builtin"] is False
    assert api.client.simulate_delete("/v1/personas/assistant").json["restored"] is True
    assert api.get("/v1/personas/assistant").json["builtin"] is True


def test_bad_bodies(api: Api) -> None:
    """A 400 that names the field."""
    for body, code, param in (
        ({"name": "x"}, "missing_required_parameter", "id"),
        ({"id": "x"}, "missing_required_parameter", "name"),
        ({"id": "a b", "name": "x"}, "invalid_persona_id", "id"),
        ({"id": "../x", "name": "x"}, "invalid_persona_id", "id"),
        ({"id": "x", "name": "x", "sytem": "y"}, "unknown_parameter", "sytem"),
        ({"id": "x", "name": "x", "examples": [{"user": "y", "bot": "z"}]}, "unknown_parameter", "examples[0].bot"),
        ({"id": "x", "name": "x", "language": "fr"}, "invalid_value", "language"),
        ({"id": "x", "name": "x", "sampling": {"top_p": 2}}, "decimal_above_max_value", "sampling.top_p"),
        ({"id": "x", "name": "x", "system": "y" * 100_001}, "string_above_max_length", "system"),
        ({"id": "x", "name": "x", "stop": ["y"] * 17}, "array_above_max_length", "stop"),
        ({"id": "x", "name": {"ja": "x"}}, "missing_required_parameter", "name.en"),
        ({"id": "x", "name": "x", "avatar": "https://x/y.png"}, "invalid_value", "avatar"),
        ({"id": "x", "name": "x", "model": "translator"}, "invalid_value", "model"),
        ({"id": "x", "name": "x", "model": "m@translator"}, "invalid_value", "model"),
        ({"id": "x", "name": "x", "model": "x"}, "invalid_value", "model"),
    ):
        error = error_of(api.post(body, "/v1/personas"), 400)
        assert (error["code"], error["param"]) == (code, param)
    other = api.client.simulate_put("/v1/personas/x", body=json.dumps({"id": "y", "name": "x"}))
    assert (error_of(other, 400)["param"], (folder(api) / "x.toml").exists()) == ("id", False)


def test_a_file_that_names_a_persona_as_its_model(make_api: MakeApi) -> None:
    """Is told when it is asked for. A model of that name need not be there yet, and wins when it is."""
    api = make_api()
    folder(api).mkdir()
    (folder(api) / "x.toml").write_text('name = "x"\nmodel = "translator"\n')
    error = error_of(api.chat("echo x", model="x"), 400)
    assert error["code"] == "invalid_value"
    assert "names 'translator' as its model, which is a persona" in error["message"]
    assert put(api, "y", model="later")["usable"] is False


def test_a_broken_file_is_told_of(make_api: MakeApi) -> None:
    """By the list, the status, and by who is asked for it."""
    api = make_api()
    folder(api).mkdir()
    (folder(api) / "x.toml").write_text("name = \n")
    [told] = api.get("/v1/personas").json["errors"]
    assert f"{folder(api)}/x.toml:1" in told
    assert api.get("/v1/status").json["persona_errors"] == [told]
    assert error_of(api.chat("echo x", model="x"), 500)["code"] == "invalid_persona"
    assert said(api.chat("echo x")) == "x"
    put(api, "x")
    assert api.get("/v1/status").json["persona_errors"] == []


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["id", "builtin", *Persona.__struct_fields__]) | st.text(max_size=4)


@settings(max_examples=100)
@given(st.dictionaries(FIELDS, JSON, max_size=5) | JSON)
def test_any_body_is_taken_or_refused(api: Api, body: Any) -> None:
    """Never a 500; what is taken can be read back."""
    result = api.client.simulate_put("/v1/personas/fuzz", body=json.dumps(body).encode("utf-8", "replace"))
    assert result.status_code in (200, 400), result.text
    if result.status_code == 200:
        assert api.get("/v1/personas/fuzz").json == result.json


@settings(max_examples=50)
@given(st.text(max_size=10))
def test_any_name_is_found_or_not(api: Api, name: str) -> None:
    """Never a 500, whatever a request names."""
    body = json.dumps({"model": name or "x", "messages": [{"role": "user", "content": "echo x"}]}).encode()
    assert api.post(body).status_code in (200, 400, 404)


def test_changes_need_an_admin_key(make_api: MakeApi) -> None:
    """Where there are keys; asking and listing does not."""
    api = make_api(api_keys="user", admin_keys="admin")
    body = json.dumps({"id": "x", "name": "x"})

    def statuses(key: str) -> list[int]:
        headers = {"Authorization": f"Bearer {key}"}
        made = api.client.simulate_post("/v1/personas", body=body, headers=headers)
        put = api.client.simulate_put("/v1/personas/x", body=body, headers=headers)
        gone = api.client.simulate_delete("/v1/personas/x", headers=headers)
        listed = api.get("/v1/personas", headers=headers)
        return [made.status_code, put.status_code, gone.status_code, listed.status_code]

    assert statuses("user") == [403, 403, 403, 200]
    assert statuses("admin") == [201, 200, 200, 200]
    assert statuses("nobody") == [401, 401, 401, 401]
