"""Where rows come from, which are usable, and which split each is in."""

import gzip
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from .config import DataSpec, SettingError
from .store import sha256_file

Split = Literal["train", "validation", "test"]

NO_INPUT = frozenset({"<noinput>", "<no input>", "noinput", "no input", "no input."})
"""Fillers that annotators wrote where a task has no input; read as an empty input."""
NO_OUTPUT = frozenset({"nooutput", "<nooutput>", "no output", "<no output>"})
"""Placeholders for an answer that was never written; such a row is dropped and counted."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One Alpaca record; `input` is empty for most of them."""

    instruction: str
    input: str
    output: str

    @property
    def key(self) -> str:
        """Content address of the question, 64 hex digits; rows that ask the same thing share it."""
        parts = (
            " ".join(unicodedata.normalize("NFKC", text).casefold().split())
            for text in (self.instruction, self.input)
        )
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    @property
    def id(self) -> str:
        """The first 16 digits of `key`: the name of the question in results/."""
        return self.key[:16]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The usable rows of a source, split, and what was left out."""

    source: dict[str, Any]
    """Identity: the hub name and commit, or the file's name and sha256."""
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    """One row per question, in the nested order: the first 100 are a prefix of the first 500."""
    rejected: tuple[tuple[int, str], ...]
    """(row number from 1, reason) of every row left out."""

    def manifest(self) -> dict[str, Any]:
        """Return the identity of the split: counts, and the sha256 of each split's list of ids."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            **self.source,
            "rejected": dict(Counter(reason for _, reason in self.rejected)),
            **{
                name: {"rows": len(rows), "ids_sha256": ids_sha256(rows)}
                for name, rows in splits.items()
            },
        }


def ids_sha256(rows: Iterable[Example]) -> str:
    """Return the sha256 of the rows' keys and outputs, in order: equal only for equal rows."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.key}\x1f{row.output}\n".encode())
    return digest.hexdigest()


def load(spec: DataSpec) -> Dataset:
    """Read, validate and split the rows of `spec`.

    Raises:
        SettingError: If the source cannot be read, a row lacks a field, or a split comes out empty.
    """
    path = Path(spec.source)
    if path.is_absolute():
        records = read_file(path)
        source = {"source": path.name, "revision": None, "sha256": sha256_file(path)}
    else:
        records = _read_hub(spec.source, spec.revision)
        source = {"source": spec.source, "revision": spec.revision, "sha256": None}
    examples, rejected = validate(records, place=str(path) if path.is_absolute() else spec.source)
    return split(examples, spec=spec, source=source, rejected=rejected)


def read_file(path: Path) -> list[Any]:
    """Return the records of a local .json, .jsonl or .parquet file (JSON also gzipped).

    Raises:
        SettingError: If the file is missing, of another kind, or damaged; with the line.
    """
    if not path.is_file():
        raise SettingError(f"no such file: {path}")
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").rpartition(".")[2]
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
            if kind == "jsonl":
                return list(_json_lines(file, path))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError, EOFError) as error:
        raise SettingError(f"{path} cannot be read as .{kind}: {error}") from None
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{path} cannot be read as .{kind}: {error}") from None
    raise SettingError(f"{path}: the name must end in .json, .jsonl or .parquet")


def _json_lines(file: Iterable[bytes], path: Path) -> Iterator[Any]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise SettingError(f"{path}:{number} is not JSON: {error}") from None


def _read_hub(name: str, revision: str | None) -> list[Any]:
    """Return the records of a hub dataset's train split at a pinned commit."""
    from datasets import load_dataset

    try:
        return list(load_dataset(name, revision=revision, split="train"))
    except Exception as error:
        # datasets raises a dozen types, from ConnectionError to its own; the cure is the same.
        raise SettingError(
            f"the dataset {name} could not be had from the hub ({type(error).__name__}): check the "
            "network, or give a local .json, .jsonl or .parquet file instead"
        ) from error


