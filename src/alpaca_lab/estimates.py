"""What one run's scores say: estimates with intervals, and differences from a baseline run.

Statistics come from `stats`; here answers are lined up for it. The unit is the cluster of
near-duplicate questions, after the repeats of a question are averaged. An answer without a score
is left out, counted in `missing`, and its reason stands in `note`: a blank is never a 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from . import stats
from .metrics.bleu_chrf import BLEU_STATISTICS, CHRF_STATISTICS, corpus_bleu, corpus_chrf

PRIMARY = "rougeL"
"""The metric fixed in advance: the one whose tests are corrected by Holm and read as findings."""
MEANS = (PRIMARY, "bertscore_f1", "rouge1", "rouge2", "rougeLsum")
"""Scores whose estimate is a mean over questions, and whose difference is tested."""
CORPUS = {
    "corpus_bleu": (BLEU_STATISTICS, corpus_bleu),
    "corpus_chrf": (CHRF_STATISTICS, corpus_chrf),
}
"""Scores of all answers together: the columns that are summed, and the statistic of the sums."""
EXPLORATORY = (*CORPUS, *MEANS[1:])
"""Metrics that are tested beside the primary one, corrected by Benjamini and Hochberg."""
RESCALED = "bertscore_f1_rescaled"
"""The same scores on another scale, where the encoder has a published one; so not tested again."""
OWN_WORDS = ("distinct_1", "distinct_2", "repeated_4grams")
"""Means over questions that describe an answer alone; not tested."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One run: its scores, one row per answer, and its manifest."""

    run: str
    scores: pd.DataFrame
    manifest: Mapping[str, Any]
    likelihood: pd.DataFrame | None = None
    """One row per question (id, nats, tokens, characters) where a model's likelihood of the
    references was measured."""

    @property
    def answered(self) -> pd.DataFrame:
        """The answers that exist: an empty one does, a failed one does not."""
        return self.scores[self.scores["status"].isin(("ok", "empty"))]

    @cached_property
    def questions(self) -> pd.DataFrame:
        """By question id: its cluster, and its mean of each score over the scored repeats."""
        by_question = self.scores.groupby("id")
        scores = [*MEANS, *OWN_WORDS, *([RESCALED] if self.is_rescaled else [])]
        return by_question[scores].mean().assign(cluster=self.clusters)

    @property
    def is_rescaled(self) -> bool:
        """Whether BERTScore is there on its rescaled scale too."""
        return RESCALED in self.scores

    @cached_property
    def clusters(self) -> pd.Series:
        """The cluster of each question, by question id."""
        return self.scores.groupby("id")["cluster"].first()

    def sums(self, metric: str, questions: Sequence[str] | None = None) -> pd.DataFrame:
        """The statistics of a `CORPUS` metric summed per cluster, over all repeats.

        Args:
            metric: A key of `CORPUS`.
            questions: Only these question ids; None takes all.
        """
        return self._rows(metric, questions).groupby("cluster")[list(CORPUS[metric][0])].sum()

    def mean_sums(self, metric: str, questions: Sequence[str]) -> pd.DataFrame:
        """As `sums`, the repeats of a question averaged: what two runs can exchange.

        Three answers swapped for one would change how much a question weighs, not only who
        answered it.
        """
        by_question = self._rows(metric, questions).groupby(["cluster", "id"])
        return by_question[list(CORPUS[metric][0])].mean().groupby("cluster").sum()

    def _rows(self, metric: str, questions: Sequence[str] | None) -> pd.DataFrame:
        rows = self.scores.dropna(subset=list(CORPUS[metric][0])[:1])
        return rows if questions is None else rows[rows["id"].isin(questions)]


