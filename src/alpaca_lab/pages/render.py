"""From a table's data frame to the page that people read: rows, verdicts, reasons, provenance."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..estimates import EXPLORATORY, OWN_WORDS, PRIMARY, RESCALED
from ..tables.human import NOT_COLLECTED
from . import verdicts
from .page import BLANK, Page, count, interval, number, p_value, stacked
from .provenance import Provenance, runs
from .render_trends import linear
from .wording import KNOBS, METRICS

SCORES = ("corpus_bleu", PRIMARY, "bertscore_f1")
MAIN_SCORES = ("corpus_bleu", "corpus_chrf", PRIMARY, "bertscore_f1")
SURPRISES = ("nll", "bits_per_character")
ENDS = ("finish_rate", "empty_rate")
SCALE = (
    "Scores are 0-100, with 95% intervals over questions in brackets (near-duplicate questions "
    "count once): t intervals of means, bootstrap for corpus BLEU and chrF. "
)
LENGTH = (
    "n: questions with a ROUGE-L score. Length ratio: words of the answers / words of the "
    "references; BLEU and ROUGE partly rank by length."
)
PAIRED = (
    "Differences are paired by question, the repeats of a question averaged; their intervals cover "
    "one comparison each. "
)
SURPRISE = (
    "NLL: how surprising the references are to the model, in nats per response token, EOS "
    "included; not comparable between models whose tokens differ. Bits per character of the "
    "reference (bits / char) are. Lower is better for both."
)


def main(frame: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the main page: finetuned and untuned models between floors and ceiling."""
    is_judged = "judge" in set(frame["metric"])
    header = (
        "Model", *(METRICS[metric] for metric in MAIN_SCORES), "Human (0-1)",
        *([f"{METRICS['judge']} (0-1)"] if is_judged else []),
        "gain over untuned, ROUGE-L; p (Holm)", "n", "length ratio",
        *(METRICS[metric] for metric in SURPRISES),
    )  # fmt: skip
    rows = []
    for (model, value), entries in _rows(frame):
        human, primary = entries["human"], entries[PRIMARY]
        rows.append(
            (
                provenance.name(model, value, between="\n"),
                *(_score(entries[metric]) for metric in MAIN_SCORES),
                _score(human) if pd.notna(human["mean"]) else NOT_COLLECTED.replace(" ", "\n"),
                *([_score(entries["judge"]) if "judge" in entries else BLANK] if is_judged else []),
                _moved(primary, primary["p_holm"]),
                count(primary["n"]),
                _mean(entries, "length_ratio"),
                *(_mean(entries, metric) for metric in SURPRISES),
            )
        )
    return _page(
        "Finetuned and untuned models, decoded greedily, between floors and ceiling",
        (header, rows),
        frame,
        provenance,
        shown=(*MAIN_SCORES, "length_ratio", *SURPRISES),
        warnings=verdicts.ceiling(frame),
        reading=(
            verdicts.gains(frame, provenance.titles),
            verdicts.floors(frame, provenance.titles),
            "One finetune per model: a claim is about that checkpoint.",
        ),
        notes=(
            SCALE + LENGTH + " p: sign-flip test, corrected over the models.",
            _people(frame),
            _judge(frame) if is_judged else "",
            SURPRISE,
        ),
    )


