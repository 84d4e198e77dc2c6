"""The page of a judge that is a model: what it prefers, and what that is worth.

A judge is judged first: by floors that it must not like, by the order in which it was shown two
answers, and by people where they have rated the same pairs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..characters import plain
from ..store import CONTROL
from ..sweep import BASE, GREEDY
from ..tables.evidence import CONTROLS
from . import wording
from .page import BLANK, Page, count, interval, listed, number

Titles = Mapping[str, str]
"""Printed name by model key."""

EVEN = 0.5
"""A preference for neither; also the share of pairs, or of probability, below which a judge is
warned of: more than half of what it says is then not about the answers."""
HEADER = (
    "Answers", "against", "preferred, %", "at equal length, %", "n", "pairs", "identical",
    "missing", "for the first shown, %", "orders agree, %", "label mass, %",
)  # fmt: skip
AGAINST = {"reference": "the reference", "greedy": "its own greedy answer"}


def judge(
    frame: pd.DataFrame,
    agreed: pd.DataFrame,
    titles: Titles,
    *,
    name: str,
    recipe: str,
    runs: Sequence[str] = (),
) -> Page:
    """Return the page of one judge.

    Args:
        frame: `judge.verdicts_table.judge_table`.
        agreed: `judge.verdicts_table.agreement`.
        titles: Printed name by model key.
        name: Who judged.
        recipe: With which weights and wording: `judge.record.Judged.recipe`.
        runs: Ids of the runs whose answers were judged.
    """
    against = listed(dict.fromkeys(frame["opponent"].map(AGAINST)))
    prefers = f"how often it prefers answers to {against}"
    return Page(
        title=f"LLM judge {plain(name)} (a model, not people): {prefers}",
        header=HEADER,
        rows=tuple(_cells(row, titles) for _, row in frame.iterrows()),
        words=2,
        warnings=_warnings(frame, titles),
        reading=(*_floors(frame, titles), _position(frame), *_agreement(agreed)),
        notes=(
            "These are preferences of a language model. None of them is a human rating, and none "
            "fills the Human column. A judge may favour texts like its own, and an answer that "
            "speaks to it may sway it.",
            "Preferred: the probability that the judge gives to the answer's letter, of what it "
            "gives to A and B together, the mean of both orders; then over questions, with a 95% t "
            "interval. 50 is as good as the opponent. At equal length: what a regression on the "
            "difference in words predicts for none. For the first shown: what goes to whichever "
            "answer is shown first. Orders agree: pairs in which both orders prefer the same "
            "answer. Label mass: the probability of A and B together; the rest wanted to say "
            "something else.",
            "Identical pairs are not judged and are in no share: between the same words none is "
            "better.",
            _missing(frame, titles),
        ),
        signatures=(("judge", recipe),),
        runs=tuple(runs),
    )


def _cells(row: pd.Series, titles: Titles) -> tuple[str, ...]:
    return (
        _name(row, titles),
        AGAINST[row["opponent"]],
        _percent(row, "win_rate", "ci_low", "ci_high"),
        _percent(row, "length_controlled", "length_controlled_low", "length_controlled_high"),
        *(count(row[name]) for name in ("n", "pairs", "identical", "missing")),
        *(number(100 * row[name]) for name in ("first_share", "consistent", "label_mass")),
    )


def _percent(row: pd.Series, *names: str) -> str:
    return interval(*(100 * row[name] for name in names))


def _name(row: pd.Series, titles: Titles) -> str:
    if row["model"] == CONTROL:
        value = CONTROLS[row["cell"]]
        return wording.CONTROLS.get(value, value).replace("\n", " ")
    cell = {GREEDY: "finetuned", BASE: "untuned"}.get(row["cell"]) or wording.cell(row["cell"])
    return f"{plain(titles[row['model']])}, {cell}"


def _against_reference(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the floors, and the finetuned models, that were judged against the reference."""
    judged = frame[(frame["opponent"] == "reference") & frame["win_rate"].notna()]
    judged = judged.assign(
        low=judged["ci_low"].fillna(judged["win_rate"]),
        high=judged["ci_high"].fillna(judged["win_rate"]),
    )
    is_floor = judged["model"] == CONTROL
    return judged[is_floor], judged[~is_floor & (judged["cell"] == GREEDY)]


