"""What is asked of the hub: a commit of a repository, and which of its files."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A pinned commit of a model or a dataset, the files wanted of it, and what a reader is told.

    The last two fields are the first and the last words of every sentence about it.
    """

    name: str
    """Hub id, "owner/name"."""
    revision: str
    """Commit, 40 hex digits: a name that moves, such as "main", could not be had again."""
    kind: Literal["model", "dataset"] = "model"
    """Which of the hub's two shelves it stands on."""
    files: tuple[str, ...]
    """Patterns of the files that are fetched; * also matches a slash. No pickles, no code."""
    needs: tuple[str, ...] = ()
    """Patterns that must each match a file, or the commit is of no use."""
    title: str
    """Its name in a sentence: "microsoft/phi-2", "the dataset yahma/alpaca-cleaned"."""
    instead: str
    """What to do without the hub: "use a local folder with phi-2=FOLDER"."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a commit, as the hub describes it."""

    name: str
    """Path within the repository."""
    size: int
    """Bytes."""
    checksum: str
    """sha256 in 64 hex digits of a large file (LFS), git's sha1 in 40 of any other."""

    def __post_init__(self) -> None:
        # Both become paths on this disk, and came over a network.
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or "\\" in self.name:
            raise ValueError(f"{self.name!r} leads out of its folder")
        if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.checksum) is None:
            raise ValueError(f"{self.checksum!r} is no checksum")

    def matches(self, path: Path) -> bool:
        """Return whether a local file has this size and this checksum; reads all of it."""
        return path.stat().st_size == self.size and checksum_of(path, self.checksum) == (
            self.checksum
        )


def checksum_of(path: Path, like: str) -> str:
    """Return a file's checksum in hex, of the kind that another one is.

    Args:
        path: The file.
        like: 64 hex digits for the sha256 of the bytes; 40 for git's sha1, which is over a header
            with their number and then the bytes.
    """
    if len(like) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
