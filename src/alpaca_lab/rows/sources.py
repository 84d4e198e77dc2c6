"""The records of a source as they stand in it: a local file, or a hub dataset at its commit."""

import gzip
import json
from pathlib import Path
from typing import Any

from .. import jsonl
from ..config import SettingError


def read_file(path: Path) -> list[Any]:
    """Return the records of a local .json, .jsonl or .parquet file (JSON also gzipped).

    Raises:
        SettingError: If the file is missing, of another kind, or damaged; with the line.
    """
    if not path.is_file():
        raise SettingError(f"no such file: {path}")
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        return [record for _, record in jsonl.read(path)]
    try:
        if kind == "parquet":
            from pyarrow import parquet

            # Not by pandas: there a missing input is NaN, a number.
            return parquet.read_table(path).to_pylist()
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            if kind == "json":
                records = json.load(file)
                if not isinstance(records, list):
                    raise SettingError(f"{path}: expected a JSON list of rows")
                return records
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, EOFError) as error:
        raise SettingError(f"{path} cannot be read as .{kind}: {error}") from None
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{path} cannot be read as .{kind}: {error}") from None
    raise SettingError(f"{path}: the name must end in .json, .jsonl or .parquet")


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
