"""What is judged: pairs of an answer and the opponent that it is compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..config import study_from_dict
from ..files import RecordError
from ..scoring.controls import COPY, EMPTY, OTHER
from ..store import CONTROL, Record, Run
from ..sweep import BASE, GREEDY

Opponent = Literal["reference", "greedy"]
"""What an answer is compared with: the held-out reference, or its model's own greedy answer."""
ANSWERED = ("ok", EMPTY)
"""Statuses with an answer; silence is one."""
Key = tuple[str, str, str, int, str]
"""Opponent, model, cell, repeat and question: no two pairs of a judging share all five."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One answer and its opponent, with the question that both answer."""

    id: str
    """Id of the question."""
    cluster: str
    """Its cluster of near-duplicates: the unit of every interval."""
    model: str
    """Key of the model that answered, `store.CONTROL` for a floor."""
    cell: str
    """Name of its cell in study.json, such as "greedy", "base" or "temperature=0.5"."""
    repeat: int
    """Which answer to this question in this cell, from 0."""
    instruction: str
    input: str
    """Empty where the question has none."""
    answer: str | None
    """The answer's text; None where decoding it failed or ran out of memory."""
    opponent: Opponent
    opponent_answer: str | None
    """The opponent's text; None where there is none."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that the texts are from."""

    @property
    def key(self) -> Key:
        """What tells this pair from every other."""
        return self.opponent, self.model, self.cell, self.repeat, self.id

    @property
    def is_missing(self) -> bool:
        """True where one of the two texts does not exist; an empty answer does."""
        return self.answer is None or self.opponent_answer is None

    @property
    def is_identical(self) -> bool:
        """True where both say the same, white space around it aside: there is no better one."""
        if self.answer is None or self.opponent_answer is None:
            return False
        return self.answer.strip() == self.opponent_answer.strip()


def reference_pairs(record: Record, *, questions: int | None = None) -> list[Pair]:
    """Return the answers of the main table's rows, each beside the held-out reference.

    Those are every model's greedy answers, finetuned and untuned, and the three floors, by which a
    judge is judged in turn. The reference itself has no opponent.

    Args:
        record: A study that is decoded and scored.
        questions: Only the first so many in the test order, >= 1; None takes all.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed.
    """
    asked = {question["id"]: question for question in record.questions()[:questions]}
    index = record.index()["runs"]
    models = study_from_dict(record.index()["spec"]).models
    rows = [(model.key, cell) for cell in (GREEDY, BASE) for model in models]
    rows += [(CONTROL, cell) for cell in (EMPTY, COPY, OTHER)]
    pairs = []
    for model, cell in rows:
        run_id = index.get(model, {}).get(cell)
        run = record.run(run_id) if run_id else None
        if run is None or not run.is_sealed:
            stage = "generate, then score" if run is None and model != CONTROL else "score"
            raise RecordError(f"{model}, {cell} is not scored; run `python -m alpaca_lab {stage}`")
        run.verify()
        pairs += _of_run(run, asked, model=model, cell=cell)
    return pairs


def _of_run(
    run: Run, asked: Mapping[str, Mapping[str, Any]], *, model: str, cell: str
) -> list[Pair]:
    """Return the pairs of one run in the order of the questions."""
    answers = {row["id"]: row for row in run.answers() if row["repeat"] == 0}
    return [
        Pair(
            id=key,
            cluster=question["cluster"],
            model=model,
            cell=cell,
            repeat=0,
            instruction=question["instruction"],
            input=question["input"],
            answer=answers[key]["text"] if answers[key]["status"] in ANSWERED else None,
            opponent="reference",
            opponent_answer=question["reference"],
            runs=(run.id,),
        )
        for key, question in asked.items()
    ]
