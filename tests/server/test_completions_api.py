"""POST /v1/completions with the fake engine."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import gevent
import pytest
from api_client import Api, MakeApi, events_of, wait_for
from falcon import testing
from openai.types import Completion

from hoshikage_server.api.completions_reply import CompletionEvents, completion
from hoshikage_server.api.completions_schema import decode_completion
from hoshikage_server.api.heading import Heading
from hoshikage_server.engines.sampling import Sampling
from hoshikage_server.engines.wire import Done, Logprob, Token, TokenProb
from hoshikage_server.errors import RequestError, kind_of


def complete(api: Api, prompt: object, **fields: object) -> testing.Result:
    return api.post({"model": "m", "prompt": prompt, **fields}, "/v1/completions")


def texts(result: testing.Result) -> list[str]:
    assert result.status_code == 200, result.text
    Completion.model_validate(result.json, strict=True)
    return [choice["text"] for choice in result.json["choices"]]


def streamed_texts(result: testing.Result, n: int) -> list[str]:
    *events, done = events_of(result)
    assert done is None
    made = [""] * n
    for event in events:
        for choice in event["choices"]:
            made[choice["index"]] += choice["text"]
    return made


def test_a_plain_text(api: Api) -> None:
    """OpenAI's object with every required key, also those that are null."""
    body = complete(api, "echo hello world").json
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": "hello world", "finish_reason": "stop", "logprobs": None}]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (7, 2)
    assert body["system_fingerprint"]
    Completion.model_validate(body, strict=True)


@pytest.mark.parametrize("echo", [False, True])
def test_several_prompts(api: Api, echo: bool) -> None:
    """Their choices are counted on, their tokens together; with `echo` each begins with its own prompt."""
    prompts = ["echo a b", "echo c", "echo d e f"]
    expected = [(prompt if echo else "") + prompt.removeprefix("echo ") for prompt in prompts]
    plain = complete(api, prompts, echo=echo)
    assert texts(plain) == expected
    assert plain.json["usage"]["prompt_tokens"] == 21
    assert plain.json["usage"]["completion_tokens"] == 6
    assert streamed_texts(complete(api, prompts, echo=echo, stream=True), 3) == expected


def test_a_stream(api: Api) -> None:
    """Pieces, then the reason, then the usage if it is asked for, then [DONE]; one id throughout."""
    result = complete(api, "echo hello world", stream=True, stream_options={"include_usage": True})
    *events, end, usage, done = events_of(result)
    assert done is None
    assert [event["choices"][0]["text"] for event in events] == ["hello", " world"]
    assert end["choices"] == [{"index": 0, "text": "", "finish_reason": "stop", "logprobs": None}]
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 9)
    assert all(event["usage"] is None for event in (*events, end))
    assert len({event["id"] for event in (*events, end, usage)}) == 1


def test_token_ids(api: Api) -> None:
    """They are the prompt as they are; an echo is their text."""
    ids = [104, 105]
    body = complete(api, ids, echo=True).json
    assert body["choices"][0]["text"].startswith("hi")
    assert len(complete(api, [ids, [1]]).json["choices"]) == 2


