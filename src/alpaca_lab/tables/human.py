"""Ratings to tables: each model and setting in people's eyes, and how far people agree.

The unit is the cluster of near-duplicate questions: raters of an answer are averaged first, then
the answers to a question. A number is on 0-1, and blank with its reason where too little is rated.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..human.rubric import MODES, PAIRWISE
from ..human.values import Collected
from ..store import CONTROL
from ..sweep import GREEDY
from ..table_files import rounded

COUNTS = ("n", "answers", "ratings", "raters", "skipped")
SCORE_COLUMNS = (
    "model", "cell", *COUNTS, "mean", "ci_low", "ci_high",
    "delta", "delta_low", "delta_high", "mde", "p", "p_holm", "run", "note",
)  # fmt: skip
PAIR_COLUMNS = (
    "model", "cell", *COUNTS, "won", "equal", "lost", "win_rate", "ci_low", "ci_high",
    "mde", "p", "p_holm", "identical", "run", "opponent", "note",
)  # fmt: skip
AGREEMENT_COLUMNS = (
    "mode", "answers", "ratings", "raters", "alpha", "ci_low", "ci_high", "same", "decided",
    "first", "first_low", "first_high", "note",
)  # fmt: skip
ANSWER = ["model", "cell", "id", "repeat"]
"""What says whose answer a rating is of."""
NOT_COLLECTED = "not collected"


def summary(collected: Collected, model: str, cell: str) -> dict[str, Any]:
    """Return the human score of one model and setting: counts, mean, interval, note.

    Args:
        collected: Ratings in the mode "acceptability".
        model: Its key.
        cell: Its cell.

    Returns:
        n clusters, answers, ratings, raters, skipped; of them mean, ci_low and ci_high on 0-1
        where someone has rated. The t interval is cut off at the ends of the scale.
    """
    rows = _of(collected.rows, model, cell)
    rated = rows.dropna(subset=["value"])
    found = _counts(rows, rated)
    if rated.empty:
        return found | {"note": _why_none(collected)}
    values, _ = _by_cluster(rated)
    found["mean"] = float(values.mean())
    if len(values) < 2:
        return found | {"note": "one question has no interval"}
    if not np.ptp(values):
        return found | {"note": "all are rated alike, so there is no interval"}
    interval = stats.t_interval(values)
    return found | {"ci_low": max(interval.low, 0.0), "ci_high": min(interval.high, 1.0)}


def score_table(collected: Collected) -> pd.DataFrame:
    """Return one row per model and setting of the plan: how acceptable its answers are.

    Returns:
        Columns `SCORE_COLUMNS`. `delta` is the difference from greedy of the same model, over the
        questions for which both are rated, with a sign-flip p, corrected by Holm over the table.
    """
    rows = []
    for stratum in collected.plan.strata if collected.plan else ():
        row = {"model": stratum.model, "cell": stratum.cell}
        row |= summary(collected, stratum.model, stratum.cell)
        if stratum.cell != GREEDY and stratum.model != CONTROL:
            row |= _difference(collected.rows, stratum.model, stratum.cell)
        rows.append(row | {"run": _runs(collected, stratum.model, stratum.cell, "run")})
    _correct(rows)
    numbers = SCORE_COLUMNS[SCORE_COLUMNS.index("mean") : SCORE_COLUMNS.index("run")]
    return rounded(_frame(rows, SCORE_COLUMNS), numbers)


def pair_table(collected: Collected) -> pd.DataFrame:
    """Return one row per model and setting of the plan: how often it is preferred to greedy.

    Returns:
        Columns `PAIR_COLUMNS`. `win_rate` is the mean over questions of 1 for the setting, .5 for
        equal and 0 for greedy, with Wilson's interval; p is by flipping signs around one half
        (without ties and with one rater the exact sign test), corrected by Holm over the table.
        `mde` is the smallest win rate found in 4 of 5 cases with as many decided questions;
        `identical` is the share of questions whose two answers are the same text: never rated.
    """
    rows = []
    for stratum in collected.plan.strata if collected.plan else ():
        mine = _of(collected.rows, stratum.model, stratum.cell)
        rated = mine.dropna(subset=["value"])
        row = {"model": stratum.model, "cell": stratum.cell} | _counts(mine, rated)
        compared = stratum.pool + stratum.identical
        row["identical"] = stratum.identical / compared if compared else None
        for side in ("run", "opponent"):
            row[side] = _runs(collected, stratum.model, stratum.cell, side)
        if rated.empty:
            rows.append(row | {"note": _why_none(collected)})
            continue
        wins = (np.sign(rated["value"] - 0.5) + 1) / 2
        counted = wins.value_counts()
        row |= {name: int(counted.get(at, 0)) for name, at in _OUTCOMES}
        values, _ = _by_cluster(rated.assign(value=wins))
        interval = stats.wilson(float(values.sum()), len(values))
        row |= {"win_rate": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
        decided = int((values != 0.5).sum())
        row["mde"] = stats.detectable_win_rate(decided) if decided else None
        row["p"] = stats.sign_flip_p(values - 0.5)
        rows.append(row)
    _correct(rows)
    numbers = ("win_rate", "ci_low", "ci_high", "mde", "p", "p_holm", "identical")
    return rounded(_frame(rows, PAIR_COLUMNS), numbers)


_OUTCOMES = (("won", 1.0), ("equal", 0.5), ("lost", 0.0))


def agreement_table(collected: Mapping[str, Collected]) -> pd.DataFrame:
    """Return one row per mode: how far raters agree, and whether answer A draws them.

    Returns:
        Columns `AGREEMENT_COLUMNS`. `alpha` is Krippendorff's for ordinal ratings, over answers
        with two ratings or more, with a bootstrap interval over answers; `same` is the share of
        pairs of ratings of one answer that are equal. In pairs, `first` is the share of decided
        ratings that went to answer A, with Wilson's interval over questions.
    """
    rows = []
    for mode in MODES:
        rated = collected[mode].rows.dropna(subset=["score"])
        # By what the items are of, not by their salted names: the same draws for the same ratings.
        wide = rated.pivot(index=ANSWER, columns="rater", values="score")
        several = wide[wide.notna().sum(axis=1) >= 2]
        row = {
            "mode": mode,
            "answers": len(several),
            "ratings": int(several.notna().to_numpy().sum()),
            "raters": int(several.notna().any().sum()),
        }
        rows.append(row | _alpha(several, _why_none(collected[mode])) | _sides(mode, rated))
    numbers = ("alpha", "ci_low", "ci_high", "same", "first", "first_low", "first_high")
    return rounded(_frame(rows, AGREEMENT_COLUMNS), numbers)


def _of(rows: pd.DataFrame, model: str, cell: str) -> pd.DataFrame:
    return rows[(rows["model"] == model) & (rows["cell"] == cell)]


def _runs(collected: Collected, model: str, cell: str, side: str) -> str:
    """The run that a stratum's items name; they are all of one."""
    items = collected.plan.items.values()
    return next((getattr(i, side) for i in items if (i.model, i.cell) == (model, cell)), "")


