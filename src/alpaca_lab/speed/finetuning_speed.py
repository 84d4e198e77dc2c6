"""The finetuning benchmark as a table: each arm beside the others, and beside the arithmetic.

benchmarks/finetune.py runs the arms and leaves one JSON line per run; `benchmark_lines`
describes them. This module reads those lines; it measures nothing. A result holds
tok_s, step_s, peak_gib, ...
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..files import write_atomically
from ..profiles import MODELS
from ..store import RESULTS
from . import benchmark_lines, finetuning_page
from .benchmark_lines import (
    Row,
    by_model,
    commits,
    conditions,
    highest,
    latest,
    middle,
    outcome,
    results,
)  # fmt: skip
from .finetuning_arms import ARMS, OURS, RATE, Arm, block_weights, limit

if TYPE_CHECKING:
    from IPython.display import Markdown

COMMAND = "benchmarks/finetune.py"
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
    conditions(kept, CONDITIONS, command=COMMAND)
    return pd.DataFrame(
        [line for model, runs in by_model(kept).items() for line in _model(model, runs)],
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


def load(name: str = "performance", *, lines: str = LINES, command: str = COMMAND) -> list[Row]:
    """Return the lines of a benchmark's folder below results/ that belong in one table.

    Args:
        name: The folder.
        lines: The file in it.
        command: What leaves that file.

    Raises:
        RecordError: If nothing was run there.
    """
    return benchmark_lines.load(RESULTS / name / lines, CONDITIONS, command=command)


def show(page: str, name: str = "performance") -> "Markdown":
    """Return a written page for display in a notebook: its Markdown file, as it stands.

    Args:
        page: "finetune_summary", or another page without a figure.
        name: The benchmark's folder below results/.

    Raises:
        RecordError: If it has not been written.
    """
    return benchmark_lines.show(RESULTS / name / f"{page}.md", command=COMMAND)


def figure(name: str = "performance", *, drawn: str = "finetune") -> Path:
    """Return where a figure of a benchmark's folder below results/ is."""
    return RESULTS / name / f"{drawn}.png"


def write(folder: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """Write the table to `folder`, its page, the README's short one and its figure; return it.

    The files are finetune.csv, finetune.md, finetune_summary.md and finetune.png.
    """
    kept = latest(rows)
    facts = conditions(kept, CONDITIONS, command=COMMAND)
    facts["commits"] = commits(kept, OURS)
    frame = table(kept)
    titles = {key: spec.title for key, spec in MODELS.items() if key in set(frame["model"])}
    write_atomically(folder / "finetune.csv", frame.to_csv(index=False, lineterminator="\n"))
    told = {"facts": facts, "titles": titles}
    page = finetuning_page.page(frame, finetunes(kept), **told)
    write_atomically(folder / "finetune.md", page)
    write_atomically(
        folder / "finetune_summary.md", finetuning_page.summary(frame, finetunes(kept), **told)
    )
    write_atomically(folder / "finetune.png", finetuning_page.figure(frame, titles=titles))
    return frame


def _model(model: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the table's lines of one model."""
    by_arm = {arm.key: [row for row in rows if row["arm"] == arm.key] for arm in ARMS}
    tflops = middle("tflops", results(row for row in rows if row["arm"] == RATE))
    ours = middle("tok_s", results(by_arm[OURS]))
    return [_line(model, arm, by_arm[arm.key], tflops=tflops, ours=ours) for arm in ARMS]


def _line(
    model: str, arm: Arm, runs: Sequence[Row], *, tflops: float, ours: float
) -> dict[str, Any]:
    whole = results(runs)
    speed, goal = middle("tok_s", whole), arm.goals.get(model, math.nan)
    ratio, weights = ours / speed, block_weights(model)
    share = arm.recomputed_share
    if share is None and whole:
        share = whole[-1].get("recomputed_share")
    bounds = {name: limit(tflops, weights, recomputed_share=part) for name, part in _BOUNDS}
    own = math.nan if share is None else limit(tflops, weights, recomputed_share=share)
    return {
        "model": model,
        "arm": arm.name,
        "runs": len(whole),
        "tok_s": speed,
        "ratio": ratio,
        "goal": goal,
        "met": None if math.isnan(ratio) or math.isnan(goal) else "yes" if ratio >= goal else "no",
        "peak_gib": highest("peak_gib", whole),
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
    found = results(runs)
    if not found:
        return outcome(runs, found)
    notes = [_recomputing(share), *outcome(runs, found)]
    if math.isnan(tflops):
        notes.append("no limit: the matrix rate was not measured")
    if any(result.get("peak_gib") is None for result in found):
        notes.append("peak GiB not measured")
    if found[-1].get("layout", "packed") != "packed":
        notes.append(f"rows {found[-1]['layout']}")
    lost = [result for result in found if arm.key == OURS and not result.get("reloaded")]
    if lost:
        notes.append(f"ADAPTER NOT RELOADED: {lost[-1].get('reload_error') or 'not tried'}")
    return notes


def _recomputing(share: float | None) -> str:
    if share is None:
        return "no limit of its own: whether it recomputes is not recorded"
    return {0.0: "keeps", 1.0: "recomputes"}.get(share, f"recomputes {share:.0%} of the blocks")
