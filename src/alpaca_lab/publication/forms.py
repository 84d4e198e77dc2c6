"""What becomes of each file of a record when it is published: one explicit list.

A file that is copied has known fields, and none of them holds a text; so a text that is too short
to be searched for, such as "Yes", cannot slip through. A file or a field that is not listed is
refused: whoever adds one to the record decides here whether it may be published.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from ..files import RecordError, as_document, as_line, read_json, read_lines
from ..human.ratings import COLUMNS as RATING
from ..judge.record import COLUMNS as JUDGEMENT
from ..original.scores import COLUMNS as REPLICATE
from ..scoring.score import SCORES

COPIED = "copied"
KEYED = "without texts"
LEFT_OUT = "left out"
REMADE = "made anew"
KINDS = (COPIED, KEYED, LEFT_OUT, REMADE)
"""REMADE: written by `report` from the published record, which has no text to show."""

_RUN = r"runs/[0-9a-f]{12}"
_JUDGING = r"judge/[0-9a-f]{12}"
_MODE = r"human/(acceptability|pairwise)"
_ASKED = {
    "model", "template", "questions", "data", "seed", "dtype", "adapter", "setting", "repeats",
    "engine", "weights", "control", "texts",
}  # fmt: skip
_SEALED = {"run", "request", "counts", "wall_s", "environment", "sha256"}
_DATA = {
    "source", "revision", "sha256", "columns", "rows", "rejected", "fillers", "duplicates",
    "clusters", "contamination", "train", "validation", "test",
}  # fmt: skip
"""`fillers` counts inputs that only say that there is none, by their spelling: "No input"."""
_FINETUNE = {
    "request", "base", "model", "adapter", "adapted_layers", "trainable_parameters", "train_rows",
    "validation_rows", "rows_cut", "rows_dropped", "tokens", "response_tokens", "order_sha256",
    "steps", "best_validation_loss", "layout", "processes", "micro_batch_tokens", "recompute",
    "halved_at_steps", "predicted_gib", "peak_gib", "device_gib", "load_s", "wall_s", "started",
    "environment", "sha256",
}  # fmt: skip
_SESSION = {
    "answers", "new_tokens", "wall_s", "load_s", "warm_up_s", "slots", "columns", "halvings",
    "predicted_gib", "peak_gib", "device", "rank", "processes", "started", "environment",
}  # fmt: skip
_SCORED = {
    "id", "cluster", "repeat", "status", "finish_reason", "n_new_tokens", "text_sha256", *SCORES,
    "bertscore_f1_rescaled",
}  # fmt: skip
FIELDS: dict[str, set[str] | None] = {
    rf"{_RUN}/request\.json": _ASKED,
    rf"{_RUN}/sessions\.jsonl": _SESSION,
    rf"{_RUN}/likelihood\.jsonl": {"id", "nats", "tokens", "characters"},
    rf"{_RUN}/checks\.json": {"dense", "identity"},
    rf"{_RUN}/scores\.parquet": _SCORED,
    rf"{_RUN}/manifest\.json": _SEALED
    | {
        "expected_answers", "signatures", "encoder", "new_tokens", "tokens_per_s", "peak_gib",
        "slots", "halvings",
    },
    rf"{_JUDGING}/request\.json": {
        "judge", "template", "cells", "runs", "questions", "pairs", "texts",
    },
    rf"{_JUDGING}/judgements\.jsonl": {*JUDGEMENT},
    rf"{_JUDGING}/sessions\.jsonl": {"judgements", "wall_s", "judge", "started"},
    rf"{_JUDGING}/manifest\.json": _SEALED | {"kind", "judge"},
    r"training/[^/]+/manifest\.json": _FINETUNE,
    r"training/[^/]+/loss\.csv": {
        "step", "kind", "loss", "learning_rate", "tokens", "seconds", "gib", "passes",
    },
    r"data/manifest\.json": _DATA,
    rf"{_MODE}/plan\.json": {
        "mode", "seed", "questions", "raters", "overlap", "key", "key_sha256", "rubric", "strata",
        "order",
    },
    rf"{_MODE}/key-[0-9a-f]{{12}}\.json": {"salt", "items"},
    rf"{_MODE}/ratings\.csv": {*RATING},
    rf"{_MODE}/ratings\.csv\.crc32": None,
    r"original/scores\.csv": {*REPLICATE},
    r"original/original\.md": None,
    r"original/SHA256SUMS": None,
}  # fmt: skip
"""By the pattern of a path: files that are copied byte for byte, and the fields that they may have.
None: a file without fields, whose content follows from one beside it."""
_LEFT_OUT = (
    rf"{_RUN}/answers\.jsonl",  # scores.parquet has all of it but the text and the tokens' sha256
    r"original/texts\.jsonl",
    r"data/report\.md",
    r"notebook/master_file\.ipynb",
    r"notebook/SHA256SUMS",
)
_REMADE = (
    r"SHA256SUMS",
    r"data/SHA256SUMS",
    r"report\.html",
    r"(tables|performance)/[^/]+\.(csv|md|tex)",
    r"figures/[^/]+\.png",
    r"cards/[^/]+/(README\.md|LICENSE\.md|NOTICE|loss\.png)",
)
_LOCKS = r"(.*/)?\.[^/]*(lock|\.owner)"


@dataclass(frozen=True, kw_only=True)
class Form:
    """What becomes of a file."""

    kind: str
    """One of `KINDS`."""
    kept: str | None = None
    """Of a file that stands there in another form: what of it, in words."""
    content: bytes | None = None
    """The other form."""


def is_lock(path: str) -> bool:
    """Return True for what a process at work leaves beside the record."""
    return re.fullmatch(_LOCKS, path) is not None


def of(folder: Path, path: str) -> Form:
    """Return what becomes of a file.

    Args:
        folder: The record's.
        path: Of the file below it, with "/".

    Raises:
        RecordError: If a study writes no such file, or it has a field that it should not have.
    """
    found = kind(path)
    if found is None:
        raise RecordError(
            f"{folder / path} is no file that a study writes: move it out of the record"
        )
    if found == KEYED:
        kept, form = _KEYED[path]
        content = form(folder / path)
        same = content == (folder / path).read_bytes()
        return Form(kind=COPIED) if same else Form(kind=KEYED, kept=kept, content=content)
    known = next((names for pattern, names in FIELDS.items() if re.fullmatch(pattern, path)), None)
    if known is not None:
        _refuse_unknown(folder / path, fields(folder / path) - known)
    return Form(kind=found)


def kind(path: str) -> str | None:
    """Return which of `KINDS` a file is, by its path below the record; None for an unknown one."""
    patterns = {KEYED: map(re.escape, _KEYED), COPIED: FIELDS, LEFT_OUT: _LEFT_OUT, REMADE: _REMADE}
    return next(
        (
            name
            for name, expressions in patterns.items()
            if any(re.fullmatch(expression, path) for expression in expressions)
        ),
        None,
    )


def fields(path: Path) -> set[str]:
    """Return the names of a file's outermost fields: columns, or keys of the objects in it."""
    if path.suffix == ".parquet":
        return set(pd.read_parquet(path).columns)
    if path.suffix == ".csv":
        return set(_table(path)[0])
    rows = read_lines(path) if path.suffix == ".jsonl" else [read_json(path)]
    return {name for row in rows for name in row}


