"""Automatic metrics beside people: which of them ranks the rated answers as people do."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .. import stats
from ..estimates import MEANS, Scored
from ..human.rubric import MODES, PAIRWISE
from ..human.values import Collected
from ..store import CONTROL
from ..sweep import GREEDY
from ..table_files import rounded
from .human import ANSWER

Runs = Mapping[tuple[str, str], Scored]
"""By model key and cell name."""
COLUMNS = (
    "mode", "model", "metric", "n", "answers", "rho", "ci_low", "ci_high", "signature", "note",
)  # fmt: skip
METRICS = (*MEANS, "bleu", "chrf", "n_words")
"""Columns of scores.parquet that are set beside the human score; the last is length alone."""
EVERY = "all"
"""The model key of a correlation over all models."""
ENOUGH = 10
"""Fewest rated answers for a correlation."""


def metric_table(collected: Mapping[str, Collected], runs: Runs) -> pd.DataFrame:
    """Return how each automatic metric ranks the rated answers beside how people do.

    Args:
        collected: By mode. Acceptability is set beside an answer's score, a preference beside the
            difference of the two answers' scores.
        runs: The scores; controls are left out, since the reference scores full marks by making.

    Returns:
        Columns `COLUMNS`: Spearman's rho over answers (raters averaged), with an interval
        that resamples clusters of questions; over all models, then for each.
    """
    rows = []
    for mode in MODES:
        rated = collected[mode].rows.dropna(subset=["value"])
        rated = rated[rated["model"] != CONTROL]
        if rated.empty:
            continue
        answers = rated.groupby(ANSWER, sort=True).agg({"value": "mean", "cluster": "first"})
        scores = _scores(answers.index, runs, against_greedy=mode == PAIRWISE)
        answers = answers.join(scores)
        models = [key for key, _ in runs if key != CONTROL]
        signatures = next(iter(runs.values())).manifest["signatures"]
        for model in (EVERY, *dict.fromkeys(models)):
            some = answers if model == EVERY else answers[answers.index.isin([model], level=0)]
            for metric in METRICS:
                labels = {"mode": mode, "model": model, "metric": metric}
                signed = {"signature": signatures.get(metric, "")}
                rows.append(labels | _correlation(some, metric) | signed)
    return rounded(pd.DataFrame(rows, columns=list(COLUMNS)), ("rho", "ci_low", "ci_high"))


def _scores(answers: pd.MultiIndex, runs: Runs, *, against_greedy: bool) -> pd.DataFrame:
    """The metrics of each rated answer, or what it has more of than the greedy one."""
    parts = []
    for model, cell in dict.fromkeys((model, cell) for model, cell, *_ in answers):
        scores = runs[model, cell].scores.set_index(["id", "repeat"])[list(METRICS)].astype(float)
        if against_greedy:
            greedy = runs[model, GREEDY].scores.set_index("id")[list(METRICS)].astype(float)
            scores = scores - greedy.reindex(scores.index.get_level_values("id")).to_numpy()
        parts.append(pd.concat({(model, cell): scores}, names=["model", "cell"]))
    return pd.concat(parts)


def _correlation(answers: pd.DataFrame, metric: str) -> dict[str, Any]:
    known = answers.dropna(subset=[metric])
    found = {"n": known["cluster"].nunique(), "answers": len(known), "note": ""}
    if len(known) < ENOUGH or found["n"] < 3:
        return found | {"note": f"fewer than {ENOUGH} rated answers"}
    for name, what in (("value", "ratings"), (metric, "scores")):
        if known[name].nunique() < 2:
            return found | {"note": f"all {what} are the same"}
    clusters = known["cluster"].to_numpy(dtype=str)
    interval = stats.spearman_interval(known[metric], known["value"], clusters)
    return found | {"rho": interval.mean, "ci_low": interval.low, "ci_high": interval.high}
