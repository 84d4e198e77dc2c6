"""Load a base in NF4 with a fresh adapter, through Unsloth or through plain Transformers + PEFT."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import LoraSpec, ModelSpec, TrainSpec
from ..hardware import compute_dtype
from ..weights.blocks import check_blocks
from ..weights.checkpoints import locate, read_shape
from ..weights.trust import check_checkpoint
from . import nf4
from .adapted import check_adapted
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_trainable(
    spec: ModelSpec, *, lora: LoraSpec, train: TrainSpec
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load a base in NF4 with a fresh adapter on all its linear layers.

    Args:
        spec: Which base.
        lora: The adapter.
        train: `loader` chooses Unsloth or plain Transformers + PEFT.

    Returns:
        The PEFT model and its tokenizer.

    Raises:
        SettingError: If the checkpoint cannot be had, or fewer layers are adapted than named.
    """
    folder = locate(spec)
    check_checkpoint(folder)
    check_blocks(folder, targets=spec.lora_targets)
    load = _load_unsloth if train.loader == "unsloth" else _load_plain
    model = load(folder, spec=spec, lora=lora, train=train)
    check_adapted(model, shape=read_shape(folder), targets=spec.lora_targets, lora=lora)
    # The adapter's file is to name the layers, always in one order. PEFT holds them in a set, which
    # has another in each process; and Unsloth hands it a pattern where it knows no faster way, as
    # for Phi on a GPU.
    model.peft_config["default"].target_modules = list(spec.lora_targets)
    return model, load_tokenizer(folder)


def _load_unsloth(
    folder: Path, *, spec: ModelSpec, lora: LoraSpec, train: TrainSpec
) -> "PreTrainedModel":
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    # Unsloth patches transformers and trl as they are imported, so it comes first.
    from unsloth import FastLanguageModel  # isort: split

    model, _ = FastLanguageModel.from_pretrained(
        str(folder),
        max_seq_length=train.max_length,
        dtype=compute_dtype(),
        load_in_4bit=True,
        trust_remote_code=False,
        use_gradient_checkpointing=False,
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(spec.lora_targets),
        bias="none",
        use_gradient_checkpointing=False,
        use_rslora=lora.rslora,
        random_state=train.seed,
    )
    return model


def _load_plain(
    folder: Path, *, spec: ModelSpec, lora: LoraSpec, train: TrainSpec
) -> "PreTrainedModel":
    import torch
    from peft import LoraConfig, get_peft_model

    model = nf4.load_nf4(folder).requires_grad_(False)
    torch.manual_seed(train.seed)
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(spec.lora_targets),
            bias="none",
            use_rslora=lora.rslora,
            task_type="CAUSAL_LM",
        ),
    )
