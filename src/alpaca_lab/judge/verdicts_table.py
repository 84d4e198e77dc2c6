"""Judgements to tables: how often a judge prefers what, and whether people agree with it."""

from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..table_files import rounded
from .record import FAILED, IDENTICAL, JUDGED, MISSING, Judged

COLUMNS = (
    "opponent", "model", "cell", "n", "pairs", "identical", "missing",
    "win_rate", "ci_low", "ci_high",
    "length_controlled", "length_controlled_low", "length_controlled_high",
    "first_share", "consistent", "label_mass", "note",
)  # fmt: skip
FLOATS = COLUMNS[COLUMNS.index("win_rate") : COLUMNS.index("note")]
AGREEMENT_COLUMNS = (
    "opponent", "n", "pairs", "decided", "alike", "alike_low", "alike_high",
    "spearman", "spearman_low", "spearman_high", "note",
)  # fmt: skip
AGREEMENT_FLOATS = AGREEMENT_COLUMNS[AGREEMENT_COLUMNS.index("alike") : -1]
FEWEST_SHARED = 10
"""Pairs that judge and people must both have valued before their agreement is stated."""
PAIR = ["opponent", "model", "cell", "repeat", "id"]
WHY = {MISSING: "without an answer", FAILED: "failed in the judge"}
"""How a note words a status; any other is a reason already."""


def judge_table(judgements: pd.DataFrame) -> pd.DataFrame:
    """Return how often the judge prefers each cell's answers to their opponents.

    Args:
        judgements: As `record.judgements` returns.

    Returns:
        Columns `COLUMNS`, one row per opponent, model and cell. `pairs` were judged and are of `n`
        clusters; `identical` pairs and `missing` judgements stand beside them, and `note` says why
        they are missing. `win_rate`, the mean preference in [0, 1], with its t interval over
        clusters; `length_controlled`, what it is predicted to be at equal length, in words.
        `first_share`, the preference given to whichever answer is shown first, .5 where position
        plays no part; `consistent`, the share of pairs in which both orders prefer the same
        answer; `label_mass`, the probability that the judge gave to its two letters together.
    """
    rows = [
        dict(zip(("opponent", "model", "cell"), names, strict=True)) | _row(found)
        for names, found in judgements.groupby(["opponent", "model", "cell"], sort=False)
    ]
    return rounded(pd.DataFrame(rows, columns=list(COLUMNS)), FLOATS)


