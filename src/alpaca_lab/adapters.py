"""Which base an adapter belongs to: of a study's finetune, a folder, or a commit of the hub.

What an adapter says of itself is text of a stranger. It decides which checkpoint is looked for,
and nothing is run: `models.load_decoder` checks both before any library opens them.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .characters import shown
from .config import (
    HUB_NAME,
    KEY,
    LLAMA_LINEARS,
    PHI_LINEARS,
    REVISION,
    ModelSpec,
    SettingError,
    StudySpec,
    require,
    study_from_dict,
)
from .files import RecordError, read_json, sha256_file
from .hub.fetch import fetch
from .hub.repository import Repository
from .profiles import MODELS
from .runs import MANIFEST
from .store import Record
from .sweep import BASE, GREEDY
from .weights.checkpoints import identify
from .weights.trust import ADAPTER, ADAPTER_CONFIG, read_object

LINEARS = {*LLAMA_LINEARS, *PHI_LINEARS}
"""The linear layers that blocks have by name; which of them a base has is checked when it loads."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A base model, and the adapter that belongs on it."""

    spec: ModelSpec
    """The base; `lora_targets` are the layers that the adapter is on."""
    folder: Path | None
    """The adapter's folder; None: the untuned base."""
    merged: bool = True
    """False where the study found its dense model too far from what was trained."""
    study: StudySpec | None = None
    """The study that finetuned it, where it is one's."""


def find(adapter: str, *, name: str = "smoke", base: str = "", untuned: bool = False) -> Found:
    """Return the base and the adapter that a user means.

    Args:
        adapter: A model of the study, by its key; a folder with adapter_config.json and
            adapter_model.safetensors; or an adapter of the hub as owner/name@COMMIT. A key comes
            before a folder of that name: write ./NAME for the folder.
        name: The study, a folder below results/.
        base: The base of a folder or a hub adapter: a known model's key, owner/name@COMMIT or a
            folder; "" asks the adapter.
        untuned: Leave the adapter out, for comparison.

    Raises:
        SettingError: If there is no such adapter, or its base is not known; with the cure.
        RecordError: If the study's record is damaged.
    """
    record = Record.of(name)
    study = _study_with(adapter, record)
    if study is not None:
        require(not base, f"{adapter} of results/{name} has its base: leave --base out")
        return _of_study(study, adapter, record=record, untuned=untuned)
    if untuned and adapter in MODELS:
        return Found(spec=MODELS[adapter], folder=None)
    hub_name, _, revision = adapter.partition("@")
    if HUB_NAME.fullmatch(hub_name) and REVISION.fullmatch(revision):
        folder = _fetched(hub_name, revision)
        found = _of_folder(folder, title=adapter, base=base, is_ours=False)
    else:
        folder = _with_adapter(adapter, record)
        found = _of_folder(folder, title=str(folder), base=base, is_ours=True)
    return replace(found, folder=None) if untuned else found


def _study_with(key: str, record: Record) -> StudySpec | None:
    """Return the study if it has a model of that key; None where it has not, or there is none."""
    if KEY.fullmatch(key) is None or not record.has_index():
        return None
    study = study_from_dict(record.index().get("spec"))
    return study if any(model.key == key for model in study.models) else None


def _of_study(study: StudySpec, key: str, *, record: Record, untuned: bool) -> Found:
    """Return a study's model as the study decodes it."""
    spec = study.model(key)
    cell = record.index().get("runs", {}).get(key, {}).get(BASE if untuned else GREEDY)
    merged = cell is None or record.run(cell).request().get("weights") != "unmerged"
    found = Found(spec=spec, folder=None, merged=merged, study=study)
    if untuned:
        return found
    study_name = record.folder.name
    manifest = record.folder / "training" / key / MANIFEST
    folder = record.adapter(key) if manifest.is_file() else None
    is_there = folder is not None and (folder / ADAPTER).is_file()
    if not is_there:
        record.require_texts()  # a published record comes without adapters too
    require(
        is_there,
        f"{spec.title} is not finetuned in results/{study_name}: run master_file.ipynb first, or "
        f"in a shell `python -m alpaca_lab finetune --name {study_name} --only {key}`",
    )
    if sha256_file(folder / ADAPTER) != record.training(key)[0]["adapter"]["sha256"]:
        raise RecordError(
            f"{folder / ADAPTER} is damaged: it does not match its manifest; run the study again"
        )
    return replace(found, folder=folder)


def _fetched(name: str, revision: str) -> Path:
    """Return the folder with a hub adapter's two files, fetched if need be."""
    return fetch(
        Repository(
            name=name,
            revision=revision,
            files=(ADAPTER, ADAPTER_CONFIG),
            needs=(ADAPTER, ADAPTER_CONFIG),
            title=f"the adapter {name}",
            instead="give a local folder of the adapter",
        )
    )


def _with_adapter(text: str, record: Record) -> Path:
    """Return the folder that a user means: an adapter's, or a finetune's with the adapter in it."""
    try:
        folder = Path(text).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:  # "~nobody", a NUL, a circle of links
        raise SettingError(f"{text} is no path: {error}") from None
    for place in (folder, folder / "adapter"):
        if os.path.isfile(place / ADAPTER_CONFIG):
            return place
    study = f"results/{record.folder.name}"
    models = f"{study} has no study: run master_file.ipynb first"
    if record.has_index():
        spec = study_from_dict(record.index().get("spec"))
        models = f"{study} has {', '.join(model.key for model in spec.models)}"
    raise SettingError(
        f"{text} is no adapter: give a finetuned model's key ({models}), a folder with "
        f"{ADAPTER_CONFIG}, or owner/name@COMMIT of the hub, the commit in 40 hex digits"
    )


