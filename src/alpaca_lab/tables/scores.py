"""From the scores of a study to its tables: long data frames, one number per row.

Nothing here reads an answer's text: all comes from the runs' scores.parquet and manifests.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from .. import stats
from ..estimates import PRIMARY, Scored, by_cluster, correct, estimates
from ..human.rubric import ACCEPTABILITY
from ..judge.verdicts_table import against_references
from ..scoring.controls import REFERENCE
from ..store import CONTROL
from ..sweep import AXES, BASE, GREEDY
from ..table_files import rounded
from . import human
from .evidence import CONTROLS, Evidence
from .likelihoods import likelihoods

COLUMNS = (
    "model", "axis", "value", "metric", "n", "answers", "missing", "repeats",
    "mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "effect_size", "mde",
    "p", "p_holm", "p_bh", "signature", "run", "baseline", "note",
)  # fmt: skip
FLOATS = COLUMNS[COLUMNS.index("mean") : COLUMNS.index("signature")]


def main_table(evidence: Evidence) -> pd.DataFrame:
    """Return the finetuned and the untuned models, decoded greedily, and the controls.

    Returns:
        Columns `COLUMNS`; `value` is "finetuned", "untuned" or one of `CONTROLS`. `delta` is the
        gain of a finetuned model over its untuned base; its p values are corrected over the
        models. The metric "human", on 0-1, is blank until people have rated.
    """
    keys = [model.key for model in evidence.spec.models]
    rows = []
    for key in keys:
        tuned, base = evidence.runs[key, GREEDY], evidence.runs[key, BASE]
        labels = {"model": key, "axis": "", "value": "finetuned", "repeats": 1}
        rows += estimates(tuned, baseline=base, **labels)
        rows += likelihoods(tuned, baseline=base, **labels)
    correct(rows)
    for key in keys:
        labels = {"model": key, "axis": "", "value": "untuned", "repeats": 1}
        rows += estimates(evidence.runs[key, BASE], **labels)
        rows += likelihoods(evidence.runs[key, BASE], **labels)
    for control, value in CONTROLS.items():
        run = evidence.runs[CONTROL, control]
        rows += estimates(run, model=CONTROL, axis="", value=value, repeats=1)
    return _frame(rows + list(_opinions(rows, evidence)), evidence)


def _opinions(rows: list[dict[str, Any]], evidence: Evidence) -> Iterator[dict[str, Any]]:
    """What people think of each row of the main table and, apart from it, what a judge does.

    Blank, and said to be, where nobody has rated it; the judge has rows where one was asked.
    """
    cells = {"finetuned": GREEDY, "untuned": BASE} | {name: cell for cell, name in CONTROLS.items()}
    judged = against_references(evidence.judged) if evidence.judged else None
    identity = ("model", "axis", "value", "repeats", "run", "baseline")
    entries = {(row["model"], row["value"]): {name: row[name] for name in identity} for row in rows}
    for (model, value), entry in entries.items():
        summary = human.summary(evidence.human[ACCEPTABILITY], model, cells[value])
        yield entry | summary | {"metric": "human", "missing": summary["skipped"]}
        if judged is not None and value != CONTROLS[REFERENCE]:
            yield entry | {"metric": "judge"} | judged[model, cells[value]]


def axis_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Return one table per axis of the sweep: every value of the knob, for every model.

    Built together, because the p values of all of them are corrected as one family: every
    setting of every model against greedy of the same model.

    Returns:
        By axis, a frame with columns `COLUMNS`; the first rows of each model are greedy.
    """
    rows = {axis: list(_axis_rows(evidence, axis)) for axis in AXES}
    correct(row for axis in AXES for row in rows[axis])
    return {axis: _frame(rows[axis], evidence) for axis in AXES}


def _axis_rows(evidence: Evidence, axis: str) -> Iterator[dict[str, Any]]:
    for model in evidence.spec.models:
        greedy = evidence.runs[model.key, GREEDY]
        for cell in evidence.cells:
            labels = {"model": model.key, "axis": axis, "repeats": cell.repeats}
            if cell.axis is None:
                value = "1" if axis == "num_beams" else GREEDY
                yield from estimates(greedy, value=value, **labels)
            elif cell.axis == axis:
                run = evidence.runs[model.key, cell.name]
                yield from estimates(run, baseline=greedy, value=f"{cell.value:g}", **labels)


def cost_table(evidence: Evidence) -> pd.DataFrame:
    """Return what each cell of each model is worth and what it took, from the runs' manifests.

    Cells share batches: the seconds of a cell are its share, by new tokens, of the seconds of the
    processes that decoded it.

    Returns:
        Columns model, cell, answers, new_tokens, wall_s, tokens_per_s, peak_gib; rougeL with its
        95% interval rougeL_low, rougeL_high; run.
    """
    rows = []
    for (model, cell), scored in evidence.runs.items():
        if model == CONTROL:
            continue
        manifest = scored.manifest
        rows.append(
            {"model": model, "cell": cell, "answers": len(scored.scores)}
            | {
                name: manifest[name]
                for name in ("new_tokens", "wall_s", "tokens_per_s", "peak_gib")
            }
            | _quality(scored)
            | {"run": scored.run}
        )
    return pd.DataFrame(rows)


def _quality(scored: Scored) -> dict[str, float | None]:
    values = by_cluster(scored.questions[PRIMARY], scored.clusters)
    if len(values) < 2:
        return {"rougeL": values[0].round(6) if len(values) else None}
    found = stats.t_interval(values)
    ends = {"rougeL": found.mean, "rougeL_low": found.low, "rougeL_high": found.high}
    return {name: round(value, 6) for name, value in ends.items()}


def _frame(rows: list[dict[str, Any]], evidence: Evidence) -> pd.DataFrame:
    # `load` refuses runs whose signatures differ, so any of them speaks for all.
    signatures = dict(next(iter(evidence.runs.values())).manifest["signatures"])
    if evidence.judged:
        signatures["judge"] = evidence.judged.recipe
    signed = [row | {"signature": signatures.get(row["metric"], "")} for row in rows]
    return rounded(pd.DataFrame(signed, columns=list(COLUMNS)), FLOATS)