def test_what_the_engine_is_asked(api: Api) -> None:
    """OpenAI's default limit, what is asked for, and no conversation."""
    asked = json.loads(
        complete(api, "params", logprobs=3, n=1, suffix="z", seed=1, stop="a").json["choices"][0]["text"]
    )
    assert asked["max_tokens"] == 16
    assert asked["messages"] == []
    assert asked["text"] == {"text": "params", "suffix": "z"}
    at_the_end = json.loads(complete(api, "params", suffix="").json["choices"][0]["text"])
    assert at_the_end["text"].get("suffix") is None  # as editors say it where nothing follows
    assert (asked["n_top_logprobs"], asked["n_choices"]) == (3, 1)
    assert (asked["sampling"], asked["stop"]) == ({"seed": 1}, ["a"])


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"prompt": []}, "empty_array", "prompt"),
        ({"prompt": [[]]}, "empty_array", "prompt[0]"),
        ({"prompt": [1, "a"]}, "mixed_prompts", "prompt[1]"),
        ({"prompt": [-1]}, "integer_below_min_value", "prompt[0]"),
        ({"prompt": 3}, "invalid_type", "prompt"),
        ({"prompt": ["x"] * 3000}, "array_above_max_length", "prompt"),
        ({"best_of": 2, "n": 3}, "integer_below_min_value", "best_of"),
        ({"best_of": 3, "n": 2, "stream": True}, "parameters_conflict", "best_of"),
        ({"echo": True, "suffix": "x"}, "parameters_conflict", "suffix"),
        ({"logprobs": 21}, "integer_above_max_value", "logprobs"),
        ({"max_tokens": -1}, "integer_below_min_value", "max_tokens"),
        ({"suffix": 1}, "invalid_type", "suffix"),
        ({"stream_options": {}}, "stream_options_without_stream", "stream_options"),
        ({"grammar": "root ::= [a]\0"}, "holds_nul", "grammar"),
        ({"grammar": "#" * 65_537}, "string_above_max_length", "grammar"),
        ({"grammar": "root ::= [a]", "ignore_eos": True}, "parameters_conflict", "ignore_eos"),
        ({"grammar": "root ::= [a]", "json_schema": {"type": "object"}}, "parameters_conflict", "grammar"),
    ],
)
def test_bad_fields(fields: dict[str, Any], code: str, param: str) -> None:
    """A 400 that names the field."""
    with pytest.raises(RequestError) as caught:
        decode_completion(json.dumps({"model": "m", "prompt": "x", **fields}).encode())
    assert (caught.value.code, caught.value.param) == (code, param)
    assert kind_of(code).status == 400


def test_a_prompt_that_does_not_fit(api: Api) -> None:
    """The prompt is to blame."""
    result = complete(api, "refuse context_length_exceeded")
    assert result.status_code == 400
    assert (result.json["error"]["param"], result.json["error"]["code"]) == ("prompt", "context_length_exceeded")


def test_a_later_prompt_that_fails(api: Api) -> None:
    """The whole request fails; in a stream what came before it stays."""
    prompts = ["echo a", "refuse context_length_exceeded"]
    assert complete(api, prompts).status_code == 400
    *events, end, error = events_of(complete(api, prompts, stream=True))
    assert [event["choices"][0]["text"] for event in events] == ["a"]
    assert end["choices"][0]["finish_reason"] == "stop"
    assert error["error"]["code"] == "context_length_exceeded"


def test_log_probabilities_in_the_old_form() -> None:
    """Lists a property; offsets count characters of the choice's text; a token that is no text is spelled."""
    wanted = decode_completion(b'{"model": "m", "prompt": "x", "logprobs": 1}')
    events = CompletionEvents(Heading("cmpl-1", 1, "m", "fp"), [""], wanted)

    def probabilities(frame: Token | Done) -> Any:
        return json.loads(events.piece(frame)[6:].split(b"\n\n")[0])["choices"][0]["logprobs"]

    def prob(text: bytes) -> Logprob:
        return Logprob(TokenProb(1, text, -0.5), (TokenProb(1, text, -0.5), TokenProb(2, b"b", float("-inf"))))

    assert probabilities(Token(1, "星", (1,), logprobs=(prob("星".encode()),))) == {
        "tokens": ["星"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"星": -0.5, "b": -9999.0}],
        "text_offset": [0],
    }
    second = probabilities(Token(1, "xy", (2, 3), logprobs=(prob(b"x"), prob(b"\xff"))))
    assert (second["tokens"], second["text_offset"]) == (["x", "bytes:\\xff"], [1, 2])


