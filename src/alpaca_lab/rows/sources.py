"""The records of a source as they stand in it: a local file, or a hub dataset at its commit."""

import gzip
import json
import zlib
from os.path import isfile
from pathlib import Path
from typing import Any

from .. import jsonl
from ..config import SettingError, require

LARGEST_LIST = 2**30
"""Bytes of a .json file, unpacked: it is parsed in one piece, at several times its size."""


def read_file(path: Path) -> list[Any]:
    """Return the records of a local .json, .jsonl or .parquet file (JSON also gzipped).

    Raises:
        SettingError: If the file is missing, of another kind, damaged or too large; with the line.
    """
    require(isfile(path), f"no such file: {path}")
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        return [record for _, record in jsonl.read(path)]
    readers = {"json": _read_list, "parquet": _read_parquet}
    require(kind in readers, f"{path}: the name must end in .json, .jsonl or .parquet")
    try:
        return readers[kind](path)
    except SettingError:
        raise
    except (ValueError, OSError, EOFError, OverflowError, RecursionError, zlib.error) as error:
        raise SettingError(f"{path} cannot be read as .{kind}: {error}") from None


def _read_list(path: Path) -> list[Any]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        text = file.read(LARGEST_LIST + 1)
    size = f"{LARGEST_LIST >> 30} GiB"
    require(
        len(text) <= LARGEST_LIST,
        f"{path} is longer than {size}: give it as .jsonl, which is read line by line",
    )
    records = json.loads(text)
    require(isinstance(records, list), f"{path}: expected a JSON list of rows")
    return records


def _read_parquet(path: Path) -> list[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Not by pandas: there a missing input is NaN, a number.
        return parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(error) from None


def read_hub(name: str, revision: str | None) -> list[Any]:
    """Return the records of a hub dataset's train split at a pinned commit.

    Raises:
        SettingError: If the hub cannot be reached or has no such dataset.
    """
    from datasets import load_dataset

    try:
        return list(load_dataset(name, revision=revision, split="train"))
    except Exception as error:
        # datasets raises a dozen types, from ConnectionError to its own; the cure is the same.
        raise SettingError(
            f"the dataset {name} could not be had from the hub ({type(error).__name__}): check the "
            "network, or give a local .json, .jsonl or .parquet file instead"
        ) from error
