"""The written tables: their names, their places in a record, and their CSV, written and read."""

import math
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from .files import RecordError
from .spreadsheet import guard, unguard
from .store import Record
from .sweep import AXES

DERIVED = {"glance": "main", **{f"{axis}_secondary": axis for axis in AXES}}
"""Pages without a CSV of their own, and the table whose rows they show: the first answers, and
other metrics of an axis table."""
TRAINING = ("training", "equal_treatment", "performance/training")
"""Tables of the finetunes, which need no answer."""
HUMAN = ("human", "human_pairs", "human_metrics", "human_agreement")
"""Tables of what people rated; without a row until someone does."""
JUDGE = ("judge", "judge_agreement")
"""What a language model judged, if one was asked; the second has a CSV alone."""
TABLES = (
    "glance", "main", "contrasts", *AXES, *HUMAN, *JUDGE, "aa", "checks", "performance/cost",
    *TRAINING, *(f"{axis}_secondary" for axis in AXES),
)  # fmt: skip
"""Every page, in reading order."""
WORDS = (
    "model", "axis", "value", "metric", "signature", "cell", "from", "to", "verdict", "run",
    "baseline", "note", "order", "template", "recipe", "layout", "halved_at_steps",
    "check", "mode", "opponent",
)  # fmt: skip
"""Columns that hold words: a run named 123456e78901 is not a number."""


def rounded(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Round columns to six decimals, without -0.0: the same bytes wherever a table is rebuilt."""
    names = list(columns)
    return frame.assign(**(frame[names].astype(float).round(6) + 0.0).to_dict("series"))


def to_csv(frame: pd.DataFrame) -> str:
    """Return a table as the text of its CSV, the same bytes on every platform.

    A word that a spreadsheet would compute, as a group named "=1+1", gets an apostrophe before it.
    """
    shown = frame.copy()
    for name, column in frame.items():
        if not is_numeric_dtype(column):  # else pandas 3.0 maps 128 to 128.0 beside a blank
            shown[name] = column.map(_guarded)
    return shown.to_csv(index=False, lineterminator="\n")


def _guarded(value: object) -> object:
    return guard(value) if isinstance(value, str) else value


def from_csv(text: str) -> pd.DataFrame:
    """Return a table from the text of its CSV, with full precision; a blank is NaN."""
    frame = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False).map(unguard)
    for name in frame.columns.difference(WORDS):
        # float() rounds correctly on every platform; pandas' own parser did not in every version.
        numbers = frame[name].map(lambda word: float(word) if word else math.nan)
        whole = numbers.notna().all() and not frame[name].str.contains(".", regex=False).any()
        frame[name] = numbers.astype("int64") if whole else numbers.astype("float64")
    return frame


def frames_of(texts: Mapping[str, str]) -> dict[str, pd.DataFrame]:
    """Return tables by their names, from the texts of their CSV."""
    return {name: from_csv(text) for name, text in texts.items()}


def path(record: Record, name: str, ending: str) -> Path:
    """Return where a table's file is.

    Args:
        record: The study's record.
        name: One of `TABLES`.
        ending: "csv", "md" or "tex".

    Raises:
        RecordError: If there is no such table.
    """
    if name not in TABLES:
        raise RecordError(f'no table "{name}": choose from {", ".join(TABLES)}')
    place = record.folder / name if name.startswith("performance/") else record.table(name)
    return place.with_name(f"{place.name}.{ending}")


def read(record: Record, name: str, ending: str) -> str:
    """Return the text of a table's file; arguments as `path` has them.

    Raises:
        RecordError: If there is no such table, or it has not been built.
    """
    file = path(record, name, ending)
    if not file.is_file():
        raise RecordError(f"no such file: {file}; run `python -m alpaca_lab report`")
    return file.read_text(encoding="utf-8")