def streamed_choices(result: testing.Result, n: int) -> list[dict[str, Any]]:
    """The choices that a stream's pieces make together."""
    made: list[dict[str, Any]] = [{"index": index, "text": "", "logprobs": {}} for index in range(n)]
    for event in events_of(result)[:-1]:
        Completion.model_validate({**event, "choices": []}, strict=True)
        for choice in event["choices"]:
            one = made[choice["index"]]
            one["text"] += choice["text"]
            one["finish_reason"] = choice["finish_reason"]
            for name, values in (choice["logprobs"] or {}).items():
                one["logprobs"].setdefault(name, []).extend(values)
    return made


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_the_prompts_probabilities(api: Api, n: int, stream: bool) -> None:
    """With `echo`: those of each prompt's tokens come before those of the answer, in every choice; of the first token
    nothing is known. The same in one piece or in many.
    """
    prompts = ["say b c", "say 星"]
    result = complete(api, prompts, n=n, echo=True, logprobs=1, stream=stream)
    choices = streamed_choices(result, 2 * n) if stream else result.json["choices"]
    said = [["b", " c"], ["B", " C"]][:n] + [["星"]] * n
    for choice, prompt, words in zip(choices, [prompts[0]] * n + [prompts[1]] * n, said, strict=True):
        told = choice["logprobs"]
        assert choice["text"] == prompt + "".join(words)
        assert told["tokens"] == [*prompt, *(word.lower() for word in words)]
        assert told["token_logprobs"] == [
            None,
            *(-float(index) for index in range(1, len(prompt))),
            *[-1.0] * len(words),
        ]
        assert told["top_logprobs"][:2] == [None, {"x": -0.5, "a": -1.0}]
        assert told["text_offset"] == [*range(len(prompt)), *[len(prompt), len(prompt) + 1][: len(words)]]
        assert choice["finish_reason"] == "stop"


def test_what_the_engine_is_asked_for_a_prompts_probabilities(api: Api) -> None:
    """As many alternatives as of the answer's; and nothing that was computed before, which has left none."""
    asked = json.loads(complete(api, "params", echo=True, logprobs=3).json["choices"][0]["text"].removeprefix("params"))
    assert (asked["n_prompt_logprobs"], asked["n_top_logprobs"], asked["reuses"]) == (3, 3, False)
    asked = json.loads(complete(api, "params", echo=True, max_tokens=0).json["choices"][0]["text"][6:])
    assert (asked["n_prompt_logprobs"], asked["max_tokens"], asked["reuses"]) == (None, 0, True)


def test_an_engine_that_dies_between_prompt_and_answer(api: Api) -> None:
    """The next one is told how much of the prompt has been told: nothing comes twice."""
    for stream in (False, True):
        result = complete(api, "die 0", echo=True, logprobs=0, stream=stream)
        [choice] = streamed_choices(result, 1) if stream else result.json["choices"]
        assert choice["logprobs"]["tokens"] == list("die 0")


def test_a_space_that_a_tokenizer_puts_before_a_text() -> None:
    """It is none of the text: tokens joined are the echo, and offsets point into it."""
    wanted = decode_completion(b'{"model": "m", "prompt": "a b", "echo": true, "logprobs": 0, "max_tokens": 0}')
    events = CompletionEvents(Heading("cmpl-1", 1, "m", "fp"), ["a b"], wanted)
    echo = tuple(Logprob(TokenProb(1, token, -0.5)) for token in (b" a", b" b"))
    [choice] = json.loads(events.piece(Token(1, "", echo=echo))[6:].split(b"\n\n")[0])["choices"]
    assert choice["text"] == "a b"
    assert (choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]) == (["a", " b"], [0, 1])