def estimates(
    scored: Scored, *, baseline: Scored | None = None, **labels: Any
) -> list[dict[str, Any]]:
    """Return the rows of a long table that one run fills.

    Args:
        scored: The run.
        baseline: The run it is compared with, on the questions that both have scored.
        labels: Columns that each row carries: model, axis, value, ...

    Returns:
        One row per metric. Of `MEANS` and `CORPUS`, on 0-100: the estimate with its 95% interval
        and, with a baseline, the difference with its interval and its p (sign-flip for means,
        approximate randomisation for corpora), effect size and `mde`, the smallest difference
        found with 80% power. Of `OWN_WORDS`: the mean. "length_ratio", words of the answers /
        words of the references; "finish_rate" and "empty_rate", shares of the answers;
        "unique_answers", different answers of a question / its answers, where it has several.
    """
    shared = labels | {"run": scored.run, "baseline": baseline.run if baseline else ""}
    rows = [_corpus_entry(scored, baseline, metric) for metric in CORPUS]
    rows += [_mean_entry(scored, baseline, metric) for metric in MEANS]
    untested = (*OWN_WORDS, *([RESCALED] if scored.is_rescaled else []))
    rows += [_mean_entry(scored, None, metric) for metric in untested]
    rows += [_unique_entry(scored), *_share_entries(scored)]
    return [shared | row for row in rows]


def correct(rows: Iterable[dict[str, Any]]) -> None:
    """Fill in `p_holm` of the primary metric and `p_bh` of the exploratory ones, in place.

    Args:
        rows: All rows of the family: every comparison that is read together.
    """
    tested = [row for row in rows if row.get("p") is not None]
    for name, adjust, metrics in (
        ("p_holm", stats.holm, (PRIMARY,)),
        ("p_bh", stats.benjamini_hochberg, EXPLORATORY),
    ):
        family = [row for row in tested if row["metric"] in metrics]
        if family:
            for row, p in zip(family, adjust([row["p"] for row in family]), strict=True):
                row[name] = float(p)


def differences(scored: Scored, baseline: Scored, *, metric: str = PRIMARY) -> np.ndarray:
    """Return one difference per cluster, over the questions that have a score on both sides.

    Paired by question first: were a question missing on one side only, its cluster would
    otherwise be compared with itself minus that question.
    """
    ours, theirs = scored.questions, baseline.questions[metric]
    return by_cluster(ours[metric] - theirs.reindex(ours.index), ours["cluster"])


def by_cluster(values: pd.Series, clusters: pd.Series) -> np.ndarray:
    """Return one mean per cluster, over its questions that have a value; none where none has.

    Args:
        values: One value per question, blank (NaN) where there is none.
        clusters: The cluster of each of these questions, in the same order.
    """
    known = values.notna().to_numpy()
    if not known.any():
        return np.empty(0)
    return stats.cluster_means(values.to_numpy()[known], clusters.to_numpy(dtype=str)[known])[0]


def _mean_entry(scored: Scored, baseline: Scored | None, metric: str) -> dict[str, Any]:
    """A mean over questions, with its t interval and its difference from the baseline."""
    entry = {"metric": metric} | _counts(scored, metric)
    values = by_cluster(scored.questions[metric], scored.clusters)
    entry = estimated(entry, stats.t_interval, values)
    if metric.startswith("rouge") and "cannot see" in entry["note"]:
        entry["note"] += _as_zero(scored, metric)
    moves = differences(scored, baseline, metric=metric) if baseline else ()
    if len(moves) > 1:
        found = stats.t_interval(moves)
        entry |= {
            "delta": found.mean,
            "delta_low": found.low,
            "delta_high": found.high,
            "effect_size": found.effect_size,
            "mde": stats.minimum_detectable_effect(found.sd, found.n),
            "p": stats.sign_flip_p(moves),
        }
    return entry


def _corpus_entry(scored: Scored, baseline: Scored | None, metric: str) -> dict[str, Any]:
    """A score of all answers together, with its bootstrap interval over questions."""
    columns, statistic = CORPUS[metric]
    entry = {"metric": metric} | _counts(scored, columns[0])
    entry = estimated(entry, stats.bootstrap_ci, scored.sums(metric), statistic=statistic)
    if baseline:
        ids = [set(side.scores.dropna(subset=columns[:1])["id"]) for side in (scored, baseline)]
        both = list(ids[0] & ids[1])
        if len(sums := scored.sums(metric, both)) > 1:
            theirs = baseline.sums(metric, both)
            means = [side.mean_sums(metric, both) for side in (scored, baseline)]
            entry |= difference(sums, theirs, statistic=statistic)
            entry["p"] = stats.approximate_randomisation_p(*means, statistic=statistic)
    return entry


