"""Who answers what: the answers that runs lack, dealt to the processes of a launch.

Questions are dealt whole, so that one process reads a prompt for all of a pass; and those that seem
to take longest first, so that none is left over at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .. import batches, ranks
from ..store import Run
from ..sweep import Cell
from .decoders import Decoder
from .jobs import Job

Question = Mapping[str, Any]
Pass = Mapping[Cell, Run]
"""The cells that are decoded together, and where their answers go."""


class Asked(NamedTuple):
    """What a pass asks of one question."""

    number: int
    """Which question, from 0."""
    answers: list[tuple[Cell, int]]
    """(cell, repeat) of each answer."""


def deal(passes: Sequence[Pass], questions: Sequence[Question]) -> list[list[Asked]]:
    """Return for each pass what its runs lack and this process is to answer.

    The first process looks, so that all deal from the same list.
    """
    lacking = ranks.agree(lambda: [list(_lacking(one, questions)) for one in passes])
    shares = []
    for wanted in lacking:
        sizes = [_size(asked, questions[asked.number]) for asked in wanted]
        mine = batches.share(sizes, count=ranks.count())[ranks.rank()]
        shares.append([wanted[n] for n in sorted(mine)])
    return shares


def jobs(
    share: Sequence[Asked], questions: Sequence[Question], *, decoder: Decoder
) -> Iterator[Job]:
    """Yield a job for each answer, question by question. Encoding a prompt loads the model."""
    for number, answers in share:
        prompt_ids = decoder.encode(questions[number])
        for cell, repeat in answers:
            yield Job(
                question=questions[number]["id"],
                prompt_ids=prompt_ids,
                cell=cell.name,
                setting=cell.setting,
                repeat=repeat,
            )


def _lacking(one: Pass, questions: Sequence[Question]) -> Iterator[Asked]:
    done = {cell: run.done() for cell, run in one.items()}
    for number, question in enumerate(questions):
        answers = [
            (cell, repeat)
            for cell in one
            for repeat in range(cell.repeats)
            if (question["id"], repeat) not in done[cell]
        ]
        if answers:
            yield Asked(number, answers)


def _size(asked: Asked, question: Question) -> int:
    """Return about how long a question takes: its letters and its reference's, for every row."""
    letters = sum(len(question[name]) for name in ("instruction", "input", "reference"))
    return (1 + letters) * sum(cell.setting.num_beams for cell, _ in asked.answers)
