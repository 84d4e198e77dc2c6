"""Which split each row is in: whole clusters of near-duplicate questions, placed by hash."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from .config import DataSpec, SettingError
from .files import sha256_file
from .progress import Bar
from .rows import clusters, contamination
from .rows.cache import remember
from .rows.contamination import Overlap
from .rows.sources import read_file, read_hub
from .rows.validation import FIELDS, Example, Findings, validate

Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")
LONG = 5_000
"""Rows from which clusters and overlaps take more than a second, and show a progress bar."""


@dataclass(frozen=True)
class NearPair:
    """Two questions that are near-duplicates."""

    one: Example
    two: Example
    jaccard: float
    """Share of word 3-grams that both have, in [0.7, 1]."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The usable rows of a source, split, and all that was found on the way."""

    source: dict[str, Any]
    """Identity: the hub name and commit, or the file's name and sha256; and the columns, where
    they are not those of Alpaca."""
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    """One row per question, in the nested order: the first 100 are a prefix of the first 500."""
    findings: Findings
    """Rows read, rows rejected, fillers normalised."""
    duplicates: Mapping[str, int]
    """Counts: questions, exact, clusters, clusters_of_several, rows_in_them, largest."""
    near_pairs: tuple[NearPair, ...]
    """Near-duplicates, in the order of their keys."""
    overlaps: tuple[Overlap, ...]
    """For each row of `test`, what its answer shares with the rows of `train`."""

    def manifest(self) -> dict[str, Any]:
        """Return the identity of the split: counts, and the sha256 of each split's list of ids."""
        verdicts = Counter(overlap.verdict for overlap in self.overlaps)
        names = ("shared", "none shared", "too short to tell")
        return {
            **self.source,
            "rows": self.findings.rows,
            "rejected": dict(Counter(item.reason for item in self.findings.rejected)),
            "fillers": dict(self.findings.fillers),
            "duplicates": {**self.duplicates, "near_pairs": len(self.near_pairs)},
            "clusters": clusters.parameters(),
            "contamination": {
                "words": contamination.WORDS,
                **{name.replace(" ", "_"): verdicts[name] for name in names},
            },
            **{
                name: {"rows": len(rows), "ids_sha256": ids_sha256(rows)}
                for name, rows in self.splits().items()
            },
        }

    def splits(self) -> dict[Split, tuple[Example, ...]]:
        """Return the rows of each split by its name."""
        return {name: getattr(self, name) for name in SPLITS}


def ids_sha256(rows: Iterable[Example]) -> str:
    """Return the sha256 of the rows' keys and outputs, in order: equal only for equal rows."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.key}\x1f{row.output}\n".encode())
    return digest.hexdigest()


def load(spec: DataSpec) -> Dataset:
    """Read, validate, cluster and split the rows of `spec`.

    Raises:
        SettingError: If the source cannot be read, a row lacks a field, or a split comes out empty.
    """
    path = Path(spec.source)
    if path.is_absolute():
        examples, findings = validate(read_file(path), place=str(path), columns=spec.columns)
        source = {"source": path.name, "revision": None, "sha256": sha256_file(path)}
    else:
        records = read_hub(spec.source, spec.revision)
        examples, findings = validate(records, place=spec.source, columns=spec.columns)
        source = {"source": spec.source, "revision": spec.revision, "sha256": None}
    if spec.columns != FIELDS:
        source["columns"] = dict(zip(FIELDS, spec.columns, strict=True))
    return split(examples, spec=spec, source=source, findings=findings)


def unit_hash(purpose: str, key: str) -> float:
    """Return a number in [0, 1) that depends on `purpose` and `key` alone."""
    digest = hashlib.sha256(f"{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(cluster: str, *, test_share: float, validation_share: float) -> Split:
    """Assign a cluster of near-duplicate questions to a split from its id alone.

    Hashing rather than shuffling: reordering or shortening a dataset leaves every cluster whose
    rows are unchanged where it was, and two wordings of a question are never on both sides. (A new
    wording with a smaller key, or one that links two clusters, can move a cluster as a whole.)

    Args:
        cluster: Smallest `Example.key` of the cluster, 64 hex digits.
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
    examples: Sequence[Example], *, spec: DataSpec, source: dict[str, Any], findings: Findings
) -> Dataset:
    """Split whole clusters by hash, each split in an order that depends on content alone.

    Args:
        examples: Valid rows, in any order.
        spec: Shares of the splits, and how many rows to train on.
        source: Identity of the source.
        findings: What validation found, kept with the result.

    Raises:
        SettingError: If a split comes out empty.
    """
    cluster, pairs = _clusters(examples)
    # The first output in sorted order stands for a question, whatever the order of the rows.
    rows = sorted(
        (replace(row, cluster=cluster[row.key]) for row in examples),
        key=lambda row: (unit_hash("order-v1", row.key), row.output),
    )
    parts: dict[Split, list[Example]] = {name: [] for name in SPLITS}
    for row in rows:
        shares = {"test_share": spec.test_share, "validation_share": spec.validation_share}
        parts[split_of(row.cluster, **shares)].append(row)
    duplicates = _count(rows)
    _require_rows(parts, source["source"], duplicates)
    # One row per question in test: the question is the unit of every interval.
    first = {row.key: row for row in reversed(rows)}
    test = tuple(row for row in parts["test"] if first[row.key] is row)
    train = tuple(parts["train"][: spec.max_train_rows])
    return Dataset(
        source=source,
        train=train,
        validation=tuple(parts["validation"]),
        test=test,
        findings=findings,
        duplicates=duplicates,
        near_pairs=tuple(NearPair(first[one], first[two], value) for one, two, value in pairs),
        overlaps=_overlaps(test, train),
    )


