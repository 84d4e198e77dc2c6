"""How to decode, derived from what the sweep found: nothing is called free that is only unseen."""

from collections.abc import Iterator
from itertools import groupby

import pandas as pd

from ..characters import plain
from ..pages import verdicts
from ..pages.page import count, interval, listed, number, p_equals
from ..pages.wording import KNOBS
from ..sweep import AXES

ALPHA = verdicts.ALPHA
GREEDY = "Use greedy decoding"


def lead(settings: pd.DataFrame) -> str:
    """Return which decoding to use: greedy, unless a setting is shown to score above it.

    Args:
        settings: One model's rows of `trends.setting_table`.
    """
    if settings.empty:
        return f"{GREEDY}: no other setting was decoded, so nothing is known of others."
    better = settings[(settings["verdict"] == "changes") & (settings["mean"] > 0)]
    if better.empty:
        return f"{GREEDY}: no setting of the sweep is shown to score above it in ROUGE-L."
    best = better.loc[better["mean"].idxmax()]
    return (
        f"Use {_named(best)}: of the settings shown to score above greedy in ROUGE-L, it gains the "
        f"most, {_move(best)}, {p_equals(best['p_holm'])} after Holm."
    )


def points(settings: pd.DataFrame) -> tuple[str, ...]:
    """Return one sentence per run of neighbouring values of a knob that have the same verdict.

    Args:
        settings: One model's rows of `trends.setting_table`.
    """
    return tuple(
        _sentence(axis, verdict, pd.DataFrame(list(rows)), first=place == 0)
        for axis in AXES
        for place, (verdict, rows) in enumerate(_groups(settings[settings["axis"] == axis]))
    )


def knobs(contrasts: pd.DataFrame, title: str) -> tuple[str, ...]:
    """Return what each knob does as a whole, from one model's rows of `trends.contrast_table`."""
    titles = dict.fromkeys(contrasts["model"], title)
    return tuple(
        sentence for axis in AXES for sentence in verdicts.changes(contrasts, titles, axis=axis)
    )


def note(settings: pd.DataFrame, *, compared: int) -> str:
    """Return how the sentences are to be read."""
    margin = _points(settings["margin"].max())
    return (
        "Each difference is from greedy, in points of ROUGE-L F1 (0-100), with its 95% interval "
        f"over {_span(settings['n'])} questions, the repeats of a question averaged. Worse and "
        f"better: sign-flip tests; equivalent within {margin}: two one-sided t tests; p after Holm "
        f"over the study's {count(compared)} settings. Inconclusive is neither; visible is what "
        "one comparison finds in 4 of 5 cases, before correction. Whoever judges by more than "
        "overlap with one reference may want other settings."
    )


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, Iterator[pd.Series]]]:
    ordered = rows.sort_values("value", key=lambda values: values.astype(float))
    return groupby((row for _, row in ordered.iterrows()), key=_kind)


def _kind(row: pd.Series) -> str:
    """Return a setting's verdict, told apart by direction; "unknown" where nothing was compared."""
    if pd.isna(row["mean"]):
        return "unknown"
    if row["verdict"] != "changes":
        return row["verdict"]
    return "worse" if row["mean"] < 0 else "better"


def _sentence(axis: str, kind: str, rows: pd.DataFrame, *, first: bool) -> str:
    values = list(rows["value"])
    knob = KNOBS[axis].capitalize()
    which = (
        f"{knob} up to {values[-1]}" if first and len(values) > 1 else f"{knob} {listed(values)}"
    )
    moves = [(row["value"], _change(row, kind)) for _, row in rows.iterrows() if kind != "unknown"]
    several = len(moves) > 1
    found = "; ".join(f"{value}: {move}" if several else move for value, move in moves)
    if kind == "unknown":
        return f"{which}: nothing can be said, {plain(rows['note'].iloc[0]) or 'not compared'}."
    if kind == "equivalent":
        margin = _points(rows["margin"].iloc[0])
        return f"{which}: equivalent to greedy within {margin} of ROUGE-L ({found})."
    if kind == "inconclusive":
        return f"{which}: inconclusive ({found})."
    return f"{which}: {kind} than greedy in ROUGE-L ({found})."


def _change(row: pd.Series, kind: str) -> str:
    if kind == "equivalent":
        return f"{_move(row)}, {p_equals(row['p_equivalence_holm'])}"
    if kind == "inconclusive":
        return f"{_move(row)}, visible from {number(row['mde'])}"
    small = row["p_equivalence_holm"] < ALPHA
    also = f", less than {_points(row['margin'])} all the same" if small else ""
    return f"{_move(row)}, {p_equals(row['p_holm'])}{also}"


def _named(row: pd.Series) -> str:
    if row["axis"] == "num_beams":
        return f"{row['value']} beams"
    return f"{KNOBS[row['axis']]} {row['value']}"


def _move(row: pd.Series) -> str:
    mean, bracket, bounds = interval(
        row["mean"], row["ci_low"], row["ci_high"], sign=True
    ).partition(" [")
    return f"{mean} points{bracket}{bounds}"


def _points(margin: float) -> str:
    return f"{margin:g} point{'' if margin == 1 else 's'}"


def _span(n: pd.Series) -> str:
    return " to ".join(dict.fromkeys((count(n.min()), count(n.max()))))