def against_references(judged: Judged) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by model and cell, how often the judge prefers an answer to the reference.

    Args:
        judged: A judging; one of answers that the study no longer has gives blanks that say so.

    Returns:
        n, answers, missing, note and, unless stale, mean with ci_low and ci_high in [0, 1].
    """
    table = judge_table(judged.judgements)
    found = {}
    for _, row in table[table["opponent"] == "reference"].iterrows():
        counts = {"n": row["n"], "answers": row["pairs"], "missing": row["missing"]}
        if judged.is_stale:
            values = {"note": "judged were answers that this study no longer has; judge again"}
        else:
            # The row's own note is on the page of the judge, and may be of its other columns.
            without = f"{row['missing']} answers are not judged" if row["missing"] else ""
            values = {"mean": row["win_rate"], "note": without}
            values |= {"ci_low": row["ci_low"], "ci_high": row["ci_high"]}
        found[row["model"], row["cell"]] = counts | values
    return found


def _row(found: pd.DataFrame) -> dict[str, Any]:
    judged = found[found["status"] == JUDGED]
    identical = int((found["status"] == IDENTICAL).sum())
    counted = found.loc[~found["status"].isin((JUDGED, IDENTICAL)), "status"].value_counts()
    notes = [f"{count} {WHY.get(status, status)}" for status, count in counted.items()]
    entry = {
        "n": judged["cluster"].nunique(),
        "pairs": len(judged),
        "identical": identical,
        "missing": int(counted.sum()),
    }
    if judged.empty:
        return entry | {"note": "; ".join([*notes, "no pair was judged"])}
    decided = (judged["p_first"] - 0.5) * (judged["p_second"] - 0.5) > 0
    entry |= {
        "first_share": _mean((judged["p_first"] + 1 - judged["p_second"]) / 2, judged),
        "consistent": _mean(decided.astype(float), judged),
        "label_mass": _mean(judged["label_mass"], judged),
    }
    values, _ = stats.cluster_means(judged["preference"], judged["cluster"].to_numpy(dtype=str))
    entry["win_rate"] = float(values.mean())
    if len(values) < 2:
        return entry | {"note": "; ".join([*notes, "one question has no interval"])}
    interval = stats.t_interval(values)
    # The t interval knows no bounds; a share does.
    entry |= {"ci_low": max(interval.low, 0.0), "ci_high": min(interval.high, 1.0)}
    controlled, reason = _length_controlled(judged)
    return entry | controlled | {"note": "; ".join([*notes, *filter(None, [reason])])}


def _mean(values: pd.Series, judged: pd.DataFrame) -> float:
    """Mean over clusters: a question with three answers counts as much as one with one."""
    means, _ = stats.cluster_means(values, judged["cluster"].to_numpy(dtype=str))
    return float(means.mean())


def _length_controlled(judged: pd.DataFrame) -> tuple[dict[str, float], str]:
    """Return the win rate at equal length with its interval; or why there is none."""
    longer = (judged["answer_words"] - judged["opponent_words"]).to_numpy()
    if (longer > 0).all() or (longer < 0).all():
        # The fit would have to guess what lies outside all that was seen.
        side = "longer" if longer[0] > 0 else "shorter"
        return {}, f"no length-controlled rate: every answer is {side} than its opponent"
    found = stats.length_controlled_interval(
        judged["preference"], longer, judged["cluster"].to_numpy(dtype=str)
    )
    names = ("length_controlled", "length_controlled_low", "length_controlled_high")
    return dict(zip(names, (found.mean, found.low, found.high), strict=True)), ""


def agreement(judgements: pd.DataFrame, human: pd.DataFrame) -> pd.DataFrame:
    """Return how far the judge and people agree, over the pairs that both have valued.

    Args:
        judgements: As `record.judgements` returns.
        human: Columns opponent, model, cell, repeat, id, cluster, score: one row per pair, the
            mean over its raters. Against "reference" a score is how acceptable the answer is, in
            [0, 1]; against "greedy" which of the two is preferred, 1 the answer, 0 its opponent.

    Returns:
        Columns `AGREEMENT_COLUMNS`, one row per opponent that was judged. `alike`: of the pairs
        that both decided (neither is at exactly .5), the share in which they side with the same
        answer, with Wilson's interval over clusters; of "greedy" only, where people chose between
        the same two. `spearman`: the rank correlation of preference and score. With fewer than
        `FEWEST_SHARED` pairs both are blank, and `note` says so.
    """
    judged = judgements[judgements["status"] == JUDGED]
    shared = judged.merge(human[[*PAIR, "score"]].dropna(), on=PAIR, validate="one_to_one")
    rows = [
        {"opponent": opponent} | _agreement(shared[shared["opponent"] == opponent], opponent)
        for opponent in judgements["opponent"].unique()
    ]
    return rounded(pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS)), AGREEMENT_FLOATS)


def _agreement(shared: pd.DataFrame, opponent: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "n": shared["cluster"].nunique(), "pairs": len(shared), "decided": 0, "note": "",
    }  # fmt: skip
    if len(shared) < FEWEST_SHARED:
        note = f"{len(shared)} pairs are judged and rated by people; {FEWEST_SHARED} are needed"
        return entry | {"note": note}
    notes = []
    if opponent == "greedy":
        decided = shared[(shared["preference"] != 0.5) & (shared["score"] != 0.5)]
        entry["decided"] = len(decided)
        if len(decided) < FEWEST_SHARED:
            notes.append(f"{len(decided)} pairs are decided by both; {FEWEST_SHARED} are needed")
        else:
            same = (decided["preference"] > 0.5) == (decided["score"] > 0.5)
            clusters = decided["cluster"].to_numpy(dtype=str)
            means, _ = stats.cluster_means(same.astype(float), clusters)
            found = stats.wilson(float(means.sum()), len(means))
            entry |= {"alike": found.mean, "alike_low": found.low, "alike_high": found.high}
    values, scores = shared["preference"].to_numpy(), shared["score"].to_numpy()
    if shared["cluster"].nunique() < 2 or not np.ptp(values) or not np.ptp(scores):
        notes.append("no rank correlation: one question, or one side never varies")
    else:
        found = stats.spearman_interval(values, scores, shared["cluster"].to_numpy(dtype=str))
        names = ("spearman", "spearman_low", "spearman_high")
        entry |= dict(zip(names, (found.mean, found.low, found.high), strict=True))
    return entry | {"note": "; ".join(notes)}
