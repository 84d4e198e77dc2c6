"""The records of a source as they stand in it: a local file, or a hub dataset at its commit."""

import errno
import gzip
import json
import zlib
from os.path import isfile
from pathlib import Path
from typing import Any

from .. import jsonl
from ..config import SettingError, require
from ..hub.fetch import fetch
from ..hub.repository import Repository

HUB_FILES = (
    "README.md", ".huggingface.yaml", "dataset_infos.json",
    *(f"*.{kind}{packed}" for kind in ("json", "jsonl", "ndjson", "csv", "tsv", "parquet", "arrow")
      for packed in ("", ".gz", ".bz2", ".xz", ".zst")),
)  # fmt: skip
"""All that is fetched of a hub dataset: its card, and rows in forms that hold no code."""

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

    The files are fetched as a model's are, and `datasets` reads the folder by the same rules as on
    the hub: the splits and configurations of its card, or the names of its files. Left to fetch
    them itself it would take, where the hub does not answer, whichever commit it read last.

    Raises:
        SettingError: If the hub cannot be reached or has no such dataset, or it cannot be read.
    """
    instead = "give a local .json, .jsonl or .parquet file instead"
    folder = fetch(
        Repository(
            name=name,
            revision=revision or "",
            kind="dataset",
            files=HUB_FILES,
            title=f"the dataset {name}",
            instead=instead,
        )
    )
    from datasets import load_dataset

    try:
        return list(load_dataset(str(folder), split="train"))
    except Exception as error:
        # Cards, rows and tables are read by four libraries, each with errors of its own.
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        reason = str(error).partition("\n")[0]
        raise SettingError(
            f"the dataset {name} cannot be read ({type(error).__name__}: {reason}): {instead}"
        ) from None
