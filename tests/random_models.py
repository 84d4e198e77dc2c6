"""Small models with random weights, adapters that are not zero, and checkpoints of such models."""

import shutil

import pytest

from alpaca_lab.config import TINY

EOS, PAD = 2, 0
VOCABULARY = 128
ARCHITECTURES = ("llama", "mistral", "qwen2", "phi")
"""Whose blocks our own passes compute."""
GROUPED = ("mistral", "qwen2")
"""Of them, those whose real models have fewer keys than queries."""
OTHERS = {
    "gemma": {"head_dim": 32},
    "gemma2": {"head_dim": 32, "sliding_window": 16, "attn_implementation": "eager"},
    "gemma3_text": {"head_dim": 32, "sliding_window": 16, "layer_types": ["sliding_attention",
                                                                          "full_attention"]},
    "qwen3": {"head_dim": 32},
    "stablelm": {},
    "granite": {"logits_scaling": 2.0, "embedding_multiplier": 3.0},
}  # fmt: skip
"""Some of those that go the plain way: other norms and activations, embeddings that are scaled, one
matrix for both ends, heads wider than hidden / heads, capped logits, windows in some layers."""


def random_model(architecture, **changes):
    """Return a float32 model of 2 layers that ends about one answer in seven by itself."""
    torch = pytest.importorskip("torch")
    import transformers

    # Grouped heads only where the real model has them: 4 queries to 2 keys in Mistral.
    grouped = architecture in GROUPED or architecture in OTHERS
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2 if grouped else 4}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}
    changes = OTHERS.get(architecture, {}) | changes
    config = transformers.CONFIG_MAPPING[architecture](
        # Wide initial weights: answers that wander and end, rather than repeat one token.
        **(heads | sizes | tokens | {"initializer_range": 0.15} | changes)
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    if architecture == "qwen2":  # whose biases begin at 0, where a lost one would not be missed
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.5)
    if architecture.startswith("gemma"):  # which would say its last token again and again
        model.get_input_embeddings().weight.data *= 0.03
    return model.eval()


def checkpoint(folder, architecture, *, tokenizer="llama", **changes):
    """Save a random model in a folder with the tokenizer of a tiny one; return the folder.

    The tokenizer of "llama" begins with BOS, that of "phi" with none.
    """
    random_model(architecture, **({"vocab_size": 2048} | changes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / tokenizer / name, folder / name)
    return folder


def fill_adapters(model):
    """Give a PEFT model random adapters in float32, so that every path carries a gradient."""
    import torch

    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
            if ".lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
    return model


def random_prompts(*lengths):
    """Return one prompt of each length, the same on every call."""
    import random

    draw = random.Random(1)
    return [tuple(draw.randrange(3, VOCABULARY) for _ in range(length)) for length in lengths]
