"""The server's settings: one typed object from the environment and an optional hoshikage.toml.

The only module that reads the environment. A variable wins over the file; the file has the same names in lower case
without the prefix (`HOSHIKAGE_N_CTX` is `n_ctx`). `LiveSettings` reads them again while the server runs.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hoshikage_server import messages, toml_text
from hoshikage_server.errors import ServerError, SettingsError
from hoshikage_server.messages import Said, said, told_by_system
from hoshikage_server.setting_words import expected

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

log = logging.getLogger(__name__)

PREFIX = "HOSHIKAGE_"
FILE_NAME = "hoshikage.toml"
# Read by the build (build_support), which shares the prefix.
BUILD_VARIABLES = frozenset({"BACKEND", "CUDA_ARCHS", "NATIVE", "SANITIZE"})

THREADS_MAX = 512  # llama.cpp's

_KEYS = ("api_keys", "admin_keys")

Language = Literal["ja", "en"]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Idle = Annotated[float, Meta(ge=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
SplitMode = Literal["none", "layer", "tensor"]
# llama.cpp's limit of devices.
TensorSplit = Annotated[tuple[Annotated[float, Meta(ge=0, le=1e9)], ...], Meta(max_length=16)]
MainGpu = Annotated[int, Meta(ge=0, le=15)]
# As browsers write it, or with * as its port; "null" is what they send for files and sandboxed frames.
Origin = Annotated[str, Meta(pattern=r"^(\*|null|[a-z][a-z0-9+.-]*://[^/?#@\s*]+(:\*)?)$")]

# "host:port", with a name or an IPv4 address: llama.cpp's RPC knows no other.
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
RPC_SERVER = rf"^[A-Za-z0-9._-]{{1,253}}:{_PORT}$(?!\n)"
RpcServers = Annotated[tuple[Annotated[str, Meta(pattern=RPC_SERVER)], ...], Meta(max_length=16)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. What a setting means is said in the catalogue, as `setting_NAME`."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 3030
    config_dir: Path
    cache_dir: Path
    model_map: Path
    models_dir: tuple[Path, ...]
    lang: Language = "ja"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    api_keys: tuple[str, ...] = ()
    admin_keys: tuple[str, ...] = ()
    cors_origins: tuple[Origin, ...] = ()

    n_ctx: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 4096
    parallel: Annotated[int, Meta(ge=1, le=64)] = 1
    threads: Annotated[int, Meta(ge=1, le=THREADS_MAX)] | None = None
    gpu_layers: Annotated[int, Meta(ge=0, le=2**31 - 1)] | Literal["auto", "all"] = "auto"
    tensor_split: TensorSplit = ()
    main_gpu: MainGpu | None = None
    split_mode: SplitMode | None = None
    rpc_servers: RpcServers = ()
    require_gpu: bool = False
    flash_attention: bool | None = None
    kv_type: KvType = "f16"

    idle_timeout: Idle = 300.0
    max_loaded_models: Annotated[int, Meta(ge=1, le=64)] = 1
    degrade: bool = False
    memory_check: bool = True
    cache_ram: Annotated[int, Meta(ge=0)] | None = None
    speculation: Literal["off", "ngram"] = "off"
    sleep_cache: Annotated[int, Meta(ge=0)] = 4 * 1024**3

    max_queue: Annotated[int, Meta(ge=0, le=100_000)] = 64
    queue_timeout: Seconds = 180.0
    overtake_limit: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    ping_interval: Seconds = 10.0
    load_timeout: Seconds = 600.0
    load_backoff: Seconds = 10.0
    load_backoff_max: Seconds = 300.0
    stall_timeout: Seconds = 120.0
    crash_limit: Count = 3
    crash_window: Seconds = 60.0
    crash_cooling: Seconds = 60.0
    stop_timeout: Seconds = 5.0
    grace: Seconds = 30.0
    read_timeout: Seconds = 60.0
    write_timeout: Seconds = 60.0
    max_body: Annotated[int, Meta(ge=1024)] = 32 * 1024 * 1024
    max_unsent: Count = 4096
    max_connections: Count = 1000
    responses_max: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    responses_max_bytes: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024

    def public(self) -> dict[str, object]:
        """All settings as plain values, keys blanked."""
        values: dict[str, object] = msgspec.to_builtins(self, enc_hook=str)
        for name in _KEYS:
            values[name] = ["***"] * len(getattr(self, name))
        return values

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that let somebody in; where there are none, nobody needs one."""
        return (*self.api_keys, *self.admin_keys)