def _warnings(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    warnings = list(_floor_warnings(frame, titles))
    consistent, mass = (_over_pairs(frame, name) for name in ("consistent", "label_mass"))
    if consistent < EVEN:
        warnings.append(
            "It prefers a place, not an answer: both orders prefer the same answer in "
            f"{number(100 * consistent)}% of the pairs."
        )
    if mass < EVEN:
        warnings.append(
            "It wanted to say something else than A or B: together they have "
            f"{number(100 * mass)}% of its probability."
        )
    return tuple(warnings)


def _floor_warnings(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    """Return what the floors say against the judge: it must not like silence, copies or chance."""
    floors, tuned = _against_reference(frame)
    if floors.empty:
        return ("No floor was judged, so nothing shows what these preferences are worth.",)
    warnings = []
    liked = floors[floors["high"] >= EVEN]
    if len(liked):
        names = listed(_name(row, titles) for _, row in liked.iterrows())
        warnings.append(
            f"It does not clearly prefer the reference to {names}: the preferences of a judge that "
            "takes such an answer for as good as the reference are worth nothing."
        )
    reached = []
    for _, floor in floors.iterrows():
        near = tuned[tuned["low"] <= floor["high"]]
        if len(near):
            names = listed(plain(titles[model]) for model in near["model"])
            reached.append(f"{_name(floor, titles)} and finetuned {names}")
    if reached:
        warnings.append(
            "It does not tell a floor from a finetuned model, their intervals meet: "
            f"{'; '.join(reached)}. There its preferences are worth nothing."
        )
    return tuple(warnings)


def _over_pairs(frame: pd.DataFrame, column: str) -> float:
    """Return the mean of a column over all judged pairs; NaN where there is none."""
    judged = frame[frame["pairs"] > 0]
    return float(np.average(judged[column], weights=judged["pairs"])) if len(judged) else np.nan


def _floors(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    floors, tuned = _against_reference(frame)
    if floors.empty:
        return ()
    highest = floors.loc[floors["win_rate"].idxmax()]
    sentence = (
        f"The floor that it prefers most often to the reference is {_name(highest, titles)}, at "
        f"{_percent(highest, 'win_rate', 'ci_low', 'ci_high')}%"
    )
    above = tuned[tuned["low"] > floors["high"].max()]
    if tuned.empty:
        return (f"{sentence}.",)
    if len(above) == len(tuned):
        return (f"{sentence}; the interval of every finetuned model lies above every floor's.",)
    names = listed(_name(row, titles) for _, row in above.iterrows()) if len(above) else "no model"
    return (f"{sentence}; clearly above every floor: {names}.",)


def _position(frame: pd.DataFrame) -> str:
    first = _over_pairs(frame, "first_share")
    if np.isnan(first):
        return "No pair was judged."
    return (
        f"Whichever answer is shown first gets {number(100 * first)}% of its preference (50 where "
        f"place plays no part), and both orders prefer the same answer in "
        f"{number(100 * _over_pairs(frame, 'consistent'))}% of the pairs. Each pair is asked in "
        "both orders, so that place favours no side of it."
    )


def _agreement(agreed: pd.DataFrame) -> tuple[str, ...]:
    if not agreed["pairs"].any():
        return ("There are no human ratings to compare it with: whether people agree is unknown.",)
    return tuple(_agrees(row) for _, row in agreed.iterrows())


def _agrees(row: pd.Series) -> str:
    where = f"Against {AGAINST[row['opponent']]}"
    found = []
    if pd.notna(row["alike"]):
        found.append(
            f"people side with it in {_percent(row, 'alike', 'alike_low', 'alike_high')}% of the "
            f"{count(row['decided'])} pairs that both decided"
        )
    if pd.notna(row["spearman"]):
        shown = interval(row["spearman"], row["spearman_low"], row["spearman_high"], sign=True)
        found.append(
            f"the rank correlation of its preferences with people's scores is {shown} over "
            f"{count(row['pairs'])} pairs"
        )
    if row["note"]:
        found.append(row["note"] if found else f"how far people agree is unknown, {row['note']}")
    return f"{where}, {'; '.join(found)}."


def _missing(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    noted = frame[frame["note"] != ""]
    points = tuple(f"{_name(row, titles)}: {plain(row['note'])}." for _, row in noted.iterrows())
    return (*points, f'"{BLANK}": there is none, for a reason above.') if points else ()
