"""What a table says in plain words: every sentence is computed from its numbers.

None of them says "no effect". A difference that is not shown is not shown to be absent, so the size
that would have been seen stands beside it; "equivalent" is said only where a test says so.
"""

from collections.abc import Iterator, Mapping

import pandas as pd

from ..characters import plain
from ..estimates import EXPLORATORY, PRIMARY
from ..store import CONTROL
from .page import interval, listed, number, p_equals
from .wording import KNOBS, METRICS, RAISING, cell, setting

ALPHA = 0.05
CEILING = 100.0

Titles = Mapping[str, str]
"""Printed name by model key."""


def gains(main: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    """Return one sentence per model on what its finetune changed."""
    primary = main[(main["metric"] == PRIMARY) & (main["value"] == "finetuned")]
    return tuple(_gain(row, plain(titles[row["model"]])) for _, row in primary.iterrows())


def _gain(row: pd.Series, title: str) -> str:
    if pd.isna(row["delta"]):
        return f"{title}: no gain can be computed, no two questions are scored on both sides."
    moved = f"ROUGE-L by {_move(row, 'delta')}, {p_equals(row['p_holm'])} after Holm"
    if row["p_holm"] < ALPHA:
        return f"Finetuning changes {title}'s {moved}."
    return f"Inconclusive for {title}: finetuning moved its {moved}{_visible(row)}."


def floors(main: pd.DataFrame, titles: Titles) -> str:
    """Return which models are not clearly above the best score that needs no model."""
    primary = main[(main["metric"] == PRIMARY) & main["mean"].notna()]
    controls = primary[(primary["model"] == CONTROL) & (primary["value"] != "reference")]
    if controls.empty:
        return ""
    highest = controls.loc[controls["mean"].idxmax()]
    low = primary["ci_low"].fillna(primary["mean"])
    near = primary[(primary["model"] != CONTROL) & (low <= highest["mean"])]
    names = [f"{plain(titles[row['model']])}, {row['value']}" for _, row in near.iterrows()]
    floor = f"The highest floor is {number(highest['mean'])} ROUGE-L ({highest['value']})"
    if not names:
        return f"{floor}; the interval of every model lies above it."
    return f"{floor}; not clearly above it: {'; '.join(names)}."


def ceiling(main: pd.DataFrame) -> tuple[str, ...]:
    """Return a warning where the reference does not score full marks against itself."""
    row = main[(main["metric"] == PRIMARY) & (main["value"] == "reference")]
    if row.empty or row["mean"].isna().all() or row["mean"].iloc[0] >= CEILING - 1e-6:
        return ()
    return (
        f"The reference scores {number(row['mean'].iloc[0])} ROUGE-L against itself instead of "
        "100.00: something is wrong with the scores, and no number here can be trusted.",
    )


def changes(contrasts: pd.DataFrame, titles: Titles, *, axis: str) -> tuple[str, ...]:
    """Return one sentence per model on what turning a knob all the way does to ROUGE-L.

    Args:
        contrasts: `trends.contrast_table`.
        titles: Printed name by model key.
        axis: The knob.
    """
    rows = contrasts[contrasts["axis"] == axis]
    return tuple(_change(row, plain(titles[row["model"]])) for _, row in rows.iterrows())


def _change(row: pd.Series, title: str) -> str:
    start, end = setting(row["axis"], row["from"]), setting(row["axis"], row["to"])
    turned = f"{RAISING[row['axis']]} from {start} to {end}"
    if pd.isna(row["mean"]):
        return f"{turned}: nothing can be said of {title}, {row['note']}."
    margin = f"{row['margin']:g} point{'' if row['margin'] == 1 else 's'}"
    equivalence = f"{p_equals(row['p_equivalence_holm'])} after Holm"
    if row["verdict"] == "changes":
        small = row["p_equivalence_holm"] < ALPHA
        also = f"; it is a change of less than {margin} all the same ({equivalence})"
        return (
            f"{turned} changes {title}'s ROUGE-L by {_move(row, 'mean')}, "
            f"{p_equals(row['p_holm'])} after Holm{also if small else ''}."
        )
    if row["verdict"] == "equivalent":
        return (
            f"{turned} leaves {title}'s ROUGE-L equivalent within {margin}: "
            f"{_move(row, 'mean')}, {equivalence}."
        )
    return (
        f"{turned} is inconclusive for {title}: {_move(row, 'mean')}, "
        f"{p_equals(row['p_holm'])} after Holm{_visible(row)}."
    )


def survivors(frame: pd.DataFrame, titles: Titles, *, comparisons: int) -> str:
    """Return which single settings differ from greedy once the whole family is corrected.

    Args:
        frame: One of `scores.axis_tables`.
        titles: Printed name by model key.
        comparisons: Size of the family that Holm's correction covers.
    """
    tested = frame[(frame["metric"] == PRIMARY) & frame["delta"].notna()]
    if frame["value"].nunique() == 1:
        return "No other value of this knob was decoded."
    if tested.empty:
        return "Inconclusive: no question is scored both under greedy and under another value."
    label = KNOBS[frame["axis"].iloc[0]]
    largest = tested.loc[tested["delta"].abs().idxmax()]
    text = (
        f"The largest move of a single setting from greedy is {_move(largest, 'delta')} of "
        f"ROUGE-L, {plain(titles[largest['model']])} at {label} {largest['value']}; "
    )
    family = f"Holm's correction over the study's {comparisons} comparisons"
    surviving = tested[tested["p_holm"] < ALPHA]
    if surviving.empty:
        text += f"inconclusive: no difference from greedy survives {family}."
    else:
        text += (
            f"{len(surviving)} of {len(tested)} differences survive {family} (p < {ALPHA:g}): "
            f"{'; '.join(_places(surviving, titles))}."
        )
    return (
        f"{text} Before correction, one comparison of this table finds a move of "
        f"{number(tested['mde'].max())} points in 4 of 5 cases."
    )


def exploratory(frame: pd.DataFrame, titles: Titles, *, comparisons: int) -> str:
    """Return which differences in the other metrics survive, labelled as what they are.

    Args:
        frame: One of `scores.axis_tables`.
        titles: Printed name by model key.
        comparisons: Size of the family that Benjamini and Hochberg's correction covers.
    """
    tested = frame[frame["metric"].isin(EXPLORATORY) & frame["p_bh"].notna()]
    if tested.empty:
        return "Exploratory: no difference in another metric can be tested."
    surviving = tested[tested["p_bh"] < ALPHA]
    survive = f"{len(surviving) or 'none'} survive{'s' if len(surviving) == 1 else ''}"
    text = (
        f"Exploratory, a hint and no finding: of {len(tested)} differences from greedy in other "
        f"metrics, {survive} Benjamini and Hochberg's correction over the study's {comparisons} "
        f"(false discovery rate {100 * ALPHA:g}%)"
    )
    by_metric = (
        f"{METRICS[metric]}: {', '.join(_places(surviving[surviving['metric'] == metric], titles))}"
        for metric in dict.fromkeys(surviving["metric"])
    )
    return f"{text}: {'; '.join(by_metric)}." if len(surviving) else f"{text}."


def _places(rows: pd.DataFrame, titles: Titles) -> Iterator[str]:
    """Yield "Alpha at 0.75 and 1" per model."""
    for model, found in rows.groupby("model", sort=False):
        yield f"{plain(titles[model])} at {listed(found['value'])}"


def noise(aa: pd.DataFrame, titles: Titles) -> tuple[tuple[str, ...], str]:
    """Return warnings and the sentence of the comparison that must come out null.

    Args:
        aa: `trends.aa_table`.
        titles: Printed name by model key.
    """
    tested = aa[aa["p_holm"].notna()]
    loud = tuple(
        f"The A/A comparison of {plain(titles[row['model']])}, {cell(row['cell'])}, is not null: "
        f"{_move(row, 'mean')}, {p_equals(row['p_holm'])} after Holm. Two halves of one setting "
        "differ, so the noise is not what the tests assume: trust no interval and no p of this "
        "study before this is understood."
        for _, row in tested[tested["p_holm"] < ALPHA].iterrows()
    )
    if tested.empty:
        return (), "Nothing could be compared with itself, so the noise of this study is unchecked."
    if loud:
        return loud, f"{len(loud)} of {len(tested)} comparisons of a setting with itself differ."
    return (), (
        f"It does: none of {len(tested)} differs after Holm, the smallest corrected "
        f"{p_equals(tested['p_holm'].min())}. So the noise is what the tests assume, as far as "
        "this can show."
    )


def dearest(cost: pd.DataFrame, titles: Titles) -> tuple[str, ...]:
    """Return one sentence per model on its slowest cell beside greedy, where both were timed."""
    sentences = []
    for model, rows in cost.groupby("model", sort=False):
        seconds = (rows["wall_s"] / rows["answers"]).set_axis(rows["cell"]).dropna()
        if "greedy" in seconds and len(seconds) > 1 and seconds["greedy"] > 0:
            slowest = seconds.idxmax()
            sentences.append(
                f"{plain(titles[model])}: an answer takes longest with {cell(slowest)}, "
                f"{number(seconds[slowest] / seconds['greedy'])} times what it takes with greedy."
            )
    return tuple(sentences)


def _move(row: pd.Series, name: str) -> str:
    """Return "-1.30 points [-2.00, -0.60]"."""
    low, high = ("ci_low", "ci_high") if name == "mean" else ("delta_low", "delta_high")
    mean, bracket, bounds = interval(row[name], row[low], row[high], sign=True).partition(" [")
    return f"{mean} points{bracket}{bounds}"


def _visible(row: pd.Series) -> str:
    return f"; this study could see {number(row['mde'])} points or more"
