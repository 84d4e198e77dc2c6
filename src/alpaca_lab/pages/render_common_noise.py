"""The page on common random numbers, from `common_noise.table`: the table, and what it says."""

from collections.abc import Mapping

import pandas as pd

from .markdown import escape, grid
from .page import BLANK, count, interval, listed, number, stacked
from .wording import KNOBS

KINDS = {
    "nearly equal": "Two settings that are nearly equal",
    "one step": "One step of a knob",
    "far apart": "Two settings far apart",
    "whole knob": "The linear change over a whole knob",
}
"""By kind of comparison, in reading order: what a sentence calls it."""
HEADER = (
    "Model", "knob", "from", "to", "compared", "half-width, common noise",
    "half-width, independent", "ratio", "worth, times the questions", "same answers, %",
    "shared start, %", "n",
)  # fmt: skip
WEIGHTS = {
    "finetuned": "finetuned as the smoke study does",
    "shipped": "as shipped, not finetuned: no whole finetune was found",
}
COMMAND = "python benchmarks/common_noise.py"


def page(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> str:
    """Return the table as a Markdown page that ends with what it says.

    Args:
        frame: `common_noise.table` of one or more models, at least one row.
        titles: Printed name by model key.
    """
    models = dict.fromkeys(titles[key] for key in frame["model"])
    rows = (_cells(row, titles) for row in frame.to_dict("records"))
    weights = listed(WEIGHTS[name] for name in dict.fromkeys(frame["weights"]))
    parts = [
        "# What common random numbers buy",
        escape(
            "Every setting meets a question with the same noise. Here is how wide the 95% interval "
            "of a difference in ROUGE-L is with that, and with noise of its own for each setting: "
            f"{listed(models)}, {weights}; {_most(frame, 'n')} held-out questions, "
            f"{_most(frame, 'repeats')} repeats, {_most(frame, 'seeds')} seeds; answers of "
            f"{frame['tokens'].min():.0f} to {frame['tokens'].max():.0f} tokens on average."
        ),
        grid(HEADER, rows, words=5).rstrip(),
        *_reasons(frame, titles),
        escape(READING),
        "\n".join(f"- ROUGE-L: `{recipe}`" for recipe in dict.fromkeys(frame["signature"])),
        f"This page and `common_noise.csv` are written by one command:\n\n    {COMMAND}",
        "## What it says",
        "\n".join(f"- {escape(_verdict(frame, kind))}" for kind in KINDS),
        escape(_in_short(frame)),
    ]
    return "\n\n".join(parts) + "\n"


READING = (
    "Half-width: of the paired t interval over questions, in points, for a study of this size; "
    "root mean square over the seeds, and for independent noise over the ways to give each "
    "setting a seed of its own. Ratio: common over independent, its 95% interval by resampling "
    "questions. Worth: 1 / ratio squared, how many times the questions independent noise needs "
    "for the same interval; below 1 common noise costs questions. Same answers: of two settings, "
    "under common / independent noise. Shared start: likewise, the share of an answer, by tokens, "
    "before the two part. Whole knob: a study's linear change from greedy. The noisiest values "
    "weigh on the same side there, and noise that they share adds up. A setting's own difference "
    "from greedy is not here: greedy has no noise, so there is none to share. More repeats leave "
    "less noise to share, so the ratio comes nearer to 1. Longer answers and larger models have "
    "not been measured."
)


def _most(frame: pd.DataFrame, name: str) -> str:
    return count(frame[name].max())


def _cells(row: Mapping[str, object], titles: Mapping[str, str]) -> tuple[str, ...]:
    return (
        titles[row["model"]],
        KNOBS[row["axis"]],
        str(row["from"]),
        str(row["to"]),
        row["kind"],
        number(row["half_common"]),
        number(row["half_independent"]),
        stacked(interval(row["ratio"], row["ratio_low"], row["ratio_high"])),
        number(row["worth"]),
        *(_percents(row, name) for name in ("same", "shared")),
        count(row["n"]),
    )


def _percents(row: Mapping[str, object], name: str) -> str:
    """Under common and under independent noise."""
    shares = row[f"{name}_common"], row[f"{name}_independent"]
    return BLANK if pd.isna(shares[0]) else " / ".join(f"{100 * share:.0f}" for share in shares)


def _reasons(frame: pd.DataFrame, titles: Mapping[str, str]) -> tuple[str, ...]:
    """One paragraph that says why a row is blank, or none."""
    noted = frame[frame["note"] != ""]
    points = (
        f"{titles[row['model']]}, {KNOBS[row['axis']]} {row['from']} to {row['to']}: {row['note']}."
        for row in noted.to_dict("records")
    )
    return (escape(" ".join(points)),) if len(noted) else ()


def _verdict(frame: pd.DataFrame, kind: str) -> str:
    """Return in how many comparisons of a kind the interval is narrower, and by how much."""
    known = frame[frame["kind"] == kind].dropna(subset=["ratio"])
    if known.empty:
        return f"{KINDS[kind]}: not measured."
    narrower, wider = (known["ratio_high"] < 1).sum(), (known["ratio_low"] > 1).sum()
    unclear = len(known) - narrower - wider
    found = ((narrower, "narrower"), (wider, "wider"), (unclear, "not told from equal"))
    counts = listed(f"{word} in {times}" for times, word in found if times)
    return (
        f"{KINDS[kind]} ({len(known)}): with common noise the interval is {counts}; "
        f"{_range(known['ratio'])} of the independent width, worth {_range(known['worth'])} times "
        "the questions."
    )


def _range(values: pd.Series) -> str:
    low, high = number(values.min()), number(values.max())
    return low if low == high else f"{low} to {high}"


def _in_short(frame: pd.DataFrame) -> str:
    medians = frame.groupby("kind")["worth"].median()
    found = (f"{number(medians.get(kind))} for {KINDS[kind].lower()}" for kind in KINDS)
    return (
        f"In short, by median common noise is worth, in times the questions, {listed(found)}: "
        "above 1 a gain, below 1 a loss."
    )
