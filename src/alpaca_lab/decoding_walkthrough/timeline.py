"""Who sat in which slot when: as the decode loop told it, and as static batches would have it.

Pure bookkeeping over what `slots.decode` reports; nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import pandas as pd

from ..decoding.jobs import Finished, Job, Step


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Answers in slots over the steps of a model."""

    turns: pd.DataFrame
    """A row per stay in a slot: slot, start and end (steps, the end not included), cell, question
    (id)."""
    slots: int
    read: tuple[int, ...]
    """By step, the rows that read a prompt's token while the others drew."""
    drawn: int
    """Slot-steps that drew a token of an answer."""

    @property
    def steps(self) -> int:
        """Steps until the last answer ended."""
        return len(self.read)

    @property
    def drawing(self) -> float:
        """Share of the slot-steps that drew a token of an answer, in [0, 1]."""
        return self.drawn / (self.slots * self.steps)

    @property
    def reading(self) -> float:
        """Share of the slot-steps that read a token of a prompt, in [0, 1]."""
        return sum(self.read) / (self.slots * self.steps)


def watched(steps: Sequence[Step]) -> Timeline:
    """Return what a decode loop told, step by step.

    Args:
        steps: All that `watch` was called with, in order; at least one.
    """
    slots, turns = len(steps[0].jobs), []
    for slot in range(slots):
        start = 0
        for job, stay in groupby(step.jobs[slot] for step in steps):
            end = start + sum(1 for _ in stay)
            if job is not None:
                turns.append(_turn(slot, start, end, job))
            start = end
    return Timeline(
        turns=_frame(turns),
        slots=slots,
        read=tuple(step.read for step in steps),
        drawn=sum(step.drawn for step in steps),
    )


def static(answers: Iterable[Finished], *, slots: int) -> Timeline:
    """Return how static batches would have decoded the same answers.

    A batch holds answers of one setting, as a call of `generate` does, begins when the one before
    has ended, and ends with its longest answer. Its first step reads all of its prompts at once.

    Args:
        answers: In any order; settings keep the order in which they first come.
        slots: Answers in a batch.
    """
    by_cell: dict[str, list[Finished]] = {}
    for answer in answers:
        by_cell.setdefault(answer.job.cell, []).append(answer)
    turns, start = [], 0
    for of_cell in by_cell.values():
        waiting = iter(of_cell)
        while batch := list(islice(waiting, slots)):
            turns += [
                _turn(slot, start, start + answer.n_new_tokens, answer.job)
                for slot, answer in enumerate(batch)
            ]
            start += max(answer.n_new_tokens for answer in batch)
    frame = _frame(turns)
    drawn = int((frame["end"] - frame["start"]).sum())
    return Timeline(turns=frame, slots=slots, read=(0,) * start, drawn=drawn)


def _turn(slot: int, start: int, end: int, job: Job) -> tuple[int, int, int, str, str]:
    return slot, start, end, job.cell, job.question


def _frame(turns: list[tuple[int, int, int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(turns, columns=["slot", "start", "end", "cell", "question"])


def columns_over_time(steps: Sequence[Step]) -> pd.DataFrame:
    """Return the pool over time.

    Args:
        steps: All that `watch` was called with, in order, of a pool that never ran dry.

    Returns:
        Columns step; used, columns in use; copied, what the answers in slots would take if each
        had the prompt's columns for itself.
    """
    rows, ages, before = [], [0] * len(steps[0].jobs), steps[0].jobs
    for place, step in enumerate(steps):
        pairs = zip(ages, before, step.jobs, strict=True)
        ages = [age + 1 if job == last else 1 for age, last, job in pairs]
        # An answer's first row reads the prompt's last token: so many columns, but one.
        seats = zip(ages, step.jobs, strict=True)
        copied = sum(len(job.prompt_ids) - 1 + age for age, job in seats if job is not None)
        rows.append((place, step.used, copied))
        before = step.jobs
    return pd.DataFrame(rows, columns=["step", "used", "copied"])


def reserved(answers: Iterable[Finished], *, slots: int) -> tuple[int, int]:
    """Return the columns that a cache of one row per slot would have to set aside.

    Args:
        answers: What was decoded.
        slots: Rows.

    Returns:
        For the longest prompt with its whole budget, which is known beforehand; and for the
        longest prompt and answer that came, which is not.
    """
    answers = list(answers)
    budget = max(len(a.job.prompt_ids) + a.job.setting.max_new_tokens for a in answers)
    came = max(len(a.job.prompt_ids) + a.n_new_tokens for a in answers)
    return slots * budget, slots * came
