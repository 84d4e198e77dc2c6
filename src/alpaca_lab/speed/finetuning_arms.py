"""The ways to finetune that the benchmark compares, and what arithmetic allows each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import require
from ..memory import KNOWN_SHAPES
from ..profiles import MODELS

OURS = "alpaca-lab"
RATE = "matrix-rate"
"""Stands among the arms in a line: the GPU's rate, measured beside each model's arms."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to finetune that the table compares."""

    key: str
    """Name in the command line and in the lines of the benchmark."""
    name: str
    """Name as printed: rows (or tokens of a packed row) x what is beside them in a step."""
    goals: Mapping[str, float] = field(default_factory=dict)
    """By model key: how many times this arm's tokens per second we mean to reach."""
    recomputed_share: float | None = 1.0
    """Share of the blocks that run forward again in the backward pass; None: its result says."""


ARMS = (
    Arm(
        key="transformers",
        name="transformers, 2 x 4",
        goals={"llama-2-7b": 12.0, "mistral-7b": 12.0, "phi-2": 12.0},
    ),
    Arm(
        key="unsloth",
        name="unsloth, 2 x 4",
        goals={"llama-2-7b": 5.0, "mistral-7b": 5.0, "phi-2": 9.0},
    ),
    Arm(
        key="unsloth-packed",
        name="unsloth, packed 2048 x 4",
        goals={"llama-2-7b": 1.3, "mistral-7b": 1.3, "phi-2": 4.0},
    ),
    Arm(key="unsloth-varlen", name="unsloth, packed 2048 x 4, varlen"),
    Arm(key=OURS, name="alpaca lab", recomputed_share=None),
)
"""In table order: the original study's two shapes, the best of today, and ours."""


def block_weights(model: str) -> int:
    """Return N, the weights in the linear layers of all blocks of a model.

    Raises:
        SettingError: If the model has no known shape.
    """
    known = [key for key, spec in MODELS.items() if spec.source in KNOWN_SHAPES]
    require(model in known, f'no shape of "{model}": choose from {", ".join(known)}')
    return KNOWN_SHAPES[MODELS[model].source].block_parameters


def limit(tflops: float, weights: int, *, recomputed_share: float) -> float:
    """Return the tokens per second at which the matrix products alone would fill the GPU.

    A token takes 2N FLOP forward and 2N for the gradient of what came in (frozen weights have no
    gradient of their own), and 2N more where the blocks run forward again.

    Args:
        tflops: Measured rate of a large product, TFLOP/s.
        weights: N, as `block_weights` has it.
        recomputed_share: Share of the blocks that run forward again, in [0, 1].

    Example:
        >>> limit(600.0, 10**9, recomputed_share=1.0)
        100000.0
    """
    return tflops * 1e12 / ((4 + 2 * recomputed_share) * weights)
