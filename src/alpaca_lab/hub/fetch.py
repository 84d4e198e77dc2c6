"""Fetch a commit of the hub: its folder, whole and compared with the hub's checksums.

What is there already is taken without a request. What is not is fetched with patience
(`patience`), from where it stopped (`download`); what the hub refuses is one sentence
(`sentences`).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..config import SettingError
from ..progress import say
from . import cache
from .download import download, incomplete
from .patience import patiently
from .repository import RemoteFile, Repository
from .sentences import refusal

GIB = 2**30
SLOW_TO_READ = GIB
"""Bytes from which a comparison takes so long that the reader is told of it."""


def fetch(repository: Repository) -> Path:
    """Return the folder with a commit's files, fetched from the hub if need be.

    Every file is compared with the hub's checksum when it comes, and again when its size or mtime
    is not what it was then: 13 GB are read once, not at each start.

    Args:
        repository: The commit, and which of its files are wanted.

    Returns:
        The snapshot's folder in the cache of huggingface_hub (`HF_HOME` says where that is). All
        wanted files are in it; others may be.

    Raises:
        SettingError: If the hub cannot be reached or refuses, sends what it did not announce, has
            no such commit or file, or the disk is full; one sentence with the cure.
    """
    import httpx

    try:
        return _fetch(repository)
    except SettingError:
        raise
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError) as error:
        # Without its cause: the client's messages carry addresses with signatures.
        raise refusal(error, repository) from None


def _fetch(repository: Repository) -> Path:
    from huggingface_hub import is_offline_mode

    folder, offline = cache.snapshot(repository), is_offline_mode()
    files, stamps = cache.recall(repository)
    if files is None:
        if offline:
            raise _offline(repository, "no list of its files is in the cache")
        files = _ask(repository)
    unmet = cache.unmet(repository, [file.name for file in files])
    if unmet:
        raise SettingError(
            f"{repository.title} has no {unmet[0]} at commit {repository.revision[:12]} (pickled "
            f"weights are refused): take another, or {repository.instead}"
        )
    missing = [file for file in files if not (folder / file.name).is_file()]
    changed = _changed(folder, files, stamps)
    damaged = _drop_damaged(repository, changed)
    absent = [*missing, *damaged]
    if absent and offline:
        names = ", ".join(file.name for file in absent[:3])
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise _offline(repository, f"its cache lacks {names}{more}")
    if absent:
        _require_room(repository, absent)
    for file in absent:
        download(repository, file)
    if absent or changed or not stamps:
        cache.remember(repository, files)
    return folder


def _ask(repository: Repository) -> list[RemoteFile]:
    """Return the commit's wanted files, as the hub lists them."""
    from huggingface_hub import HfApi, constants

    def ask() -> list[RemoteFile]:
        # Not the client's listing of the tree: that one waits without a limit.
        info = HfApi().repo_info(
            repository.name,
            repo_type=repository.kind,
            revision=repository.revision,
            files_metadata=True,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        )
        return [cache.describe(file.rfilename, file) for file in info.siblings or []]

    return cache.wanted(repository, patiently(ask, what=repository.title))


def _changed(
    folder: Path, files: Sequence[RemoteFile], stamps: dict[str, cache.Stamp]
) -> list[RemoteFile]:
    """Return the files that are there and were not compared as they are now."""
    there = [file for file in files if (folder / file.name).is_file()]
    return [f for f in there if cache.stamp(folder / f.name) != stamps.get(f.name)]


def _drop_damaged(repository: Repository, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Compare files with their checksums; delete those that differ, say so, and return them."""
    folder, size = cache.snapshot(repository), sum(file.size for file in files)
    if size > SLOW_TO_READ:
        say(f"{repository.title}: comparing {size / GIB:.1f} GiB with the hub's checksums, once")
    damaged = [file for file in files if not file.matches(folder / file.name)]
    for file in damaged:
        say(f"{repository.title}: {file.name} is damaged in the cache (another checksum): dropped")
        path = folder / file.name
        if path.is_symlink():
            (path.parent / path.readlink()).unlink(missing_ok=True)
        path.unlink()
    return damaged


def _require_room(repository: Repository, files: Sequence[RemoteFile]) -> None:
    """Refuse before the first byte what the disk has no room for."""
    home = cache.home(repository)
    home.mkdir(parents=True, exist_ok=True)
    parts = [incomplete(repository, file) for file in files]
    had = sum(part.stat().st_size for part in parts if part.is_file())
    needed, free = sum(file.size for file in files) - had, shutil.disk_usage(home).free
    if needed > free:
        raise SettingError(
            f"{repository.title} needs {needed / GIB:.1f} GiB on the disk of {home.parent}, where "
            f"{free / GIB:.1f} are free: free some, set HF_HOME to a larger disk, or "
            f"{repository.instead}"
        )


def _offline(repository: Repository, why: str) -> SettingError:
    return SettingError(
        f"{repository.title} could not be had, {why} and HF_HUB_OFFLINE keeps this process off the "
        f"hub: unset it, or {repository.instead}"
    )
