"""From the scores of a study to its tables: long data frames, one number per row.

Nothing here reads an answer's text: all comes from the runs' scores.parquet and manifests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import human_tables, stats
from .config import StudySpec, study_from_dict
from .estimates import PRIMARY, Scored, by_cluster, correct, estimates
from .files import RecordError
from .human import values
from .human.rubric import ACCEPTABILITY, MODES
from .human.values import Collected
from .judge.record import Judged, shown
from .judge.verdicts_table import against_references
from .nll import likelihoods
from .scoring.controls import COPY, EMPTY, OTHER, REFERENCE
from .store import CONTROL, MANIFEST, Record
from .sweep import AXES, BASE, GREEDY, Cell, cells
from .table_files import rounded

COLUMNS = (
    "model", "axis", "value", "metric", "n", "answers", "missing", "repeats",
    "mean", "ci_low", "ci_high", "delta", "delta_low", "delta_high", "effect_size", "mde",
    "p", "p_holm", "p_bh", "signature", "run", "baseline", "note",
)  # fmt: skip
FLOATS = COLUMNS[COLUMNS.index("mean") : COLUMNS.index("signature")]
CONTROLS = {
    EMPTY: "empty answer",
    COPY: "copied instruction",
    OTHER: "another row's answer",
    REFERENCE: "reference",
}
"""What the main table calls each control: three floors, and the ceiling."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the tables of a study are made of."""

    spec: StudySpec
    runs: dict[tuple[str, str], Scored]
    """By model key and cell name."""
    human: Mapping[str, Collected]
    """What people rated, by mode."""
    judged: Judged | None = None
    """What a language model judged, if one was asked."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the study, greedy first, in sweep order."""
        return tuple(cells(self.spec))


def load(record: Record) -> Evidence:
    """Read every run that the tables need, each compared with its manifest's sha256 first.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, if two runs
            were scored by different recipes, or a human rating is not valid.
    """
    index = record.index()
    spec = study_from_dict(index["spec"])
    names = [cell.name for cell in cells(spec)]
    wanted = [(model.key, name) for model in spec.models for name in (*names, BASE)]
    runs = {}
    for model, name in (*wanted, *((CONTROL, control) for control in CONTROLS)):
        run_id = index["runs"].get(model, {}).get(name)
        if run_id is None:
            raise RecordError(
                f"{record.folder / 'study.json'} has no run for {model}, {name}; run "
                f"`python -m alpaca_lab {'score' if model == CONTROL else 'generate, then score'}`"
            )
        run = record.run(run_id)
        if not run.is_sealed:
            raise RecordError(
                f"run {run_id} ({model}, {name}) is not scored; run `python -m alpaca_lab score`"
            )
        run.verify()
        runs[model, name] = Scored(
            run=run_id,
            scores=run.scores(),
            manifest=run.manifest(),
            likelihood=run.likelihood(),
        )
    _refuse_mixed_recipes(runs)
    human = {mode: values.read(record, mode) for mode in MODES}
    return Evidence(spec=spec, runs=runs, human=human, judged=shown(record))


def _refuse_mixed_recipes(runs: dict[tuple[str, str], Scored]) -> None:
    first, *others = runs.values()
    for other in others:
        for part in ("signatures", "encoder"):
            if other.manifest[part] != first.manifest[part]:
                raise RecordError(
                    f"runs {first.run} and {other.run} were scored with different {part}; "
                    f"delete {MANIFEST} in both folders and run `python -m alpaca_lab score`"
                )


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
        summary = human_tables.summary(evidence.human[ACCEPTABILITY], model, cells[value])
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
