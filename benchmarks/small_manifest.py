"""Which base a folder holds, by its manifest: what was asked, and whether its weights are those."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from small_bases import Base, Recipe

from alpaca_lab.config import fingerprint
from alpaca_lab.files import RecordError, read_json, sha256_file

MANIFEST = "base.json"
"""Written last: its presence means that the base is whole."""
WEIGHTS = "model.safetensors"


def request(
    base: Base, recipe: Recipe, reading: Mapping[str, Any], tokenizer: Path
) -> dict[str, Any]:
    """Return all that decides a base's weights but the machine."""
    return {
        "base": base.key,
        "config": dict(base.config),
        "recipe": asdict(recipe),
        "reading": dict(reading),
        "tokenizer_sha256": sha256_file(tokenizer / "tokenizer.json"),
    }


def is_trained(
    folder: Path, base: Base, recipe: Recipe, reading: Mapping[str, Any], tokenizer: Path
) -> bool:
    """Return whether `folder` holds this base, trained as asked, its weights undamaged."""
    try:
        manifest = read_json(folder / MANIFEST)
    except RecordError:
        return False
    asked = request(base, recipe, reading, tokenizer)
    weights = folder / WEIGHTS
    return (
        fingerprint(manifest["request"]) == fingerprint(asked)
        and weights.is_file()
        and sha256_file(weights) == manifest["sha256"]
    )


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a base.

    Raises:
        RecordError: If it is not there or damaged.
    """
    return read_json(folder / MANIFEST)
