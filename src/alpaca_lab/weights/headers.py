"""What a checkpoint's files say of themselves: the shape of every tensor, a config's object."""

import json
from pathlib import Path
from typing import Any

from ..config import SettingError, require

HEADER_LIMIT = 100_000_000
"""Bytes of a safetensors header, the limit that the format sets itself."""


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file, from its header alone.

    Raises:
        SettingError: If the file is of another kind, as a pickle under this name, or cut short.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            rest = path.stat().st_size - 8 - size
            if not 2 <= size <= HEADER_LIMIT or rest < 0:
                raise ValueError("a header of impossible size")
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            shapes = {name: tuple(map(int, one["shape"])) for name, one in header.items()}
            if max((one["data_offsets"][1] for one in header.values()), default=0) != rest:
                raise ValueError("tensors that end elsewhere than the file")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        what = error if type(error) is ValueError else "a header that is not one"
        raise SettingError(
            f"{path} is no whole safetensors file ({what}); it may be cut short, or pickled, which "
            "is refused: fetch it again, or save it with safe_serialization=True"
        ) from None
    return shapes


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        SettingError: If the file is missing or holds anything else.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise SettingError(f"no such file: {path}") from None
    except (ValueError, RecursionError):
        found = None
    require(isinstance(found, dict), f"{path} is not a JSON object; fetch it again")
    return found
