"""The decoder blocks that our own passes compute, and what any other model may do instead.

A known block is trained on rows laid end to end (`packed`) and decoded in joined products
(`engine`). Any other goes the plain way, padded and through Transformers' own modules: slower, and
the same numbers.
"""

from typing import Any

from ..config import LLAMA_LINEARS, PHI_LINEARS

LINEARS = {
    "llama": LLAMA_LINEARS,
    "mistral": LLAMA_LINEARS,
    "qwen2": LLAMA_LINEARS,
    "phi": PHI_LINEARS,
}
"""The known blocks by `model_type`, each with all its linear layers. Qwen2's are LLaMA's with a
bias on queries, keys and values."""
ACTIVATIONS = {"llama": "silu", "mistral": "silu", "qwen2": "silu", "phi": "gelu_new"}
"""The activation of each."""
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj", "dense")
"""The linear layers of a block that stand in its self_attn; the others stand in its mlp."""
TURNS = ("default", "llama3")
"""Kinds of rotary positions whose frequencies are the same at every length: of LLaMA 2 and 3."""


def why_plain(config: Any) -> str | None:
    """Return why a model's blocks are not known, or None where they are.

    Args:
        config: The model's configuration, of Transformers.

    Example:
        >>> from types import SimpleNamespace
        >>> why_plain(SimpleNamespace(model_type="gemma"))
        'its architecture is gemma'
    """
    activation = ACTIVATIONS.get(config.model_type)
    if activation is None:
        return f"its architecture is {config.model_type}"
    if config.hidden_act != activation:
        return f"its activation is {config.hidden_act}"
    if config.rope_parameters.get("rope_type", "default") not in TURNS:
        return "its rotary positions are scaled"
    if getattr(config, "qk_layernorm", False):
        return "it normalises queries and keys"
    if set(layer_types(config)) - {"full_attention"}:
        return "some of its layers attend to a window"
    return None


def layer_types(config: Any) -> tuple[str, ...]:
    """Return what each layer attends to, where a model says so; () where all layers are alike."""
    return tuple(getattr(config, "layer_types", None) or ())


def part_of(target: str) -> str:
    """Return the part of a block that a linear layer stands in."""
    return "self_attn" if target in ATTENTION else "mlp"
