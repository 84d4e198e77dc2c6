"""The adapter alone, for PEFT: a few MB beside a base that everyone can fetch."""

import json
import shutil
from pathlib import Path

from .. import hardware, models
from ..environment import version_of
from ..quiet import quiet_loading
from ..weights.checkpoints import locate, read_shape
from ..weights.trust import ADAPTER, ADAPTER_CONFIG, check_adapter, read_object
from .answers import greedy, require_same
from .forms import Tell, Written, adapter_gib, copy_tokenizer
from .source import Source

STEPS = 4
gib = adapter_gib


def write(source: Source, folder: Path, *, base: tuple[str, str | None], tell: Tell) -> Written:
    """Write the adapter with its base's tokenizer; read it back, and compare its answers.

    The model that was exported is the one that the study decodes: the base in NF4, dequantised,
    with the adapter merged into it.

    Args:
        source: What is exported.
        folder: Where to; empty.
        base: How adapter_config.json is to name the base, and at which commit.
        tell: Told of each of `STEPS` steps.

    Raises:
        DifferentAnswer: If what is read back answers otherwise.
    """
    shutil.copyfile(source.adapter / ADAPTER, folder / ADAPTER)
    config = read_object(source.adapter / ADAPTER_CONFIG)
    # PEFT wrote the folder that it had the base from, which only this machine has.
    config |= dict(zip(("base_model_name_or_path", "revision"), base, strict=True))
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    copy_tokenizer(source, folder)
    shape = read_shape(locate(source.spec))
    check_adapter(folder, shape=shape, targets=source.spec.lora_targets)
    with quiet_loading():
        tell("loading the finetuned model")
        model, tokenizer = models.load_decoder(source.spec, source.adapter)
        tell("asking it")
        ours = greedy(model, tokenizer, source)
        dtype = str(model.dtype).removeprefix("torch.")
        del model
        hardware.release()
        tell("loading the export")
        model, _ = models.load_decoder(source.spec, folder)
        tell("asking it too")
        theirs = greedy(model, models.load_tokenizer(folder), source)
    require_same(ours, theirs, what="the exported adapter")
    return Written(
        answers=ours, same=len(ours), by=f"peft {version_of('peft')}, computed in {dtype}",
        dtype=_dtype(folder),
    )  # fmt: skip


def _dtype(folder: Path) -> str:
    """Return the dtype of an adapter's tensors."""
    from safetensors import safe_open

    with safe_open(folder / ADAPTER, framework="pt") as file:
        found = {str(file.get_tensor(name).dtype).removeprefix("torch.") for name in file.keys()}  # noqa: SIM118
    return ", ".join(sorted(found))
