"""The page to read first: one row per model, what finetuning and each knob changed."""

import pandas as pd

from ..estimates import PRIMARY
from ..store import CONTROL
from ..sweep import AXES
from . import verdicts
from .page import BLANK, Page, interval, stacked
from .provenance import Provenance
from .wording import KNOBS, setting

FINETUNED, UNTUNED = "finetuned", "untuned"


def glance(main: pd.DataFrame, contrasts: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the page of the pre-specified answers: a gain and three changes per model.

    Args:
        main: `scores.main_table`.
        contrasts: `trends.contrast_table`.
        provenance: Printed names and signatures.
    """
    scores = main[(main["metric"] == PRIMARY) & (main["model"] != CONTROL)]
    by_row = scores.set_index(["model", "value"])
    knobs = [axis for axis in AXES if axis in set(contrasts["axis"])]
    header = (
        "Model",
        UNTUNED,
        f"{FINETUNED}, greedy",
        "gain",
        *(_span(contrasts, axis) for axis in knobs),
    )
    rows = [
        (
            provenance.name(model),
            _score(by_row, model, UNTUNED),
            _score(by_row, model, FINETUNED),
            _gain(by_row.loc[(model, FINETUNED)]),
            *(_change(contrasts, model, axis) for axis in knobs),
        )
        for model in dict.fromkeys(scores["model"])
    ]
    return Page(
        title="At a glance, in ROUGE-L",
        header=header,
        rows=tuple(rows),
        reading=(verdicts.floors(main, provenance.titles),),
        notes=(
            "Points of 100, with 95% intervals over questions, on questions that no model was "
            "trained on. Gain: finetuned minus untuned, paired by question. Under a knob: the "
            "change from greedy to its largest value, fixed in advance, and what its tests say "
            "after Holm: changes, equivalent (within a point of none), or inconclusive.",
            "The pages main and contrasts have every number with its p, its n and its runs.",
        ),
        signatures=provenance.recipes((PRIMARY,)),
    )


def _span(contrasts: pd.DataFrame, axis: str) -> str:
    row = contrasts[contrasts["axis"] == axis].iloc[0]
    return f"{KNOBS[axis]}, {setting(axis, row['from'])} to {row['to']}"


def _score(by_row: pd.DataFrame, model: str, value: str) -> str:
    if (model, value) not in by_row.index:
        return BLANK
    row = by_row.loc[(model, value)]
    return stacked(interval(row["mean"], row["ci_low"], row["ci_high"]))


def _gain(row: pd.Series) -> str:
    return stacked(interval(row["delta"], row["delta_low"], row["delta_high"], sign=True))


def _change(contrasts: pd.DataFrame, model: str, axis: str) -> str:
    found = contrasts[(contrasts["model"] == model) & (contrasts["axis"] == axis)]
    if found.empty:
        return BLANK
    [row] = found.to_dict("records")
    change = stacked(interval(row["mean"], row["ci_low"], row["ci_high"], sign=True))
    return f"{change}\n{row['verdict']}"
