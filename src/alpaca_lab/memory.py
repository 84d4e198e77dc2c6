"""Predicted GiB of a finetune and of a decode, from a model's shape. Arithmetic only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GIB = 2**30
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in NF4: 4 bits, an 8-bit scale per 64 weights, a float per 256 scales."""
WORKSPACE_GIB = 0.8
"""CUDA context, library workspaces and fragmentation."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that decide a decoder's parameters and memory."""

    architecture: str
    """`model_type` of the checkpoint: "llama", "mistral", "phi"."""
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


def finetune_gib(
    shape: Shape, *, trainable: int, micro_batch: int, length: int, checkpointing: bool
) -> float:
    """Predict the peak memory of a QLoRA step in GiB.

    NF4 blocks and 16-bit embeddings; adapter, gradient and two optimiser moments in float32; the
    activations that the backward pass needs (one hidden state per block when checkpointing, plus
    one block in full); the logits of a micro-batch in float32, with their gradient.

    Args:
        shape: The model's sizes.
        trainable: Adapter parameters.
        micro_batch: Rows (or bins) per forward pass.
        length: Tokens per row.
        checkpointing: Whether activations are recomputed.
    """
    tokens = micro_batch * length
    weights = shape.block_parameters * NF4_BYTES + shape.embedding_parameters * 2
    adapter = trainable * 16
    one_block = 2 * tokens * (10 * shape.hidden + 4 * shape.intermediate)
    blocks = (
        2 * tokens * shape.hidden * shape.layers + one_block
        if checkpointing
        else shape.layers * one_block
    )
    logits = tokens * shape.vocab * (2 + 4)
    return (weights + adapter + blocks + logits) / GIB + WORKSPACE_GIB


def decode_gib(shape: Shape, *, slots: int, length: int, bytes_per_value: int = 2) -> float:
    """Predict the peak memory of decoding in GiB: dense weights, the KV cache, one step's logits.

    Args:
        shape: The model's sizes.
        slots: Answers decoded side by side.
        length: Longest prompt plus response in tokens.
        bytes_per_value: 2 for 16-bit, 4 for float32.
    """
    weights = (shape.block_parameters + shape.embedding_parameters) * bytes_per_value
    cache = 2 * shape.layers * slots * length * shape.kv_heads * shape.head_dim * bytes_per_value
    logits = slots * shape.vocab * 4 * 8
    return (weights + cache + logits) / GIB + WORKSPACE_GIB


def slots_that_fit(
    shape: Shape, *, length: int, budget_gib: float, most: int, bytes_per_value: int = 2
) -> int:
    """Return the largest number of slots, at most `most`, whose decode fits; 0 if none does."""
    sizes = range(most, 0, -1)
    fits = (
        n
        for n in sizes
        if decode_gib(shape, slots=n, length=length, bytes_per_value=bytes_per_value) <= budget_gib
    )
    return next(fits, 0)


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
