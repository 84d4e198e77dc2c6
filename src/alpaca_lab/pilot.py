"""How many questions and repeats a study needs, from one that has been run."""

import pandas as pd

from . import stats
from .config import SettingError
from .estimates import PRIMARY
from .sweep import GREEDY
from .tables.evidence import Evidence
from .tables.trends import noisiest


def plan_table(evidence: Evidence, *, effect: float) -> pd.DataFrame:
    """Return what studies of several sizes would see, judged by this one's noisiest setting.

    Args:
        evidence: The pilot: a scored study, however small.
        effect: Difference from greedy that is to be found, in points of ROUGE-L, > 0.

    Returns:
        Columns model, cell, repeats; "n = 100" and so on, the smallest difference that many
        questions find in 4 of 5 cases; "questions needed" for `effect`. Before correction for many
        comparisons.

    Raises:
        SettingError: If `effect` is not above 0, or no sampled setting was answered twice by two
            questions.
    """
    if not effect > 0:
        raise SettingError(f"effect must be above 0 points, not {effect:g}")
    cell = noisiest(evidence.cells)
    if cell is None:
        raise SettingError(
            "no sampled setting of this study has two repeats, so what varies within a question "
            "is unknown; run it with repeats=2 or more"
        )
    rows = []
    for model in evidence.spec.models:
        run, greedy = evidence.runs[model.key, cell.name], evidence.runs[model.key, GREEDY]
        by_repeat = run.scores.pivot_table(PRIMARY, "cluster", "repeat", dropna=False)
        moves = by_repeat.sub(greedy.scores.groupby("cluster")[PRIMARY].mean(), axis=0).dropna()
        if len(moves) < 2:
            raise SettingError(f"{model.title}: fewer than two questions are scored throughout")
        for row in stats.plan(moves.to_numpy(), effect=effect):
            rows.append(
                {
                    "model": model.title,
                    "cell": cell.name,
                    "repeats": row.repeats,
                    "questions": row.questions,
                    "mde": row.mde,
                    "questions needed": row.questions_needed,
                }
            )
    frame = pd.DataFrame(rows)
    keys = ["model", "cell", "repeats", "questions needed"]
    wide = frame.pivot(index=keys, columns="questions", values="mde").round(2)
    wide.columns = [f"n = {questions}" for questions in wide.columns]
    return wide.reset_index().sort_values(["model", "repeats"], ignore_index=True)