def difference(
    ours: pd.DataFrame, theirs: pd.DataFrame, *, statistic: stats.Statistic
) -> dict[str, Any]:
    """Return the columns delta, delta_low, delta_high of a corpus statistic.

    Args:
        ours: Sums per cluster.
        theirs: The same clusters, in the same order, of the baseline.
        statistic: Summed statistics to the number.
    """
    found = stats.bootstrap_difference(ours, theirs, statistic=statistic)
    return {"delta": found.mean, "delta_low": found.low, "delta_high": found.high}


def estimated(
    entry: dict[str, Any],
    method: Callable[..., stats.Interval],
    values: np.ndarray | pd.DataFrame,
    **options: Any,
) -> dict[str, Any]:
    """Return `entry` with mean and interval added; of one question the mean alone, of none nothing.

    Args:
        entry: A row of a long table.
        method: `stats.t_interval` or `stats.bootstrap_ci`.
        values: One value, or one row of sums, per cluster.
        options: Of `method`.
    """
    if len(values) > 1:
        found = method(values, **options)
        return entry | {"mean": found.mean, "ci_low": found.low, "ci_high": found.high}
    if len(values) == 0:
        return entry
    one = np.asarray(values, dtype=float)[0]
    mean = options["statistic"](one) if options else one
    note = entry.get("note") or "one question has no interval"
    return entry | {"mean": float(mean), "note": note}


def _unique_entry(scored: Scored) -> dict[str, Any]:
    """How different the answers to one question are from each other."""
    answered = scored.answered
    counted = answered.groupby("id")["text_sha256"].agg(["nunique", "size"])
    several = counted[counted["size"] > 1]
    entry = {
        "metric": "unique_answers",
        "answers": int(several["size"].sum()),
        "missing": len(scored.scores) - len(answered),
    }
    if several.empty:
        return entry | {"n": 0, "note": "one answer per question has none to differ from"}
    clusters = scored.clusters.reindex(several.index)
    shares = by_cluster(several["nunique"] / several["size"], clusters)
    return estimated(entry | {"n": len(shares)}, stats.t_interval, shares)


def _share_entries(scored: Scored) -> list[dict[str, Any]]:
    """Length, ends and empty answers, as shares of all answers that exist."""
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
    return [
        {"metric": metric, "mean": mean, "note": "" if mean is not None else "not recorded"} | facts
        for metric, mean in shares.items()
    ]


def _counts(scored: Scored, column: str) -> dict[str, Any]:
    """How much a metric rests on, and why an answer is left out of it."""
    scores = scored.scores
    missing = scores[scores[column].isna()]
    failed, oom = ((missing["status"] == status).sum() for status in ("failed", "oom"))
    unseen = "too short for it" if column in OWN_WORDS else "whose reference the metric cannot see"
    reasons = (
        (failed, "failed"),
        (oom, "out of memory"),
        (len(missing) - failed - oom, unseen),
    )
    why = ", ".join(f"{count} {reason}" for count, reason in reasons if count)
    note = f"{len(missing)} of {len(scores)} answers have no score ({why})" if why else ""
    return {
        "n": scores.loc[scores[column].notna(), "cluster"].nunique(),
        "answers": len(scores) - len(missing),
        "missing": len(missing),
        "note": note,
    }


def _as_zero(scored: Scored, metric: str) -> str:
    """What ROUGE is with the library's 0 for a reference it cannot see: as others print it."""
    filled = scored.answered[metric].fillna(0.0).groupby(scored.answered["id"]).mean()
    means = by_cluster(filled, scored.clusters.reindex(filled.index))
    return f"; {means.mean():.2f} with 0 for them, as rouge_score has it"