def _refuse_unknown(path: Path, unknown: Iterable[str]) -> None:
    for name in sorted(unknown):
        raise RecordError(
            f"{path} has a field {name!r} that may hold a text: say in publication/forms.py "
            "whether it may be published"
        )


def _study(path: Path) -> bytes:
    """Return study.json with files and folders elsewhere on this machine named, not placed."""
    index = read_json(path)
    _refuse_unknown(path, index.keys() - {"spec", "data", "questions", "runs", "judging"})
    _refuse_unknown(path, index.get("data", {}).keys() - _DATA)
    spec = {name: _named(part) for name, part in index["spec"].items()}
    if spec == index["spec"]:
        return path.read_bytes()
    return as_document(index | {"spec": spec})


def _named(part: Any) -> Any:
    if isinstance(part, list):
        return [_named(item) for item in part]
    if isinstance(part, dict) and Path(str(part.get("source"))).is_absolute():
        return part | {"source": Path(part["source"]).name}
    return part


def _questions(path: Path) -> bytes:
    """Return the questions with the sha256 of each text: who has a row can find it again."""
    lines, texts = [], ("instruction", "input", "reference")
    for row in read_lines(path, whole=True):
        _refuse_unknown(path, row.keys() - {"id", "cluster", *texts})
        keys = {f"{name}_sha256": hashlib.sha256(row[name].encode()).hexdigest() for name in texts}
        lines.append(as_line({"id": row["id"], "cluster": row["cluster"]} | keys))
    return b"".join(lines)


def _columns(*kept: str, texts: tuple[str, ...]) -> Callable[[Path], bytes]:
    """Return a function that takes the columns with texts out of a CSV."""

    def form(path: Path) -> bytes:
        header, rows = _table(path)
        _refuse_unknown(path, {*header} - {*kept, *texts})
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(kept)
        places = [header.index(name) for name in kept]
        writer.writerows([row[place] for place in places] for row in rows)
        return text.getvalue().encode()

    return form


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(StringIO(path.read_text(encoding="utf-8")))
    return header, rows


_KEYED: Mapping[str, tuple[str, Callable[[Path], bytes]]] = {
    "study.json": ("sources on a machine by their names alone", _study),
    "questions.jsonl": ("instruction, input and reference by their sha256", _questions),
    "data/rejected.csv": (
        "row and reason, no excerpt",
        _columns("row", "reason", texts=("excerpt",)),
    ),
    "data/duplicates.csv": (
        "ids and similarity, no text",
        _columns("one", "two", "jaccard", "cluster", texts=("text_one", "text_two")),
    ),
    "data/contamination.csv": (
        "ids and counts, no text",
        _columns(
            "id", "verdict", "grams", "shared", "share", "train_id", texts=("words", "answer")
        ),
    ),
}
"""By path: what of a file is kept, in words, and the function that makes it."""
