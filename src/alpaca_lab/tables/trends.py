"""What a knob does as a whole, and whether the noise is what it should be: two small tables.

Fixed before any answer is read: one linear contrast per knob and model, in ROUGE-L, from greedy to
the knob's largest value; and one comparison of a cell with itself that must come out null.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import stats
from ..estimates import PRIMARY, Scored, by_cluster, differences
from ..sweep import AXES, GREEDY, Cell
from ..table_files import rounded
from .scores import Evidence

MARGIN = 1.0
"""Points of ROUGE-L within which a change is called none: fixed in advance."""
ALPHA = 0.05
FLOATS = (
    "mean", "ci_low", "ci_high", "effect_size", "mde",
    "p", "p_holm", "margin", "p_equivalence", "p_equivalence_holm",
)  # fmt: skip
CONTRAST_COLUMNS = ("model", "axis", "from", "to", "n", *FLOATS, "verdict", "run", "note")
SETTING_COLUMNS = ("model", "axis", "value", "n", *FLOATS, "verdict", "run", "note")
AA_COLUMNS = (
    "model", "cell", "repeats", "n", "mean", "ci_low", "ci_high", "p", "p_holm", "run", "note",
)  # fmt: skip


def contrast_table(evidence: Evidence) -> pd.DataFrame:
    """Return one row per model and axis: the linear change of ROUGE-L over the whole knob.

    Greedy is the knob's first value: temperature 0, one beam, top-k 1. Beams and top-k double from
    value to value, so they are spaced by their logarithm.

    Returns:
        Columns `CONTRAST_COLUMNS`. `mean` is the fitted change from `from` to `to`, in points, over
        questions scored at every value; p is a sign-flip test, `p_equivalence` that of a change
        beyond `margin` (two one-sided t tests), each corrected by Holm over this table. `verdict`
        is "changes", "equivalent" (within the margin), or "inconclusive".
    """
    rows = []
    for model in evidence.spec.models:
        for axis in AXES:
            cells = [cell for cell in evidence.cells if cell.axis == axis]
            if cells:
                runs = [evidence.runs[model.key, name] for name in (GREEDY, *_names(cells))]
                labels = {"model": model.key, "axis": axis}
                rows.append(labels | _contrast(axis, cells, runs))
    return _judged(rows, CONTRAST_COLUMNS)


def setting_table(evidence: Evidence) -> pd.DataFrame:
    """Return one row per model and setting but greedy: what it changes of greedy's ROUGE-L.

    Where `contrast_table` speaks of a knob as a whole, this speaks of each of its values, at the
    price of a larger family.

    Returns:
        Columns `SETTING_COLUMNS`, in sweep order. `mean` is the difference from greedy of the same
        model, in points; `p` and `p_holm` are those of the axis tables, `p_equivalence` that of a
        difference beyond `margin`, corrected by Holm over this table too. `verdict` as there.
    """
    rows = []
    for model in evidence.spec.models:
        greedy = evidence.runs[model.key, GREEDY]
        for cell in (cell for cell in evidence.cells if cell.axis):
            run = evidence.runs[model.key, cell.name]
            labels = {"model": model.key, "axis": cell.axis, "value": f"{cell.value:g}"}
            found = {"margin": MARGIN, "run": run.run, "note": ""}
            rows.append(labels | found | _tested(differences(run, greedy)))
    return _judged(rows, SETTING_COLUMNS)


def aa_table(evidence: Evidence) -> pd.DataFrame:
    """Return one row per model: its noisiest cell's repeats split in two and compared.

    Both halves are the same setting, so a difference is noise: a p that survives Holm over the
    models says that the intervals of this study are not to be trusted.

    Returns:
        Columns `AA_COLUMNS`; `mean` is the first half minus the second, in points of ROUGE-L.
    """
    rows = []
    for model in evidence.spec.models:
        cell = noisiest(evidence.cells)
        row = {"model": model.key, "cell": cell.name if cell else "", "n": 0, "note": ""}
        rows.append(row | _halves(cell, evidence.runs[model.key, cell.name] if cell else None))
    _adjust(rows, "p", "p_holm")
    floats = ("mean", "ci_low", "ci_high", "p", "p_holm")
    return rounded(pd.DataFrame(rows, columns=list(AA_COLUMNS)), floats)


def _contrast(axis: str, cells: Sequence[Cell], runs: Sequence[Scored]) -> dict[str, Any]:
    largest = max(cells, key=lambda cell: cell.value)
    positions = [position(axis, None), *(position(axis, cell.value) for cell in cells)]
    by_question = pd.concat([run.questions[PRIMARY] for run in runs], axis=1).dropna()
    clusters = runs[0].clusters.reindex(by_question.index)
    row = {
        "from": "1" if axis == "num_beams" else GREEDY,
        "to": f"{largest.value:g}",
        "run": " ".join(run.run for run in runs),
        "margin": MARGIN,
        "note": "",
    }
    if by_question.empty:
        return row | {"n": 0, "note": "no question is scored at every value"}
    changes = pd.Series(stats.linear_contrast(by_question.to_numpy(), positions), clusters.index)
    return row | _tested(by_cluster(changes, clusters))


def _tested(changes: np.ndarray) -> dict[str, Any]:
    if len(changes) < 2:
        return {"n": len(changes), "note": "one question has no interval"}
    found = stats.t_interval(changes)
    return {
        "n": found.n,
        "mean": found.mean,
        "ci_low": found.low,
        "ci_high": found.high,
        "effect_size": found.effect_size,
        "mde": stats.minimum_detectable_effect(found.sd, found.n),
        "p": stats.sign_flip_p(changes),
        "p_equivalence": stats.equivalence_p(changes, margin=MARGIN),
    }


def position(axis: str, value: float | None) -> float:
    """Return where a value stands on its knob: a temperature as it is, others by log2.

    Args:
        axis: The knob, one of `sweep.AXES`.
        value: Its value; None for greedy, which is temperature 0, one beam, top-k 1.
    """
    if axis == "temperature":
        return value or 0.0
    return math.log2(value or 1)


def _halves(cell: Cell | None, run: Scored | None) -> dict[str, Any]:
    if cell is None or run is None:
        return {"note": "no sampled setting has two repeats"}
    row = {"repeats": cell.repeats, "run": run.run}
    by_repeat = run.scores.pivot(index="id", columns="repeat", values=PRIMARY).dropna()
    if len(by_repeat) < 2:
        return row | {"note": "fewer than two questions are scored in every repeat"}
    moves = pd.Series(stats.split_half(by_repeat.to_numpy()), by_repeat.index)
    tested = _tested(by_cluster(moves, run.clusters.reindex(by_repeat.index)))
    return row | {name: value for name, value in tested.items() if name in AA_COLUMNS}


def noisiest(cells: Sequence[Cell]) -> Cell | None:
    """Return the repeated cell of the highest temperature, then of the widest top-k, if any."""
    sampled = [cell for cell in cells if cell.setting.do_sample and cell.repeats > 1]

    def noise(cell: Cell) -> tuple[float, float]:
        return cell.setting.temperature, cell.setting.top_k or math.inf

    return max(sampled, key=noise, default=None)


def _names(cells: Sequence[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def _adjust(rows: Sequence[dict[str, Any]], name: str, adjusted: str) -> None:
    family = [row for row in rows if row.get(name) is not None]
    if family:
        for row, p in zip(family, stats.holm([row[name] for row in family]), strict=True):
            row[adjusted] = float(p)


def _judged(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return the table of a family of changes, each corrected over it and with its verdict."""
    _adjust(rows, "p", "p_holm")
    _adjust(rows, "p_equivalence", "p_equivalence_holm")
    for row in rows:
        row["verdict"] = _verdict(row)
    return rounded(pd.DataFrame(rows, columns=list(columns)), FLOATS)


def _verdict(row: dict[str, Any]) -> str:
    if row.get("p_holm", 1.0) < ALPHA:
        return "changes"
    return "equivalent" if row.get("p_equivalence_holm", 1.0) < ALPHA else "inconclusive"
