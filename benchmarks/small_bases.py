"""Three bases of the study's architectures, small enough to be trained from scratch in minutes.

Each has the proportions of the model whose tokenizer it reads with, at a fifth to a third of its
width and a quarter of its depth. They read the same pieces of text in the same order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARED: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 12,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
LLAMA_IDS = {"vocab_size": 32_000, "bos_token_id": 1, "eos_token_id": 2}
PHI_IDS = {"vocab_size": 51_200, "bos_token_id": 50_256, "eos_token_id": 50_256}


@dataclass(frozen=True, kw_only=True)
class Base:
    """One of the three: its name, and what it is built of."""

    key: str
    title: str
    like: str
    """The key in `profiles.MODELS` of the model whose proportions and tokenizer it has."""
    architecture: str
    """Its class in Transformers."""
    config: Mapping[str, Any]
    """Fields of that class's configuration; all others are its defaults."""


BASES = {
    base.key: base
    for base in (
        Base(
            key="small-llama",
            title="Small LLaMA",
            like="llama-2-7b",
            architecture="LlamaForCausalLM",
            config={
                **SHARED,
                **LLAMA_IDS,
                "intermediate_size": 2048,
                "num_key_value_heads": 12,
                "rms_norm_eps": 1e-5,
            },
        ),
        Base(
            key="small-mistral",
            title="Small Mistral",
            like="mistral-7b",
            architecture="MistralForCausalLM",
            config={
                **SHARED,
                **LLAMA_IDS,
                "intermediate_size": 2688,
                "num_key_value_heads": 3,
                "rms_norm_eps": 1e-5,
                "sliding_window": 4096,
            },
        ),
        Base(
            key="small-phi",
            title="Small Phi",
            like="phi-2",
            architecture="PhiForCausalLM",
            config={
                **SHARED,
                **PHI_IDS,  # and, of a head's 64 dimensions, the 32 turned that Phi-2 turns of 80
                "intermediate_size": 3072,
                "num_key_value_heads": 12,
                "partial_rotary_factor": 0.5,
            },
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a base is trained, the same for all three."""

    passes: float = 1.0
    """How often each piece of text is read."""
    length: int = 1024
    """Tokens of a block."""
    batch: int = 128
    """Blocks of an optimiser step."""
    at_once: int = 32
    """Blocks of one forward pass: a matter of memory, and of last digits."""
    muon_lr: float = 0.02
    """Peak learning rate of the matrices inside the blocks, which Muon moves."""
    adam_lr: float = 2e-3
    """Peak learning rate of all else, which AdamW moves."""
    rising: float = 0.02
    """Share of the steps over which the rates rise."""
    falling: float = 0.6
    """Share of the steps over which they fall to nothing, at the end."""
    seed: int = 0
    """Of the initial weights, and of the order of the pieces."""

    def rate(self, step: int, steps: int) -> float:
        """Return what the peak learning rates are multiplied by in a step, counted from 0.

        Example:
            >>> [Recipe(rising=0.25, falling=0.5).rate(step, 8) for step in range(8)]
            [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        rising, falling = max(1.0, self.rising * steps), self.falling * steps
        return min(1.0, (step + 1) / rising, (steps - step) / falling)
