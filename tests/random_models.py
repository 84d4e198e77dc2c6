"""Small models with random weights in the three architectures, and adapters that are not zero."""

import pytest

EOS, PAD = 2, 0
VOCABULARY = 128
ARCHITECTURES = ("llama", "mistral", "phi")


def random_model(architecture, **changes):
    """Return a float32 model of 2 layers that ends about one answer in seven by itself."""
    torch = pytest.importorskip("torch")
    import transformers

    # Grouped heads only where the real model has them: 4 queries to 2 keys in Mistral.
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2 if architecture == "mistral" else 4}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS}
    name = architecture.capitalize()
    config = getattr(transformers, f"{name}Config")(
        # Wide initial weights: answers that wander and end, rather than repeat one token.
        **(heads | sizes | tokens | {"initializer_range": 0.15} | changes)
    )  # fmt: skip
    torch.manual_seed(0)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


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
