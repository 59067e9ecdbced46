"""Checks of where Hoshikage lives: its settings, folders and port."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from hoshikage_server.cli.client import Client
from hoshikage_server.doctor.finding import Finding, Status, shell
from hoshikage_server.doctor.machine import existing
from hoshikage_server.errors import ServerError, SettingsError
from hoshikage_server.messages import said
from hoshikage_server.settings import FILE_NAME, Settings, is_loopback, unknown_variables

_ANSWER_S = 3.0
_PORTS_TRIED = 100


def settings(settings: Settings, errors: Sequence[SettingsError]) -> list[Finding]:
    """Values that cannot be used, variables that set nothing, and a server that would let everybody in."""
    found = [Finding("settings", "error", error, _fix_of(error, settings)) for error in errors]
    for name in unknown_variables():
        found.append(Finding("settings", "warning", said("unknown_variable", name=name), shell("unset", name)))
    if not settings.api_keys and not is_loopback(settings.host):
        fix = "export HOSHIKAGE_HOST=127.0.0.1"
        found.append(Finding("settings", "error", said("open_without_keys", host=settings.host), fix))
    return found or [Finding("settings", "ok", said("doctor_settings"))]


def folders(settings: Settings) -> list[Finding]:
    """Whether Hoshikage may write where it has to, and nobody else may read its keys."""
    found = []
    wanted: dict[Path, tuple[Status, str]] = {
        settings.config_dir: ("error", "HOSHIKAGE_CONFIG_DIR"),
        settings.cache_dir: ("warning", "HOSHIKAGE_CACHE_DIR"),
    }
    wanted.setdefault(settings.model_map.parent, ("error", "HOSHIKAGE_MODEL_MAP"))
    for folder in settings.models_dir[:1]:
        wanted[folder] = ("warning", "HOSHIKAGE_MODELS_DIR")
    for path, (status, setting) in wanted.items():
        if path.exists() and not path.is_dir():
            found.append(
                Finding("folders", "error", said("doctor_no_folder", path=path), shell("mv", path, f"{path}.old"))
            )
            continue
        place = existing(path)
        if _is_read_only(place):
            mount = _mount_of(place)
            told = said("doctor_read_only", path=path, mount=mount, setting=setting)
            found.append(Finding("folders", status, told, shell("sudo", "mount", "-o", "remount,rw", mount)))
        elif not os.access(place, os.W_OK | os.X_OK):
            fix = f'{shell("sudo", "chown")} "$USER" {shell(place)}'
            told = said("doctor_not_writable", path=path, place=place)
            found.append(Finding("folders", status, told, fix))
    file = settings.config_dir / FILE_NAME
    if settings.api_keys and file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077 and _holds_keys(file):
        found.append(
            Finding("folders", "warning", said("doctor_keys_readable", path=file), shell("chmod", "600", file))
        )
    return found or [Finding("folders", "ok", said("doctor_folders", path=settings.config_dir))]


def port(settings: Settings) -> list[Finding]:
    """Who answers where the server listens, or would."""
    from hoshikage_server.api.version import VersionObject
    from hoshikage_server.cli.serve import check_address

    if settings.port == 0 and not settings.host.startswith("unix:"):
        return [Finding("port", "ok", said("doctor_port_any"))]
    client = Client(settings)
    try:
        told = client.get("/v1/api/version", VersionObject, _ANSWER_S)
        return [Finding("port", "ok", said("doctor_port_ours", url=client.url, version=told.version))]
    except ServerError as error:
        if error.code in ("server_needs_key", "server_refuses_key"):
            return [Finding("port", "warning", error)]
        if error.code == "server_refused":  # it refuses as we do, and something else than our key
            return [Finding("port", "warning", said("doctor_port_refused", url=client.url, reason=error))]
        if error.code != "server_unreachable":
            return [Finding("port", "error", said("doctor_port_other", url=client.url), _other_port(settings))]
    try:
        check_address(settings.host, settings.port)
    except ServerError as error:
        return [Finding("port", "error", error, _other_port(settings))]
    return [Finding("port", "ok", said("doctor_port_free", url=client.url))]


def _other_port(settings: Settings) -> str | None:
    """The command that serves on a port that is free."""
    if settings.host.startswith("unix:"):
        return None
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    least = max(settings.port, 1024)
    for number in range(least + 1, min(least + _PORTS_TRIED, 65536)):
        with socket.socket(family) as probe:
            try:
                probe.bind((settings.host.strip("[]"), number))
            except OSError:
                continue
            return shell("hoshikage", "serve", "--port", number)
    return None


def _fix_of(error: SettingsError, settings: Settings) -> str:
    if error.name in os.environ:
        return shell("unset", error.name)
    return f"${{EDITOR:-vi}} {shell(settings.config_dir / FILE_NAME)}"


def _is_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _mount_of(folder: Path) -> Path:
    """Where its file system begins."""
    real = folder.resolve()
    return next(place for place in (real, *real.parents) if os.path.ismount(place))


def _holds_keys(file: Path) -> bool:
    return "api_keys" in file.read_text(encoding="utf-8", errors="replace")
