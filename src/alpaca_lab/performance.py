"""The finetuning benchmark as a table: each arm beside the others, and beside the arithmetic.

benchmarks/finetune.py runs the arms and leaves one JSON line per run. This module reads those
lines; it measures nothing. A line holds

    model, arm, repeat       a key of `profiles.MODELS`, a key of `ARMS` or `RATE`, from 0
    status                   "ok", "failed" or "timeout"
    error                    the sentence that a run without a result ended in, else null
    result                   what the run printed: tok_s, step_s, peak_gib, ... else null
    `CONDITIONS`, commit     under which it ran
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from .arms import ARMS, OURS, RATE, Arm, block_weights, limit
from .config import require
from .pages import render_performance
from .profiles import MODELS
from .store import RESULTS, RecordError, read_lines, write_atomically

if TYPE_CHECKING:
    from IPython.display import Markdown

Row = Mapping[str, Any]

LINES = "finetune.jsonl"
"""The file of lines, below results/performance/."""
CONDITIONS = ("gpu", "cap_gib", "data", "weights", "warm", "steps", "packages")
"""What must be the same in two runs that stand in one table."""
COLUMNS = (
    "model", "arm", "runs", "tok_s", "ratio", "goal", "met", "peak_gib",
    "limit_tok_s", "share_of_limit", "limit_4n", "share_4n", "limit_6n", "share_6n",
    "matrix_tflops", "note",
)  # fmt: skip
FINETUNE = (
    "layout", "micro_batch_tokens", "recomputed_share", "predicted_gib", "device_gib",
    "first_loss", "last_loss", "adapted_layers", "trainable_parameters", "reloaded",
    "load_s", "first_step_s",
)  # fmt: skip
"""What a run of our own arm says beside its speed."""


def alike(rows: Sequence[Row]) -> list[Row]:
    """Return the lines that were run under the `CONDITIONS` of the last one.

    So a file may hold lines of several cards, caps or libraries, and a table those of one.
    """
    return [row for row in rows if all(row[name] == rows[-1][name] for name in CONDITIONS)]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return the last line of each (model, arm, repeat): what was run again counts."""
    return list({(row["model"], row["arm"], row["repeat"]): row for row in rows}.values())


