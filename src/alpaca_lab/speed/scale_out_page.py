"""The page on several GPUs, from `scale_out.table` and `scale_out.together`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..config import StudySpec
from ..pages.markdown import escape, grid
from ..pages.page import count, listed, number, whole
from . import circumstances

HEADER = (
    "Model", "GPUs", "finetune, min", "decode, min", "start, min", "whole, min", "GPU hours",
    "times faster",
)  # fmt: skip
TOGETHER = ("Model", "GPUs", "tokens/s of one", "tokens/s of all", "times", "sum of a step, ms")


def page(
    frame: pd.DataFrame,
    together: pd.DataFrame,
    facts: Mapping[str, Any],
    *,
    study: StudySpec,
    rows: int,
    titles: Mapping[str, str],
) -> str:
    """Return the tables as a Markdown page that says what they rest on.

    Args:
        frame: `scale_out.table`.
        together: `scale_out.together`.
        facts: The conditions of the runs, and their commits.
        study: What would be run.
        rows: Rows of its data.
        titles: Printed name by model key.
    """
    steps, numbers = int(frame["steps"].iloc[0]), sorted(set(frame["gpus"]))
    parts = [
        "# What several GPUs take for the full study",
        escape(
            f"The {study.name} study, {count(rows)} rows in {count(steps)} steps of "
            f"{study.train.batch_size} and {study.questions} questions in every cell, by "
            f"{listed(map(str, numbers))} GPUs. Measured {circumstances.card(facts)}, and "
            f"{facts['gpus']} of them together. {circumstances.weights(facts)} Rows: "
            f"{circumstances.rows(facts)}. {circumstances.versions(facts)}"
        ),
        "## What was measured together",
        grid(TOGETHER, (_measured(row, titles) for row in together.to_dict("records")), words=1)
        .rstrip(),
        "## What that comes to",
        grid(HEADER, (_cells(row, titles) for row in frame.to_dict("records")), words=1).rstrip(),
        *_blanks(frame, titles),
        "## What to make of it",
        "\n".join(f"- {escape(line)}" for line in _reading(frame, titles)),
        "## What it rests on",
        "\n".join(f"- {escape(line)}" for line in ASSUMED),
        "This page and `scale_out.csv` are written by one command, on a machine with several "
        f"GPUs:\n\n    {circumstances.command('benchmarks/scale.py', facts)} "
        f"--gpus {facts['gpus']}",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


ASSUMED = (
    "A GPU of n has an n-th of a step's rows and of the questions. That share was timed on one "
    "GPU: a step of 16 and of 2 rows, 63 and 8 questions; 250 questions stand for half a study.",
    "Adding up a gradient was timed between the GPUs of one machine. For more it is scaled by "
    "2 (n - 1) / n, as around a ring whose every link is as fast: between machines links are "
    "slower. At 100 Gb/s, the 160 MB of LLaMA-2-7B's adapter take about 25 ms a step more.",
    "Shares are taken to be equal. Rows and questions are dealt longest first, but answers are "
    "longer or shorter than they seem; the measurement with several GPUs has that in it.",
    "Answers end where their references do, after 512 tokens at the latest.",
    "Left out, for they were not measured: downloads, validation and checkpoints, the checks of "
    "the decoding model, BERTScore.",
    "A model that is inferred was not timed in these runs. Its seconds are another's of about its "
    "size, times what both make of the tokens per second of one GPU in `finetune.csv` and "
    "`generate.csv`.",
    "A card that is slower than this one takes longer by about as much: measure it.",
)


def _measured(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    return (
        titles[row["model"]],
        str(row["gpus"]),
        whole(row["one_tok_s"]),
        whole(row["together_tok_s"]),
        number(row["times"]),
        number(1000 * row["sum_s"], decimals=2),
    )


def _cells(row: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[str, ...]:
    minutes = (row[name] / 60 for name in ("finetune_s", "decode_s", "start_s", "total_s"))
    return (
        titles[row["model"]],
        str(row["gpus"]),
        *(number(value, decimals=1) for value in minutes),
        number(row["gpu_hours"]),
        number(row["times"], decimals=1),
    )


def _blanks(frame: pd.DataFrame, titles: Mapping[str, str]) -> tuple[str, ...]:
    """One paragraph that says why a number is blank, or where it comes from; or none."""
    noted = frame[frame["note"] != ""]
    points = (
        f"{titles[model]} on {listed(map(str, part['gpus']))}: {_named(note, titles)}."
        for (model, note), part in noted.groupby(["model", "note"], sort=False)
    )
    return (escape(" ".join(points)),) if len(noted) else ()


def _named(note: str, titles: Mapping[str, str]) -> str:
    for key, title in titles.items():
        note = note.replace(f"from {key}:", f"from {title}:")
    return note


def _reading(frame: pd.DataFrame, titles: Mapping[str, str]) -> list[str]:
    known = frame.dropna(subset=["total_s"])
    alone = known[known["gpus"] == 1]
    names = listed(titles[key] for key in alone["model"])
    lines = [
        f"{names} one after another on one GPU: {number(alone['total_s'].sum() / 60, decimals=0)} "
        f"minutes. A model per GPU, {len(alone)} beside each other, as a study does by itself: "
        f"{number(alone['total_s'].max() / 60, decimals=0)} minutes for the same GPU hours. "
        "Nothing is shared, and nothing waits."
    ]
    for gpus in sorted(set(known["gpus"]) - {1}):
        part = known[known["gpus"] == gpus]
        lines.append(
            f"{gpus} GPUs on each model in turn: "
            f"{number(part['total_s'].sum() / 60, decimals=0)} minutes, "
            f"{number(part['gpu_hours'].sum())} GPU hours instead of "
            f"{number(alone['gpu_hours'].sum())}."
        )
    least = known.groupby("model", sort=False)["step_s"].min().items()
    floors = listed(f"{number(value, decimals=2)} s ({titles[key]})" for key, value in least)
    lines.append(
        f"A step takes at least {floors}, however few rows it has, and each model is started "
        "twice: a larger batch or a longer study would use more GPUs better."
    )
    return lines
