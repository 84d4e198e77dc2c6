"""Where an export is written: apart until it is whole, so that no half of one has its name."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..config import fingerprint, require
from ..environment import free_disk_gib
from ..files import SUMS, write_sums
from ..locks import held
from ..store import OUTPUTS

ABOUT = "export.json"
"""What was exported, and how far it was compared: in every export."""
HEADROOM = 1.05
"""Room asked for beside the weights, for the card, the tokenizer and the file system."""


@contextmanager
def staged(folder: Path, *, gib: float, what: str) -> Iterator[Path]:
    """Yield a folder to write an export in, which becomes `folder` when the block has ended well.

    SHA256SUMS is written over its files last. Whatever ends the block early, nothing of it is left
    and an earlier export stays as it was; what a kill left goes with the next export.

    Args:
        folder: Where the export is to be: new, empty, or an earlier export, which is replaced.
        gib: What it will take on the disk at most, while it is made.
        what: What is exported, for messages: "tiny-llama as merged".

    Raises:
        SettingError: If the folder holds anything else, or the disk has no room.
    """
    folder = folder.absolute()
    require(
        not folder.exists() or _is_replaceable(folder),
        f"{folder} is there and is no export: it is not replaced, choose another --folder",
    )
    free = free_disk_gib(folder.parent)
    require(
        gib * HEADROOM <= free,
        f"{what} needs {gib * HEADROOM:.1f} GiB on the disk of {folder.parent}, where {free:.1f} "
        "are free: free some, or choose a --folder on a larger one",
    )
    part = folder.with_name(f".{folder.name}.part")
    lock = OUTPUTS / "export" / f".{fingerprint({'folder': str(folder)})}.lock"
    with held(lock, f"exporting {what}"):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            for path in files(part):
                path.chmod(0o644)  # Transformers keeps its weights to whoever wrote them
            write_sums(part, [str(path.relative_to(part)) for path in files(part)])
            _replace(folder, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def files(folder: Path) -> list[Path]:
    """Return the files of an export, in order; SHA256SUMS among them where it is written."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_replaceable(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return not names or {SUMS, ABOUT} <= names


def _replace(folder: Path, part: Path) -> None:
    """Give a whole export its name. An earlier one is away only between two renames."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(part, folder)
    shutil.rmtree(old, ignore_errors=True)
