"""What a stranger's checkpoint or adapter may be: sizes and weights, and nothing that runs.

Read before any library opens the folder: a library may execute what it finds, or drop it silently.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import LoraSpec, SettingError, require
from ..memory import Shape
from .architectures import part_of
from .headers import read_header, read_object

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
HARMLESS = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "task_type", "peft_type",
    "peft_version", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping",
    "megatron_core", "qalora_group_size",
}  # fmt: skip
"""Fields of adapter_config.json that may say anything: those which `check_adapter` reads itself,
and those which do nothing once the weights are there."""


def check_checkpoint(folder: Path) -> None:
    """Refuse a folder whose weights are no safetensors, or whose config asks for foreign code.

    Args:
        folder: With a config.json.

    Raises:
        SettingError: With the file, and what to do instead.
    """
    config = read_object(folder / "config.json")
    for name, value in config.items():
        require(
            not (name.endswith("_implementation") and "/" in str(value)),
            f'{folder / "config.json"} asks for the kernel "{value}" of a hub repository, which is '
            f"code; remove {name} from it",
        )
    for name in ("config.json", "tokenizer_config.json"):
        _refuse_code(folder / name)
    index = folder / INDEX
    shards = read_object(index).get("weight_map") if index.is_file() else {}
    require(
        isinstance(shards, dict) and all(_is_shard(name) for name in shards.values()),
        f"{index} names a file that is no .safetensors of this folder; save the checkpoint again",
    )
    for path in sorted(folder.glob("*.safetensors")):
        read_header(path)


def check_adapter(folder: Path, *, shape: Shape, targets: Sequence[str]) -> LoraSpec:
    """Return the LoRA adapter of a folder; refuse one that is more, or is not of this base.

    Args:
        folder: With adapter_config.json and adapter_model.safetensors.
        shape: Of the base.
        targets: The layers of each block that are adapted.

    Raises:
        SettingError: If the weights are pickled, a field asks for anything but plain LoRA on
            `targets`, or a tensor is missing, foreign or of another shape.
    """
    require(
        (folder / ADAPTER).is_file(),
        f"{folder} has no {ADAPTER}; pickled weights are refused, finetune again",
    )
    file = folder / ADAPTER_CONFIG
    config = read_object(file)
    for name, value in config.items():
        plain_start = name == "init_lora_weights" and value is True  # others rewrite the base
        require(
            name in HARMLESS or plain_start or value in (None, False, "none", [], {}),
            f"{file}: {name} is more than plain LoRA, and is refused",
        )
    require(
        config.get("peft_type") == "LORA" and config.get("task_type") == "CAUSAL_LM",
        f'{file}: peft_type and task_type must be "LORA" and "CAUSAL_LM"',
    )
    named = config.get("target_modules")
    require(
        isinstance(named, list) and sorted(map(str, named)) == sorted(targets),
        f"{file}: target_modules must be {', '.join(targets)}",
    )
    lora = _lora(config, file)
    _check_tensors(folder, shape=shape, targets=targets, rank=lora.rank)
    return lora


def _refuse_code(path: Path) -> None:
    """Refuse a config whose class is in a .py file of the folder or the hub, which would be run.

    An `auto_map` beside a class that Transformers has itself, as in Phi-2, is never followed.
    """
    if not path.is_file() or "auto_map" not in (config := read_object(path)):
        return
    import transformers

    known = (
        config.get("model_type") in transformers.CONFIG_MAPPING
        if path.name == "config.json"
        else hasattr(transformers, str(config.get("tokenizer_class")))
    )
    require(
        known,
        f"{path} asks for code of its own (auto_map), which is never run; take a model that "
        "Transformers has itself",
    )


def _is_shard(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")


def _lora(config: dict[str, Any], file: Path) -> LoraSpec:
    try:
        return LoraSpec(
            rank=int(config["r"]),
            alpha=config["lora_alpha"],
            dropout=float(config["lora_dropout"]),
            rslora=bool(config.get("use_rslora")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SettingError(f"{file} is no LoRA adapter's ({error!r}); finetune again") from None


def _check_tensors(folder: Path, *, shape: Shape, targets: Sequence[str], rank: int) -> None:
    sizes = shape.linears()
    unknown = sorted(set(targets) - sizes.keys())
    require(
        not unknown,
        f"{folder} does not fit the base: a block of {shape.architecture} has no linear layer "
        f"{', '.join(unknown)}",
    )
    expected = {}
    for layer in range(shape.layers):
        for target in targets:
            name = f"base_model.model.model.layers.{layer}.{part_of(target)}.{target}"
            expected[f"{name}.lora_A.weight"] = (rank, sizes[target][0])
            expected[f"{name}.lora_B.weight"] = (sizes[target][1], rank)
    found = read_header(folder / ADAPTER)
    odd = sorted(found.keys() ^ expected.keys())
    require(
        not odd,
        f"{folder} does not fit the base: {len(odd)} tensors differ in name, as {(odd or [''])[0]}",
    )
    for name, wanted in expected.items():
        require(
            found[name] == wanted,
            f"{folder} does not fit the base: {name} has shape {found[name]}, not {wanted}",
        )
