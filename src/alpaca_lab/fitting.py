"""How a finetune and a decode are fitted to this card: tokens per pass, answers side by side."""

from .config import ModelSpec, SettingError, StudySpec
from .memory import (
    DecodePlan,
    PassPlan,
    Shape,
    decode_gib,
    finetune_gib,
    padded_gib,
    plan_decode,
    plan_pass,
)
from .weights.architectures import LINEARS

CPU_TOKENS = 4096
"""Tokens per pass on a CPU, where memory is no concern for a model that is trained there."""
MARGIN = 0.04
"""Share of the card left free: what a prediction may miss, and what else runs there."""
STEP_TOKENS_PER_ROW = 150
"""A row's tokens, generously: the mean of Alpaca is 128 under LLaMA's tokenizer."""


def plan(
    study: StudySpec,
    spec: ModelSpec,
    *,
    shape: Shape,
    memory_gib: float | None,
    processes: int = 1,
) -> PassPlan:
    """Return the pass that a finetune begins with, as wished or as fits best.

    Args:
        study: The study; its `resources` hold the wishes.
        spec: Which of its models.
        shape: That model's sizes.
        memory_gib: What the GPU has for it; None on a CPU.
        processes: How many share the rows of a step, each with a GPU of its own.

    Raises:
        SettingError: If the smallest pass needs more than there is, or a wish contradicts the
            recipe.
    """
    wish, recipe = study.resources, study.train
    trainable = shape.lora_parameters(study.lora.rank, spec.lora_targets)
    packed = recipe.packing and study.lora.dropout == 0
    packed &= set(LINEARS.get(shape.architecture, ())) == set(spec.lora_targets)
    if wish.micro_batch_tokens is not None and wish.micro_batch_tokens < recipe.max_length:
        raise SettingError(
            f"resources.micro_batch_tokens={wish.micro_batch_tokens} does not hold a row of "
            f"max_length={recipe.max_length}: raise the one or lower the other"
        )

    def as_wished(tokens: int, recompute: float) -> PassPlan:
        sizes = {"trainable": trainable, "micro_batch_tokens": tokens}
        if packed:
            gib = finetune_gib(shape, **sizes, recompute=recompute)
        else:
            gib = padded_gib(shape, **sizes)
        return PassPlan(micro_batch_tokens=tokens, recompute=recompute, gib=gib)

    if memory_gib is None:
        tokens = wish.micro_batch_tokens or max(CPU_TOKENS, recipe.max_length)
        return as_wished(tokens, wish.recompute or 0.0)
    if wish.micro_batch_tokens is not None and wish.recompute is not None:
        return as_wished(wish.micro_batch_tokens, wish.recompute)
    budget = memory_gib * (1 - MARGIN)
    rows = -(-recipe.batch_size // processes)
    most = wish.micro_batch_tokens or rows * STEP_TOKENS_PER_ROW
    if packed:
        best = plan_pass(
            shape,
            trainable=trainable,
            budget_gib=budget,
            max_length=recipe.max_length,
            most=most,
            recompute=wish.recompute,
        )
    else:
        fixed, slope = as_wished(0, 1.0).gib, as_wished(1, 1.0).gib - as_wished(0, 1.0).gib
        tokens = min(max(most, recipe.max_length), int((budget - fixed) / slope) // 64 * 64)
        best = as_wished(tokens, 1.0) if tokens >= recipe.max_length else None
    if best is None:
        least = as_wished(recipe.max_length, 1.0)
        raise SettingError(
            f"{spec.title} needs {least.gib:.1f} GiB for a pass of {recipe.max_length} tokens, here"
            f" are {memory_gib:.1f}: lower train.max_length, or take a larger card"
        )
    return best


def decode_plan(
    study: StudySpec, shape: Shape, *, longest: int, memory_gib: float | None, halvings: int = 0
) -> DecodePlan:
    """Return how a study's answers are decoded here.

    Args:
        study: The study; it says how many slots are wished for, and how wide its beams are.
        shape: A model's sizes.
        longest: Tokens of the longest prompt and its budget.
        memory_gib: What the GPU has for it; None on a CPU.
        halvings: How often that was found to be too much.

    Raises:
        SettingError: If the longest answer does not fit.
    """
    slots = max(study.slots >> halvings, *study.beams, 1)
    if memory_gib is None:
        columns = slots * longest + 1
        gib = decode_gib(shape, slots=slots, columns=columns, bytes_per_value=4)
        return DecodePlan(slots=slots, columns=columns, gib=gib)
    budget = memory_gib * (1 - MARGIN)
    plan = plan_decode(shape, slots=slots, longest=longest, budget_gib=budget)
    if plan is not None and halvings:
        # The pool is what is large: halving the slots alone would free next to nothing.
        columns = max(plan.columns >> halvings, longest + 1)
        gib = decode_gib(shape, slots=plan.slots, columns=columns)
        plan = DecodePlan(slots=plan.slots, columns=columns, gib=gib)
    if plan is None:
        least = decode_gib(shape, slots=1, columns=longest + 1)
        raise SettingError(
            f"decoding {longest} tokens of prompt and answer needs {least:.1f} GiB, here are "
            f"{memory_gib:.1f}: lower max_new_tokens, or take a larger card"
        )
    return plan
