"""JSON lines that someone else wrote: each with its number, each fault with its place."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .config import SettingError


def read(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, record) of every line that is not blank.

    Args:
        path: A file of UTF-8 JSON lines; gzipped where the name ends in .gz. A byte order mark is
            passed over.

    Raises:
        SettingError: If the file is missing or damaged, or a line is not JSON.
    """
    if not path.is_file():
        raise SettingError(f"no such file: {path}")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, _parsed(text, f"{path}:{number}")
    except (OSError, EOFError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from None


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{where} is not JSON: {error}") from None
