"""Personas of a real server with a real model, asked with openai-python."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from openai import OpenAI
from server_process import REAL_SERVER, ServerProcess

from hoshikage_server.registry.persona import LongTexts, Persona, from_toml
from hoshikage_server.registry.personas import Personas

ROOT = Path(__file__).resolve().parents[2]
QUESTION: list[Any] = [{"role": "user", "content": "Where is the library?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Iterator[ServerProcess]:
    models = {"smollm2": {"path": str(smollm2_path.parent), "model": smollm2_path.name}}
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, models, command=REAL_SERVER, n_ctx=1024, threads=1) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=120) as made:
        yield made


def ask(client: OpenAI, model: str, messages: list[Any] = QUESTION, **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0, **options)


def spelled_out(*system: str) -> list[Any]:
    """What the translator says, as a client would have to send it."""
    persona = Personas(Path("/nowhere")).find("translator").persona
    assert isinstance(persona.system, LongTexts)
    messages: list[Any] = [{"role": "system", "content": "\n\n".join([persona.system.en, *system])}]
    for example in persona.examples:
        messages += [
            {"role": "user", "content": example.user},
            {"role": "assistant", "content": example.assistant},
        ]
    return messages + QUESTION


def is_the_same_prompt(answer: Any) -> bool:
    """Whether it is that of the answer before, token for token: all but the last one was there already."""
    usage = answer.usage
    return bool(usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1)


def test_a_persona_is_in_the_prompt(client: OpenAI) -> None:
    """Both of its names make the same prompt as all that it says, sent by hand: nothing of it is computed again."""
    by_hand = ask(client, "smollm2", spelled_out(), top_p=0.9)
    for name in ("translator", "smollm2@translator"):
        answer = ask(client, name)
        assert answer.model == name
        assert answer.usage.prompt_tokens == by_hand.usage.prompt_tokens > 150
        assert is_the_same_prompt(answer)
    assert ask(client, "smollm2").usage.prompt_tokens < 60


def test_a_clients_own_words_are_added(client: OpenAI) -> None:
    """Behind the persona's, in the same message; so is the language."""
    own = {"role": "system", "content": "Be polite."}
    by_hand = ask(client, "smollm2", spelled_out("Be polite.", "Always answer in English."), top_p=0.9)
    answer = ask(client, "translator", [own, *QUESTION], extra_body={"language": "en"})
    assert answer.usage.prompt_tokens == by_hand.usage.prompt_tokens
    assert is_the_same_prompt(answer)


def test_responses_and_counting(client: OpenAI) -> None:
    """They see the same prompt."""
    n_prompt = ask(client, "translator").usage.prompt_tokens
    made = client.responses.create(model="translator", input=QUESTION[0]["content"], max_output_tokens=4)
    assert made.usage is not None
    assert made.usage.input_tokens == n_prompt
    counted = client.responses.input_tokens.count(model="translator", input=QUESTION[0]["content"])
    assert counted.input_tokens == n_prompt


def test_streams_lists_and_refusals(client: OpenAI) -> None:
    """As with any model."""
    pieces = list(ask(client, "assistant", stream=True))
    assert pieces[-1].choices[0].finish_reason in ("stop", "length")
    assert [model.id for model in client.models.list()] == ["smollm2", "assistant", "storyteller", "translator"]
    assert client.models.retrieve("smollm2@translator").owned_by == "hoshikage"
    with pytest.raises(openai.BadRequestError, match="is a way to chat"):
        client.embeddings.create(model="translator", input="x")
    with pytest.raises(openai.NotFoundError, match="no persona 'nobody'"):
        ask(client, "smollm2@nobody")


def test_the_document_is_true(client: OpenAI, server: ServerProcess, tmp_path: Path) -> None:
    """The file that docs/personas.md shows is one, and says all that there is; its program runs."""
    text = (ROOT / "docs" / "personas.md").read_text(encoding="utf-8")
    [sample] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    persona = from_toml(sample.encode(), tmp_path / "x.toml")
    assert msgspec.to_builtins(persona).keys() == set(Persona.__struct_fields__)
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    command = [sys.executable, "-c", program.replace("http://127.0.0.1:3030", server.url)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
