"""What is asked of the decode loops, and what they hand back."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..config import DecodeSetting, require


@dataclass(frozen=True, kw_only=True)
class Job:
    """One answer to decode."""

    question: str
    """Id of the question."""
    prompt_ids: tuple[int, ...]
    """The rendered prompt in tokens, BOS included where the model has one."""
    cell: str
    """Name of the cell that asks, handed through."""
    setting: DecodeSetting
    repeat: int
    """Which answer to this question in this cell, from 0."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One decoded answer."""

    job: Job
    ids: tuple[int, ...]
    """The answer in tokens, EOS excluded."""
    n_new_tokens: int
    """Tokens decoded, EOS included."""
    finish_reason: Literal["eos", "length"]
    """"eos": the model ended the answer. "length": the budget cut it."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step did, for whoever watches."""

    size: int
    """Rows that were computed."""
    drawn: int
    """Rows that drew a token of an answer."""
    read: int
    """Rows that read a token of a prompt, or again one of an answer that had to wait."""
    used: int
    """Columns in use: what the step reads of the pool when each is read once."""
    seen: int
    """Columns attended to, counted for each row that does."""
    jobs: tuple[Job | None, ...]
    """Who sat in each slot."""


Watch = Callable[[Step], None]
Heard = Callable[[Job, int], None]
"""Told each token of each answer as it lands, in its answer's order, EOS included."""


def finish(job: Job, ids: Sequence[int], *, eos_token_id: int) -> Finished:
    """Return an answer that has ended, by EOS or by its budget.

    Args:
        job: Whose answer it is.
        ids: Its tokens, in which EOS can only be the last.
        eos_token_id: The token that ends an answer.
    """
    if ids[-1] == eos_token_id:
        return Finished(job=job, ids=tuple(ids[:-1]), n_new_tokens=len(ids), finish_reason="eos")
    return Finished(job=job, ids=tuple(ids), n_new_tokens=len(ids), finish_reason="length")


def ids_sha256(ids: Sequence[int]) -> str:
    """Return what an answer's line in answers.jsonl says of its tokens: 16 hex digits."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]


def name_of(job: Job) -> str:
    """Return how messages name a job."""
    return f"question {job.question}, cell {job.cell}"


def refuse_misfits(jobs: Sequence[Job], *, limit: int, columns: int, answers: int = 1) -> None:
    """Check every job before any runs.

    Args:
        jobs: The jobs.
        limit: Tokens that the model attends to.
        columns: Tokens that the pool holds.
        answers: Answers to a question that are begun at once and cannot wait: its beams.

    Raises:
        SettingError: Naming the first job whose prompt is empty, or that does not fit.
    """
    for job in jobs:
        prompt, budget = len(job.prompt_ids), job.setting.max_new_tokens
        needs = f"{prompt} prompt tokens and a budget of {budget}"
        require(prompt > 0, f"{name_of(job)}: the prompt is empty; use prompts.render_prompt")
        require(
            prompt + budget <= limit,
            f"{name_of(job)}: {needs} exceed the {limit} tokens that this model attends to; lower "
            "max_new_tokens or leave the question out",
        )
        require(
            prompt + answers * budget <= columns,
            f"{name_of(job)}: {needs}{f' for {answers} beams' if answers > 1 else ''} exceed the "
            f"{columns} tokens that this GPU's memory holds; lower max_new_tokens or leave the "
            "question out",
        )


def undefined(job: Job, index: int) -> str:
    """Return why a job's token of that index cannot be had."""
    return (
        f"{name_of(job)}, token {index}: the logits hold NaN or infinity; the weights are damaged, "
        "or the dtype overflows: check the adapter's sha256, then finetune again"
    )
