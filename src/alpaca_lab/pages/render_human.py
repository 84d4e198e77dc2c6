"""The pages of the human score, from `tables.human`, and what their numbers say in words."""

from collections.abc import Mapping

import pandas as pd

from ..characters import plain
from ..human.rubric import ACCEPTABILITY, PAIRWISE
from ..store import CONTROL
from ..tables.evidence import CONTROLS
from ..tables.human import NOT_COLLECTED
from ..tables.human_metrics import EVERY
from .page import BLANK, Page, count, interval, listed, number, p_equals, p_value, percent, stacked
from .wording import METRICS, cell

Titles = Mapping[str, str]
"""Printed name by model key."""
ALPHA = 0.05
FIRM, TENTATIVE = 0.8, 0.667
"""Alpha from which conclusions are firm, and tentative: Krippendorff (2004), section 11.4."""
NAMES = METRICS | {"bleu": "BLEU of one answer", "chrf": "chrF of one answer", "n_words": "length"}
HOW = (
    "Nobody has rated yet, and no program does: see notebooks/04_human_eval.ipynb, or, "
    "without a notebook, python -m alpaca_lab rate --help."
)
BLIND = (
    "Raters saw neither model nor setting; order and sides were shuffled by the seed in plan.json. "
    "Intervals are over questions: they speak of these raters, not of people in general. "
)


