"""What decoding takes for granted, measured: slots that change no answer, weights merged truly.

**Identity.** The number of slots should change speed and memory, never an answer. In 16 bits a
matrix product rounds differently for another number of rows, and an answer changes course where
two tokens lie within that rounding. So greedy answers are decoded at several numbers of slots, and
wherever two of them part, the model is asked by plain forward passes how far apart the two tokens
were, and how far rounding alone moves its logits at such a place.

**Agreement.** What was trained is the NF4 base with the adapter beside it; what decodes is that
base dequantised with the adapter merged into it. Both read the references, token for token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import DecodeSetting
from ..encoding import encode_prompt
from .jobs import Finished, Job
from .likelihood import encoded_reference, response_logits

if TYPE_CHECKING:
    import torch

IDENTITY_QUESTIONS = 200
"""Questions whose greedy answers are decoded at several numbers of slots; all, where fewer."""
ALONE_QUESTIONS = 50
"""The same with one slot, where one answer after another takes long."""
IDENTITY_QUESTIONS_CPU = 20
"""The same on a CPU, where one slot after another takes long, and float32 parts no answers."""
AGREEMENT_QUESTIONS = 50
"""Questions whose references the two models read."""
FEW = 8
"""Slots between one and the study's number, and copies of a row in a plain pass."""


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Two greedy answers to one question that part."""

    question: str
    """Id of the question."""
    slots: int
    """With how many slots the second answer was decoded."""
    context: tuple[int, ...]
    """Prompt and common tokens."""
    position: int
    """Index of the first token that differs, from 0."""
    tokens: tuple[int, int]
    """The token of the first answer and that of the second."""


def greedy_jobs(
    tokenizer: Any, questions: Iterable[Mapping[str, Any]], *, max_new_tokens: int
) -> list[Job]:
    """Return a job for the greedy answer to each question.

    Args:
        tokenizer: The model's tokenizer.
        questions: Lines of questions.jsonl.
        max_new_tokens: Response budget.
    """
    setting = DecodeSetting(max_new_tokens=max_new_tokens)
    return [
        Job(
            question=question["id"],
            prompt_ids=tuple(encode_prompt(tokenizer, question["instruction"], question["input"])),
            cell="greedy",
            setting=setting,
            repeat=0,
        )
        for question in questions
    ]


def answers_by_slots(
    decode: Callable[[int], Iterable[Finished]], *, slots: int
) -> list[tuple[int, dict[str, Finished]]]:
    """Return greedy answers decoded with `slots`, 1, 8 and once more `slots` slots.

    Args:
        decode: Yields the answers for a number of slots: to the same questions, or fewer of them.
        slots: The study's number of slots.

    Returns:
        (number of slots, {question: its answer}), in that order.
    """
    widths = (slots, *sorted({1, min(FEW, slots)} - {slots}), slots)
    return [(width, {done.job.question: done for done in decode(width)}) for width in widths]


def identity(
    model: Any,
    answers: Sequence[tuple[int, Mapping[str, Finished]]],
    *,
    slots: int,
    eos_token_id: int,
) -> dict[str, Any]:
    """Compare the same greedy answers as decoded with several numbers of slots.

    Args:
        model: The Transformers model that decoded them, in eval mode.
        answers: What `answers_by_slots` returns; the prompts have two tokens or more. Those of the
            first number of slots are to all questions.
        slots: The study's number of slots.
        eos_token_id: The token that ends an answer.

    Returns:
        `slots` and `dtype`. `pairs`, one per number compared with the first: slots, n answers
        compared, identical. `partings`, one per two answers that part: question, slots, position,
        tokens; `gap`, by how much the likeliest token there leads the less likely of the two, and
        `noise`, both in logits. Over the partings: `max_gap`, `max_noise` and `within_noise`, the
        share whose gap is at most their noise; None where no answers part.
    """
    (_, first), *rest = answers
    pairs, partings = [], []
    for width, second in rest:
        parted = [
            parting
            for question in second
            for parting in _parting(
                first[question], second[question], slots=width, eos_token_id=eos_token_id
            )
        ]
        pairs.append({"slots": width, "n": len(second), "identical": len(second) - len(parted)})
        partings += parted
    measured = _gaps(model, partings)
    within = [entry["gap"] <= entry["noise"] for entry in measured]
    return {
        "slots": slots,
        "dtype": str(model.dtype).removeprefix("torch."),
        "pairs": pairs,
        "partings": measured,
        "max_gap": max((entry["gap"] for entry in measured), default=None),
        "max_noise": max((entry["noise"] for entry in measured), default=None),
        "within_noise": sum(within) / len(within) if within else None,
    }


def _parting(
    first: Finished, second: Finished, *, slots: int, eos_token_id: int
) -> Iterator[Parting]:
    """Yield where two answers to one question part, if they do."""
    one, other = (
        (*finished.ids, eos_token_id) if finished.finish_reason == "eos" else finished.ids
        for finished in (first, second)
    )
    for position, tokens in enumerate(zip(one, other, strict=False)):
        if tokens[0] != tokens[1]:
            yield Parting(
                question=first.job.question,
                slots=slots,
                context=(*first.job.prompt_ids, *one[:position]),
                position=position,
                tokens=tokens,
            )
            return


def _gaps(model: Any, partings: Sequence[Parting]) -> list[dict[str, Any]]:
    """Return each parting with its gap and its noise.

    Noise is how far two ways of computing the same logits lie apart, the most over all places and
    tokens, and one unit in the last place of the model's dtype at the leading logit: a logit that
    is not computed is not known any better than that.
    """
    import torch

    found, moved = [], 0.0
    for parting in partings:
        with torch.inference_mode():
            alone, *others = _ways(model, parting.context)
            moved = max(moved, *(float((other - alone).abs().max()) for other in others))
            lead = float(alone.max())
            gap = lead - float(alone[list(parting.tokens)].min())
        found.append((parting, gap, _unit(lead, model.dtype)))
    return [
        {
            "question": parting.question,
            "slots": parting.slots,
            "position": parting.position,
            "tokens": list(parting.tokens),
            "gap": gap,
            "noise": moved + unit,
        }
        for parting, gap, unit in found
    ]


def _ways(model: Any, context: Sequence[int]) -> Iterator[torch.Tensor]:
    """Yield the next token's logits in float32: alone, as one of eight copies, and step by step."""
    import torch

    def last(ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
        return model(input_ids=ids, logits_to_keep=1, **inputs).logits[0, -1].float()

    row = torch.tensor([list(context)], device=model.device)
    yield last(row, use_cache=False)
    yield last(row.expand(FEW, -1), use_cache=False)
    before = model(input_ids=row[:, :-1], use_cache=True, logits_to_keep=1).past_key_values
    yield last(row[:, -1:], past_key_values=before, use_cache=True)


def _unit(value: float, dtype: torch.dtype) -> float:
    """Return the distance of neighbouring numbers of a dtype around `value`."""
    import torch

    info = torch.finfo(dtype)
    return info.eps * 2.0 ** math.floor(math.log2(max(abs(value), info.smallest_normal)))


def reference_logits(
    model: Any, tokenizer: Any, questions: Iterable[Mapping[str, Any]]
) -> dict[str, torch.Tensor]:
    """Return the logits of every token of each reference and its EOS, read after the prompt.

    Args:
        model: A Transformers causal language model in eval mode.
        tokenizer: Its tokenizer.
        questions: Lines of questions.jsonl.

    Returns:
        By question id (tokens, vocabulary), in the model's dtype, in the host's memory: about
        300 MB for 50 questions of a 7B model. References that do not fit the context are left out.
    """
    found = {}
    for question in questions:
        encoded = encoded_reference(model, tokenizer, question)
        if encoded is not None:
            found[question["id"]] = response_logits(model, encoded).cpu()
    return found


def agreement(
    ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Compare the logits of two models that read the same references, from `reference_logits`.

    Returns:
        `questions` and `tokens` compared; `agreement`, the share of tokens in [0, 1] at which both
        find the same token likeliest; `max_difference` and `mean_difference` of the logits,
        absolute, over the vocabulary, None where a logit is not a number; `dtype` of the logits.

    Raises:
        ValueError: If there is nothing to compare.
    """
    tokens = same = 0
    largest, total, compared = 0.0, 0.0, 0
    for question, one in ours.items():
        a, b = one.float(), theirs[question].float()
        difference = (a - b).abs()
        tokens += len(a)
        same += int((a.argmax(-1) == b.argmax(-1)).sum())
        largest = max(largest, float(difference.max()))
        total += float(difference.double().sum())
        compared += difference.numel()
    if not tokens:
        raise ValueError("no reference fits the model's context: there is nothing to compare")
    defined = math.isfinite(total)
    return {
        "questions": len(ours),
        "tokens": tokens,
        "agreement": same / tokens,
        "max_difference": largest if defined else None,
        "mean_difference": total / compared if defined else None,
        "dtype": str(one.dtype).removeprefix("torch."),
    }
