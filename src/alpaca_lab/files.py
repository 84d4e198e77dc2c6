"""Files that a kill cannot halve and a flipped byte cannot slip past: atomic, and checksummed.

A JSON document, and each line of JSON lines, ends with the CRC-32 of the bytes before it. That
tells damage from data while a file still grows, long before a manifest with its sha256 can; it is
no protection from someone who means to change it.
"""

import glob
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .endings import OneSentence

SUMS = "SHA256SUMS"
"""Lists the files of a folder that were written together, as `sha256sum -c` reads it."""
_DOCUMENT_END = re.compile(rb',?\n  "crc32": "([0-9a-f]{8})"\n\}\n\Z')
_LINE_END = re.compile(rb',? ?"crc32": "([0-9a-f]{8})"\}\Z')
LEFT_BEHIND_S = 3600.0
"""No write takes so long: a half of a file that is older is nobody's."""
_LONGEST_END = 32
"""More bytes than either end has."""


class RecordError(OneSentence, ValueError):
    """Something in results/ or outputs/ is not what it was. The message names it and the cure."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a half of it.

    What a process that was killed here left half written goes with a later write of the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        _sweep(path, before=os.stat(temporary).st_mtime - LEFT_BEHIND_S)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sweep(path: Path, *, before: float) -> None:
    """Delete what writes of a file left behind, told by the clock of the disk that it lies on."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < before:
                left.unlink()


def as_document(values: Mapping[str, Any]) -> bytes:
    """Return an object as a JSON document with its checksum. NaN is refused: an unknown is null."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    body = text.removesuffix("}").removesuffix("\n").encode()
    comma = "," if values else ""
    return body + f'{comma}\n  "crc32": "{zlib.crc32(body):08x}"\n}}\n'.encode()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object and its checksum atomically, as `as_document` has it."""
    write_atomically(path, as_document(values))


def read_json(path: Path, *, cure: str = "delete it and run again") -> dict[str, Any]:
    """Read a JSON object that `write_json` wrote, without its checksum.

    Args:
        path: The file.
        cure: What brings it back, where it is damaged.

    Raises:
        RecordError: If the file is missing, or is not what was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"no such file: {path}; run the stage that writes it") from None
    values = _checked(data, _DOCUMENT_END)
    if values is None:
        raise RecordError(f"{path} is damaged: it does not have the checksum in it; {cure}")
    return values


def as_line(row: Mapping[str, Any]) -> bytes:
    r"""Return an object as a line of JSON with its checksum.

    Example:
        >>> as_line({"id": "q1"})
        b'{"id": "q1", "crc32": "297a2ef6"}\n'
    """
    body = json.dumps(row, ensure_ascii=False, allow_nan=False).removesuffix("}").encode()
    comma = ", " if row else ""
    return body + f'{comma}"crc32": "{zlib.crc32(body):08x}"}}\n'.encode()


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON line and hand it to the operating system: a kill loses at most this line.

    What a kill left of a line before it goes first, or this one would be glued to it. One process
    at a time may append to a file.
    """
    line = as_line(row)
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.truncate(_end_of_last_line(path))
        file.write(line)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, each with its checksum, atomically."""
    write_atomically(path, b"".join(map(as_line, rows)))


def read_lines(
    path: Path, *, whole: bool = False, cure: str = "restore it, or delete that line"
) -> list[dict[str, Any]]:
    """Read JSON lines without their checksums; none where there is no file.

    Args:
        path: The file.
        whole: The file was written at once. If not, a last line without its end was cut short by
            a kill, or is being written: it is left out.
        cure: What brings a damaged line back.

    Raises:
        RecordError: If a line is not what was written, with its number.
    """
    rows = []
    for number, row in _lines(path, whole=whole):
        if row is None:
            raise RecordError(f"{path}:{number} is damaged: it does not have its checksum; {cure}")
        rows.append(row)
    return rows


def drop_damaged_lines(path: Path) -> int:
    """Take the damaged lines out of a file of JSON lines; return how many there were."""
    rows = [row for _, row in _lines(path, whole=True)]
    whole = [row for row in rows if row is not None]
    if len(whole) < len(rows):
        write_lines(path, whole)
    return len(rows) - len(whole)


def mismatched(folder: Path, sums: Mapping[str, str]) -> list[Path]:
    """Return the files of a folder that do not have the sha256 given for them, or are gone."""
    paths = {folder / name: expected for name, expected in sums.items()}
    return [
        path
        for path, expected in paths.items()
        if not path.is_file() or sha256_file(path) != expected
    ]


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write SHA256SUMS over files of a folder, given by their paths below it."""
    text = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in sorted(names))
    # sha256sum passes over a comment; we find damage to the list itself by it.
    write_atomically(folder / SUMS, f"{text}# crc32 {zlib.crc32(text.encode()):08x}\n")


def damaged(folder: Path) -> list[Path]:
    """Return the files that are not what the folder's SHA256SUMS says: changed, or gone.

    A folder without SHA256SUMS was not finished: the list itself is then the file that is missing.
    """
    sums = _sums(folder)
    return [folder / SUMS] if sums is None else mismatched(folder, sums)


def listed(folder: Path) -> list[Path]:
    """Return the files that a folder's SHA256SUMS lists, none where it cannot be read."""
    return [folder / name for name in _sums(folder) or {}]


def _sums(folder: Path) -> dict[str, str] | None:
    """Return the sha256 of each file by its path below the folder; None where they are not told."""
    try:
        data = (folder / SUMS).read_bytes()
    except FileNotFoundError:
        return None
    text, _, end = data.rpartition(b"# crc32 ")
    if end != f"{zlib.crc32(text):08x}\n".encode():
        return None
    sums = {}
    for line in text.decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            return None
        sums[name] = digest
    return sums


def _checked(data: bytes, end: re.Pattern[bytes]) -> dict[str, Any] | None:
    """Return the object that stands before its checksum; None where that is not its checksum."""
    found = end.search(data, max(0, len(data) - _LONGEST_END))
    if found is None or zlib.crc32(data[: found.start()]) != int(found[1], 16):
        return None
    try:
        return json.loads(data[: found.start()] + b"}")
    except (ValueError, RecursionError):
        return None


def _lines(path: Path, *, whole: bool) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield (line number from 1, row) of each line, the row None where it is damaged."""
    if not path.exists():
        return
    with path.open("rb") as file:
        # Lines end with "\n" alone: a model may write U+2028, which str.splitlines takes for one.
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                if whole:
                    yield number, None
                return
            yield number, _checked(line.removesuffix(b"\n"), _LINE_END)


def _end_of_last_line(path: Path) -> int:
    """Return the offset behind the last end of line, 0 where there is none."""
    return path.read_bytes().rfind(b"\n") + 1