def test_what_is_no_text_has_probabilities_too() -> None:
    """An end token is listed behind the text, as with OpenAI: who asks for one token finds one."""
    wanted = decode_completion(b'{"model": "m", "prompt": "x", "logprobs": 0, "max_tokens": 1}')
    events = CompletionEvents(Heading("cmpl-1", 1, "m", "fp"), [""], wanted)
    done = Done(1, "stop", 1, 1, rest=(Logprob(TokenProb(2, b"<end>", -0.25)),))
    first = json.loads(events.piece(done)[6:].split(b"\n\n")[0])["choices"][0]
    assert (first["text"], first["logprobs"]["tokens"]) == ("", ["<end>"])
    assert first["logprobs"]["top_logprobs"] == [{"<end>": -0.25}]


class Scripted:
    """An answer whose frames are known."""

    fingerprint = "fp"

    def __init__(self, frames: list[Token | Done]) -> None:
        self._frames = iter(frames)

    def next_frame(self, timeout_s: float | None) -> Token | Done:
        return next(self._frames)


def test_the_best_of_several() -> None:
    """The likeliest by token, not by sum; tokens of all of them count."""
    wanted = decode_completion(b'{"model": "m", "prompt": "x", "best_of": 3, "n": 2}')

    def said(choice: int, *logprobs: float) -> Done:
        entries = tuple(Logprob(TokenProb(1, b"x", logprob)) for logprob in logprobs)
        is_first, is_last = choice == 0, choice == 2
        return Done(
            1, "stop", 7 * is_first, len(logprobs), f"text {choice}", choice=choice, is_last=is_last, logprobs=entries
        )

    answer: Any = Scripted([said(0, -2.0), said(1, -1.0, -1.5, -1.0), said(2, -0.5, -0.5)])
    body = json.loads(completion(Heading("cmpl-1", 1, "m", "fp"), answer, [""] * 3, wanted))
    assert [(one["index"], one["text"], one["logprobs"]) for one in body["choices"]] == [
        (0, "text 2", None),
        (1, "text 1", None),
    ]
    assert body["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("n_pieces", [1, 4])
def test_offsets_of_parts_of_characters(n_pieces: int) -> None:
    """A token that goes on with a character begins behind it, however the stream was cut; OpenAI's byte spelling has
    no part in that.
    """
    wanted = decode_completion(b'{"model": "m", "prompt": "x", "logprobs": 0}')
    events = CompletionEvents(Heading("cmpl-1", 1, "m", "fp"), [""], wanted)
    tokens = [b"\xe6\x98", b"\x9f", "影".encode(), b"!"]  # 星影!
    size = len(tokens) // n_pieces
    offsets: list[int] = []
    for begin in range(0, len(tokens), size):
        probs = tuple(Logprob(TokenProb(1, token, -0.5)) for token in tokens[begin : begin + size])
        piece = events.piece(Token(1, "星影!" if begin == 0 else "", (1,), logprobs=probs))
        offsets += json.loads(piece[6:].split(b"\n\n")[0])["choices"][0]["logprobs"]["text_offset"]
    assert offsets == [0, 0, 1, 2]


def test_prompts_after_the_first_are_let_in(make_api: MakeApi, engine_log: Path) -> None:
    """A request that has begun is not refused in the middle because the queue has filled up since."""
    api = make_api(max_queue=1)
    begun = gevent.spawn(complete, api, ["shut go a", "echo b", "echo c"])
    lane = api.deps.answers.lane
    wait_for(lambda: lane.n_running, "it has begun")
    other = gevent.spawn(complete, api, "echo x")
    wait_for(lambda: lane.n_waiting, "the queue is full")
    assert complete(api, "echo d").status_code == 429
    engine_log.with_name("go").touch()
    assert texts(begun.get(timeout=60)) == ["a", "b", "c"]
    assert other.get(timeout=60).status_code == 200


def test_ids_cross_as_they_are() -> None:
    """The bytes of native 32-bit integers."""
    (prompt,) = decode_completion(b'{"model": "m", "prompt": [1, 2147483647]}').prompts()
    assert prompt.tokens == array("i", [1, 2**31 - 1]).tobytes()
    assert decode_completion(b'{"model": "m"}').sampling() == Sampling()
