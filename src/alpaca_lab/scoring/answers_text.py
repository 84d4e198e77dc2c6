"""The scores of a file of answers as text for a terminal."""

from collections.abc import Sequence

import pandas as pd

from ..characters import plain
from ..estimates import PRIMARY, RESCALED
from ..pages.page import interval, number, p_value
from ..pages.wording import METRICS
from .answers_file import Answers

SCORES = ("corpus_bleu", "corpus_chrf", PRIMARY, "bertscore_f1")
MORE = ("rouge1", "rouge2", "rougeLsum", RESCALED)
WORDS = (
    "length_ratio", "empty_rate", "distinct_1", "distinct_2", "repeated_4grams", "unique_answers",
)  # fmt: skip


def to_text(frame: pd.DataFrame, answers: Answers, *, baseline: str | None = None) -> str:
    """Return the table of `answers_file.table` for reading.

    Args:
        frame: The table.
        answers: What it was made of, for what was left out.
        baseline: The group that the others were compared with, if one was.
    """
    parts = [
        "Scores of the answers alone, 0-100, with 95% intervals over questions",
        _grid(frame, SCORES, counts=True),
        _grid(frame, MORE),
        "Shares and ratios",
        _grid(frame, WORDS),
    ]
    if baseline is not None:
        parts += [f"Differences from {plain(baseline)}, paired by question", _differences(frame)]
        parts += [
            "p: sign-flip test for means, approximate randomisation for BLEU and chrF.\n"
            "ROUGE-L is the primary metric, corrected by Holm over the groups; the others are\n"
            "exploratory, corrected by Benjamini and Hochberg.\n"
            "MDE: the smallest difference found in 4 of 5 cases, before correction."
        ]
    parts += ["\n".join(_notes(frame, answers)), "\n".join(_signatures(frame))]
    return "\n\n".join(filter(None, parts))


def _grid(frame: pd.DataFrame, metrics: Sequence[str], *, counts: bool = False) -> str:
    """One row per group, one column per metric that the table has."""
    groups, entries = _entries(frame)
    shown = [name for name in metrics if (groups[0], name) in entries]
    rows = []
    for group in groups:
        row = {"group": plain(group)}
        if counts:
            primary = entries[group, PRIMARY]
            row |= {"n": str(primary["n"]), "answers": str(primary["answers"])}
        for name in shown:
            entry = entries[group, name]
            bounds = (entry["ci_low"], entry["ci_high"]) if name not in WORDS else (None, None)
            row[METRICS[name]] = interval(entry["mean"], *bounds)
        rows.append(row)
    return _aligned(rows)


def _differences(frame: pd.DataFrame) -> str:
    groups, entries = _entries(frame)
    rows = []
    for group in groups:
        for name in (*SCORES, *MORE):
            entry = entries.get((group, name))
            if entry is None or pd.isna(entry["delta"]):
                continue
            adjusted = entry["p_holm"] if name == PRIMARY else entry["p_bh"]
            method = "Holm" if name == PRIMARY else "BH, exploratory"
            rows.append(
                {
                    "group": plain(group),
                    "metric": METRICS[name],
                    "difference": interval(
                        entry["delta"], entry["delta_low"], entry["delta_high"], sign=True
                    ),
                    "p": p_value(entry["p"]),
                    "p corrected": f"{p_value(adjusted)} ({method})",
                    "MDE": number(entry["mde"]),
                }
            )
    if not rows:
        return "No question is scored for both; nothing can be compared."
    return _aligned(rows, words=2)


def _notes(frame: pd.DataFrame, answers: Answers) -> list[str]:
    notes = []
    if answers.without_reference:
        notes.append(f"{answers.without_reference} lines have an empty reference: left out")
    shown = frame["metric"].isin((*SCORES, *MORE, *WORDS))
    known = frame[shown & frame["note"].fillna("").ne("")]
    for (note, metrics), groups in _concerned(known).items():
        notes.append(f"{metrics}: {note}: {', '.join(groups)}")
    return ["Notes", *(f"- {note}" for note in notes)] if notes else []


def _concerned(known: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for (group, note), rows in known.groupby(["group", "note"], sort=False):
        metrics = ", ".join(METRICS[name] for name in rows["metric"])
        found.setdefault((note, metrics), []).append(plain(group))
    return found


def _signatures(frame: pd.DataFrame) -> list[str]:
    signed = frame[frame["metric"].isin((*SCORES, *MORE))]
    return ["Recipes", *(f"- {recipe}" for recipe in dict.fromkeys(signed["signature"]))]


def _entries(frame: pd.DataFrame) -> tuple[list[str], dict[tuple[str, str], pd.Series]]:
    groups = list(dict.fromkeys(frame["group"]))
    return groups, {(row["group"], row["metric"]): row for _, row in frame.iterrows()}


def _aligned(rows: Sequence[dict[str, str]], *, words: int = 1) -> str:
    """Columns padded to their widest cell: the first so many, words, to the left."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