def conditions(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the `CONDITIONS` that all rows share.

    Raises:
        SettingError: If there are no rows, or two differ: speeds of another day, card or library
            are not compared.
    """
    require(bool(rows), "nothing was run yet: run benchmarks/finetune.py")
    first = rows[0]
    for row in rows[1:]:
        for name in CONDITIONS:
            require(
                row[name] == first[name],
                f"{row['model']}, {row['arm']} ran with {name} {row[name]}, the first row with "
                f"{first[name]}: run all arms again (--again), or keep them apart (--raw)",
            )
    return {name: first[name] for name in CONDITIONS}


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one row per model and arm: speed, memory, and the distance to the limit.

    Args:
        rows: Lines of the benchmark, in the order in which they were written.

    Returns:
        Columns `COLUMNS`, unrounded. Speed is the median over an arm's runs, memory their highest.
        What is unknown is blank, and `note` says why.

    Raises:
        SettingError: If the rows do not belong in one table.
    """
    kept = latest(rows)
    conditions(kept)
    present = {row["model"] for row in kept}
    unknown = present - set(MODELS)
    require(not unknown, f"unknown models: {', '.join(sorted(unknown))}")
    return pd.DataFrame(
        [
            line
            for model in MODELS
            if model in present
            for line in _model(model, [row for row in kept if row["model"] == model])
        ],
        columns=list(COLUMNS),
    )


def finetunes(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one row per run of our own arm that came to its end: model, repeat, `FINETUNE`."""
    runs = [row for row in latest(rows) if row["arm"] == OURS and row["status"] == "ok"]
    order = list(MODELS)
    runs.sort(key=lambda row: (order.index(row["model"]), row["repeat"]))
    return pd.DataFrame(
        [
            {"model": run["model"], "repeat": run["repeat"]}
            | {name: run["result"].get(name) for name in FINETUNE}
            for run in runs
        ],
        columns=["model", "repeat", *FINETUNE],
    )


def load(
    name: str = "performance", *, lines: str = LINES, command: str = "benchmarks/finetune.py"
) -> list[Row]:
    """Return the lines of a benchmark's folder below results/ that belong in one table.

    Args:
        name: The folder.
        lines: The file in it.
        command: What leaves that file.

    Raises:
        RecordError: If nothing was run there.
    """
    path = RESULTS / name / lines
    if not path.is_file():
        raise RecordError(f"no {lines} in {path.parent}: run {command}")
    return alike(read_lines(path))


def show(page: str, name: str = "performance") -> "Markdown":
    """Return a written page for display in a notebook: its Markdown file, as it stands.

    Args:
        page: "finetune_summary", or another page without a figure.
        name: The benchmark's folder below results/.

    Raises:
        RecordError: If it has not been written.
    """
    from IPython.display import Markdown

    path = RESULTS / name / f"{page}.md"
    if not path.is_file():
        raise RecordError(f"no {path.name} in {path.parent}: run benchmarks/finetune.py")
    return Markdown(path.read_text(encoding="utf-8"))


def figure(name: str = "performance", *, drawn: str = "finetune") -> Path:
    """Return where a figure of a benchmark's folder below results/ is."""
    return RESULTS / name / f"{drawn}.png"


def write(folder: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """Write the table to `folder`, its page, the README's short one and its figure; return it.

    The files are finetune.csv, finetune.md, finetune_summary.md and finetune.png.
    """
    kept = latest(rows)
    facts = conditions(kept)
    # No condition: our own arm may be run again after a change, beside the same peers.
    facts["commits"] = sorted({row["commit"] or "unknown" for row in kept if row["arm"] == OURS})
    frame = table(kept)
    titles = {key: spec.title for key, spec in MODELS.items() if key in set(frame["model"])}
    write_atomically(folder / "finetune.csv", frame.to_csv(index=False, lineterminator="\n"))
    told = {"facts": facts, "titles": titles}
    page = render_performance.page(frame, finetunes(kept), **told)
    write_atomically(folder / "finetune.md", page)
    write_atomically(
        folder / "finetune_summary.md", render_performance.summary(frame, finetunes(kept), **told)
    )
    write_atomically(folder / "finetune.png", render_performance.figure(frame, titles=titles))
    return frame


def _model(model: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the table's lines of one model."""
    by_arm = {arm.key: [row for row in rows if row["arm"] == arm.key] for arm in ARMS}
    tflops = _median("tflops", [row for row in rows if row["arm"] == RATE])
    ours = _median("tok_s", by_arm[OURS])
    return [_line(model, arm, by_arm[arm.key], tflops=tflops, ours=ours) for arm in ARMS]


def _line(
    model: str, arm: Arm, runs: Sequence[Row], *, tflops: float, ours: float
) -> dict[str, Any]:
    whole = [row["result"] for row in runs if row["status"] == "ok"]
    speed, goal = _median("tok_s", runs), arm.goals.get(model, math.nan)
    ratio, weights = ours / speed, block_weights(model)
    share = arm.recomputed_share
    if share is None and whole:
        share = whole[-1].get("recomputed_share")
    bounds = {name: limit(tflops, weights, recomputed_share=part) for name, part in _BOUNDS}
    own = math.nan if share is None else limit(tflops, weights, recomputed_share=share)
    peaks = [result["peak_gib"] for result in whole if result.get("peak_gib") is not None]
    return {
        "model": model,
        "arm": arm.name,
        "runs": len(whole),
        "tok_s": speed,
        "ratio": ratio,
        "goal": goal,
        "met": None if math.isnan(ratio) or math.isnan(goal) else "yes" if ratio >= goal else "no",
        "peak_gib": max(peaks, default=math.nan),
        "limit_tok_s": own,
        "share_of_limit": speed / own,
        **{f"limit_{name}": bound for name, bound in bounds.items()},
        **{f"share_{name}": speed / bound for name, bound in bounds.items()},
        "matrix_tflops": tflops,
        "note": "; ".join(_notes(arm, runs, share=share, tflops=tflops)),
    }


_BOUNDS = (("4n", 0.0), ("6n", 1.0))


def _notes(arm: Arm, runs: Sequence[Row], *, share: float | None, tflops: float) -> list[str]:
    """Return why something is blank, and what must be known beside the numbers."""
    failed = [row for row in runs if row["status"] != "ok"]
    if not runs:
        return ["not run"]
    if len(failed) == len(runs):
        return [f"no result: {failed[-1]['error']}"]
    results = [row["result"] for row in runs if row["status"] == "ok"]
    notes = [_recomputing(share)]
    if len(runs) > 1:
        notes.append(f"median of {len(results)} runs{_spread(results)}")
    if failed:
        notes.append(f"{len(failed)} of {len(runs)} runs failed: {failed[-1]['error']}")
    if math.isnan(tflops):
        notes.append("no limit: the matrix rate was not measured")
    if any(result.get("peak_gib") is None for result in results):
        notes.append("peak GiB not measured")
    if results[-1].get("layout", "packed") != "packed":
        notes.append(f"rows {results[-1]['layout']}")
    lost = [result for result in results if arm.key == OURS and not result.get("reloaded")]
    if lost:
        notes.append(f"ADAPTER NOT RELOADED: {lost[-1].get('reload_error') or 'not tried'}")
    return notes


def _spread(results: Sequence[Mapping[str, Any]]) -> str:
    speeds = [result["tok_s"] for result in results if result.get("tok_s") is not None]
    return f", {min(speeds):,.0f} to {max(speeds):,.0f}" if len(speeds) > 1 else ""


def _recomputing(share: float | None) -> str:
    if share is None:
        return "no limit of its own: whether it recomputes is not recorded"
    return {0.0: "keeps", 1.0: "recomputes"}.get(share, f"recomputes {share:.0%} of the blocks")


def _median(name: str, runs: Iterable[Row]) -> float:
    """Return the median of a value over the runs that have it; NaN where none has."""
    results = (row["result"] for row in runs if row["status"] == "ok")
    values = [result[name] for result in results if result.get(name) is not None]
    return median(values) if values else math.nan