def _of_folder(folder: Path, *, title: str, base: str, is_ours: bool) -> Found:
    """Return what an adapter's folder says, or the base that a user says.

    Args:
        folder: With adapter_config.json.
        title: How messages name it.
        base: As for `find`.
        is_ours: The folder is on this machine, so that it may name others that are.
    """
    config = read_object(folder / ADAPTER_CONFIG)
    targets = config.get("target_modules")
    require(
        isinstance(targets, list) and bool(targets) and set(map(str, targets)) <= LINEARS,
        f"{title}: target_modules must name linear layers of a block such as q_proj, not "
        f"{shown(targets)}",
    )
    spec = None
    if base:
        spec = base_of(base)
    elif is_ours:
        spec = _recorded_base(folder, config)
    if spec is None:
        spec = _said_base(config, title=title, is_ours=is_ours)
    if sorted(targets) != sorted(spec.lora_targets):
        spec = replace(spec, lora_targets=tuple(sorted(targets)))
    return Found(spec=spec, folder=folder)


def base_of(text: str) -> ModelSpec:
    """Return the base that a user names: a known model, owner/name@COMMIT, or a folder.

    Raises:
        SettingError: If it is none of them.
    """
    if text in MODELS:
        return MODELS[text]
    name, _, revision = text.partition("@")
    if HUB_NAME.fullmatch(name) and not os.path.isdir(text):
        spec = _of_hub(name, revision or None)
        require(spec is not None, f"--base {text}: write owner/name@COMMIT, 40 hex digits, or a "
                "folder that exists")  # fmt: skip
        return spec
    require(
        os.path.isfile(os.path.join(text, "config.json")),
        f"--base {text}: no such folder with a config.json; or give a known model "
        f"({', '.join(MODELS)}) or owner/name@COMMIT",
    )
    return _of_path(Path(text).resolve())


def _recorded_base(folder: Path, config: dict[str, Any]) -> ModelSpec | None:
    """Return the base by the finetune's manifest beside an adapter; None where there is none."""
    path = folder.parent / MANIFEST
    if folder.name != "adapter" or not path.is_file():
        return None
    manifest = read_json(path, cure="name the base with --base, or finetune again")
    try:
        base, digest = manifest["request"]["base"], manifest["adapter"]["sha256"]
        source, revision, sha256 = base["source"], base["revision"], base["sha256"]
    except (KeyError, TypeError):
        return None  # of something else
    if sha256_file(folder / ADAPTER) != digest:
        raise RecordError(f"{folder / ADAPTER} is not the one of {path}: finetune again")
    if revision is not None:
        return _of_hub(source, revision)
    named = str(config.get("base_model_name_or_path") or "")
    places = [model for model in MODELS.values() if model.is_local]
    places += [_of_path(Path(named))] if os.path.isabs(named) else []
    for spec in places:
        is_there = os.path.isfile(os.path.join(spec.source, "config.json"))
        if is_there and identify(spec)["sha256"] == sha256:
            return spec
    raise SettingError(
        f"{folder} was finetuned on a checkpoint in a folder {shown(source)}, which is not found "
        "here: say where it is with --base FOLDER"
    )


def _said_base(config: dict[str, Any], *, title: str, is_ours: bool) -> ModelSpec:
    """Return the base by what adapter_config.json says of it."""
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    cure = "add --base owner/name@COMMIT or --base FOLDER"
    require(isinstance(name, str) and bool(name), f"{title} does not name its base: {cure}")
    if os.path.isabs(name):
        require(
            is_ours and os.path.isfile(os.path.join(name, "config.json")),
            f"{title} names as its base {shown(name)}, a folder of another machine: {cure}",
        )
        return _of_path(Path(name))
    spec = _of_hub(name, revision) if HUB_NAME.fullmatch(name) else None
    require(
        spec is not None,
        f"{title} names as its base {shown(name)} without a commit of 40 hex digits: {cure}",
    )
    return spec


def _of_hub(name: str, revision: Any) -> ModelSpec | None:
    """Return a model of the hub, a known one without its commit too; None where one is lacking."""
    for spec in MODELS.values():
        pins = {spec.source: spec.revision, spec.mirror: spec.mirror_revision}
        if not spec.is_local and name in pins and revision in (None, pins[name]):
            return spec
    if not (isinstance(revision, str) and REVISION.fullmatch(revision)):
        return None
    known = next((model for model in MODELS.values() if name in (model.source, model.mirror)), None)
    titled = {"key": known.key, "title": known.title} if known else _named(name)
    return ModelSpec(source=name, revision=revision, **titled)


def _of_path(path: Path) -> ModelSpec:
    """Return the model of a local folder."""
    for spec in MODELS.values():
        if spec.is_local and Path(spec.source) == path:
            return spec
    return ModelSpec(source=str(path), **_named(path.name))


def _named(name: str) -> dict[str, str]:
    """Return key and title of a model that we do not know."""
    last = name.rpartition("/")[2]
    key = re.sub(r"[^A-Za-z0-9._-]", "-", last).lstrip("._-")[:64]
    return {"key": key or "base", "title": last or "base"}
