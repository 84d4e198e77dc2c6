"""The page of the checks: do slots change an answer, and does the dense model do as trained."""

from collections.abc import Mapping

import pandas as pd

from ..characters import plain
from .page import BLANK, Page, count, listed, number

Titles = Mapping[str, str]
"""Printed name by model key."""


def checks(frame: pd.DataFrame, titles: Titles) -> Page:
    """Return the page of what was checked of each model.

    Args:
        frame: `checks.checks_table`, as read from its CSV.
        titles: Printed name by model key.
    """
    header = (
        "Model", "weights", "check", "verdict", "n", "the same, %", "largest difference",
        "largest gap", "noise", "within noise, %",
    )  # fmt: skip
    rows = [
        (
            plain(titles[row["model"]]),
            row["value"],
            _check(row),
            row["verdict"],
            count(row["n"]),
            number(100 * row["share"]),
            *(_logits(row[name]) for name in ("max_difference", "max_gap", "max_noise")),
            number(100 * row["within_noise"]),
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title="Does decoding change what was trained, and do slots change an answer?",
        header=header,
        rows=tuple(rows),
        words=4,
        warnings=_warnings(frame, titles),
        reading=(_merging(frame, titles), _slots(frame)),
        notes=(
            "Dense against NF4: response tokens at which the dense model that decodes and the NF4 "
            "weights with the adapter beside them find the same token likeliest; largest "
            "difference of their logits. Below the bound the model is decoded unmerged.",
            "Slots: greedy answers that are the same, token for token, as with the study's number "
            "of slots. Where two answers part, gap is how far, in logits, the likeliest token "
            "leads the less likely of the two, and noise how far two ways of computing the same "
            "logits lie apart, and one unit in the last place.",
            _blanks(frame),
        ),
        runs=tuple(dict.fromkeys(frame["run"])),
    )


def _check(row: pd.Series) -> str:
    kind, _, few = row["check"].partition("=")
    if pd.isna(row["against"]):
        return {"dense": "dense against NF4"}.get(kind, kind)
    against = int(row["against"])
    return f"{few} against {against} slots" if few else f"{against} slots twice"


def _logits(value: float) -> str:
    return BLANK if pd.isna(value) else f"{value:.2g}"


def _merging(frame: pd.DataFrame, titles: Titles) -> str:
    """Return one sentence on which models were decoded merged, and why."""
    found = frame[(frame["check"] == "dense") & frame["share"].notna()]
    if found.empty:
        return ""
    bound = f"{number(100 * found['bound'].iloc[0])}%"
    low = found[found["verdict"] == "unmerged"]
    if len(low):
        return f"Decoded unmerged, their agreement being below {bound}: {_named(low, titles)}."
    lowest = number(100 * found["share"].min())
    return (
        f"Every dense model that was checked agrees with NF4 on the likeliest token for at "
        f"least {lowest}% of the response tokens; the bound is {bound}."
    )


def _slots(frame: pd.DataFrame) -> str:
    """Return one sentence on how many answers the number of slots changed."""
    found = frame[(frame["check"] != "dense") & frame["share"].notna()]
    if found.empty:
        return ""
    compared = int(found["n"].sum())
    parted = compared - round((found["n"] * found["share"]).sum())
    if not parted:
        return f"Slots change no answer: all {count(compared)} pairs are the same."
    beyond = (found["verdict"] == "beyond noise").any()
    explained = "not at every parting" if beyond else "at every parting"
    return (
        f"Slots change {count(parted)} of {count(compared)} answers; {explained} the two tokens "
        "lie within the noise of the arithmetic."
    )


def _warnings(frame: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    beyond = frame[frame["verdict"] == "beyond noise"]
    if beyond.empty:
        return ()
    return (f"Answers part where rounding does not explain it: {_named(beyond, titles)}.",)


def _named(rows: pd.DataFrame, titles: Titles) -> str:
    names = (f"{plain(titles[row['model']])} {row['value']}" for _, row in rows.iterrows())
    return listed(dict.fromkeys(names))


def _blanks(frame: pd.DataFrame) -> str:
    sentence = f'"{BLANK}": the column is of the other check, or no two answers part.'
    if (frame["verdict"] == "not measured").any():
        sentence += " Not measured: the answers were recorded before there was the check."
    return sentence
