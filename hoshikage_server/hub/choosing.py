"""Which files of a repository are the model that is wanted: pure, and told only their names and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hoshikage_server.errors import HubError

# Small and good first; who wants another one says so.
PREFERRED = (
    *("Q4_K_M", "Q4_0", "Q8_0", "UD-Q4_K_XL", "Q4_K_S", "IQ4_XS", "IQ4_NL", "Q4_1", "MXFP4", "MXFP4_MOE"),
    *("Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q6_K", "Q3_K_M", "BF16", "F16", "F32"),
)

_REFERENCE = re.compile(r"(?:hf:)(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<wanted>[^:]+))?")
_QUANT = re.compile(
    r"(?<![A-Z0-9])(?:UD-)?"
    r"(?:I?Q\d(?:_(?:K|NL|XXS|XS|XL|S|M|L|[0-9]))*|TQ\d_\d|BF16|F16|F32|MXFP4(?:_MOE)?)"
    r"(?![A-Z0-9])"
)
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """`hf:OWNER/REPO[:QUANT]`, taken apart."""

    repo: str
    wanted: str | None

    @property
    def label(self) -> str:
        """What to call the model here."""
        return re.sub(r"[-_.]gguf$", "", self.repo.rpartition("/")[2].lower())


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; `sha256` and `size_bytes` are None where the hub does not tell."""

    path: str
    size_bytes: int | None
    sha256: str | None

    @property
    def name(self) -> str:
        """Without its folders."""
        return PurePosixPath(self.path).name

    @property
    def is_projector(self) -> bool:
        """Whether it holds a model's eyes, and no model."""
        return "mmproj" in self.name.lower()


@dataclass(frozen=True)
class Choice:
    """A model that could be fetched.

    Attributes:
        quant: Its quantisation, as in the name of its file; empty where that says nothing.
        files: Its files; the first one is what is loaded.
        n_missing: Parts that the repository lacks.
    """

    quant: str
    files: tuple[RemoteFile, ...]
    n_missing: int = 0

    @property
    def size_bytes(self) -> int | None:
        """Of all its files."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def parse(reference: str) -> Reference:
    """What is asked for.

    Raises:
        HubError: It is not written as it has to be.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None or ".." in match["repo"]:
        raise HubError("hub_bad_reference", reference=reference)
    return Reference(match["repo"], match["wanted"])


def choices(files: Iterable[RemoteFile]) -> list[Choice]:
    """The models among the files: parts are put together, eyes and importance matrices left out."""
    groups: dict[tuple[str, str], dict[int, RemoteFile]] = {}
    for file in files:
        name = file.name.lower()
        if not name.endswith(".gguf") or file.is_projector or "imatrix" in name:
            continue
        part = _PART.fullmatch(file.path)
        key, number = ((part["stem"], part["count"]), int(part["number"])) if part else ((file.path, "1"), 1)
        groups.setdefault(key, {})[number] = file
    return [
        Choice(quant_of(stem), tuple(parts[number] for number in sorted(parts)), int(count) - len(parts))
        for (stem, count), parts in sorted(groups.items())
    ]


def choose(found: Sequence[Choice], reference: Reference) -> Choice:
    """The one that is wanted, or else the one that most people want.

    Raises:
        HubError: There is none, or several; the error lists them.
    """
    if not found:
        raise HubError("hub_no_gguf", repo=reference.repo)
    wanted = reference.wanted
    if wanted is not None:
        fitting = [choice for choice in found if _is_wanted(choice, wanted)]
        if not fitting:
            raise HubError("hub_no_such_choice", repo=reference.repo, wanted=wanted, choices=told(found))
    elif len(found) == 1:
        fitting = list(found)
    else:
        by_quant = ([choice for choice in found if choice.quant == quant] for quant in PREFERRED)
        fitting = next((group for group in by_quant if group), list(found))
    if len(fitting) > 1:
        raise HubError("hub_several", repo=reference.repo, choices=told(fitting))
    [choice] = fitting
    if choice.n_missing:
        raise HubError("hub_parts_missing", name=choice.files[0].path, n=choice.n_missing)
    return choice


def projector(files: Iterable[RemoteFile]) -> RemoteFile | None:
    """The file with a model's eyes, the exact one of several."""
    found = [file for file in files if file.is_projector and file.name.lower().endswith(".gguf")]
    order = {"F16": 0, "BF16": 1, "Q8_0": 2, "F32": 3}
    return min(found, key=lambda file: (order.get(quant_of(file.path), 9), file.path), default=None)


def quant_of(path: str) -> str:
    """The quantisation that a file's name tells, or else its folder's."""
    for part in reversed(path.split("/")):
        if named := _QUANT.findall(part.upper()):
            return str(named[-1])
    return ""


def told(found: Iterable[Choice]) -> str:
    """Choices for a sentence: by their quantisation, or by file where that does not tell them apart."""
    listed = list(found)
    quants = [choice.quant for choice in listed]
    return ", ".join(
        choice.quant if choice.quant and quants.count(choice.quant) == 1 else choice.files[0].path for choice in listed
    )


def _is_wanted(choice: Choice, wanted: str) -> bool:
    first = choice.files[0]
    return wanted.upper() == choice.quant or wanted.lower() in (first.path.lower(), first.name.lower())
