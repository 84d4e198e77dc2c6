"""Ratings with the key turned: one row per rating, on a scale of 0-1, and whose answer it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..store import Record
from ..sweep import GREEDY
from . import plan as plans
from . import ratings
from .plan import Item, Plan
from .ratings import Entry
from .rubric import TOP

COLUMNS = (
    "rater", "item", "action", "score", "value", "reason", "seconds",
    "id", "cluster", "model", "cell", "repeat", "run", "opponent",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What people have said of a study's answers in one mode."""

    plan: Plan | None
    """None where nothing is planned."""
    rows: pd.DataFrame
    """Columns `COLUMNS`, one row per rating or skip that holds. `score` is 0-4 as it was chosen,
    from the left; `value` is 0-1: how acceptable the answer is, or how far it is preferred to the
    greedy one. Both are blank where it was skipped."""
    stale: int = 0
    """Ratings of answers that the study no longer has; they are not among the rows."""


def read(record: Record, mode: str) -> Collected:
    """Return the ratings of a mode that are of the study's present answers.

    Raises:
        RecordError: If plan, key or log are damaged, or a rating is not valid: with its line.
    """
    if not plans.exists(record, mode):
        return Collected(plan=None, rows=pd.DataFrame(columns=list(COLUMNS)))
    plan = plans.read(record, mode)
    runs, texts = record.index()["runs"], _Hashes(record)
    standing = ratings.standing(ratings.read(record, mode)).values()
    present = [entry for entry in standing if _is_present(plan.items[entry.item], runs, texts)]
    rows = pd.DataFrame(
        [_row(entry, plan.items[entry.item]) for entry in present], columns=list(COLUMNS)
    )
    return Collected(
        plan=plan,
        rows=rows.astype({"score": float, "value": float, "seconds": float}),
        stale=len(standing) - len(present),
    )


class _Hashes(dict[str, dict[tuple[str, int], str]]):
    """By run, the text_sha256 of each answer, read when it is first asked for."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    def __missing__(self, run: str) -> dict[tuple[str, int], str]:
        rows = self._record.run(run).scores()
        keys = zip(rows["id"], rows["repeat"], strict=True)
        self[run] = dict(zip(keys, rows["text_sha256"], strict=True))
        return self[run]


def _is_present(item: Item, runs: Mapping[str, Mapping[str, str]], texts: _Hashes) -> bool:
    """Return True when the study still has the texts of an item, in the runs of its tables."""
    by_cell = runs.get(item.model, {})
    opponent = by_cell.get(GREEDY) if item.opponent else ""
    if (item.run, item.opponent) != (by_cell.get(item.cell), opponent):
        return False
    sides = [(item.run, item.repeat, item.text_sha256)]
    if opponent:
        sides.append((opponent, 0, item.opponent_sha256))
    return all(texts[run].get((item.question, repeat)) == sha for run, repeat, sha in sides)


def _row(entry: Entry, item: Item) -> dict[str, Any]:
    value = None if entry.score is None else entry.score / TOP
    if value is not None and item.opponent and not item.opponent_left:
        value = 1 - value  # the answer itself stands on the left, where scores are low
    return {
        "rater": entry.rater,
        "item": item.id,
        "action": entry.action,
        "score": entry.score,
        "value": value,
        "reason": entry.reason,
        "seconds": entry.seconds,
        "id": item.question,
        "cluster": item.cluster,
        "model": item.model,
        "cell": item.cell,
        "repeat": item.repeat,
        "run": item.run,
        "opponent": item.opponent,
    }
