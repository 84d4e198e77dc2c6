"""The decoding benchmark as tables: each arm beside ours, and ours beside the bandwidth.

benchmarks/generate.py runs the arms and leaves one JSON line per run; `benchmark_lines` describes
them. This module reads those lines; it measures nothing. A peer's result holds tok_s, seconds,
new_tokens, peak_gib, ...; ours holds the same per pass under "passes", and what a model costs once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..files import write_atomically
from ..profiles import MODELS
from ..store import RESULTS
from . import benchmark_lines, decoding_page
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
)
from .decoding_arms import BANDWIDTH, OURS_NAME, PEERS, Goal, Peer, step_limit_s
from .decoding_goals import goals
from .finetuning_arms import OURS

if TYPE_CHECKING:
    from IPython.display import Markdown

COMMAND = "benchmarks/generate.py"
LINES = "generate.jsonl"
"""The file of lines, below results/performance/."""
CONDITIONS = ("gpu", "cap_gib", "data", "weights", "questions", "beam_questions", "packages")
"""What must be the same in two runs that stand in one table."""
MEASURED = (
    "cells", "questions", "new_tokens", "seconds", "tok_s", "busy_share", "rows_per_step",
    "step_ms", "limit_tok_s", "share_of_limit", "share_of_limit_read",
)  # fmt: skip
"""What is known of each run, or of each pass of a run of ours; a table has medians."""
COLUMNS = (
    "model", "arm", "pass", "runs", "cells", "questions", "new_tokens", "seconds", "tok_s",
    "ratio", "goal", "met", "peak_gib", "busy_share", "rows_per_step", "step_ms", "copy_tb_s",
    "limit_tok_s", "share_of_limit", "share_of_limit_read", "note",
)  # fmt: skip
ONCE = (
    "load_s", "merge_s", "warm_up_s", "slots", "columns", "predicted_gib", "peak_gib",
)  # fmt: skip
"""What a run of our own arm says of the model: seconds that it costs once, and its memory."""


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return a row per model and peer, each followed by the passes of ours that stand beside it.

    Args:
        rows: Lines of the benchmark, in the order in which they were written.

    Returns:
        Columns `COLUMNS`, unrounded: medians over an arm's runs, of memory the highest. A peer's
        `pass` is the one of ours that it is compared with, and `ratio` how many times its tokens
        per second that pass makes. What is unknown is blank, and `note` says why.

    Raises:
        SettingError: If the rows do not belong in one table.
    """
    kept = latest(rows)
    conditions(kept, CONDITIONS, command=COMMAND)
    return pd.DataFrame(
        [line for model, runs in by_model(kept).items() for line in _model(model, runs)],
        columns=list(COLUMNS),
    )


def once(rows: Iterable[Row]) -> pd.DataFrame:
    """Return one row per run of our own arm that came to its end: model, repeat, `ONCE`.

    `difference` is how far the predicted GiB lie above the highest measured, as a share of these.
    """
    found = by_model(row for row in latest(rows) if row["arm"] == OURS and row["status"] == "ok")
    frame = pd.DataFrame(
        [
            {"model": model, "repeat": run["repeat"]}
            | {name: run["result"].get(name) for name in ONCE}
            for model, runs in found.items()
            for run in sorted(runs, key=lambda run: run["repeat"])
        ],
        columns=["model", "repeat", *ONCE],
    )
    predicted, peak = (frame[name].astype(float) for name in ("predicted_gib", "peak_gib"))
    return frame.assign(difference=predicted / peak - 1)


def load(name: str = "performance") -> list[Row]:
    """Return the lines of a benchmark's folder below results/ that belong in one table.

    Raises:
        RecordError: If nothing was run there.
    """
    return benchmark_lines.load(RESULTS / name / LINES, CONDITIONS, command=COMMAND)


def show(page: str = "generate_summary", name: str = "performance") -> "Markdown":
    """Return a written page for display in a notebook: its Markdown file, as it stands.

    Args:
        page: "generate_summary", or another page without a figure.
        name: The benchmark's folder below results/.

    Raises:
        RecordError: If it has not been written.
    """
    return benchmark_lines.show(RESULTS / name / f"{page}.md", command=COMMAND)


def figure(name: str = "performance") -> Path:
    """Return where the figure of a benchmark's folder below results/ is."""
    return RESULTS / name / "generate.png"