def axis(frame: pd.DataFrame, contrasts: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the page of one axis of the sweep: each value of the knob, and its verdicts.

    Args:
        frame: One of `scores.axis_tables`.
        contrasts: `trends.contrast_table`, all of it.
        provenance: What the page says beside the rows.
    """
    knob = frame["axis"].iloc[0]
    header = (
        "Model", KNOBS[knob], *(METRICS[metric] for metric in SCORES),
        "ROUGE-L minus greedy", "p (Holm)", "n", "repeats",
        "length ratio", "ended by EOS, %", "empty, %",
    )  # fmt: skip
    rows = []
    for (model, value), entries in _rows(frame):
        primary = entries[PRIMARY]
        rows.append(
            (
                provenance.name(model),
                value,
                *(_score(entries[metric]) for metric in SCORES),
                _delta(primary),
                p_value(primary["p_holm"]),
                count(primary["n"]),
                count(primary["repeats"]),
                _mean(entries, "length_ratio"),
                *(_mean(entries, metric, scale=100) for metric in ENDS),
            )
        )
    titles = provenance.titles
    return _page(
        f"{KNOBS[knob].capitalize()}: each value beside greedy of the same model",
        (header, rows),
        frame,
        provenance,
        words=2,
        shown=(*SCORES, "length_ratio", *ENDS),
        reading=(
            verdicts.changes(contrasts, titles, axis=knob),
            verdicts.survivors(frame, titles, comparisons=provenance.comparisons),
            verdicts.exploratory(frame, titles, comparisons=provenance.exploratory),
        ),
        notes=(
            PAIRED + linear(contrasts),
            SCALE + LENGTH + " p: sign-flip test, corrected for the whole family.",
        ),
    )


def secondary(frame: pd.DataFrame, provenance: Provenance) -> Page:
    """Return the page of one axis in every other metric: exploratory tests, and plain facts.

    Args:
        frame: One of `scores.axis_tables`: the page has no numbers of its own.
        provenance: What the page says beside the rows.
    """
    knob = frame["axis"].iloc[0]
    rescaled = [RESCALED] if RESCALED in set(frame["metric"]) else []
    described = (*rescaled, *OWN_WORDS, "unique_answers")
    header = ("Model", KNOBS[knob], *(METRICS[name] for name in (*EXPLORATORY, *described)))
    rows = [
        (
            provenance.name(model),
            value,
            *(_tested(entries[metric]) for metric in EXPLORATORY),
            *(_mean(entries, metric) for metric in described),
        )
        for (model, value), entries in _rows(frame)
    ]
    return _page(
        f"{KNOBS[knob].capitalize()} in the exploratory metrics: no finding rests on this page",
        (header, rows),
        frame,
        provenance,
        words=2,
        shown=(*EXPLORATORY, *described),
        reading=(
            verdicts.exploratory(frame, provenance.titles, comparisons=provenance.exploratory),
        ),
        notes=(
            "In a cell: the score; its difference from greedy of the same model with a 95% "
            "interval; p after Benjamini and Hochberg's correction (sign-flip test for means, "
            "approximate randomisation for BLEU and chrF).",
            PAIRED + "Scores are 0-100. Distinct-1, distinct-2 and repeated 4-grams are shares of "
            "an answer's own n-grams, 0-1; unique answers is the share of the answers to one "
            "question that differ from each other. Their means are described, not tested.",
        ),
    )


def _page(
    title: str,
    table: tuple[tuple[str, ...], list[tuple[str, ...]]],
    frame: pd.DataFrame,
    provenance: Provenance,
    *,
    shown: tuple[str, ...],
    notes: tuple[str, ...],
    **parts: Any,
) -> Page:
    header, rows = table
    # The reasons below a table are for what it shows.
    missing = provenance.missing(frame[frame["metric"].isin(shown)])
    return Page(
        title=title,
        header=header,
        rows=tuple(rows),
        notes=(missing, *notes, provenance.named_encoder),
        signatures=provenance.recipes(shown),
        runs=runs(frame),
        **parts,
    )


def _rows(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str], dict[str, pd.Series]]]:
    """Yield ((model, value), {metric: entry}) in the order of the frame."""
    for labels, rows in frame.groupby(["model", "value"], sort=False):
        yield labels, {row["metric"]: row for _, row in rows.iterrows()}


def _people(frame: pd.DataFrame) -> str:
    """Return what the Human column rests on, or why ratings that exist are not in it."""
    rows = frame[frame["metric"] == "human"]
    noted = [note for note in dict.fromkeys(rows["note"]) if note not in ("", NOT_COLLECTED)]
    because = f" {'; '.join(noted).capitalize()}." if noted else ""
    rated = rows[rows["mean"].notna()]
    if rated.empty:
        return because.strip()
    span = " to ".join(dict.fromkeys(map(count, (rated["n"].min(), rated["n"].max()))))
    return (
        "Human: how acceptable people find the answers, rated blind, on 0-1 with 95% t intervals "
        f"over {span} questions; the page human has the raters.{because}"
    )


def _judge(frame: pd.DataFrame) -> str:
    """Return what the judge's column is, and that it is no human score."""
    rows = frame[frame["metric"] == "judge"]
    noted = "; ".join(note for note in dict.fromkeys(rows["note"]) if note)
    name = rows["signature"].iloc[0].split("|")[1]
    return (
        f"LLM judge: how often the model {name} prefers the answer to the reference, asked in both "
        "orders, at whatever length; 0.5 is as good as the reference. No human score, and never "
        f"merged with it; the page judge says what it is worth.{f' {noted}.' if noted else ''}"
    )


def _mean(entries: Mapping[str, pd.Series], metric: str, *, scale: float = 1) -> str:
    return number(scale * entries[metric]["mean"]) if metric in entries else BLANK


def _score(entry: pd.Series) -> str:
    return stacked(interval(entry["mean"], entry["ci_low"], entry["ci_high"]))


def _delta(entry: pd.Series) -> str:
    return stacked(interval(entry["delta"], entry["delta_low"], entry["delta_high"], sign=True))


def _moved(entry: pd.Series, p: float) -> str:
    return BLANK if pd.isna(entry["delta"]) else f"{_delta(entry)}\np {p_value(p)}"


def _tested(entry: pd.Series) -> str:
    if pd.isna(entry["delta"]):
        return number(entry["mean"])
    # Six such columns beside four of plain numbers: an interval on one line is wider than a screen.
    moved = _moved(entry, entry["p_bh"]).replace(", ", ",\n")
    return f"{number(entry['mean'])}\n{moved}"
