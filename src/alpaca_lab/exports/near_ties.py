"""Where two programs' greedy answers part, and whether rounding explains it.

The same weights give other logits in bfloat16 than in more digits. That is how far 16 bits tell two
tokens apart at that place; where the two answers' tokens are closer, either may be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import hardware, models
from .answers import Answers, first_difference

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Two answers to one question that part."""

    question: str
    position: int
    """Index of the first token that differs, from 0."""
    ours: int
    theirs: int
    """The two tokens there; the token that ends an answer is one too."""
    gap: float
    """By how much the likeliest token there leads the less likely of the two, in logits."""
    noise: float
    """How far bfloat16 moves a logit there, the most over the vocabulary."""

    @property
    def is_rounding(self) -> bool:
        """Whether the two tokens are closer than rounding tells apart; no NaN is."""
        return self.gap <= self.noise


def partings(model: Any, ours: Answers, theirs: Answers, *, eos_token_id: int) -> list[Parting]:
    """Return where answers part.

    Args:
        model: The model of `ours`. Its weights are in bfloat16 afterwards.
        ours: Its answers.
        theirs: Another program's answers to the same prompts with the same weights.
        eos_token_id: The token that ends an answer.
    """
    import torch

    places = []
    for question, answer in ours.items():
        one, other = (
            (*a.ids, eos_token_id) if a.finish_reason == "eos" else a.ids
            for a in (answer, theirs[question])
        )
        place = first_difference(one, other)
        if place is not None:
            places.append((question, place, (*answer.job.prompt_ids, *one[:place]), one, other))
    contexts = [context for _, _, context, _, _ in places]
    # A 7B model in float32 does not fit 24 GB; float16 has three more digits than bfloat16 too.
    models.cast(model, torch.float32 if hardware.device() == "cpu" else torch.float16)
    exact = _logits(model, contexts)
    models.cast(model, torch.bfloat16)
    rounded = _logits(model, contexts)
    return [
        Parting(
            question=question,
            position=place,
            ours=one[place],
            theirs=other[place],
            gap=float(a.max() - a[[one[place], other[place]]].min()),
            noise=float((a - b).abs().max()),
        )
        for (question, place, _, one, other), a, b in zip(places, exact, rounded, strict=True)
    ]


def _logits(model: Any, contexts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Return the next token's logits after each context, in float32."""
    import torch

    with torch.inference_mode():
        return [
            model(
                input_ids=torch.tensor([list(context)], device=model.device),
                use_cache=False,
                logits_to_keep=1,
            )
            .logits[0, -1]
            .float()
            for context in contexts
        ]
