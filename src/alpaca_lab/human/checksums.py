"""A checksum for each row of ratings.csv, in a file beside it; the log itself stays a plain CSV.

No program can make a rating anew, so a row that is not what was rated is refused, not mended. It is
the row as it is read that counts: a spreadsheet may have saved it with other ends of line. A kill
may leave the newest rows without a checksum: they are then taken as they are.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

from ..files import RecordError, write_atomically


def refuse_damaged(file: Path, rows: Iterable[str]) -> None:
    """Compare the rows of a log with the checksums beside it; without them nothing is compared.

    Args:
        file: The log.
        rows: Its rows, as they would be written.

    Raises:
        RecordError: If a row was changed, or the last ones are gone; with the line.
    """
    place = _place(file)
    if not place.is_file():
        return
    sums, expected = _sums(rows), place.read_text(encoding="ascii", errors="replace").split()
    cure = f"restore {file.name} and {place.name} from a copy: no program can make a rating anew"
    # The header is line 1.
    for line, (found, wanted) in enumerate(zip(sums, expected, strict=False), start=2):
        if found != wanted:
            raise RecordError(f"{file}:{line} is damaged: it is not what was rated; {cure}")
    if len(sums) < len(expected):
        raise RecordError(f"{file} has {len(sums)} of {len(expected)} rows; {cure}")


def write(file: Path, rows: Iterable[str]) -> None:
    """Write the checksums of a log's rows."""
    write_atomically(_place(file), "".join(f"{value}\n" for value in _sums(rows)))


def _sums(rows: Iterable[str]) -> list[str]:
    return [f"{zlib.crc32(row.encode()):08x}" for row in rows]


def _place(file: Path) -> Path:
    return file.with_name(f"{file.name}.crc32")
