"""Predicted GiB of a finetune and of a decode, from a model's shape. Arithmetic only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GIB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in NF4: 4 bits, an 8-bit scale per 64 weights, a float per 256 scales."""
WORKSPACE_GIB = 0.8
"""CUDA context, library workspaces and fragmentation."""
DECODE_WORKSPACE_GIB = 0.7
"""Workspaces of the libraries and of the captured steps, and fragmentation."""
COLUMNS_PER_SLOT = 96
"""Columns of the pool for each slot: an answer half written, and its part of a prompt."""
LOGITS_PIECE = 1024
"""Response tokens whose logits exist at one time."""
UNPACKING_TOKENS = 240
"""How many tokens' products take as long as unpacking a model's weights once."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that decide a decoder's parameters and memory."""

    architecture: str
    """`model_type` of the checkpoint; all but "phi" have LLaMA's linear layers."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    """Input and output embeddings are one matrix."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Shape":
        """Read the sizes from a checkpoint's config.json.

        Raises:
            KeyError: If config.json lacks a size.
        """
        heads = config["num_attention_heads"]
        return cls(
            architecture=config["model_type"],
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )

    def linears(self) -> dict[str, tuple[int, int]]:
        """Return {layer name: (inputs, outputs)} of the linear layers of one block."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
        }
        if self.architecture == "phi":
            rest = {
                "dense": (queries, self.hidden),
                "fc1": (self.hidden, self.intermediate),
                "fc2": (self.intermediate, self.hidden),
            }
        else:
            rest = {
                "o_proj": (queries, self.hidden),
                "gate_proj": (self.hidden, self.intermediate),
                "up_proj": (self.hidden, self.intermediate),
                "down_proj": (self.intermediate, self.hidden),
            }
        return attention | rest

    @property
    def block_parameters(self) -> int:
        """Weights of all linear layers of all blocks: what NF4 quantises."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears().values())

    @property
    def embedding_parameters(self) -> int:
        """Weights of the input and output embeddings."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def adapted_layers(self, targets: Sequence[str]) -> int:
        """Return how many linear layers LoRA adapts when all `targets` exist."""
        return self.layers * len(targets)

    def lora_parameters(self, rank: int, targets: Sequence[str]) -> int:
        """Return the trainable parameters of LoRA on `targets`: rank x (inputs + outputs) each.

        Example:
            >>> from alpaca_lab.config import LLAMA_LINEARS
            >>> llama = Shape(architecture="llama", layers=32, hidden=4096, intermediate=11008,
            ...     heads=32, kv_heads=32, head_dim=128, vocab=32000, tied=False)
            >>> llama.lora_parameters(16, LLAMA_LINEARS)
            39976960
        """
        sizes = self.linears()
        return self.layers * sum(rank * sum(sizes[name]) for name in targets)


def kept_bytes(shape: Shape) -> int:
    """Return the bytes that one block keeps per token for its backward pass.

    The outputs of products in 16 bits: the block's input, queries, keys and values, attention, the
    MLP's inner values, and in LLaMA's order of things the sum between attention and MLP; and in
    float32 attention's log-sum-exp per head and the norms' two numbers.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * queries + 2 * keys
    if shape.architecture == "phi":
        return 2 * (shape.hidden + attention + shape.intermediate) + 4 * (shape.heads + 2)
    return 2 * (2 * shape.hidden + attention + 2 * shape.intermediate) + 4 * (shape.heads + 2)


def passing_bytes(shape: Shape) -> int:
    """Return the bytes per token that the backward pass of one block has alive at its height.

    In the MLP: the gradient that comes in, the activation and its gradient, the gradient of what
    the activation was made from, and the gradient that goes out.
    """
    gates = 1 if shape.architecture == "phi" else 2
    return 2 * (3 * shape.hidden + (2 + gates) * shape.intermediate)


def finetune_gib(
    shape: Shape, *, trainable: int, micro_batch_tokens: int, recompute: float = 0.0
) -> float:
    """Predict the peak memory of a QLoRA step over packed rows, in GiB.

    NF4 blocks with their scales unpacked, and 16-bit embeddings; adapter, gradient and two moments
    in float32; what the blocks keep for the backward pass; the height of one block's backward
    pass, with the 16-bit copy of its largest group of weights; the logits of a piece of the
    response tokens, in float32 with their gradient.

    Args:
        shape: The model's sizes.
        trainable: Adapter parameters.
        micro_batch_tokens: Tokens per forward pass.
        recompute: Share of the blocks that keep their input alone, in [0, 1].
    """
    weights = shape.block_parameters * (NF4_BYTES + 4 / 64) + shape.embedding_parameters * 2
    adapter = trainable * 16
    kept, slim = kept_bytes(shape), 2 * shape.hidden
    recomputed = round(recompute * shape.layers)
    per_token = (shape.layers - recomputed) * kept + recomputed * slim + passing_bytes(shape)
    if recomputed:
        per_token += kept  # the block that is running again
    sizes = shape.linears()
    inner = max(inputs * outputs for inputs, outputs in sizes.values())
    dense = 2 * inner * (1 if shape.architecture == "phi" else 2)
    logits = LOGITS_PIECE * shape.vocab * (4 + 4 + 2)
    total = weights + adapter + micro_batch_tokens * per_token + dense + logits
    return total / GIB + WORKSPACE_GIB


def padded_gib(shape: Shape, *, trainable: int, micro_batch_tokens: int) -> float:
    """Predict the peak memory of a QLoRA step through a model's own forward pass, in GiB.

    Every block keeps its input alone; the block that runs again keeps all its steps, about three
    times what `kept_bytes` counts; and the logits of every token exist, with their gradient.

    Args:
        shape: The model's sizes.
        trainable: Adapter parameters.
        micro_batch_tokens: Tokens per forward pass, padding counted.
    """
    weights = shape.block_parameters * NF4_BYTES + shape.embedding_parameters * 2
    per_token = 2 * shape.hidden * shape.layers + 3 * kept_bytes(shape) + 10 * shape.vocab
    total = weights + trainable * 16 + micro_batch_tokens * per_token
    return total / GIB + WORKSPACE_GIB


