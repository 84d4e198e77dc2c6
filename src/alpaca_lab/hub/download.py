"""One file of the hub into the cache: from where it stopped, compared, and only then in its place.

huggingface_hub 1.33 drops what it has of a file when the process ends or the connection is reset,
so that 9 GB of a shard of 10 GB come again. Here the bytes stay in blobs/CHECKSUM.incomplete, and
the next try, or the next process, asks for the rest. That takes plain HTTP: the client's faster
protocol (Xet) has no place to go on from.
"""

import os
from pathlib import Path

from .. import locks
from ..config import SettingError
from ..progress import Bar, say
from . import cache
from .patience import patiently
from .repository import CHUNK_BYTES, RemoteFile, Repository


def download(repository: Repository, file: RemoteFile) -> None:
    """Fetch a file of a commit into the cache, unless its blob is there, and link the snapshot's.

    The lock is huggingface_hub's own, so that its downloads and ours wait for each other.

    Raises:
        SettingError: If what comes is not what the hub announced, twice.
    """
    blobs = cache.home(repository) / "blobs"
    place = blobs.parents[1] / ".locks" / blobs.parent.name
    blobs.mkdir(parents=True, exist_ok=True)
    blob = blobs / file.checksum
    with locks.held(place / f"{file.checksum}.lock", f"fetching {file.name}"):
        if not (blob.is_file() and file.matches(blob)):
            _fetch_blob(repository, file, blob)
        _link(blob, cache.snapshot(repository) / file.name)


def incomplete(repository: Repository, file: RemoteFile) -> Path:
    """Return where the bytes of a file are kept until it is whole."""
    return cache.home(repository) / "blobs" / f"{file.checksum}.incomplete"


def _fetch_blob(repository: Repository, file: RemoteFile, blob: Path) -> None:
    part = incomplete(repository, file)

    def size() -> int:
        return part.stat().st_size if part.is_file() else 0

    for is_last in (False, True):
        patiently(
            lambda: _append_rest(repository, file, part),
            what=f"{repository.title}, {file.name}",
            gained=size,
        )
        if file.matches(part):
            os.replace(part, blob)
            return
        part.unlink()
        if not is_last:
            say(f"{repository.title}: {file.name} came damaged (another checksum): once more")
    raise SettingError(
        f"{repository.title}: {file.name} came damaged twice (its checksum is not "
        f"{file.checksum[:12]}..., the hub's): something on the way changes it, such as a proxy; "
        f"take another network, or {repository.instead}"
    )


def _append_rest(repository: Repository, file: RemoteFile, part: Path) -> None:
    """Ask for the bytes that are missing of a file, and append them as they come."""
    import httpx
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    start = part.stat().st_size if part.is_file() else 0
    if start > file.size:
        part.unlink()
        start = 0
    if start == file.size and part.is_file():
        return
    url = hf_hub_url(
        repository.name, file.name, repo_type=repository.kind, revision=repository.revision
    )
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    )
    with request as response:
        hf_raise_for_status(response)
        is_rest = response.status_code == httpx.codes.PARTIAL_CONTENT
        with (
            part.open("ab" if is_rest else "wb") as out,
            Bar(
                total=file.size,
                initial=out.tell(),
                desc=f"Fetch {file.name}",
                unit="B",
                unit_scale=True,
                disable=file.size < CHUNK_BYTES,
            ) as bar,
        ):
            # As they come, not gathered into large chunks: a connection that breaks loses none.
            for chunk in response.iter_bytes():
                out.write(chunk)
                bar.update(len(chunk))
            out.flush()
            os.fsync(out.fileno())
    if part.stat().st_size < file.size:
        raise httpx.RemoteProtocolError("the body ended early")


def _link(blob: Path, pointer: Path) -> None:
    """Make the snapshot's file lead to its blob, as huggingface_hub does."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(os.path.relpath(blob, pointer.parent))