def _counts(rows: pd.DataFrame, rated: pd.DataFrame) -> dict[str, Any]:
    return {
        "n": rated["cluster"].nunique(),
        "answers": rated["item"].nunique(),
        "ratings": len(rated),
        "raters": rated["rater"].nunique(),
        "skipped": len(rows) - len(rated),
        "note": "",
    }


def _why_none(collected: Collected) -> str:
    if collected.stale:
        return (
            f"{NOT_COLLECTED}: {collected.stale} ratings are of answers that this study no longer "
            "has"
        )
    return NOT_COLLECTED


def _by_cluster(rated: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """One value per cluster: raters of an answer averaged, then its answers."""
    answers = rated.groupby("item").agg({"value": "mean", "cluster": "first"})
    return stats.cluster_means(answers["value"], answers["cluster"].to_numpy(dtype=str))


def _difference(rows: pd.DataFrame, model: str, cell: str) -> dict[str, Any]:
    sides = []
    for name in (cell, GREEDY):
        rated = _of(rows, model, name).dropna(subset=["value"])
        if rated.empty:
            return {}
        values, clusters = _by_cluster(rated)
        sides.append(pd.Series(values, index=clusters))
    moves = (sides[0] - sides[1]).dropna()
    if len(moves) < 2:
        return {}
    found = stats.t_interval(moves)
    return {
        "delta": found.mean,
        "delta_low": max(found.low, -1.0),
        "delta_high": min(found.high, 1.0),
        "mde": stats.minimum_detectable_effect(found.sd, found.n),
        "p": stats.sign_flip_p(moves),
    }


def _correct(rows: Iterable[dict[str, Any]]) -> None:
    tested = [row for row in rows if row.get("p") is not None]
    if tested:
        for row, p in zip(tested, stats.holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = float(p)


def _alpha(several: pd.DataFrame, none: str) -> dict[str, Any]:
    if several.empty:
        return {"note": none if none != NOT_COLLECTED else "nothing is rated by two"}
    table = several.to_numpy()
    both = [(a, b) for row in table for a, b in combinations(row[~np.isnan(row)], 2)]
    found = {"same": float(np.mean([a == b for a, b in both])), "note": ""}
    if len(np.unique(table[~np.isnan(table)])) < 2:
        return found | {"note": "all ratings are the same: alpha is undefined"}
    if len(several) < 2:
        return found | {"note": "one answer rated by two has no interval"}
    interval = stats.krippendorff_interval(table, level="ordinal")
    return found | {"alpha": interval.mean, "ci_low": interval.low, "ci_high": interval.high}


def _sides(mode: str, rated: pd.DataFrame) -> dict[str, Any]:
    decided = rated[rated["value"] != 0.5]
    if mode != PAIRWISE or decided.empty:
        return {}
    first = (decided["score"] < 2).groupby(decided["cluster"]).mean()
    found = stats.wilson(float(first.sum()), len(first))
    return {
        "decided": len(decided),
        "first": found.mean,
        "first_low": found.low,
        "first_high": found.high,
    }


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))