def validate(records: Sequence[Any], *, place: str) -> tuple[list[Example], list[tuple[int, str]]]:
    """Turn records into examples, and name every row that is left out.

    Args:
        records: Mappings with `instruction`, `output` and optionally `input`.
        place: The file or dataset, for error messages.

    Returns:
        The examples, and (row number from 1, reason) of each row rejected for its content.

    Raises:
        SettingError: If a row is not a mapping or lacks a field: then the file is not Alpaca data.
    """
    examples, rejected = [], []
    for number, record in enumerate(records, start=1):
        where = f"{place}, row {number}"
        if not isinstance(record, dict):
            raise SettingError(f"{where}: expected an object with instruction, input and output")
        for name in ("instruction", "output"):
            if name not in record:
                raise SettingError(
                    f"{where} has no `{name}`: each row needs instruction and output "
                    "(input is optional); rename the columns or add the field"
                )
        values = {name: record.get(name) for name in ("instruction", "input", "output")}
        values["input"] = "" if values["input"] is None else values["input"]
        wrong = [name for name, value in values.items() if not isinstance(value, str)]
        if wrong:
            rejected.append((number, f"{wrong[0]} is not text"))
            continue
        if any(not text.isascii() and _has_lone_surrogate(text) for text in values.values()):
            rejected.append((number, "not valid Unicode"))
            continue
        if values["input"].strip().casefold() in NO_INPUT:
            values["input"] = ""
        if not values["instruction"].strip():
            rejected.append((number, "empty instruction"))
        elif not values["output"].strip():
            rejected.append((number, "empty output"))
        elif values["output"].strip().casefold() in NO_OUTPUT:
            rejected.append((number, "placeholder output"))
        else:
            examples.append(Example(**values))
    return examples, rejected


def _has_lone_surrogate(text: str) -> bool:
    """Return True for text that no file and no tokenizer can hold; JSON lets it through."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def unit_hash(purpose: str, key: str) -> float:
    """Return a number in [0, 1) that depends on `purpose` and `key` alone."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(cluster: str, *, test_share: float, validation_share: float) -> Split:
    """Assign a question to a split from its cluster's id alone.

    Hashing rather than shuffling: filtering, reordering or upgrading the dataset never moves a
    question across the line, and two rows of one question are never on both sides of it.

    Args:
        cluster: `Example.key`, 64 hex digits.
        test_share: Expected share of the test split, in [0, 1].
        validation_share: Expected share of the validation split, in [0, 1].

    Example:
        >>> split_of("0" * 64, test_share=1.0, validation_share=0.0)
        'test'
    """
    place = unit_hash("split-v1", cluster)
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


def split(
    examples: Iterable[Example],
    *,
    spec: DataSpec,
    source: dict[str, Any],
    rejected: Sequence[tuple[int, str]] = (),
) -> Dataset:
    """Split examples by hash, each split in an order that depends on content alone.

    Raises:
        SettingError: If a split comes out empty.
    """
    parts: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for example in sorted(examples, key=lambda row: (unit_hash("order-v1", row.key), row.output)):
        shares = {"test_share": spec.test_share, "validation_share": spec.validation_share}
        parts[split_of(example.key, **shares)].append(example)
    for name, rows in parts.items():
        if not rows:
            raise SettingError(
                f"{source['source']}: no row fell into the {name} split; "
                f"give more rows, or raise {'its share' if name != 'train' else 'the train share'}"
            )
    # One row per question in test: the question is the unit of every interval.
    test = tuple({row.key: row for row in reversed(parts["test"])}.values())[::-1]
    return Dataset(
        source=source,
        train=tuple(parts["train"][: spec.max_train_rows]),
        validation=tuple(parts["validation"]),
        test=test,
        rejected=tuple(rejected),
    )


def question(example: Example) -> dict[str, str]:
    """Return an example as a line of results/<study>/questions.jsonl."""
    return {
        "id": example.id,
        "cluster": example.key,
        "instruction": example.instruction,
        "input": example.input,
        "reference": example.output,
    }


def summary(dataset: Dataset) -> pd.DataFrame:
    """Return one row per split (rows, mean and longest answer in words), and the rejected rows."""
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    table = []
    for name, rows in splits.items():
        words = [len(row.output.split()) for row in rows]
        with_input = sum(bool(row.input) for row in rows) / len(rows)
        table.append(
            {
                "split": name,
                "rows": len(rows),
                "with input, %": round(100 * with_input, 1),
                "words per answer, mean": round(sum(words) / len(words), 1),
                "words per answer, most": max(words),
            }
        )
    table.append({"split": "rejected", "rows": len(dataset.rejected)})
    return pd.DataFrame(table).set_index("split")
