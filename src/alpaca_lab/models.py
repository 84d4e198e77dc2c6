"""Load a 4-bit base to train, or a dense model to decode.

Training is on NF4, through Unsloth or through plain Transformers + PEFT behind one function.
Decoding never imports Unsloth: the NF4 weights are dequantised, the adapter is merged into those
same values (merging into NF4 itself would round the adapter away), and the result is an ordinary
Transformers model.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .blocks import check_blocks
from .checkpoints import locate, read_shape
from .config import LoraSpec, ModelSpec, SettingError, TrainSpec
from .hardware import compute_dtype, device, release
from .headers import read_object
from .memory import Shape
from .trust import ADAPTER, check_adapter, check_checkpoint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer with a padding token that is not EOS, padding on the left for decoding.

    What is padded is masked, so that any token could pad that the embedding has a row for. But a
    library that is given EOS for padding may mask the EOS away in training, and the model would
    never learn to stop.

    Raises:
        SettingError: If tokenizer.json is missing: Transformers 5 builds wrong merges from a bare
            tokenizer.model (3% of the Alpaca rows get other ids). If there is no EOS.
    """
    from transformers import AutoTokenizer

    if not (folder / "tokenizer.json").is_file():
        raise SettingError(f"{folder} has no tokenizer.json; save the tokenizer in the fast format")
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise SettingError(
            f"{folder}: the tokenizer names no eos_token, so that no answer could end; add it to "
            "tokenizer_config.json"
        )
    rows = _embedding_rows(folder)

    def pads(token: int | None) -> bool:
        return token is not None and token != tokenizer.eos_token_id and token < rows

    if not pads(tokenizer.pad_token_id):
        if pads(tokenizer.unk_token_id):
            tokenizer.pad_token = tokenizer.unk_token
        elif len(tokenizer) < rows:
            # Phi-2 has EOS alone, and rows to spare in its embedding: a new token fits.
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        else:
            # LLaMA 3 has neither. An ordinary token stays one: it is named, not added.
            named = (tokenizer.bos_token_id, 0, 1)
            tokenizer.pad_token_id = next(token for token in named if pads(token))
    return tokenizer


def _embedding_rows(folder: Path) -> float:
    """Return how many tokens a model has embeddings for; without end where nothing says so."""
    path = folder / "config.json"
    config = read_object(path) if path.is_file() else {}
    text = config.get("text_config")
    size = config.get("vocab_size") or (text if isinstance(text, dict) else {}).get("vocab_size")
    return size if isinstance(size, int) else math.inf


def _load_nf4(folder: Path) -> "PreTrainedModel":
    """Load a checkpoint with its linear layers in NF4, by Transformers and bitsandbytes alone."""
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
    # Where it knows no faster way, as for Phi on a GPU, it hands PEFT a pattern that finds these
    # layers. The adapter's file is to name them; that it found all is checked by the caller.
    model.peft_config["default"].target_modules = set(spec.lora_targets)
    return model


def _load_plain(
    folder: Path, *, spec: ModelSpec, lora: LoraSpec, train: TrainSpec
) -> "PreTrainedModel":
    import torch
    from peft import LoraConfig, get_peft_model

    model = _load_nf4(folder).requires_grad_(False)
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


def count_adapted(model: "PreTrainedModel") -> tuple[int, int]:
    """Return how many layers carry a LoRA adapter, and the parameters of those adapters."""
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    parameters = sum(
        weight.numel() for name, weight in model.named_parameters() if ".lora_" in name
    )
    return len(layers), parameters


def check_adapted(
    model: "PreTrainedModel", *, shape: Shape, targets: Sequence[str], lora: LoraSpec
) -> tuple[int, int]:
    """Check that every linear layer that was named is adapted; PEFT is silent about those missed.

    Returns:
        Adapted layers and adapter parameters.

    Raises:
        SettingError: If either differs from what the model's shape gives.
    """
    found = count_adapted(model)
    expected = shape.adapted_layers(targets), shape.lora_parameters(lora.rank, targets)
    if found != expected:
        raise SettingError(
            f"LoRA adapts {found[0]} layers with {found[1]:,} parameters, expected {expected[0]} "
            f"with {expected[1]:,}: check lora_targets ({', '.join(targets)}) against the model"
        )
    return found


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
    model = _load_nf4(folder)
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


def check_loaded(model: "PreTrainedModel", adapter: Path) -> None:
    """Check that every tensor of an adapter file arrived in the model unchanged.

    PEFT drops tensors whose names match no layer without a word; half of a Phi-2 adapter was
    lost that way in the study that this project grew from.

    Raises:
        SettingError: If a tensor is missing from the model, or differs.
    """
    import torch
    from safetensors import safe_open

    loaded = {
        name.replace(".default.", "."): weight
        for name, weight in model.named_parameters()
        if ".lora_" in name
    }
    with safe_open(adapter / ADAPTER, framework="pt") as file:
        names = set(file.keys())
        if names != set(loaded):
            odd = sorted(names ^ set(loaded))
            raise SettingError(
                f"{adapter} does not fit the base: {len(odd)} tensors differ in name, as {odd[0]}"
            )
        for name in names:
            weight = loaded[name].detach().cpu()
            if not torch.equal(file.get_tensor(name).to(weight.dtype), weight):
                raise SettingError(f"{adapter}: tensor {name} did not arrive unchanged")
