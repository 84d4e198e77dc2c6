"""Where a model's weights are, and which they are: a local folder, or a commit of the hub."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import ModelSpec, SettingError
from ..files import sha256_file
from ..hub.fetch import fetch
from ..hub.repository import Repository
from ..memory import Shape
from .blocks import shape_of

HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
             "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
             "chat_template.jinja")  # fmt: skip
"""All that is fetched of a hub repository: no pickled weights, no code."""
NEEDED = ("config.json", "tokenizer.json", "*.safetensors")
"""Without one of these a checkpoint is not whole."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                   "config.json")  # fmt: skip


def locate(spec: ModelSpec, *, instead: str | None = None) -> Path:
    """Return the folder of a checkpoint, fetched from the hub at its pinned commit if need be.

    Args:
        spec: Which checkpoint.
        instead: What to do without the hub, for the message; `key=FOLDER` if not given.

    Raises:
        SettingError: If the folder is not a safetensors checkpoint, or the hub refuses.
    """
    if spec.is_local:
        folder = _local(spec)
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    else:
        folder = _fetch(ungated(spec), HUB_FILES, NEEDED, instead=instead)
    return folder


def locate_tokenizer(spec: ModelSpec) -> Path:
    """Return a folder with a model's tokenizer, fetched without its weights if need be.

    Raises:
        SettingError: If the hub refuses.
    """
    if spec.is_local:
        return Path(spec.source)
    return _fetch(ungated(spec), TOKENIZER_FILES, ("tokenizer.json",), what="the tokenizer of ")


def ungated(spec: ModelSpec) -> ModelSpec:
    """Return a gated model's mirror when no hub token is set, and say so; else the model."""
    from huggingface_hub import get_token

    if not (spec.gated and spec.mirror) or get_token() is not None:
        return spec
    print(f"{spec.source} is gated and no hub token is set: taking its mirror {spec.mirror}")
    mirror = {"source": spec.mirror, "revision": spec.mirror_revision, "gated": False}
    return replace(spec, **mirror, mirror=None, mirror_revision=None)


def _local(spec: ModelSpec) -> Path:
    folder = Path(spec.source)
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise SettingError(
            f"{spec.key}: {folder} is not a checkpoint in safetensors "
            "(config.json and *.safetensors are needed)"
        )
    return folder


def _fetch(
    spec: ModelSpec,
    files: tuple[str, ...],
    needs: tuple[str, ...],
    *,
    what: str = "",
    instead: str | None = None,
) -> Path:
    return fetch(
        Repository(
            name=spec.source,
            revision=spec.revision or "",
            files=files,
            needs=needs,
            title=f"{what}{spec.source}",
            instead=instead or f"use a local folder with {spec.key}=FOLDER",
        )
    )


def identify(spec: ModelSpec) -> dict[str, Any]:
    """Return which weights these are: the hub's name and commit, or a local folder's sha256.

    Returns:
        {"source", "revision", "sha256"}; the sha256 is over config and weights, and reads them all,
        so that it is taken once, where a finetune is named.
    """
    if not spec.is_local:
        spec = ungated(spec)
        return {"source": spec.source, "revision": spec.revision, "sha256": None}
    # Not by `locate`, which takes this process off the hub, and with it the stages that it starts:
    # of two models, one may be in a folder and the other on the hub.
    folder, digest = _local(spec), hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(sha256_file(path).encode())
    return {"source": folder.name, "revision": None, "sha256": digest.hexdigest()}


def read_shape(folder: Path) -> Shape:
    """Return the sizes of a checkpoint; see `blocks.shape_of`."""
    return shape_of(folder)