@dataclass(frozen=True, kw_only=True)
class PassPlan:
    """How large a forward pass is, and how much of it runs twice."""

    micro_batch_tokens: int
    recompute: float
    gib: float
    """Predicted peak."""


def plan_pass(
    shape: Shape,
    *,
    trainable: int,
    budget_gib: float,
    max_length: int,
    most: int,
    recompute: float | None = None,
) -> PassPlan | None:
    """Return the fastest pass that fits, or None when not even one row does.

    A token costs 4 units of arithmetic where its block keeps what it computed, and 6 where the
    block runs again; a pass costs, whatever its size, what unpacking the weights for each of its
    products costs. So memory is best spent on keeping, then on tokens.

    Args:
        shape: The model's sizes.
        trainable: Adapter parameters.
        budget_gib: What the pass may take, all told.
        max_length: Tokens of the longest row, which a pass must hold.
        most: More tokens than this serve nothing: the tokens of a whole optimiser step.
        recompute: Share of the blocks that run again, if it is given.
    """
    plans = []
    shares = (
        [n / shape.layers for n in range(shape.layers + 1)] if recompute is None else [recompute]
    )
    for share in shares:

        def need(tokens: int, share: float = share) -> float:
            return finetune_gib(
                shape, trainable=trainable, micro_batch_tokens=tokens, recompute=share
            )

        fixed, slope = need(0), need(1) - need(0)
        tokens = min(max(most, max_length), int((budget_gib - fixed) / slope) // 64 * 64)
        if tokens >= max_length:
            cost = (4 + 2 * share) + (2 + share) * UNPACKING_TOKENS * 2 / tokens
            plans.append(
                (cost, PassPlan(micro_batch_tokens=tokens, recompute=share, gib=need(tokens)))
            )
    return min(plans, key=lambda plan: plan[0])[1] if plans else None


def column_bytes(shape: Shape, *, bytes_per_value: int = 2) -> int:
    """Return the bytes of one token's keys and values in all layers.

    Example:
        >>> column_bytes(KNOWN_SHAPES["mistralai/Mistral-7B-v0.1"])
        131072
    """
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * bytes_per_value


@dataclass(frozen=True, kw_only=True)
class DecodePlan:
    """How many answers are decoded side by side, and how many tokens are remembered for them."""

    slots: int
    columns: int
    """Columns of the pool, one of them nobody's."""
    gib: float
    """Predicted peak."""


def decode_gib(shape: Shape, *, slots: int, columns: int, bytes_per_value: int = 2) -> float:
    """Predict the peak memory of decoding in GiB: dense weights, the pool, one step's logits.

    Args:
        shape: The model's sizes.
        slots: Rows of a step.
        columns: Columns of the pool.
        bytes_per_value: 2 for 16-bit, 4 for float32.
    """
    weights = (shape.block_parameters + shape.embedding_parameters) * bytes_per_value
    pool = columns * column_bytes(shape, bytes_per_value=bytes_per_value)
    # As they come, and for beams in float32, again as sums, and as what their best are found among.
    logits = slots * shape.vocab * (bytes_per_value + 3 * 4)
    return (weights + pool + logits) / GIB + DECODE_WORKSPACE_GIB


def plan_decode(
    shape: Shape, *, slots: int, longest: int, budget_gib: float, bytes_per_value: int = 2
) -> DecodePlan | None:
    """Return how to decode within a budget, or None where not even one answer fits.

    All memory that is left goes to the pool, as far as the slots can ever need it. There are as
    many slots as wished if the pool has `COLUMNS_PER_SLOT` columns for each, else fewer: answers
    share their prompts' columns, and few are long at the same time; one that finds none waits.

    Args:
        shape: The model's sizes.
        slots: Most answers side by side.
        longest: Tokens of the longest prompt and its budget.
        budget_gib: What decoding may take, all told.
        bytes_per_value: 2 for 16-bit, 4 for float32.
    """

    def room(count: int) -> int:
        fixed = decode_gib(shape, slots=count, columns=0, bytes_per_value=bytes_per_value)
        left = (budget_gib - fixed) * GIB
        most = count * longest + 1
        return min(most, int(left / column_bytes(shape, bytes_per_value=bytes_per_value)))

    count = slots
    while count > 1 and room(count) < count * min(COLUMNS_PER_SLOT, longest):
        count -= 1
    columns = room(count)
    if columns <= longest:
        return None
    gib = decode_gib(shape, slots=count, columns=columns, bytes_per_value=bytes_per_value)
    return DecodePlan(slots=count, columns=columns, gib=gib)


KNOWN_SHAPES: dict[str, Shape] = {
    "meta-llama/Llama-2-7b-hf": Shape(
        architecture="llama", layers=32, hidden=4096, intermediate=11008,
        heads=32, kv_heads=32, head_dim=128, vocab=32000, tied=False,
    ),
    "mistralai/Mistral-7B-v0.1": Shape(
        architecture="mistral", layers=32, hidden=4096, intermediate=14336,
        heads=32, kv_heads=8, head_dim=128, vocab=32000, tied=False,
    ),
    "microsoft/phi-2": Shape(
        architecture="phi", layers=32, hidden=2560, intermediate=10240,
        heads=32, kv_heads=32, head_dim=80, vocab=51200, tied=False,
    ),
}  # fmt: skip
"""Sizes of hub models, so that preflight can speak before anything is downloaded."""
