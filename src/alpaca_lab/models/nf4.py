"""Load a base with its linear layers in NF4, by Transformers and bitsandbytes alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..hardware import compute_dtype, device
from ..weights.headers import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_nf4(folder: Path) -> "PreTrainedModel":
    """Load a checkpoint in NF4, ready to be trained on and to be dequantised."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype(),
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=compute_dtype(),
        device_map={"": device() if device() == "cpu" else torch.cuda.current_device()},
        quantization_config=quantization,
        use_safetensors=True,
        trust_remote_code=False,
        **_attention(folder),
    )
    keep_trainable_layout(model)
    return model


def _attention(folder: Path) -> dict[str, str]:
    """Return what a model must be told to attend as it was trained to.

    Gemma 2 caps its attention's logits, which PyTorch's kernel cannot, and silently leaves out.
    """
    capped = read_object(folder / "config.json").get("attn_logit_softcapping")
    return {"attn_implementation": "eager"} if capped else {}


def keep_trainable_layout(model: "PreTrainedModel") -> None:
    """Stop bitsandbytes from repacking NF4 weights in place on CPUs with AVX512-BF16.

    Its first forward pass without gradients repacks them for a faster kernel. From then on the
    LoRA gradients of some layers are exactly 0 while the loss looks normal, and a merge is
    garbage (bitsandbytes 0.50.2). Call it right after loading.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
