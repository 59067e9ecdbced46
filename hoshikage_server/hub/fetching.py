"""Fetching a model's files through huggingface_hub, an optional package: it knows the hub, its tokens and proxies.

A file that is not whole has the name `.NAME.part`: another try goes on where the last one was cut off. It gets its name
when its checksum is that of the hub. No connection is made but those that list and fetch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from hoshikage_server.errors import HubError
from hoshikage_server.hub.checksums import sha256_of
from hoshikage_server.hub.choosing import RemoteFile
from hoshikage_server.messages import Size, told_by_system

# Without the first it asks the hub what program it is run by, of which nobody has asked it. What is fetched over HTTP
# can be continued; the other way it cannot.
ENVIRONMENT = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHA256_DIGITS = 64

OnBytes = Callable[[int], object]


class Hub:
    """A repository of models on a hub, as it is now.

    Args:
        repo: OWNER/NAME.

    Raises:
        HubError: huggingface_hub is missing, the hub does not answer, or it has no such repository for us.

    Attributes:
        files: What it holds.
    """

    def __init__(self, repo: str) -> None:
        self.repo = repo
        with _told(repo):
            self._library = _library()
            info = self._library.HfApi().model_info(repo, files_metadata=True)
            self._revision = info.sha
            self.files = tuple(_remote_file(sibling) for sibling in info.siblings or ())

    def fetch(self, file: RemoteFile, target: Path, on_bytes: OnBytes) -> RemoteFile:
        """Fetches a file, or what is missing of it.

        Args:
            file: One of `files`.
            target: What it is to be called.
            on_bytes: Told of bytes that are there, those of an earlier try included; less than none are to be fetched
                again.

        Returns:
            The file with what the hub has told of it meanwhile.

        Raises:
            HubError: It could not be fetched or written, or is not what the hub says it is.
        """
        with _told(self.repo, target):
            target.parent.mkdir(parents=True, exist_ok=True)
            url = self._library.hf_hub_url(self.repo, file.path, revision=self._revision)
            found = self._library.get_hf_file_metadata(url)
            etag = found.etag or ""
            sha256 = file.sha256 or (etag if len(etag) == _SHA256_DIGITS else None)
            size_bytes = found.size if found.size is not None else file.size_bytes
            whole = RemoteFile(file.path, size_bytes, sha256)
            if _is_there(target, whole):
                on_bytes(size_bytes or 0)
                return whole
            with _open_part(target.with_name(f".{target.name}.part")) as part:
                self._fetch_into(part, found.location, whole, on_bytes)
                part.flush()
                os.fsync(part.fileno())
                if sha256 is not None and sha256_of(Path(part.name)) != sha256:
                    os.unlink(part.name)
                    raise HubError("hub_bad_checksum", path=file.path, sha256=sha256)
                os.replace(part.name, target)
        return whole

    def _fetch_into(self, part: Any, url: str, file: RemoteFile, on_bytes: OnBytes) -> None:
        from huggingface_hub.file_download import http_get

        n_there = part.seek(0, os.SEEK_END)
        if file.size_bytes is not None:
            if n_there > file.size_bytes:
                part.truncate(0)
                n_there = part.seek(0)
            _require_space(Path(part.name), file.size_bytes - n_there)
        on_bytes(n_there)
        headers = self._library.utils.build_hf_headers() if _is_ours(url, self._library.constants.ENDPOINT) else {}
        http_get(
            url,
            part,
            resume_size=n_there,
            headers=headers,
            expected_size=file.size_bytes,
            tqdm_class=_bar_class(on_bytes),
        )


def safe_path(file: RemoteFile) -> Path:
    """Where a file lies below a folder.

    Raises:
        HubError: It would lie elsewhere: whoever has made the repository means no good.
    """
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or "\\" in file.path or not path.name:
        raise HubError("hub_bad_path", path=ascii(file.path))
    return Path(path)


def _library() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import huggingface_hub
    except ImportError:
        raise HubError("hub_not_installed", python=sys.executable) from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries
    return huggingface_hub


def _remote_file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    sha256 = getattr(lfs, "sha256", None)
    return RemoteFile(sibling.rfilename, sibling.size, sha256)


def _is_ours(url: str, endpoint: str) -> bool:
    """Whether the hub itself is asked, and may see its token; large files often lie with somebody else."""
    return url.startswith(f"{endpoint}/")


def _is_there(target: Path, file: RemoteFile) -> bool:
    if not target.is_file() or target.stat().st_size != file.size_bytes:
        return False
    return file.sha256 is None or sha256_of(target) == file.sha256


@contextlib.contextmanager
def _open_part(path: Path) -> Iterator[Any]:
    with open(path, "ab+") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HubError("hub_busy", path=path) from None
        yield part


def _require_space(path: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes:
        raise HubError("hub_no_space", path=path.parent, needed=Size(n_bytes), free=Size(free))


def _bar_class(on_bytes: OnBytes) -> type:
    class Bar:
        """What http_get takes for a progress bar."""

        def __init__(self, **options: object) -> None:
            pass

        def update(self, n_bytes: int = 1) -> None:
            on_bytes(n_bytes)

        def close(self) -> None:
            pass

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    return Bar


@contextlib.contextmanager
def _told(repo: str, target: Path | None = None) -> Iterator[None]:
    """Makes what goes wrong a sentence."""
    try:
        yield
    except (HubError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _problem(error, repo, target) from error


def _problem(error: Exception, repo: str, target: Path | None) -> HubError:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status in (401, 403):
        return HubError("hub_private", repo=repo)
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return HubError("hub_repo_missing", repo=repo)
    if isinstance(error, errors.HfHubHTTPError):
        return HubError("hub_refused", status=status or "?")
    if isinstance(error, OSError) and error.errno in _FULL:
        return HubError("hub_disk_full", path=target)
    if isinstance(error, OSError) and error.errno is not None and target is not None:
        return HubError("hub_not_written", path=target, reason=told_by_system(error))
    return HubError("hub_unreachable", reason=str(error).partition("\n")[0] or type(error).__name__)
