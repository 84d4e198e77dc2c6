"""JSON lines that someone else wrote: each with its number, each fault with its place."""

import gzip
import json
import zlib
from collections.abc import Iterator
from os.path import isfile
from pathlib import Path
from typing import Any

from .config import SettingError, require

LONGEST_LINE = 2**28
"""Bytes of a line: a small gzipped file may unpack to a line that fills the memory."""


def read(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, record) of every line that is not blank.

    Args:
        path: A file of UTF-8 JSON lines; gzipped where the name ends in .gz. A byte order mark is
            passed over.

    Raises:
        SettingError: If the file is missing or damaged, or a line is not JSON or too long.
    """
    require(isfile(path), f"no such file: {path}")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
            for number, line in enumerate(lines, start=1):
                require(
                    len(line) <= LONGEST_LINE,
                    f"{path}:{number} is longer than {LONGEST_LINE >> 20} MiB: leave it out",
                )
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, _parsed(text, f"{path}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{where} is not JSON: {error}") from None
