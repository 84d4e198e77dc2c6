"""What a record was published without: its texts, each of their files with the sha256 that it had.

The licence of its rows may forbid to pass them on, and a model may recite them. So a record can be
published with keys in place of texts. It then has withheld.json, by which a file that was left out
is told from one that was lost; its tables still follow from what is there.
"""

from pathlib import Path
from typing import Any

from .files import read_json

NAME = "withheld.json"
RESTORE = "restore it from where the record was published"


def sentence(record: Path) -> str:
    """Return what is said to whoever needs a text of a published record."""
    return (
        f"{record} was published without its texts ({NAME} lists them): for this, run the study "
        "again with its rows under another --name, or take the full record in its place"
    )


def changes(record: Path) -> dict[str, dict[str, Any]]:
    """Return what a published record does not have as it was; nothing where it has all.

    Returns:
        By path below the record's folder: sha256 of the file as it was; kept, what of it is there
        in words, None where it is left out.

    Raises:
        RecordError: If withheld.json is damaged.
    """
    path = record / NAME
    return read_json(path, cure=RESTORE)["files"] if path.is_file() else {}


def left_out(run: Path) -> dict[str, str]:
    """Return the sha256 of each file that was left out of a run's folder, by its name."""
    start = f"{run.parent.name}/{run.name}/"
    return {
        path.removeprefix(start): change["sha256"]
        for path, change in changes(run.parent.parent).items()
        if path.startswith(start) and change["kept"] is None
    }
