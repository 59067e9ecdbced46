"""What can go wrong in the server, and how each of it looks to a client.

ServerError                  every error below has a stable `code` and the values its message speaks of
├── SettingsError            a setting has a value that cannot be used
├── ModelMapError            model_map.json, or an entry of it, cannot be used
├── PersonaError             a persona's file cannot be used, or not be written
├── DemoModelError           the demo model could not be fetched
├── HubError                 a model could not be fetched from a hub
├── RequestError             the client asked for something that cannot be
├── LaneError                the request could not wait any longer, or not at all
└── EngineError              the engine process refused, failed or died
ClientGoneError              the client hung up; nobody is left to be told

`KINDS` is the one place that turns a code into an HTTP status and OpenAI's `type`. The sentence for people is the
entry of the same name in `messages`.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from hoshikage_server import messages

_RETRY_AFTER_S = "5"


class ServerError(Exception):
    """Base of all errors that are told to somebody.

    Args:
        code: The error's stable name: a key of `KINDS` and of the message catalogue.
        param: The request's field that is to blame, as OpenAI writes it (`messages[0].role`).
        headers: Extra response headers.
        values: What the message speaks of.
    """

    def __init__(
        self, code: str, *, param: str | None = None, headers: dict[str, str] | None = None, **values: object
    ) -> None:
        super().__init__(code)
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.values = values

    def text(self, language: str) -> str:
        """The sentence for people."""
        usual = {"param": self.param or "body", "is_at_least": messages.Words(), "which": ""}
        return messages.text(self.code, language, **{**usual, **self.values})

    def __str__(self) -> str:
        return self.text("en")


class SettingsError(ServerError):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, reason: messages.Sentence) -> None:
        super().__init__("invalid_setting", name=name, reason=reason)
        self.name = name


class ModelMapError(ServerError):
    """model_map.json, or an entry of it, cannot be used."""


class PersonaError(ServerError):
    """A persona's file cannot be used, or not be written."""


class DemoModelError(ServerError):
    """The demo model could not be fetched."""


class HubError(ServerError):
    """A model could not be fetched from a hub."""


class RequestError(ServerError):
    """The client asked for something that cannot be."""


class LaneError(ServerError):
    """The request could not wait any longer, or not at all."""

    @classmethod
    def full(cls, n_waiting: int) -> LaneError:
        """Too many wait already."""
        return cls("queue_full", waiting=n_waiting, headers={"Retry-After": _RETRY_AFTER_S})

    @classmethod
    def waited(cls, seconds: float) -> LaneError:
        """It has waited for too long."""
        return cls("queue_timeout", seconds=f"{seconds:g}", headers={"Retry-After": _RETRY_AFTER_S})


class EngineError(ServerError):
    """The engine process refused, failed or died."""

    @classmethod
    def reported(cls, code: str, reason: str, values: Mapping[str, object]) -> EngineError:
        """What the engine process told: its words are the reason unless its values hold a better one."""
        error = cls(code)
        error.values = {"reason": reason, **{name: _for_people(name, value) for name, value in values.items()}}
        if field := values.get("field"):
            error.values["which"] = messages.said("which_field", field=field)
        return error

    @classmethod
    def died(cls, reason: str | messages.Said) -> EngineError:
        """The engine process has ended before its time."""
        return cls("out_of_memory" if is_out_of_memory(reason) else "engine_crashed", reason=reason)


def is_out_of_memory(reason: str | messages.Said) -> bool:
    """Whether an engine has ended for want of memory."""
    return isinstance(reason, messages.Said) and reason.key == "engine_out_of_memory"


def _for_people(name: str, value: object) -> object:
    if name == "is_at_least":
        return messages.Words(("at_least",) if value else ())
    if name.endswith("_bytes") and isinstance(value, int):
        return messages.Size(value)
    if name == "keyword":  # of a schema; "" for the schema as a whole
        return f"'{value}'" if value else messages.Words(("whole_schema",))
    if name == "device":  # as llama.cpp calls it
        return messages.Words((f"device_{value}" if value == "host" else str(value),))
    return value