def scores(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of how acceptable people find the answers of each model and setting."""
    title = "How acceptable people find the answers, 0-1"
    header = (
        "Model and setting", "human score", "minus greedy", "p (Holm)", "could see", "n",
        "ratings", "raters", "skipped",
    )  # fmt: skip
    if frame.empty:
        return Page(title=title, header=header, rows=(), reading=(HOW,))
    rows = [
        (
            name(row["model"], row["cell"], titles),
            stacked(interval(row["mean"], row["ci_low"], row["ci_high"]))
            if pd.notna(row["mean"])
            else NOT_COLLECTED,
            stacked(interval(row["delta"], row["delta_low"], row["delta_high"], sign=True)),
            p_value(row["p_holm"]),
            _seen(row["mde"]),
            *(count(row[column]) for column in ("n", "ratings", "raters", "skipped")),
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title=title,
        header=header,
        rows=tuple(rows),
        reading=(_moved(frame, titles),),
        notes=(
            BLIND + "0 is useless, 1 could be handed on as it is. 95% t intervals over questions, "
            "cut off at the ends of the scale; raters of an answer are averaged first. Minus "
            "greedy: of the same model, over the questions for which both are rated; p: sign-flip "
            "test. Could see: the smallest difference found in 4 of 5 cases, before correction.",
            _blanks(frame, titles),
        ),
        runs=_runs(frame, "run"),
    )


def pairs(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of how often people prefer a setting to the model's own greedy answer."""
    title = "How often people prefer an answer to the same model's greedy one, 0-1"
    header = (
        "Model and setting", "win rate", "p (Holm)", "could see", "won / equal / lost", "n",
        "raters", "skipped", "identical",
    )  # fmt: skip
    if frame.empty:
        return Page(title=title, header=header, rows=(), reading=(HOW,))
    rows = [
        (
            name(row["model"], row["cell"], titles),
            stacked(interval(row["win_rate"], row["ci_low"], row["ci_high"]))
            if pd.notna(row["win_rate"])
            else NOT_COLLECTED,
            p_value(row["p_holm"]),
            number(row["mde"]),
            "/".join(count(row[column]) for column in ("won", "equal", "lost")),
            *(count(row[column]) for column in ("n", "raters", "skipped")),
            percent(row["identical"]),
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title=title,
        header=header,
        rows=tuple(rows),
        reading=(_preferred(frame, titles),),
        notes=(
            BLIND + "Win rate: 1 for the setting, 0.5 for equal, 0 for greedy; above 0.5 the "
            "setting is preferred. 95% intervals are Wilson's over questions; p: signs flipped "
            "around one half. Could see: the smallest win rate that the sign test finds in 4 of 5 "
            "cases with so many decided questions, before correction. Identical: questions whose "
            "two answers are the same text; nobody rates those, the win rate is of the others.",
            _blanks(frame, titles),
        ),
        runs=_runs(frame, "run", "opponent"),
    )


def metrics(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of which automatic metric ranks answers as people do."""
    title = "Which automatic metric ranks answers as people do (Spearman's rho)"
    titled = {EVERY: "all models"} | {key: plain(name) for key, name in titles.items()}
    header = ("Beside", "metric", *titled.values(), "answers", "n")
    if frame.empty:
        return Page(title=title, header=header, rows=(), words=2, reading=(HOW,))
    rows = []
    for (mode, metric), entries in frame.groupby(["mode", "metric"], sort=False):
        by_model = {row["model"]: row for _, row in entries.iterrows()}
        found = [by_model[model] for model in titled]
        rows.append(
            (
                {ACCEPTABILITY: "score", PAIRWISE: "preference"}[mode],
                NAMES[metric],
                *(stacked(_rho(row)) for row in found),
                count(found[0]["answers"]),
                count(found[0]["n"]),
            )
        )
    signed = frame.drop_duplicates("metric")
    return Page(
        title=title,
        header=header,
        rows=tuple(rows),
        words=2,
        reading=_nearest(frame),
        notes=(
            "rho is 1 where a metric ranks answers exactly as people do and 0 where it knows "
            "nothing of it; 95% bootstrap intervals over questions. Beside a preference stands "
            "the difference of the two answers' scores. Length is no metric: where it comes near "
            "the others, they may be measuring it. Over all models, a metric also earns what it "
            "knows of which model is better. Controls are left out.",
            _too_few(frame),
        ),
        signatures=tuple(
            (NAMES[row["metric"]], row["signature"])
            for _, row in signed.iterrows()
            if row["signature"]
        ),
    )


def agreement(frame: pd.DataFrame) -> Page:
    """Return the page of how far raters agree."""
    rows = [
        (
            {ACCEPTABILITY: "acceptability, five levels", PAIRWISE: "pairs, five levels"}[
                row["mode"]
            ],
            interval(row["alpha"], row["ci_low"], row["ci_high"]),
            percent(row["same"]),
            *(count(row[column]) for column in ("answers", "ratings", "raters")),
            _percents(row),
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title="How far raters agree",
        header=(
            "What", "Krippendorff's alpha", "the same level", "rated by several", "ratings",
            "raters", "answer A preferred",
        ),
        rows=tuple(rows),
        reading=(tuple(_agreed(row) for _, row in frame.iterrows()),),
        notes=(
            "Alpha, ordinal: 1 is perfect agreement, 0 what chance gives; 95% bootstrap interval "
            "over answers. Answer A preferred: share of decided pairs in which it won, with "
            "Wilson's interval over questions; setting and greedy are A equally often, so that a "
            "leaning to A costs precision but favours nobody.",
        ),
    )  # fmt: skip


def name(model: str, cell_name: str, titles: Titles) -> str:
    """Return what a row is of, in words: a model under a setting, or a control."""
    if model == CONTROL:
        return CONTROLS[cell_name]
    return f"{plain(titles[model])}, {cell(cell_name)}"


def _moved(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    """One sentence per setting that was compared with greedy."""
    sentences = []
    for _, row in frame[frame["delta"].notna()].iterrows():
        what = name(row["model"], row["cell"], titles)
        moved = interval(row["delta"], row["delta_low"], row["delta_high"], sign=True)
        p = f"{p_equals(row['p_holm'])} after Holm"
        if row["p_holm"] < ALPHA:
            better = "more" if row["delta"] > 0 else "less"
            sentences.append(f"{what}: people find it {better} acceptable, {moved}, {p}.")
        else:
            sentences.append(
                f"{what}: inconclusive, {moved}, {p}; so few ratings could see {_seen(row['mde'])}."
            )
    return tuple(sentences)


def _seen(mde: float) -> str:
    """Return the smallest difference that would be found; beyond the scale there is none."""
    return "nothing" if mde > 1 else f"{number(mde)} or more" if pd.notna(mde) else BLANK


def _preferred(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    sentences = []
    for _, row in frame[frame["win_rate"].notna()].iterrows():
        what = name(row["model"], row["cell"], titles)
        rate = interval(row["win_rate"], row["ci_low"], row["ci_high"])
        p = f"{p_equals(row['p_holm'])} after Holm"
        if row["p_holm"] < ALPHA:
            winner = "it to greedy" if row["win_rate"] > 0.5 else "greedy to it"
            sentences.append(f"{what}: people prefer {winner}, win rate {rate}, {p}.")
        else:
            seen = f"; so few pairs could see {number(row['mde'])} or more"
            sentences.append(
                f"{what}: inconclusive, win rate {rate}, {p}{seen if pd.notna(row['mde']) else ''}."
            )
    return tuple(sentences)


def _nearest(frame: pd.DataFrame) -> tuple[str, ...]:
    """One sentence per mode on the metric that comes nearest to people, over all models."""
    sentences = []
    for mode, rows in frame[(frame["model"] == EVERY) & frame["rho"].notna()].groupby("mode"):
        best = rows.loc[rows["rho"].idxmax()]
        others = rows[(rows["metric"] != best["metric"]) & (rows["ci_high"] >= best["ci_low"])]
        close = [NAMES[metric] for metric in others["metric"]]
        behind = f"; not clearly behind it: {listed(close)}" if close else ""
        beside = "score" if mode == ACCEPTABILITY else "preference"
        found = f"rho {_rho(best)}"
        if best["ci_low"] > 0:
            said = f"Nearest to the human {beside} is {NAMES[best['metric']]}, {found}{behind}."
        else:
            said = (
                f"No metric is shown to rank answers as the human {beside} does; highest is "
                f"{NAMES[best['metric']]}, {found}."
            )
        sentences.append(said)
    return tuple(sentences)


def _rho(row: pd.Series) -> str:
    return interval(row["rho"], row["ci_low"], row["ci_high"], sign=True)


def _agreed(row: pd.Series) -> str:
    what = "Acceptability" if row["mode"] == ACCEPTABILITY else "Pairs"
    if pd.isna(row["alpha"]):
        return f"{what}: {row['note'] or 'agreement is not known'}."
    if row["ci_low"] >= FIRM:
        said = "raters agree well enough for firm conclusions"
    elif row["ci_low"] >= TENTATIVE:
        said = "raters agree well enough for tentative conclusions"
    else:
        said = "not enough agreement is shown for more than tentative conclusions"
        if row["alpha"] < TENTATIVE:
            said = "raters agree too little to build on"
    found = interval(row["alpha"], row["ci_low"], row["ci_high"])
    return f"{what}: {said} (alpha {found}; {FIRM:g} and {TENTATIVE:g} are the usual lines)."


def _percents(row: pd.Series) -> str:
    if pd.isna(row["first"]):
        return BLANK
    return f"{row['first']:.0%} [{row['first_low']:.0%}, {row['first_high']:.0%}]"


def _blanks(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    """One point per reason for which something is blank, with the rows it concerns."""
    noted = frame[frame["note"].ne("")]
    points = []
    for note, rows in noted.groupby("note", sort=False):
        names = [name(row["model"], row["cell"], titles) for _, row in rows.iterrows()]
        everything = len(rows) == len(frame) and len(frame) > 1
        points.append(f"{note}: {'every row' if everything else '; '.join(names)}.")
    return tuple(points)


def _too_few(frame: pd.DataFrame) -> str:
    missing = int(frame["rho"].isna().sum())
    if not missing:
        return ""
    why = "; ".join(dict.fromkeys(frame.loc[frame["rho"].isna(), "note"]))
    return f"{missing} of {len(frame)} rows are blank: {why}."


def _runs(frame: pd.DataFrame, *columns: str) -> tuple[str, ...]:
    ids = [run for column in columns for run in frame[column] if run]
    return tuple(dict.fromkeys(ids))
