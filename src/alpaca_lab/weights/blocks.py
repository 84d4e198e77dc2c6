"""What the blocks of a checkpoint consist of, read from its config and the headers of its weights.

LoRA, its checks and the memory's arithmetic count on blocks of LLaMA's seven linear layers, or of
Phi's six. Whatever else surrounds those is the model's own affair; a checkpoint whose blocks have
others is refused by name before anything is loaded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..characters import plain, shown
from ..config import LLAMA_LINEARS, PHI_LINEARS, SettingError, require
from ..memory import Shape
from .architectures import part_of
from .headers import read_header, read_object

ATTENDED = {"full_attention", "sliding_attention"}
"""Kinds of layers that the engine has masks for."""
OWN = re.compile(r"(?:model\.)?layers\.(\d+)\.(.+)\.weight")
OTHER = re.compile(r"(.*\.)?(?:layers|layer|blocks|block|h)\.\d+\.(.+)\.\w+")
NUMBER = re.compile(r"\.\d+(?=\.)")
LISTED, LONGEST = 12, 60
"""Kinds of layers that a message names, and the characters of each."""

Shapes = dict[str, tuple[int, ...]]


def targets_of(folder: Path) -> tuple[str, ...]:
    """Return the linear layers of a checkpoint's blocks, all of which LoRA is to adapt.

    Raises:
        SettingError: If they are neither LLaMA's seven nor Phi's six.
    """
    found = _in_blocks(_weights(folder))
    named = {path.rpartition(".")[2] for path in found}
    targets = PHI_LINEARS if named >= set(PHI_LINEARS) else LLAMA_LINEARS
    check_blocks(folder, targets=targets)
    return targets


def check_blocks(folder: Path, *, targets: Sequence[str]) -> None:
    """Refuse a checkpoint whose blocks do not have the layers that LoRA is to adapt, and no others.

    Args:
        folder: With config.json and weights.
        targets: Names of linear layers.

    Raises:
        SettingError: With the layers that were found, and those needed.
    """
    config = read_object(folder / "config.json")
    require(
        not config.get("quantization_config"),
        f"{folder} is quantised already; take the checkpoint in 16 bits, NF4 is made of it here",
    )
    kinds = config.get("layer_types")
    odd = set(map(str, kinds if isinstance(kinds, list) else ())) - ATTENDED
    require(
        not odd,
        f"{folder}: some layers are of the kind {shown(min(odd, default=''))}, and only full and "
        "sliding attention are known here; take another model",
    )
    weights = _weights(folder)
    found = _in_blocks(weights)
    needed = {f"{part_of(name)}.{name}" for name in targets}
    like = {path for path in found if path.rpartition(".")[2] in targets}
    if like != needed:
        raise _misfit(folder, found, needed)
    shape = shape_of(folder)
    sizes = {f"{part_of(name)}.{name}": size for name, size in shape.linears().items()}
    if not needed <= sizes.keys():  # Phi's layers under another model's name, or the reverse
        raise _misfit(folder, found, sizes)
    for path in sorted(needed):
        layers = {
            name: size
            for name, size in weights.items()
            if (own := OWN.fullmatch(name)) and own[2] == path
        }
        require(
            len(layers) == shape.layers,
            f"{folder}: {len(layers)} of {shape.layers} layers have {path}; the checkpoint is not "
            "whole, or its layers differ",
        )
        for name, size in layers.items():
            wanted = sizes[path][::-1]
            require(
                size == wanted,
                f"{folder}: {name} has shape {size}, not {wanted}: all layers must be of the sizes "
                "that config.json says; take another model",
            )


def shape_of(folder: Path) -> Shape:
    """Return the sizes of a checkpoint: from its weights where they are there, else its config.

    A config leaves out what is its architecture's default, such as Gemma's heads and its one
    embedding for both ends.

    Raises:
        SettingError: If the config is not of a plain decoder, or a file is damaged.
    """
    config = read_object(folder / "config.json")
    weights = _weights(folder)
    try:
        return Shape.from_config(config | _sizes(weights, config))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        if weights:
            raise _misfit(folder, _in_blocks(weights), LLAMA_LINEARS) from None
        raise SettingError(
            f"{folder / 'config.json'} is not of a decoder that is known here (no {error})"
        ) from None


def _sizes(weights: Shapes, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config that the weights say."""
    first = {
        own[2].rpartition(".")[2]: size
        for name, size in weights.items()
        if (own := OWN.fullmatch(name)) and own[1] == "0" and len(size) == 2
    }
    found: dict[str, Any] = {}
    for name in ("model.embed_tokens.weight", "embed_tokens.weight"):
        if name in weights:
            found["vocab_size"], found["hidden_size"] = weights[name]
            found["tie_word_embeddings"] = "lm_head.weight" not in weights
    inner = first.get("gate_proj") or first.get("fc1")
    if inner:
        found["intermediate_size"] = inner[0]
    if "q_proj" in first and "k_proj" in first:
        found["head_dim"] = first["q_proj"][0] // config["num_attention_heads"]
        found["num_key_value_heads"] = first["k_proj"][0] // found["head_dim"]
    return found


def _weights(folder: Path) -> Shapes:
    """Return the shape of every tensor of a checkpoint."""
    return {
        name: size
        for path in sorted(folder.glob("*.safetensors"))
        for name, size in read_header(path).items()
    }


def _in_blocks(weights: Iterable[str] | Shapes) -> set[str]:
    """Return the matrices of the blocks as paths within a block, numbers left out.

    What does not lie where a plain decoder's blocks do keeps what comes before.
    """
    found = set()
    for name, size in dict(weights).items():
        if len(size) < 2:
            continue
        if own := OWN.fullmatch(name):
            found.add(NUMBER.sub("", own[2]))
        elif other := OTHER.fullmatch(name):
            before = (other[1] or "").removeprefix("transformer.").removeprefix("model.")
            found.add(NUMBER.sub("", f"{before}{other[2]}"))
    return found


def _misfit(folder: Path, found: Iterable[str], needed: Iterable[str]) -> SettingError:
    names = sorted(found)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listed = ", ".join(plain(name)[:LONGEST] for name in names[:LISTED]) or "none"
    return SettingError(
        f"{folder}: the matrices of its blocks are {listed}{more}; needed are those of LoRA, one "
        f"each ({', '.join(sorted(needed))}): take a decoder built like LLaMA, Mistral, Qwen2 or "
        "Gemma with lora_targets=LLAMA_LINEARS, or like Phi-2 with PHI_LINEARS"
    )
