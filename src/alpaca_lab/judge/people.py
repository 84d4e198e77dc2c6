"""What people rate of the same study, as a judge can be set beside it. Nothing is written there."""

import pandas as pd

from ..human import plan as plans
from ..human import values
from ..human.rubric import ACCEPTABILITY, PAIRWISE
from ..store import Record
from .pairs import ANSWERED, Opponent, Pair

MODES: dict[str, Opponent] = {ACCEPTABILITY: "reference", PAIRWISE: "greedy"}
"""What a judge's answer has for an opponent where people rate in that mode."""
PAIR = ["model", "cell", "repeat", "id", "cluster"]


def planned_pairs(record: Record) -> list[Pair]:
    """Return the pairs that people are asked about: a setting's answer beside its own greedy one.

    Returns:
        Those of the study's pairwise plan, rated or not, ordered by what they are; none without a
        plan.
    """
    if not plans.exists(record, PAIRWISE):
        return []
    items = plans.read(record, PAIRWISE).items.values()
    questions = {question["id"]: question for question in record.questions()}
    texts = {
        run_id: {
            (row["id"], row["repeat"]): row["text"] if row["status"] in ANSWERED else None
            for row in record.run(run_id).answers()
        }
        for run_id in {run for item in items for run in (item.run, item.opponent)}
    }
    pairs = [
        Pair(
            id=item.question,
            cluster=item.cluster,
            model=item.model,
            cell=item.cell,
            repeat=item.repeat,
            instruction=questions[item.question]["instruction"],
            input=questions[item.question]["input"],
            answer=texts[item.run].get((item.question, item.repeat)),
            opponent="greedy",
            opponent_answer=texts[item.opponent].get((item.question, 0)),
            runs=(item.run, item.opponent),
        )
        for item in items
    ]
    return sorted(pairs, key=lambda pair: pair.key)


def ratings(record: Record) -> pd.DataFrame:
    """Return people's ratings as `verdicts_table.agreement` takes them, averaged over raters.

    Returns:
        Columns opponent, model, cell, repeat, id, cluster, score in [0, 1].
    """
    frames = []
    for mode, opponent in MODES.items():
        rated = values.read(record, mode).rows.dropna(subset=["value"])
        means = rated.groupby(PAIR, as_index=False)["value"].mean()
        frames.append(means.rename(columns={"value": "score"}).assign(opponent=opponent))
    return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
