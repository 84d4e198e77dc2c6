"""Ten greedy answers, to tell whether an export is the model that it was made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..decoding import checks, slots
from ..decoding.jobs import Finished, Job, ids_sha256
from ..endings import OneSentence
from ..sweep import GREEDY
from .source import Source

Answers = Mapping[str, Finished]
"""Answers by the id of their question."""


class DifferentAnswer(OneSentence, ValueError):
    """An export does not answer as the model did that it was made of."""


def jobs(tokenizer: Any, source: Source) -> list[Job]:
    """Return the questions that an export is asked, with the study's budget."""
    return checks.greedy_jobs(
        tokenizer, source.questions, max_new_tokens=source.study.max_new_tokens
    )


def greedy(model: Any, tokenizer: Any, source: Source) -> dict[str, Finished]:
    """Return a model's greedy answers, decoded as the study decodes."""
    found = slots.decode(
        model,
        jobs(tokenizer, source),
        slots=min(len(source.questions), source.study.slots),
        eos_token_id=tokenizer.eos_token_id,
        seed=source.study.seed,
    )
    by_id = {finished.job.question: finished for finished in found}
    return {question["id"]: by_id[question["id"]] for question in source.questions}


def require_same(ours: Answers, theirs: Answers, *, what: str) -> None:
    """Refuse an export that decodes another token anywhere.

    Args:
        ours: Of the model that was exported.
        theirs: Of what was read back.
        what: What was read back, for the message.

    Raises:
        DifferentAnswer: With the first question and the first token that differ.
    """
    for number, (question, one) in enumerate(ours.items(), start=1):
        other = theirs[question]
        if one.job.prompt_ids != other.job.prompt_ids:
            raise DifferentAnswer(
                f"{what} reads question {number} ({question}) as other tokens than the model that "
                "was exported: its tokenizer is not the same, so nothing was kept"
            )
        place = first_difference(tokens(one), tokens(other))
        if place is not None:
            raise DifferentAnswer(
                f"{what} answers question {number} ({question}) differently from token "
                f"{place + 1} on: {_token(one, place)} in the model that was exported, "
                f"{_token(other, place)} in the export, so nothing was kept"
            )


def tokens(answer: Finished) -> tuple[int | None, ...]:
    """Return an answer's tokens; None stands for the end that the model chose."""
    return (*answer.ids, None) if answer.finish_reason == "eos" else answer.ids


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int | None:
    """Return the index of the first place where two sequences differ, None where they are equal.

    Example:
        >>> first_difference((5, 6), (5, 6, 7)), first_difference((5, 6), (5, 6))
        (2, None)
    """
    for place in range(max(len(one), len(other))):
        if one[place : place + 1] != other[place : place + 1]:
            return place
    return None


def agreeing(source: Source, answers: Answers) -> int | None:
    """Return how many answers are, to the token, those that the study recorded as greedy.

    None where the study has no greedy answer to each of the questions.
    """
    run_id = source.record.index()["runs"].get(source.spec.key, {}).get(GREEDY)
    if run_id is None:
        return None
    recorded = {row["id"]: row["ids_sha256"] for row in source.record.run(run_id).answers()}
    if not answers.keys() <= recorded.keys():
        return None
    return sum(recorded[question] == ids_sha256(one.ids) for question, one in answers.items())


def _token(answer: Finished, place: int) -> str:
    found = tokens(answer)[place : place + 1]
    return "nothing more" if not found else "the end" if found[0] is None else f"token {found[0]}"
