"""Answers that no model gave: what a score is worth is read between them.

Floors are what silence, copying and a fluent answer to another question earn; the ceiling is the
reference itself, which must score 100 wherever a metric can see it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..progress import say
from ..store import CONTROL, Record

Question = Mapping[str, Any]

EMPTY = "empty"
"""Cell of the empty answer; also the status of an answer that is nothing but whitespace."""
COPY = "copy"
OTHER = "other"
REFERENCE = "reference"


def _silence(place: int, questions: Sequence[Question]) -> str:
    return ""


def _copied(place: int, questions: Sequence[Question]) -> str:
    """The question itself: its instruction, and its input where it has one."""
    question = questions[place]
    return "\n".join(filter(None, (question["instruction"], question["input"])))


def _of_another_row(place: int, questions: Sequence[Question]) -> str:
    """The reference of the next question in test order that is not a near-duplicate of this one."""
    others = (questions[(place + step) % len(questions)] for step in range(1, len(questions)))
    cluster = questions[place]["cluster"]
    return next((other["reference"] for other in others if other["cluster"] != cluster), "")


def _reference(place: int, questions: Sequence[Question]) -> str:
    return questions[place]["reference"]


ANSWERS: dict[str, Callable[[int, Sequence[Question]], str]] = {
    EMPTY: _silence,
    COPY: _copied,
    OTHER: _of_another_row,
    REFERENCE: _reference,
}
"""By cell name: the answer to the question at a place of the test order."""


def answer(record: Record) -> None:
    """Answer every question of a study in each control's way, and enter the runs in its index."""
    questions = record.questions()
    shared = {
        "questions": _sha256("\n".join(question["id"] for question in questions)),
        # No model is asked, but the texts decide the answers and their scores.
        "texts": _sha256(
            "\n".join(
                "\x1f".join(question[name] for name in ("instruction", "input", "reference"))
                for question in questions
            )
        ),
        "repeats": 1,
    }
    runs = {}
    for name, answer_of in ANSWERS.items():
        run = record.open_run({"control": name} | shared)
        runs[name] = run.id
        for sentence in run.mend():
            say(sentence)
        done = set() if run.is_sealed else run.done()
        for place, question in () if run.is_sealed else enumerate(questions):
            if (question["id"], 0) not in done:
                run.append(_line(question, answer_of(place, questions)))
    record.add_runs(CONTROL, runs)


def _line(question: Question, text: str) -> dict[str, Any]:
    return {
        "id": question["id"],
        "repeat": 0,
        "status": "ok" if text.strip() else EMPTY,
        "text": text,
        "ids_sha256": None,
        "n_new_tokens": None,
        "finish_reason": None,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
