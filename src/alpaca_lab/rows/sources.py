"""The records of a source as they stand in it: a local file, or a hub dataset at its commit."""

import errno
import gzip
import json
from pathlib import Path
from typing import Any

from .. import jsonl
from ..config import SettingError
from ..hub.fetch import fetch
from ..hub.repository import Repository

HUB_FILES = (
    "README.md", ".huggingface.yaml", "dataset_infos.json",
    *(f"*.{kind}{packed}" for kind in ("json", "jsonl", "ndjson", "csv", "tsv", "parquet", "arrow")
      for packed in ("", ".gz", ".bz2", ".xz", ".zst")),
)  # fmt: skip
"""All that is fetched of a hub dataset: its card, and rows in forms that hold no code."""


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
