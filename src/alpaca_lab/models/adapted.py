"""What an adapter is on: every layer that was named, every tensor of its file. PEFT is silent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import LoraSpec, SettingError
from ..memory import Shape
from ..weights.trust import ADAPTER

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
