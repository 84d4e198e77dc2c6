"""Anyone's answers, scored: a JSONL file in, a long table with intervals and paired tests out.

Lines of `id`, `reference`, `answer`, optional `group` (a system or a setting), `repeat` and
`cluster`. The unit of every interval is the question, its repeats averaged first.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from .. import jsonl
from ..characters import visible
from ..config import SettingError
from ..estimates import RESCALED, Scored, correct, estimates
from ..metrics.closeness import Closeness
from ..metrics.rescaling import rescaled
from ..metrics.text_scores import SIGNATURES, text_scores
from .controls import EMPTY

NO_ENCODER = Closeness()
ONE_GROUP = "answers"
"""Name of the group where no line names one."""
COLUMNS = (
    "group", "metric", "n", "answers", "missing", "mean", "ci_low", "ci_high",
    "delta", "delta_low", "delta_high", "effect_size", "mde", "p", "p_holm", "p_bh",
    "signature", "note",
)  # fmt: skip
LONGEST = 1_000_000
"""Characters of a text: each takes seconds beyond, and no model's answer is as long."""
LARGEST_PAIR = 4_000_000
"""Lines of an answer times lines of its reference: ROUGE-Lsum compares each with each."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The lines of a file that can be scored."""

    rows: pd.DataFrame
    """One row per answer: group, id, cluster, repeat, reference, answer, status."""
    without_reference: int
    """Lines left out because their reference is empty: no score against it means anything."""


def read(path: Path) -> Answers:
    """Read and check a file of answers.

    Args:
        path: A .jsonl file, or .jsonl.gz. `answer` may be null: it is then missing, not empty.

    Raises:
        SettingError: With the line, if a field is missing or of another type, an answer is given
            twice, or a question has two references.
    """
    lines = [(number, _checked(record, f"{path}:{number}")) for number, record in jsonl.read(path)]
    if not lines:
        raise SettingError(f"{path} has no lines: each needs id, reference and answer")
    seen: dict[tuple, int] = {}
    references: dict[str, tuple[str, int]] = {}
    for number, row in lines:
        key = (row["group"], row["id"], row["repeat"])
        if key in seen:
            raise SettingError(
                f"{path}:{number} answers {row['id']} a second time (first on line {seen[key]}): "
                "give another `group` or `repeat`"
            )
        seen[key] = number
        known, first = references.setdefault(row["id"], (row["reference"], number))
        if known != row["reference"]:
            raise SettingError(
                f"{path}:{number} has another reference for {row['id']} than line {first}: "
                "one question has one reference"
            )
    kept = [row for _, row in lines if row["reference"].strip()]
    if not kept:
        raise SettingError(f"{path}: every reference is empty; there is nothing to score against")
    # As objects: pandas' text columns would turn a missing answer into a number, NaN.
    return Answers(rows=pd.DataFrame(kept, dtype=object), without_reference=len(lines) - len(kept))