# What the running server is built on. Everything else is read where it is used, and changes while the server runs.
NEEDS_RESTART = (
    *("host", "port", "config_dir", "cache_dir", "model_map"),
    *("max_connections", "stop_timeout", "grace", "write_timeout"),
)


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reachable from this machine only."""
    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Reads the settings of this process.

    Args:
        overrides: Values that win over everything, by field name (from the command line).

    Raises:
        SettingsError: A value cannot be used; the error names the variable.
    """
    return build_settings(os.environ, overrides)


def language(environ: Mapping[str, str] = os.environ) -> Language:
    """The language for people, also when other settings are wrong: an error is to be told in it."""
    return _chosen_language(environ) or "ja"


def cli_language(environ: Mapping[str, str] = os.environ) -> Language:
    """The language of the command line: that of the settings, or else of the terminal (LC_ALL, LC_MESSAGES, LANG)."""
    chosen = _chosen_language(environ)
    if chosen is not None:
        return chosen
    locale = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environ.get(name))), "C")
    # C and POSIX say nothing about a person.
    return "ja" if locale.partition(".")[0] in ("C", "POSIX") or locale.startswith("ja") else "en"


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Variables with our prefix that set nothing: most likely a setting with a typo."""
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__} | {PREFIX + name for name in BUILD_VARIABLES}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def build_settings(environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """Makes settings from an environment; see `load_settings`."""
    values, given_by = _gather(environ, overrides, _read_file(_config_dir(environ) / FILE_NAME))
    return Settings(**{name: _convert(name, value, given_by.get(name, name)) for name, value in values.items()})


def usable_settings(environ: Mapping[str, str] = os.environ) -> tuple[Settings, list[SettingsError]]:
    """What can be used of the settings, and what is wrong with the others.

    Raises:
        SettingsError: There is no place for the settings, as where nobody has a home.
    """
    errors = []
    usable = dict(environ)
    try:
        from_file = _read_file(_config_dir(usable) / FILE_NAME)
    except SettingsError as error:
        errors.append(error)
        from_file = {}
    while True:
        try:
            values, given_by = _gather(usable, None, from_file)
            given = {name: _convert(name, value, given_by.get(name, name)) for name, value in values.items()}
            return Settings(**given), errors
        except SettingsError as error:
            errors.append(error)
            if usable.pop(error.name, None) is None and from_file.pop(error.name.partition(" ")[0], None) is None:
                raise


class Source(NamedTuple):
    """Where a value comes from; `name` is the variable, the file or the option."""

    kind: Literal["default", "file", "environment", "option"]
    name: str | None = None


def sources(
    environ: Mapping[str, str] = os.environ, overrides: Mapping[str, object] | None = None
) -> dict[str, Source]:
    """Where each setting's value comes from, as `build_settings` takes them."""
    file = _config_dir(environ) / FILE_NAME
    found = dict.fromkeys(Settings.__struct_fields__, Source("default"))
    for name in found.keys() & _read_file(file).keys():
        found[name] = Source("file", str(file))
    for name in found:
        if environ.get(_variable(name)):
            found[name] = Source("environment", _variable(name))
        if name in (overrides or {}):
            found[name] = Source("option", _option(name))
    return found


