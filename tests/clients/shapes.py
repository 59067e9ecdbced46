"""What every client asks for: tools and shapes that even a model that says nonsense finishes soon."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

KEY = "key"
MODEL = "tiny"
QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Kyoto?"}]
MAX_TOKENS = 400  # for what has a shape: enough for any text that fits it

CITIES = ("Kyoto", "Sapporo", "Naha")


class Weather(BaseModel):
    """The weather of a city."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Kyoto", "Sapporo", "Naha"]
    is_raining: bool
    sky: Literal["blue", "grey", "black"] | None


class GetWeather(BaseModel):
    """Looks up the weather of a city."""

    model_config = ConfigDict(extra="forbid")

    city: Literal["Kyoto", "Sapporo", "Naha"]
    unit: Literal["celsius", "kelvin"]


class SetAlarm(BaseModel):
    """Rings at a full hour."""

    model_config = ConfigDict(extra="forbid")

    hour: Literal[6, 7, 8]


def tool(shape: type[BaseModel]) -> dict[str, Any]:
    """A function tool as chat completions take it; GetWeather becomes get_weather."""
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in shape.__name__).lstrip("_")
    parameters = shape.model_json_schema()
    function = {"name": name, "description": shape.__doc__, "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


def flat_tool(shape: type[BaseModel]) -> dict[str, Any]:
    """A function tool as responses take it."""
    return {"type": "function", **tool(shape)["function"]}


def response_format(shape: type[BaseModel]) -> dict[str, Any]:
    """A strict json_schema format of chat completions."""
    schema = {"name": shape.__name__, "schema": shape.model_json_schema(), "strict": True}
    return {"type": "json_schema", "json_schema": schema}


TOOLS = [tool(GetWeather), tool(SetAlarm)]
ARGUMENTS: dict[str, type[BaseModel]] = {"get_weather": GetWeather, "set_alarm": SetAlarm}


def named(name: str) -> dict[str, Any]:
    """The tool_choice that allows one function only."""
    return {"type": "function", "function": {"name": name}}


def environ(url: str, fake_url: str) -> dict[str, str]:
    """What the scripts of node/ read."""
    shapes = {
        "question": QUESTION,
        "max_tokens": MAX_TOKENS,
        "tools": TOOLS,
        "flat_tools": [flat_tool(GetWeather)],
        "named": named("get_weather"),
    }
    return {
        "BASE_URL": f"{url}/v1",
        "FAKE_BASE_URL": f"{fake_url}/v1",
        "KEY": KEY,
        "MODEL": MODEL,
        "SHAPES": json.dumps(shapes),
    }