def write(folder: Path, rows: Sequence[Row]) -> pd.DataFrame:
    """Write the tables to `folder`, their page, the README's short one and the figure.

    The files are generate.csv, generate_goals.csv, generate.md, generate_summary.md, generate.png.

    Returns:
        The table, as `table` has it.
    """
    kept = latest(rows)
    facts = conditions(kept, CONDITIONS, command=COMMAND)
    facts["commits"] = commits(kept, OURS)
    frame = table(kept)
    reached = goals(frame)
    titles = {key: spec.title for key, spec in MODELS.items() if key in set(frame["model"])}
    told = {"facts": facts, "titles": titles}
    contents = {
        "generate.csv": frame.to_csv(index=False, lineterminator="\n"),
        "generate_goals.csv": reached.to_csv(index=False, lineterminator="\n"),
        "generate.md": decoding_page.page(frame, reached, once(kept), **told),
        "generate_summary.md": decoding_page.summary(frame, **told),
        "generate.png": decoding_page.figure(frame, titles=titles),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return frame


def _model(model: str, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the table's lines of one model."""
    runs = {
        arm: [row for row in rows if row["arm"] == arm]
        for arm in (BANDWIDTH, OURS, *(peer.key for peer in PEERS))
    }
    tb_s = middle("tb_s", results(runs[BANDWIDTH]))
    for peer in PEERS:
        beside = [_pass(name, runs[OURS], tb_s=tb_s) for name in peer.passes]
        first = _peer(peer, runs[peer.key], ours=beside[0]["tok_s"])
        yield from ({"model": model, "copy_tb_s": tb_s, **line} for line in (first, *beside))


def _peer(peer: Peer, runs: Sequence[Row], *, ours: float) -> dict[str, Any]:
    found = [{**result, "questions": result.get("n"), "cells": 1} for result in results(runs)]
    line = _line(found, runs)
    ratio = ours / line["tok_s"]
    compared = {"ratio": ratio, "goal": peer.goal, "met": Goal(value=peer.goal).met(ratio)}
    return {"arm": peer.name, "pass": peer.passes[0], **line, **compared}


def _pass(name: str, runs: Sequence[Row], *, tb_s: float) -> dict[str, Any]:
    """Return one pass of our own arm."""
    found = [
        _measured(done, result, tb_s=tb_s)
        for result in results(runs)
        for done in result["passes"]
        if done["name"] == name
    ]
    line = _line(found, runs)
    if found and isnan(tb_s):
        line["note"] = "; ".join(filter(None, (line["note"], _NO_LIMIT)))
    return {"arm": OURS_NAME, "pass": name, **line}


_NO_LIMIT = "no limit: the copy bandwidth was not measured"


def _line(found: Sequence[Mapping[str, Any]], runs: Sequence[Row]) -> dict[str, Any]:
    """Return the medians of what was measured, and the note on what was not."""
    notes = outcome(runs, found) if found or not results(runs) else ["not in the result"]
    return {
        "runs": len(found),
        **{name: middle(name, found) for name in MEASURED},
        "peak_gib": highest("peak_gib", found),
        "note": "; ".join(notes),
    }


def _measured(done: Mapping[str, Any], result: Mapping[str, Any], *, tb_s: float) -> dict[str, Any]:
    """Return a pass of a run with what follows from it."""
    known = defaultdict(lambda: nan, {k: v for k, v in done.items() if v is not None})
    fixed = {name: result.get(name) or nan for name in ("weight_bytes", "column_bytes")}
    step_s = known["seconds"] / known["steps"]
    limits = {
        share: known["drawn"] / known["steps"] / step_limit_s(columns=columns, tb_s=tb_s, **fixed)
        for share, columns in (
            ("share_of_limit", known["distinct_columns"]),
            ("share_of_limit_read", known["read_columns"]),
        )
    }
    return {
        **known,
        "peak_gib": result.get("peak_gib"),
        "busy_share": known["busy_slot_steps"] / known["slot_steps"],
        "rows_per_step": known["slot_steps"] / known["steps"],
        "step_ms": 1e3 * step_s,
        "limit_tok_s": limits["share_of_limit"],
        **{share: known["tok_s"] / limit for share, limit in limits.items()},
    }