def _gather(
    environ: Mapping[str, str], overrides: Mapping[str, object] | None, from_file: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, str]]:
    """Values by setting, and what to call those that were given when they cannot be used."""
    config_dir = _config_dir(environ)
    values: dict[str, object] = {
        "config_dir": config_dir,
        "cache_dir": _folder(environ, "HOSHIKAGE_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
        "model_map": config_dir / "model_map.json",
        "models_dir": [_folder(environ, None, "XDG_DATA_HOME", ".local/share") / "models"],
    }
    given_by: dict[str, str] = {}
    for name, value in from_file.items():
        values[name], given_by[name] = value, f"{name} ({config_dir / FILE_NAME})"
        if name == "config_dir":
            raise SettingsError(given_by[name], said("only_in_environment"))
    for name in Settings.__struct_fields__:
        text = environ.get(_variable(name), "")
        if text:
            values[name], given_by[name] = text, _variable(name)
    for name, value in (overrides or {}).items():
        values[name], given_by[name] = value, _option(name)
    for name, source in given_by.items():
        if name not in _FIELDS:
            raise SettingsError(source, said("unknown_setting"))
    return values, given_by


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class LiveSettings:
    """The settings in effect: a holder that everybody reads from, so that they can be exchanged while the server runs.

    Args:
        settings: What is in effect at first.
        read: Reads them again, as they were read the first time.

    Attributes:
        now: The settings. Read it at use, keep no copy.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self.now = settings
        self._read = read or load_settings
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Has something called after each exchange, for what is not read at every use."""
        self._listeners.append(listener)

    def reread(self, check: Callable[[Settings], None] = lambda _: None) -> None:
        """Puts into effect what has changed and can change live; the log says what did, and what needs a restart.

        What cannot be used is logged, and changes nothing.

        Args:
            check: Raises SettingsError for settings that must not come into effect.
        """
        before = self.now
        try:
            read = self._read()
            new = msgspec.structs.replace(read, **{name: getattr(before, name) for name in NEEDS_RESTART})
            check(new)
        except ServerError as error:
            log.error(said("log_settings_kept", reason=error))
            return
        self.now = new
        log.info(said("log_settings_read", changed=_differences(before, new), later=_differences(new, read)))
        for listener in self._listeners:
            listener()


def _differences(old: Settings, new: Settings) -> str | Said:
    """What is other in the new ones; never a key."""
    shown = new.public()
    names = [name for name in Settings.__struct_fields__ if getattr(old, name) != getattr(new, name)]
    return ", ".join(f"{name}={shown[name]}" for name in names) or said("nothing")


_WORDS_OF = {"cors_origins": "not_an_origin", "rpc_servers": "no_rpc_servers"}  # where its type says too little
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Settings)}


def _convert(name: str, value: object, source: str) -> Any:
    field_type = _FIELDS[name]
    if field_type is Path:
        return _absolute(str(value), source)
    if name == "models_dir":
        return _folders(value, source)
    is_text = isinstance(value, str)
    if name in (*_KEYS, "cors_origins", "rpc_servers", "tensor_split") and isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    if name == "cors_origins" and isinstance(value, list):  # as people copy them from the address bar
        value = [item.rstrip("/").lower() if isinstance(item, str) else item for item in value]
    if field_type in (bool, bool | None) and value in (0, 1):  # as in a variable
        return bool(value)
    try:
        return msgspec.convert(value, field_type, strict=not is_text)
    except msgspec.ValidationError:
        # The value itself is left out: it may be a key.
        words = _WORDS_OF.get(name)
        raise SettingsError(source, said(words) if words else expected(field_type)) from None


def _chosen_language(environ: Mapping[str, str]) -> Language | None:
    named: list[object] = [environ.get(PREFIX + "LANG")]
    with contextlib.suppress(SettingsError):
        named.append(_read_file(_config_dir(environ) / FILE_NAME).get("lang"))
    chosen = next((name for name in named if name in messages.LANGUAGES), None)
    return None if chosen is None else "en" if chosen == "en" else "ja"


def _config_dir(environ: Mapping[str, str]) -> Path:
    return _folder(environ, "HOSHIKAGE_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")


def _folder(environ: Mapping[str, str], own: str | None, xdg: str, fallback: str) -> Path:
    if own and environ.get(own):
        return _absolute(environ[own], own)
    if environ.get(xdg):
        return _absolute(environ[xdg], xdg) / "hoshikage"
    return _absolute("~", own or xdg) / fallback / "hoshikage"


def _folders(value: object, source: str) -> tuple[Path, ...]:
    """Several, with colons between; a list where the name of one has a colon in it."""
    items = value.split(":") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, (str, Path)) for item in items):
        raise SettingsError(source, said("not_folders"))
    return tuple(dict.fromkeys(_absolute(str(item), source) for item in items if str(item).strip()))


def _absolute(text: str, source: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~ of somebody unknown
        raise SettingsError(source, said("home_unknown")) from error


def _read_file(path: Path) -> dict[str, object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(str(path), told_by_system(error)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(str(path), said("toml_not_utf8")) from error
    try:
        values: dict[str, object] = tomllib.loads(text)
        return values
    except (ValueError, RecursionError) as error:  # ValueError: TOML's own, and of a number of too many digits
        reason, line = toml_text.fault(text, error)
        raise SettingsError(str(path) if line is None else f"{path}:{line}", reason) from error
