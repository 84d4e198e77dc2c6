"""What of a commit is in the cache of huggingface_hub already, and whether it is all of it.

A snapshot's files there are links to blobs that are named by their checksum. Another program may
have left a part of a commit: one that stopped midway, or wanted the config alone. So what counts
as whole is decided by the commit's list of files, never by what lies there: nothing in a folder
says that a chat template is lacking.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..config import fingerprint
from ..files import RecordError, read_json, write_json
from ..store import OUTPUTS
from .repository import RemoteFile, Repository

Stamp = tuple[int, int]
"""Size in bytes and mtime in nanoseconds of a file whose checksum was once compared."""


def home(repository: Repository) -> Path:
    """Return the repository's folder in the cache, with blobs/ and snapshots/ in it."""
    from huggingface_hub import constants

    name = repository.name.replace("/", "--")
    return Path(constants.HF_HUB_CACHE).expanduser().absolute() / f"{repository.kind}s--{name}"


def snapshot(repository: Repository) -> Path:
    """Return the folder of the commit's files, which may not exist."""
    return home(repository) / "snapshots" / repository.revision


def wanted(repository: Repository, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Return those of a commit's files that the patterns ask for."""
    return [file for file in files if any(fnmatchcase(file.name, p) for p in repository.files)]


def unmet(repository: Repository, names: Sequence[str]) -> list[str]:
    """Return the patterns without which the commit is of no use, and which no name matches."""
    return [p for p in repository.needs if not any(fnmatchcase(name, p) for name in names)]


def stamp(path: Path) -> Stamp:
    """Return size and mtime of the file that a path leads to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def recall(repository: Repository) -> tuple[list[RemoteFile] | None, dict[str, Stamp]]:
    """Return the list of wanted files as it was kept, and the stamps of those compared then.

    The list comes from what `remember` kept, else from huggingface_hub's own; None if there is
    neither. A file with another stamp now was changed since, and is to be compared again.
    """
    known = _read(_memory(repository))
    if known.get("request") == _request(repository):
        files = known["files"]
        listed = [RemoteFile(name=n, size=f["size"], checksum=f["checksum"]) for n, f in files]
        return listed, {name: (file["size"], file["mtime_ns"]) for name, file in files}
    from huggingface_hub import errors, get_cached_repo_tree

    try:
        tree = get_cached_repo_tree(
            repository.name, repo_type=repository.kind, revision=repository.revision
        )
    except (errors.CachedRepoTreeNotFoundError, errors.HFValidationError):
        return None, {}
    return wanted(repository, [describe(f.path, f) for f in tree]), {}


def remember(repository: Repository, files: Sequence[RemoteFile]) -> None:
    """Keep the list of a commit's files, each compared with its checksum, and their stamps."""
    folder = snapshot(repository)
    kept = [
        (f.name, {"size": f.size, "checksum": f.checksum, "mtime_ns": stamp(folder / f.name)[1]})
        for f in files
    ]
    write_json(_memory(repository), {"request": _request(repository), "files": kept})


def describe(name: str, file: Any) -> RemoteFile:
    """Return a file as the hub's client describes it: with `lfs` for large ones, else a blob id."""
    if file.lfs is not None:
        return RemoteFile(name=name, size=file.lfs.size, checksum=file.lfs.sha256)
    return RemoteFile(name=name, size=file.size, checksum=file.blob_id)


def _request(repository: Repository) -> dict[str, Any]:
    """Return what decides which files there are, and where."""
    return {"folder": str(snapshot(repository)), "patterns": sorted(repository.files)}


def _memory(repository: Repository) -> Path:
    return OUTPUTS / "cache" / f"hub-{fingerprint(_request(repository))}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except RecordError:  # not there, or damaged: asked and compared anew
        return {}
