"""What of an item a rater sees: the question and the answers, nothing of where they are from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..characters import visible
from ..files import RecordError
from ..store import Record
from .plan import Item


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The texts of one item, as (label, text): plain text, to be shown and never interpreted."""

    question: tuple[tuple[str, str], ...]
    """Instruction, and Input where there is one."""
    answers: tuple[tuple[str, str], ...]
    """One; or two, A and B: side by side where there is room, else one above the other."""


class Texts:
    """The texts behind a study's items, each run read once."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._runs: dict[str, Mapping[tuple[str, int], str]] = {}

    @cached_property
    def _questions(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.record.questions()}

    def of(self, item: Item) -> Shown:
        """Return what a rater sees of an item.

        Raises:
            RecordError: If the study no longer has the answer.
        """
        asked = self._questions.get(item.question)
        if asked is None:
            raise RecordError(
                f"the study in {self.record.folder} no longer asks a question that the plan is "
                "about; move its folder human/ away and write a new plan"
            )
        question = [("Instruction", visible(asked["instruction"]))]
        if asked["input"]:
            question.append(("Input", visible(asked["input"])))
        answers = [self._text(item, item.run, item.repeat, item.text_sha256)]
        if item.opponent:
            answers.append(self._text(item, item.opponent, 0, item.opponent_sha256))
            if item.opponent_left:
                answers.reverse()
        labels = ("Answer A", "Answer B") if item.opponent else ("Answer",)
        return Shown(question=tuple(question), answers=tuple(zip(labels, answers, strict=True)))

    def _text(self, item: Item, run_id: str, repeat: int, text_sha256: str) -> str:
        if run_id not in self._runs:
            try:
                run = self.record.run(run_id)
                run.verify()
            except RecordError:
                # The page shows this sentence, so it must not name the run.
                raise RecordError(
                    f"an answer of the study in {self.record.folder} is gone, or was changed since "
                    "it was scored; run the study again"
                ) from None
            self._runs[run_id] = {(row["id"], row["repeat"]): row for row in run.answers()}
        row = self._runs[run_id].get((item.question, repeat))
        if row is None or _sha256(row["text"]) != text_sha256:
            raise RecordError(
                f"the study in {self.record.folder} no longer has the answer that item {item.id} "
                "was drawn from; move its folder human/ away and write a new plan"
            )
        return "" if row["status"] == "empty" else visible(row["text"])


def _sha256(text: str) -> str:
    """Return what scores.parquet calls text_sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
