"""One dense checkpoint in 16 bits that plain Transformers loads, and a study takes for a base.

What is saved is what the study decoded: the NF4 base, dequantised, with the adapter merged into
those values. Merged into the original 16-bit weights, the adapter would stand on others than those
it was trained on: it learned to mend the errors of NF4 too. The scores of the study would not be
those of that model.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import hardware, models
from ..environment import version_of
from ..quiet import quiet_loading
from ..weights.trust import check_checkpoint
from .answers import Answers, greedy, require_same
from .forms import Tell, Written, copy_tokenizer, weights_gib
from .source import Source

if TYPE_CHECKING:
    import torch

STEPS = 5
SHARD = "4GB"
gib = weights_gib


def write(source: Source, folder: Path, *, tell: Tell) -> Written:
    """Write a merged checkpoint with its tokenizer; read it back, and compare its answers.

    On a CPU the study computes in float32, and the file holds bfloat16: the model that was exported
    is the rounded one, and both are asked in the precision in which the study computes.

    Args:
        source: What is exported.
        folder: Where to; empty.
        tell: Told of each of `STEPS` steps.

    Raises:
        DifferentAnswer: If what is read back answers otherwise.
    """
    with quiet_loading():
        ours, _ = save(source, folder, tell=tell)
        hardware.release()
        tell("loading the export")
        model = _load(folder)
        dtype = _named(model.dtype)
        models.cast(model, hardware.compute_dtype())
        tell("asking it too")
        theirs = greedy(model, models.load_tokenizer(folder), source)
    require_same(ours, theirs, what="the merged checkpoint")
    computed = _named(hardware.compute_dtype())
    by = f"transformers {version_of('transformers')}, computed in {computed}"
    return Written(answers=ours, same=len(ours), by=by, dtype=dtype)


def save(source: Source, folder: Path, *, tell: Tell, keep: bool = False) -> tuple[Answers, Any]:
    """Save the merged model in 16 bits with its tokenizer; return its answers.

    Args:
        source: What is saved.
        folder: Where to.
        tell: Told of the first three steps.
        keep: Return the model as well, in the precision in which the study computes.

    Returns:
        The answers of the model as it is saved, and that model or None.
    """
    tell("loading and merging the finetuned model")
    model, tokenizer = models.load_decoder(source.spec, source.adapter)
    models.cast(model, half())
    tell("writing the checkpoint")
    _strip(model)
    model.save_pretrained(folder, max_shard_size=SHARD, safe_serialization=True)
    copy_tokenizer(source, folder)
    models.cast(model, hardware.compute_dtype())
    tell("asking it")
    return greedy(model, tokenizer, source), model if keep else None


def half() -> "torch.dtype":
    """Return the 16-bit dtype in which this machine's studies are saved: bfloat16 on a CPU."""
    import torch

    computed = hardware.compute_dtype()
    return computed if computed.itemsize == 2 else torch.bfloat16


def _strip(model: Any) -> None:
    """Take from a model's configs what its base's makers set for sampling, and names of code."""
    from transformers import GenerationConfig

    known = model.generation_config
    special = ("bos_token_id", "eos_token_id", "pad_token_id")
    model.generation_config = GenerationConfig(**{name: getattr(known, name) for name in special})
    if hasattr(model.config, "auto_map"):
        del model.config.auto_map


def _load(folder: Path) -> Any:
    """Load the checkpoint as anyone would."""
    import torch
    from transformers import AutoModelForCausalLM

    check_checkpoint(folder)
    place = hardware.device() if hardware.device() == "cpu" else torch.cuda.current_device()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto",
        device_map={"": place},
        use_safetensors=True,
        trust_remote_code=False,
    )
    return model.eval().requires_grad_(False)


def _named(dtype: "torch.dtype") -> str:
    return str(dtype).removeprefix("torch.")
