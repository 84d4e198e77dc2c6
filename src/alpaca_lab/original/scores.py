"""The replicate's texts to scores: the first study's table again, and what it could have seen."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pandas as pd

from .. import data, stats
from ..config import BERT_BASE, SettingError, StudySpec
from ..files import RecordError, read_lines, write_atomically, write_sums
from ..hub.patience import optional
from ..metrics import closeness, encoders
from ..metrics.closeness import Closeness
from ..progress import Bar
from ..rows.validation import validate
from ..store import Record
from . import page as original_page
from . import protocol
from .page import CUT, TRAINED
from .published import DEFAULT
from .replicate import decode, first_rows

COLUMNS = ("model", "setting", *protocol.COLUMNS, "mde")


def repeat(study: StudySpec, *, record: Record) -> pd.DataFrame:
    """Decode what is missing of the first study's grid, and score it: the whole replicate.

    Args:
        study: A study whose models are finetuned; answers alone are compared by its encoder.
        record: Its record.

    Returns:
        As `score`.

    Raises:
        RecordError: If a model is not finetuned, or the record was published without its texts.
    """
    record.require_texts()
    for encoder in (BERT_BASE, study.encoder):
        # Fetched now: a local checkpoint takes this process off the hub (checkpoints.locate).
        with suppress(SettingError), optional():
            encoders.locate(encoder)
    decode(study, record=record)
    whole, answers = closeness.of(BERT_BASE), closeness.of(study.encoder)
    return score(study, record=record, whole=whole, answers=answers)


def read(record: Record) -> pd.DataFrame:
    """Return the scores of a study's replicate.

    Raises:
        RecordError: If the procedure was not repeated with this study's models.
    """
    path = record.folder / "original" / "scores.csv"
    if not path.is_file():
        raise RecordError(f"no such file: {path}; run `python -m alpaca_lab original`")
    return pd.read_csv(path)


def score(
    study: StudySpec, *, record: Record, whole: Closeness, answers: Closeness
) -> pd.DataFrame:
    """Score texts.jsonl under both protocols and write original/scores.csv and original.md.

    Args:
        study: The study.
        record: Its record.
        whole: BERTScore of whole texts.
        answers: BERTScore of answers alone.

    Returns:
        Columns `COLUMNS`: those of `protocol.score` with model and setting, and mde, the smallest
        difference from the model's default that so many rows find in 4 of 5 cases (ROUGE-L only,
        in its units). Two metrics more, of protocol "original": cut, the share of texts ended by
        the 64 tokens; trained_on, the share of the rows that the model was finetuned on (blank
        where the data are no longer split as they were).
    """
    path = record.folder / "original" / "texts.jsonl"
    lines = read_lines(path)
    if not lines:
        raise SettingError(f"no texts in {path}; decode them first")
    with Bar(total=len(lines), desc="Score, original protocol", unit="text") as bar:
        scored = protocol.score_rows(lines, whole=whole, answers=answers, advance=bar.update)
    floor = protocol.score_rows(protocol.silent(lines), whole=whole, answers=answers)
    table = protocol.summarise(scored, floor, whole=whole, answers=answers)
    frame = pd.DataFrame(lines)
    known = frame.drop_duplicates("group").set_index("group")[["model", "setting"]]
    extra = _shares(frame, trained=_trained_on(study, record=record))
    table = pd.concat([table, pd.DataFrame(extra)], ignore_index=True)
    table = table.join(known, on="group")
    table["mde"] = _detectable(table, scored.join(frame[["model", "setting"]]))
    order = {group: place for place, group in enumerate(known.index)}
    table = table.sort_values("group", key=lambda names: names.map(order), kind="stable")
    table = table[list(COLUMNS)].reset_index(drop=True)
    text = table.to_csv(index=False, lineterminator="\n")
    write_atomically(path.with_name("scores.csv"), text)
    write_atomically(path.with_name("original.md"), original_page.to_markdown(table))
    write_sums(path.parent, ("original.md", "scores.csv"))
    return table


def _trained_on(study: StudySpec, *, record: Record) -> float:
    """Return the share of the first rows that are in the training split; NaN if it has changed."""
    rows = data.load(study.data)
    if rows.manifest()["train"] != record.index()["data"].get("train"):
        return float("nan")
    first = first_rows(study.data)
    # As they were before training: fillers for a missing input removed, unusable rows left out.
    usable, _ = validate(first, place=study.data.source)
    trained = set(rows.train)
    return sum(row in trained for row in usable) / len(first)


def _shares(lines: pd.DataFrame, *, trained: float) -> Iterator[dict[str, Any]]:
    for group, rows in lines.groupby("group", sort=False):
        shared = {"protocol": protocol.WHOLE, "group": group, "n": len(rows), "note": ""}
        cut = float(rows["finish_reason"].eq("length").mean())
        yield shared | {"metric": CUT, "value": cut, "signature": "share of texts without EOS"}
        yield shared | {
            "metric": TRAINED,
            "value": trained,
            "signature": "share of rows in the training split",
        }


def _detectable(table: pd.DataFrame, scored: pd.DataFrame) -> list[float | None]:
    """Return the smallest detectable difference from the default of each ROUGE-L row."""
    columns = {protocol.WHOLE: "rougeL", protocol.ANSWER: "answer_rougeL"}
    wide = scored.pivot(index="id", columns=["model", "setting"], values=list(columns.values()))
    found = []
    for row in table.to_dict("records"):
        if row["metric"] != "rougeL" or row["setting"] == DEFAULT:
            found.append(None)
            continue
        values = wide[columns[row["protocol"]]][row["model"]]
        moved = (values[row["setting"]] - values[DEFAULT]).dropna()
        sd = float(moved.std(ddof=1))
        found.append(stats.minimum_detectable_effect(sd, len(moved)) if len(moved) > 1 else None)
    return found