def _checked(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise SettingError(f"{where}: expected an object with id, reference and answer")
    for name in ("id", "reference", "answer"):
        if name not in record:
            raise SettingError(
                f"{where} has no `{name}`: each line needs id, reference and answer "
                "(group and repeat are optional)"
            )
    values = {
        "group": record.get("group", ONE_GROUP),
        "id": record["id"],
        "cluster": record.get("cluster", record["id"]),
        "repeat": record.get("repeat", 0),
        "reference": record["reference"],
        "answer": record["answer"],
    }
    for name in ("group", "id", "cluster"):
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise SettingError(f"{where}: `{name}` must be text or a whole number")
        values[name] = str(value)
    if not isinstance(values["reference"], str):
        raise SettingError(f"{where}: `reference` must be text")
    if not isinstance(values["answer"], str | None):
        raise SettingError(f"{where}: `answer` must be text, or null where it is missing")
    texts = (values["answer"] or "", values["reference"])
    if max(map(len, texts)) > LONGEST:
        raise SettingError(
            f"{where}: a text of {max(map(len, texts)):,} characters; shorten it to {LONGEST:,}"
        )
    lines, against = (text.count("\n") + 1 for text in texts)
    if lines * against > LARGEST_PAIR:
        raise SettingError(
            f"{where}: an answer of {lines:,} lines and a reference of {against:,}: ROUGE-Lsum "
            "compares each line with each; join some of them"
        )
    if isinstance(values["repeat"], bool) or not isinstance(values["repeat"], int):
        raise SettingError(f"{where}: `repeat` must be a whole number")
    for name in ("group", "id", "cluster", "reference", "answer"):
        try:
            (values[name] or "").encode()
        except UnicodeEncodeError:
            raise SettingError(f"{where}: `{name}` is not valid Unicode") from None
    # It is printed, also as CSV and JSON, where a terminal would obey it.
    if visible(values["group"]) != values["group"]:
        raise SettingError(f"{where}: `group` holds a control or direction character")
    if values["answer"] is None:
        return values | {"status": "failed"}
    return values | {"status": "ok" if values["answer"].strip() else EMPTY}


def table(
    answers: Answers,
    *,
    closeness: Closeness = NO_ENCODER,
    baseline: str | None = None,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Score answers, and compare each group with the baseline group on the questions of both.

    Args:
        answers: What `read` returns.
        closeness: BERTScore by one encoder; without one the table has no such rows.
        baseline: Group that every other is compared with; None compares nothing.
        advance: Called once per answer, for a progress bar.

    Returns:
        Columns `COLUMNS`, one row per group and metric; p of ROUGE-L corrected by Holm over the
        groups, of the other metrics by Benjamini and Hochberg over groups and metrics.

    Raises:
        SettingError: If no line is of the group `baseline`.
    """
    groups = list(dict.fromkeys(answers.rows["group"]))
    if baseline is not None and baseline not in groups:
        raise SettingError(f'no group "{baseline}" in the file: choose from {", ".join(groups)}')
    scores = _scores(answers.rows, closeness, advance)
    runs = {
        group: Scored(run=group, scores=rows.reset_index(drop=True), manifest={})
        for group, rows in scores.groupby("group", sort=False)
    }
    signatures = SIGNATURES | {
        "bertscore_f1": closeness.signature,
        RESCALED: closeness.signature.replace("|rescaled:no", "|rescaled:en-baseline"),
    }
    rows = []
    for group in groups:
        against = runs[baseline] if baseline is not None and group != baseline else None
        rows += estimates(runs[group], baseline=against, group=group)
    correct(rows)
    dropped = {"finish_rate"} | ({"bertscore_f1"} if closeness.score is None else set())
    kept = [row | {"signature": signatures[row["metric"]]} for row in rows]
    return pd.DataFrame(
        [row for row in kept if row["metric"] not in dropped], columns=list(COLUMNS)
    )


def _scores(
    rows: pd.DataFrame, closeness: Closeness, advance: Callable[[], object]
) -> pd.DataFrame:
    answered = rows["status"] != "failed"
    values = pd.Series(math.nan, index=rows.index)
    texts = (rows.loc[answered, name].tolist() for name in ("answer", "reference"))
    values[answered] = closeness.values(*texts)
    scored = []
    for row, value in zip(rows.to_dict("records"), values, strict=True):
        advance()
        text = row["answer"] or ""
        scores = text_scores(text, reference=row["reference"]) | {"bertscore_f1": value}
        if closeness.baseline is not None:
            scores[RESCALED] = float(rescaled(value, baseline=closeness.baseline))
        if row["status"] == "failed":
            scores = dict.fromkeys(scores, math.nan) | {"n_ref_words": scores["n_ref_words"]}
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        facts = {"text_sha256": digest, "finish_reason": None}
        scored.append({name: row[name] for name in _IDENTITY} | facts | scores)
    return pd.DataFrame(scored)


_IDENTITY = ("group", "id", "cluster", "repeat", "status")


def to_json(frame: pd.DataFrame, answers: Answers) -> str:
    """Return the table for machines: full precision, blanks as null."""
    rows = [
        {name: None if _is_blank(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]
    return json.dumps(
        {"excluded_without_reference": answers.without_reference, "rows": rows},
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )


def _is_blank(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
