"""What one run's scores say: estimates with intervals, and differences from a baseline run.

Statistics come from `stats`; here answers are lined up for it. The unit is the cluster of
near-duplicate questions, after the repeats of a question are averaged. An answer without a score
is left out, counted in `missing`, and its reason stands in `note`: a blank is never a 0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from . import stats
from .metrics import BLEU_STATISTICS, corpus_bleu

PRIMARY = "rougeL"
"""The metric fixed in advance: the one that is tested."""
MEANS = (PRIMARY, "bertscore_f1")
"""Scores whose estimate is a mean over questions. Corpus BLEU is not one: it comes from sums."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One run: its scores, one row per answer, and its manifest."""

    run: str
    scores: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def answered(self) -> pd.DataFrame:
        """The answers that exist: an empty one does, a failed one does not."""
        return self.scores[self.scores["status"].isin(("ok", "empty"))]

    @cached_property
    def questions(self) -> pd.DataFrame:
        """By question id: its cluster, and its mean of each of `MEANS` over the scored repeats."""
        by_question = self.scores.groupby("id")
        return by_question[list(MEANS)].mean().assign(cluster=by_question["cluster"].first())


def estimates(
    scored: Scored, *, baseline: Scored | None = None, **labels: Any
) -> list[dict[str, Any]]:
    """Return the rows of a long table that one run fills.

    Args:
        scored: The run.
        baseline: The run it is compared with, on the questions that both have scored.
        labels: Columns that each row carries: model, axis, value, ...

    Returns:
        One row per metric: "corpus_bleu", "rougeL" and "bertscore_f1" on 0-100 with 95% intervals;
        "length_ratio", words of the answers / words of the references; "finish_rate" and
        "empty_rate", shares of the answers in [0, 1]. Effect size and `mde`, the smallest
        difference found with 80% power, are those of the difference.
    """
    shared = labels | {"run": scored.run, "baseline": baseline.run if baseline else ""}
    rows = [shared | _bleu_entry(scored, baseline)]
    rows += [shared | _mean_entry(scored, baseline, metric) for metric in MEANS]
    answered = scored.answered
    finished = answered["finish_reason"].dropna()
    words = answered["n_ref_words"].sum()
    shares = {
        "length_ratio": answered["n_words"].sum() / words if words else None,
        "finish_rate": (finished == "eos").mean() if len(finished) else None,
        "empty_rate": (answered["status"] == "empty").mean() if len(answered) else None,
    }
    facts = {
        "n": answered["cluster"].nunique(),
        "answers": len(answered),
        "missing": len(scored.scores) - len(answered),
    }
    for metric, mean in shares.items():
        note = "" if mean is not None else "not recorded for any answer"
        rows.append(shared | {"metric": metric, "mean": mean, "note": note} | facts)
    return rows


def _mean_entry(scored: Scored, baseline: Scored | None, metric: str) -> dict[str, Any]:
    """A mean over questions, with its t interval and its difference from the baseline."""
    entry = {"metric": metric} | _counts(scored, metric)
    values = _by_cluster(scored.questions[metric], scored.questions["cluster"])
    if len(values) > 1:
        found = stats.t_interval(values)
        entry |= {"mean": found.mean, "ci_low": found.low, "ci_high": found.high}
    elif len(values):
        entry |= {"mean": values[0], "note": entry["note"] or "one question has no interval"}
    moves = differences(scored, baseline, metric=metric) if baseline else ()
    if len(moves) > 1:
        found = stats.t_interval(moves)
        entry |= {
            "delta": found.mean,
            "delta_low": found.low,
            "delta_high": found.high,
            "effect_size": found.effect_size,
            "mde": stats.minimum_detectable_effect(found.sd, found.n),
        }
    return entry


def _bleu_entry(scored: Scored, baseline: Scored | None) -> dict[str, Any]:
    """Corpus BLEU from summed statistics, with its bootstrap interval over questions."""
    column = BLEU_STATISTICS[0]
    entry = {"metric": "corpus_bleu"} | _counts(scored, column)
    sums = _bleu_sums(scored.scores.dropna(subset=[column]))
    if len(sums) > 1:
        found = stats.bootstrap_ci(sums, statistic=corpus_bleu)
        entry |= {"mean": found.mean, "ci_low": found.low, "ci_high": found.high}
    elif len(sums):
        entry |= {
            "mean": corpus_bleu(sums.to_numpy()[0]),
            "note": entry["note"] or "one question has no interval",
        }
    if baseline:
        ours, theirs = _same_questions(scored, baseline, column)
        if ours["cluster"].nunique() > 1:
            found = stats.bootstrap_difference(
                _bleu_sums(ours), _bleu_sums(theirs), statistic=corpus_bleu
            )
            entry |= {"delta": found.mean, "delta_low": found.low, "delta_high": found.high}
    return entry


def _bleu_sums(scores: pd.DataFrame) -> pd.DataFrame:
    """The statistics of corpus BLEU summed per cluster, sorted, shape (clusters, 10)."""
    return scores.groupby("cluster")[list(BLEU_STATISTICS)].sum()


def _counts(scored: Scored, column: str) -> dict[str, Any]:
    """How much a metric rests on, and why an answer is left out of it."""
    scores = scored.scores
    missing = scores[scores[column].isna()]
    failed, oom = ((missing["status"] == status).sum() for status in ("failed", "oom"))
    reasons = (
        (failed, "failed"),
        (oom, "out of memory"),
        (len(missing) - failed - oom, "whose reference the metric cannot see"),
    )
    why = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    note = f"{len(missing)} of {len(scores)} answers have no score ({why})" if why else ""
    return {
        "n": scores.loc[scores[column].notna(), "cluster"].nunique(),
        "answers": len(scores) - len(missing),
        "missing": len(missing),
        "note": note,
    }


def _by_cluster(values: pd.Series, clusters: pd.Series) -> np.ndarray:
    """One mean per cluster, over its questions that have a value; none where no question has."""
    known = values.notna().to_numpy()
    if not known.any():
        return np.empty(0)
    return stats.cluster_means(values.to_numpy()[known], clusters.to_numpy(dtype=str)[known])[0]


def differences(scored: Scored, baseline: Scored, *, metric: str = PRIMARY) -> np.ndarray:
    """Return one difference per cluster, over the questions that have a score on both sides.

    Paired by question first: were a question missing on one side only, its cluster would
    otherwise be compared with itself minus that question.
    """
    ours, theirs = scored.questions, baseline.questions[metric]
    return _by_cluster(ours[metric] - theirs.reindex(ours.index), ours["cluster"])


def _same_questions(
    scored: Scored, baseline: Scored, column: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scored rows of both sides, on the questions that both have."""
    ours, theirs = (side.scores.dropna(subset=[column]) for side in (scored, baseline))
    return ours[ours["id"].isin(theirs["id"])], theirs[theirs["id"].isin(ours["id"])]
