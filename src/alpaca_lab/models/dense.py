"""Load the dense model that decodes, without ever importing Unsloth.

The NF4 weights are dequantised and the adapter is merged into those same values (merging into NF4
itself would round the adapter away): the result is an ordinary Transformers model.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..config import ModelSpec
from ..hardware import compute_dtype, release
from ..weights.blocks import check_blocks
from ..weights.checkpoints import locate, read_shape
from ..weights.trust import check_adapter, check_checkpoint
from . import nf4
from .adapted import check_adapted, check_loaded
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_decoder(
    spec: ModelSpec, adapter: Path | None, *, merged: bool = True
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load the dense model that decodes: NF4 weights dequantised, the adapter merged into them.

    Args:
        spec: Which base.
        adapter: Folder of the adapter; None for the untuned base, which goes through NF4 all the
            same, so that the two differ in the adapter alone.
        merged: False loads what was trained instead, and decodes slower: the weights stay in NF4,
            the adapter beside them.

    Returns:
        A Transformers model in `compute_dtype`, in eval mode, and its tokenizer padding left.

    Raises:
        SettingError: If checkpoint or adapter hold anything but weights, or the adapter does not
            fit the base layer by layer.
    """
    from peft import PeftModel

    folder = locate(spec)
    check_checkpoint(folder)
    check_blocks(folder, targets=spec.lora_targets)
    shape, targets = read_shape(folder), spec.lora_targets
    # Before PEFT opens it, which would unpickle, fetch or drop what it finds there.
    lora = None if adapter is None else check_adapter(adapter, shape=shape, targets=targets)
    model = nf4.load_nf4(folder)
    if merged:
        model = model.dequantize()
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
        check_adapted(model, shape=shape, targets=targets, lora=lora)
        check_loaded(model, adapter)
        # The base with the adapter's layers in place is an ordinary Transformers model too.
        model = model.merge_and_unload() if merged else model.get_base_model()
    if merged:
        cast(model, compute_dtype())
    model.eval().requires_grad_(False)
    release()  # what the weights went through on their way
    return model, load_tokenizer(folder)


def cast(model: "PreTrainedModel", dtype: "torch.dtype") -> None:
    """Change a model's weights to a dtype, in place, and its rotary frequencies not.

    `model.to(dtype)` would round those too. In bfloat16 they are then off by up to 0.4%, at the
    500th token by more than half a radian, where `from_pretrained` keeps them in 32 bits.
    """
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