def _clusters(examples: Iterable[Example]) -> tuple[dict[str, str], list[tuple[str, str, float]]]:
    """Return the cluster of each question's key, and the pairs of keys that are near-duplicates."""
    questions = {row.key: row.question for row in examples}
    keys = sorted(questions)

    def compute() -> list[clusters.Pair]:
        with _bar("Near-duplicates", len(keys)) as bar:
            return clusters.near_pairs(questions, seen=bar.update)

    digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()
    request = {"questions_sha256": digest, "parameters": clusters.parameters()}
    pairs = remember("clusters", request, compute)
    return clusters.assign(keys, pairs), pairs


def _overlaps(test: Sequence[Example], train: Sequence[Example]) -> tuple[Overlap, ...]:
    """Return what each test answer shares with the training rows."""

    def compute() -> list[Overlap]:
        texts = (f"{row.question}\n{row.output}" for row in train)
        with _bar("13-gram overlap", len(train)) as bar:
            return contamination.overlaps([row.output for row in test], texts, seen=bar.update)

    request = {"words": contamination.WORDS, "train": ids_sha256(train), "test": ids_sha256(test)}
    return tuple(Overlap(*values) for values in remember("overlaps", request, compute))


def _bar(title: str, total: int) -> Bar:
    return Bar(total=total, desc=title, unit="row", disable=total < LONG)


def _count(rows: Sequence[Example]) -> dict[str, int]:
    """Return how many rows ask the same, exactly and nearly."""
    members: dict[str, set[str]] = {}
    for row in rows:
        members.setdefault(row.cluster, set()).add(row.key)
    several = {cluster for cluster, keys in members.items() if len(keys) > 1}
    questions = sum(map(len, members.values()))
    return {
        "questions": questions,
        "exact": len(rows) - questions,
        "clusters": len(members),
        "clusters_of_several": len(several),
        "rows_in_them": sum(row.cluster in several for row in rows),
        "largest": max(map(len, members.values()), default=0),
    }


def _require_rows(
    parts: Mapping[Split, Sequence[Example]], source: str, duplicates: Mapping[str, int]
) -> None:
    for name, rows in parts.items():
        if not rows:
            largest, questions = duplicates["largest"], duplicates["questions"]
            alike = (
                f" (near-duplicates stay together, and {largest} of the {questions} questions are "
                "one cluster of them)"
            )
            raise SettingError(
                f"{source}: no row fell into the {name} split{alike if largest > 1 else ''}; "
                f"give more rows, or raise {'its share' if name != 'train' else 'the train share'}"
            )


def question(example: Example) -> dict[str, str]:
    """Return an example as a line of results/<study>/questions.jsonl."""
    return {
        "id": example.id,
        "cluster": example.cluster or example.key,
        "instruction": example.instruction,
        "input": example.input,
        "reference": example.output,
    }


def summary(dataset: Dataset) -> pd.DataFrame:
    """Return one row per split (rows, mean and longest answer in words), and the rejected rows."""
    table = []
    for name, rows in dataset.splits().items():
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
    table.append({"split": "rejected", "rows": len(dataset.findings.rejected)})
    return pd.DataFrame(table).set_index("split")