def let_go(error: BaseException) -> None:
    """Forgets the way an error took.

    Its frames hold the error, and so each other and what the client sent, until the garbage collector comes by.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            waiting += [one.__cause__, one.__context__]


class ClientGoneError(BrokenPipeError):
    """The client hung up. An OSError, because gunicorn takes those for the ordinary end of a connection."""

    def __init__(self) -> None:
        super().__init__(errno.EPIPE, "client disconnected")


@dataclass(frozen=True)
class Kind:
    """How a code looks over HTTP; `public_code` is what OpenAI writes into `code` (it leaves some null)."""

    status: int
    type: str
    public_code: str | None


def _kinds() -> dict[str, Kind]:
    invalid = "invalid_request_error"
    table = {
        400: (
            "arguments_not_json",
            "array_above_max_length",
            "call_without_output",
            "context_length_exceeded",
            "decimal_above_max_value",
            "decimal_below_min_value",
            "duplicate_parameter",
            "empty_array",
            "empty_string",
            "file_is_folder",
            "file_not_found",
            "file_unreadable",
            "integer_above_max_value",
            "integer_below_min_value",
            "invalid_argument",
            "invalid_encrypted_content",
            "invalid_function_parameters",
            "invalid_grammar",
            "invalid_gzip",
            "invalid_json_schema",
            "invalid_model_file",
            "invalid_model_name",
            "invalid_persona_id",
            "invalid_type",
            "invalid_value",
            "malformed_request",
            "missing_required_parameter",
            "mixed_prompts",
            "model_cannot_embed",
            "model_cannot_generate",
            "nested_too_deeply",
            "not_a_gguf",
            "not_the_first_part",
            "number_out_of_range",
            "object_above_max_properties",
            "output_without_call",
            "parts_missing",
            "persona_only_chats",
            "previous_response_not_found",
            "string_above_max_length",
            "token_not_in_vocabulary",
            "too_many_personas",
            "unknown_parameter",
            "unsupported_parameter",
            "unsupported_value",
        ),
        401: ("invalid_api_key",),
        403: ("admin_key_required", "host_not_allowed", "origin_not_allowed", "path_not_allowed"),
        404: ("model_not_found", "persona_not_found", "unknown_url"),
        405: ("method_not_supported",),
        408: ("request_timeout",),
        409: (
            "alias_taken",
            "model_exists",
            "model_in_use",
            "persona_builtin",
            "persona_exists",
            "persona_named_as_model",
        ),
        413: ("request_too_large",),
        414: ("request_line_too_long",),
        415: ("unsupported_charset", "unsupported_content_encoding", "unsupported_content_type"),
        417: ("unsupported_expectation",),
        431: ("request_headers_too_large",),
        501: ("unsupported_transfer_coding",),
    }
    kinds = {code: Kind(status, invalid, code) for status, codes in table.items() for code in codes}
    for code in ("model_persona_not_found", "persona_without_model", "persona_without_models"):
        kinds[code] = Kind(404, invalid, "model_not_found")
    # OpenAI leaves these codes null.
    for status, code in ((404, "response_not_found"), (404, "item_not_found"), (400, "response_not_in_background")):
        kinds[code] = Kind(status, invalid, None)
    kinds["invalid_json"] = Kind(400, invalid, None)
    kinds["missing_api_key"] = Kind(401, invalid, None)
    kinds["max_tokens_twice"] = Kind(400, invalid, "invalid_parameter_combination")
    kinds["parameters_conflict"] = Kind(400, invalid, "invalid_parameter_combination")
    kinds["string_does_not_match"] = Kind(400, invalid, "invalid_value")
    kinds["rpc_server_malformed"] = Kind(400, invalid, "invalid_value")
    kinds["method_unknown"] = Kind(501, invalid, "method_not_supported")
    kinds["template_variable_taken"] = Kind(400, invalid, "unsupported_parameter")
    kinds["persona_avatar"] = Kind(400, invalid, "invalid_value")
    kinds["persona_on_persona"] = Kind(400, invalid, "invalid_value")
    kinds["holds_nul"] = Kind(400, invalid, "invalid_value")
    kinds["key_above_max_length"] = Kind(400, invalid, "string_above_max_length")
    for code in (
        *("call_without_result", "invalid_key", "only_with_functions", "only_with_tools", "result_without_call"),
        *("stream_options_without_stream", "top_logprobs_without_logprobs"),
        *("unknown_function_call", "unknown_tool_choice"),
    ):
        kinds[code] = Kind(400, invalid, None)
    for code in (
        *("adapter_load_failed", "draft_model_failed", "model_file_missing", "rpc_server_failed"),
        *("template_file_failed", "template_load_failed"),
    ):
        kinds[code] = Kind(503, "server_error", "model_load_failed")
    kinds["grammar_dead_end"] = Kind(400, invalid, "invalid_grammar")
    kinds["hosted_tool"] = Kind(400, invalid, "unsupported_value")
    kinds["invalid_tool_grammar"] = Kind(400, invalid, "invalid_grammar")
    kinds["model_not_registered"] = Kind(404, invalid, "model_not_found")
    kinds["prompt_too_long"] = Kind(400, invalid, "context_length_exceeded")
    kinds["input_too_long"] = Kind(400, invalid, "context_length_exceeded")
    kinds["chat_template_failed"] = Kind(400, invalid, "chat_template_failed")
    kinds["http_error"] = Kind(400, invalid, None)  # whatever else falcon refuses; its own status is used
    kinds["out_of_memory"] = Kind(503, "server_error", "insufficient_memory")
    kinds["queue_full"] = Kind(429, "rate_limit_error", "queue_full")
    for code in (
        *("queue_timeout", "load_timeout", "unload_timeout", "insufficient_memory", "model_load_failed"),
        *("gpu_required", "model_failed", "shutting_down"),
    ):
        kinds[code] = Kind(503, "server_error", code)
    for code in (
        *("engine_crashed", "internal_error", "reader_too_slow"),
        *("invalid_model_map", "model_map_not_written", "invalid_persona", "persona_not_written"),
    ):
        kinds[code] = Kind(500, "server_error", code)
    return kinds


KINDS: dict[str, Kind] = _kinds()
FIELD_CODES = frozenset({"invalid_argument", "token_not_in_vocabulary"})
"""The engine names the field in its values."""
GRAMMAR_CODES = frozenset({"invalid_grammar", "grammar_dead_end"})
"""An answer cannot have the form that was asked for, whichever field asked."""


def kind_of(code: str) -> Kind:
    """The HTTP side of a code; one that is not in the table is a fault of the server."""
    return KINDS.get(code, KINDS["internal_error"])
