"""The pages of the two small tables: what each knob does as a whole, and the A/A comparison."""

import pandas as pd

from ..estimates import PRIMARY
from . import verdicts
from .page import BLANK, Page, count, interval, number, p_value, stacked
from .provenance import Provenance, runs
from .wording import KNOBS, cell, setting


def linear(contrasts: pd.DataFrame) -> str:
    """Return how the changes over a whole knob are to be read.

    Args:
        contrasts: `trends.contrast_table`, all of it: its tests are one family.
    """
    return (
        "Changes over a whole knob are fixed in advance: fitted linearly over all its values, "
        "greedy included (beams and top-k by their logarithm), and corrected by Holm over the "
        f'study\'s {contrasts["p_holm"].notna().sum()} such changes. "Could see": found in 4 of 5 '
        "cases, before correction."
    )


def contrasts(frame: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the page of the linear changes: one pre-specified test per model and knob."""
    header = (
        "Model", "knob", "from", "to", "verdict", "fitted change, ROUGE-L", "effect size",
        "could see", "p (Holm)", "p of equivalence (Holm)", "n",
    )  # fmt: skip
    rows = [
        (
            provenance.name(row["model"]),
            KNOBS[row["axis"]],
            setting(row["axis"], row["from"]),
            row["to"],
            row["verdict"],
            _change(row),
            number(row["effect_size"]),
            number(row["mde"]),
            p_value(row["p_holm"]),
            p_value(row["p_equivalence_holm"]),
            count(row["n"]),
        )
        for _, row in frame.iterrows()
    ]
    sentences = (
        verdicts.changes(frame, provenance.titles, axis=knob)
        for knob in dict.fromkeys(frame["axis"])
    )
    equivalent = "; ".join(f"{margin:g}" for margin in frame["margin"].unique())
    notes = (
        linear(frame),
        '"Equivalent" is said only where two one-sided t tests, corrected by Holm, show that the '
        f"change is within {equivalent} of 0; a change that is not shown is inconclusive. Effect "
        "size: change / its standard deviation over questions.",
    )
    return Page(
        title="What each knob does as a whole: linear changes of ROUGE-L",
        header=header,
        rows=tuple(rows),
        words=5,
        reading=tuple(sentences) or ("No knob of this study has a value beside greedy.",),
        notes=(*notes, *_reasons(frame, provenance)) if rows else (),
        signatures=provenance.recipes((PRIMARY,)),
        runs=runs(frame),
    )


def aa(frame: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the page of the comparison that must come out null."""
    header = ("Model", "cell", "repeats", "first half minus second", "p", "p (Holm)", "n")
    rows = [
        (
            provenance.name(row["model"]),
            cell(row["cell"]) if row["cell"] else BLANK,
            count(row["repeats"]),
            interval(row["mean"], row["ci_low"], row["ci_high"], sign=True),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            count(row["n"]),
        )
        for _, row in frame.iterrows()
    ]
    warnings, sentence = verdicts.noise(frame, provenance.titles)
    return Page(
        title="A/A: a setting compared with itself",
        header=header,
        rows=tuple(rows),
        words=2,
        warnings=warnings,
        reading=(
            "The repeats of one sampled cell are split in two, and the halves compared in ROUGE-L "
            f"as two settings are: it must come out null. {sentence}",
        ),
        notes=_reasons(frame, provenance),
        signatures=provenance.recipes((PRIMARY,)),
        runs=runs(frame),
    )


def _change(row: pd.Series) -> str:
    return stacked(interval(row["mean"], row["ci_low"], row["ci_high"], sign=True))


def _reasons(frame: pd.DataFrame, provenance: Provenance) -> tuple[str, ...]:
    """One line per row that has a note."""
    noted = frame[frame["note"] != ""]
    return tuple(f"{provenance.name(row['model'])}: {row['note']}." for _, row in noted.iterrows())
