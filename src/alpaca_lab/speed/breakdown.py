"""Where a finetuning step goes, arm by arm: what the GPU does in it, and how long it waits.

benchmarks/finetune.py --breakdown leaves one JSON line per run; `benchmark_lines` describes
them. A result holds "breakdown", which benchmarks/breakdown.py describes. Nothing is measured here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import SettingError
from ..files import write_atomically
from ..profiles import MODELS
from . import breakdown_figure
from .benchmark_lines import Row, conditions, latest
from .finetuning_arms import ARMS
from .finetuning_speed import CONDITIONS
from .finetuning_speed import load as load_lines

COMMAND = "benchmarks/finetune.py --breakdown"
LINES = "breakdown.jsonl"
"""The file of lines, below results/performance/."""
PARTS = ("products", "attention", "unpacking", "other", "copies", "waiting")
"""Parts of a step, in drawing order."""
SECONDS = ("untraced_step_s", "step_s")
COLUMNS = ("model", "arm", "steps", *SECONDS, *PARTS, "launches", "note")


def load(name: str = "performance") -> list[Row]:
    """Return the lines of a folder below results/ that belong in one table.

    Raises:
        RecordError: If nothing was taken apart there.
    """
    return load_lines(name, lines=LINES, command=COMMAND)


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one row per model and arm that was run: the parts of its step.

    Args:
        rows: Lines of the benchmark, in the order in which they were written.

    Returns:
        Columns `COLUMNS`, unrounded: seconds of a step that no profiler saw and of one that it did,
        shares of the latter by part (their sum is 1), and how many kernels and copies it has. A run
        that failed is blank, and `note` says why.

    Raises:
        SettingError: If the rows do not belong in one table.
    """
    kept = latest(rows)
    conditions(kept, CONDITIONS, command=COMMAND)
    found = {(row["model"], row["arm"]): row for row in kept}
    return pd.DataFrame(
        [
            {"model": model, "arm": arm.name, **_line(found[model, arm.key])}
            for model in MODELS
            for arm in ARMS
            if (model, arm.key) in found
        ],
        columns=list(COLUMNS),
    )


def _seen(row: Row) -> Mapping[str, Any] | None:
    """Return what was seen of an arm's steps; None where it failed or trained too few."""
    return (row["result"] or {}).get("breakdown")


def _line(row: Row) -> dict[str, Any]:
    seen = _seen(row)
    if seen is None:
        blank = dict.fromkeys((*SECONDS, *PARTS, "launches"), math.nan)
        why = row["error"] or "the training ended before its steps were taken apart"
        return {**blank, "steps": 0, "note": f"no result: {why}"}
    return {
        **{name: seen[name] for name in ("steps", *SECONDS, "launches")},
        **{part: seen["parts"][part] / seen["step_s"] for part in PARTS},
        "note": "",
    }


def longest(rows: Iterable[Row], model: str, arm: str, *, side: str = "kernels") -> pd.DataFrame:
    """Return what took longest in a step of one arm.

    Args:
        rows: As for `table`.
        model: A key of `profiles.MODELS`.
        arm: A key of `finetuning_arms.ARMS`.
        side: "kernels", on the GPU, or "host", what the host did without what it called.

    Returns:
        ms per step, all calls together; calls per step; longest_ms, of one call; of kernels, their
        part; name. The host's step is one that was recorded with its operators, which makes it
        longer.

    Raises:
        SettingError: If that arm has no result.
    """
    runs = [_seen(row) for row in latest(rows) if (row["model"], row["arm"]) == (model, arm)]
    if not runs or runs[-1] is None:
        raise SettingError(f"{arm} of {model} was not taken apart: run {COMMAND}")
    frame = pd.DataFrame(runs[-1][side])
    frame = frame.assign(ms=1e3 * frame["s"], longest_ms=1e3 * frame["longest_s"])
    part = ["part"] if side == "kernels" else []
    return frame[["ms", "calls", "longest_ms", *part, "name"]]


def write(folder: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """Write the table and its figure to `folder`, breakdown.csv and breakdown.png; return it."""
    frame = table(rows)
    titles = {key: spec.title for key, spec in MODELS.items() if key in set(frame["model"])}
    write_atomically(folder / "breakdown.csv", frame.to_csv(index=False, lineterminator="\n"))
    figure = breakdown_figure.figure(frame, parts=PARTS, titles=titles)
    write_atomically(folder / "breakdown.png", figure)
    return frame
