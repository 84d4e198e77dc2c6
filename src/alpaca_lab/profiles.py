"""The models we know, the studies ready to run, and how a user changes one of them."""

import ast
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from os.path import exists, isfile
from pathlib import Path
from typing import Any

from . import typed
from .characters import shown
from .config import (
    BERT_BASE,
    HUB_NAME,
    MINILM,
    PHI_LINEARS,
    REVISION,
    ROBERTA,
    TINY,
    DataSpec,
    EncoderSpec,
    ModelSpec,
    SettingError,
    StudySpec,
    TrainSpec,
    require,
)
from .rows.validation import FIELDS
from .sweep import cells
from .weights.blocks import targets_of

COLUMNS_EXAMPLE = "instruction=question, output=answer"

HUB_DATASETS = {
    "yahma/alpaca-cleaned": "12567cabf869d7c92e573c7c783905fc160e9639",
    "tatsu-lab/alpaca": "dce01c9b08f87459cf36a430d809084718273017",
}
"""Hub datasets known by name, each pinned to a commit."""
ALPACA_LICENSE = "cc-by-nc-4.0"
"""That of each of `HUB_DATASETS`, whatever the commit."""

ENCODERS = {encoder.name: encoder for encoder in (MINILM, ROBERTA, BERT_BASE)}

MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        ModelSpec(
            key="llama-2-7b",
            title="LLaMA-2-7B",
            source="meta-llama/Llama-2-7b-hf",
            revision="01c7f73d771dfac7d292323805ebc428287df4f9",
            gated=True,
            mirror="NousResearch/Llama-2-7b-hf",
            mirror_revision="dacdfcde31297e34b19ee0e7532f29586d2c17bc",
            license="llama2",
        ),
        ModelSpec(
            key="mistral-7b",
            title="Mistral-7B",
            source="mistralai/Mistral-7B-v0.1",
            revision="26bca36bde8333b5d7f72e9ed20ccda6a618af24",
            license="apache-2.0",
        ),
        ModelSpec(
            key="phi-2",
            title="Phi-2",
            source="microsoft/phi-2",
            revision="ef382358ec9e382308935a992d908de099b64c23",
            lora_targets=PHI_LINEARS,
            license="mit",
        ),
        ModelSpec(key="tiny-llama", title="Tiny LLaMA", source=str(TINY / "llama"), license="mit"),
        ModelSpec(
            key="tiny-mistral", title="Tiny Mistral", source=str(TINY / "mistral"), license="mit"
        ),
        ModelSpec(
            key="tiny-phi",
            title="Tiny Phi",
            source=str(TINY / "phi"),
            lora_targets=PHI_LINEARS,
            license="mit",
        ),
    )
}

PROFILES: dict[str, StudySpec] = {
    "smoke": StudySpec(
        name="smoke",
        models=tuple(MODELS[key] for key in ("tiny-llama", "tiny-mistral", "tiny-phi")),
        data=DataSpec(
            source=str(TINY / "rows.jsonl"),
            revision=None,
            test_share=0.15,
            validation_share=0.05,
            license="mit",
        ),
        train=TrainSpec(
            epochs=3.0,
            learning_rate=3e-3,
            batch_size=8,
        ),
        questions=60,
        repeats=2,
        max_new_tokens=256,
        slots=64,
        encoder=MINILM,
    ),
    "full": StudySpec(
        name="full",
        models=tuple(MODELS[key] for key in ("llama-2-7b", "mistral-7b", "phi-2")),
        data=DataSpec(license=ALPACA_LICENSE),
    ),
}


def configure(
    profile: str,
    *,
    models: str = "",
    data: str = "",
    columns: str = "",
    name: str = "",
    changes: Mapping[str, Any] | None = None,
) -> StudySpec:
    """Return a profile with a user's changes: the one way in from the notebook and the shell.

    Args:
        profile: A key of `PROFILES`.
        models: As for `parse_models`; "" keeps the profile's.
        data: As for `parse_data`; "" keeps the profile's.
        columns: As for `parse_columns`; "" keeps the profile's.
        name: Folder below results/; "" keeps the profile's name.
        changes: {field: value}, a field of a part written with a dot: {"train.epochs": 1}. A value
            may be text, as typed in a shell or a form: "1", "(0.5, 1.0)", "None"; "" keeps the
            profile's. "encoder" takes a key of `ENCODERS`.

    Raises:
        SettingError: If a name is unknown, or a value does not fit.

    Example:
        >>> configure("smoke", changes={"train.epochs": "1", "repeats": 3}).train.epochs
        1.0
    """
    require(profile in PROFILES, f'unknown profile "{profile}": choose from {", ".join(PROFILES)}')
    study = PROFILES[profile]
    if models:
        study = replace(study, models=parse_models(models))
    if data:
        study = replace(study, data=parse_data(data, study.data))
    if columns:
        study = replace(study, data=parse_columns(columns, study.data))
    if name:
        study = replace(study, name=name)
    rows = study.data.source
    for field, value in (changes or {}).items():
        if value == "":
            continue
        if field == "encoder":
            study = replace(study, encoder=parse_encoder(value))
            continue
        part, _, inner = field.partition(".")
        if inner:
            known = {item.name for item in fields(study)}
            nested = getattr(study, part) if part in known else None
            require(is_dataclass(nested), f'unknown setting "{field}"')
            study = replace(study, **{part: _changed(nested, inner, value, field)})
        else:
            study = _changed(study, part, value, field)
    if study.data.source != rows and "data.license" not in (changes or {}):
        study = replace(study, data=replace(study.data, license=None))  # that of other rows
    tuple(cells(study))  # a bad value in the last axis fails here, not after hours
    return study


def _changed(spec: Any, name: str, value: Any, field: str) -> Any:
    """Return `spec` with one plain field changed to `value`, read from text if need be."""
    plain = {
        item.name
        for item in fields(spec)
        if not is_dataclass(getattr(spec, item.name)) and item.name != "models"
    }
    require(name in plain, f'unknown setting "{field}": choose from {", ".join(sorted(plain))}')
    old, hint = getattr(spec, name), typed.hints(type(spec))[name]
    if isinstance(value, str) and not typed.fits(value, hint):
        value = _from_text(value, f"{field}={value} is not a value like {old!r}")
    if isinstance(old, tuple):
        value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    fits = typed.fits(value, hint)
    require(fits, f"{field}={shown(value)} does not fit: expected a value like {old!r}")
    if isinstance(old, float):
        value = float(value)
    return replace(spec, **{name: value})


def _from_text(text: str, fault: str) -> Any:
    """Return the Python value that a text spells, or raise `SettingError(fault)`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of what it reads: "1is" is 1 is ...
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise SettingError(fault) from None


def parse_models(text: str) -> tuple[ModelSpec, ...]:
    """Read "llama-2-7b, phi-2=/models/phi-2, qwen=Qwen/Qwen2.5-0.5B@COMMIT".

    Args:
        text: Comma-separated. A key of `MODELS`, or NAME=SOURCE, where SOURCE is a folder with a
            Transformers checkpoint in safetensors, or owner/name@COMMIT on the hub. A NAME that is
            a key keeps its title and its LoRA layers; any other NAME is a model of its own, whose
            LoRA layers are what its folder has, or on the hub LLaMA's (a `ModelSpec` can say
            Phi's).

    Raises:
        SettingError: If a key is unknown, or a folder holds no checkpoint that can be trained.
    """
    parts = filter(None, (item.strip() for item in text.split(",")))
    return tuple(_model(*(piece.strip() for piece in part.partition("="))) for part in parts)


def _model(key: str, _: str, source: str) -> ModelSpec:
    known = MODELS.get(key)
    if not source:
        require(
            known is not None,
            f'unknown model "{key}": choose from {", ".join(MODELS)}, or add one as '
            "NAME=owner/name@COMMIT or NAME=FOLDER",
        )
        return known
    place = _hub_place(key, source) or _folder_place(key, source)
    if known is not None:
        return replace(known, **place, gated=False, mirror=None, mirror_revision=None)
    spec = ModelSpec(key=key, title=key, **place)
    return replace(spec, lora_targets=targets_of(Path(spec.source))) if spec.is_local else spec


def _hub_place(key: str, source: str) -> dict[str, Any] | None:
    """Return a model's place on the hub; None where `source` is a folder, or looks like one."""
    name, _, commit = source.partition("@")
    if not HUB_NAME.fullmatch(name) or exists(_local(source)):
        return None
    require(
        REVISION.fullmatch(commit) is not None,
        f"{key}: {name} is no folder here, and as a model of the hub it needs its commit in 40 hex "
        f"digits: {key}={name}@COMMIT",
    )
    return {"source": name, "revision": commit}


def _folder_place(key: str, folder: str) -> dict[str, Any]:
    """Return a model's place in a folder, which holds a checkpoint in safetensors."""
    path = _local(folder)
    require(isfile(path / "config.json"), f"{key}: no config.json in {path}")
    require(
        any(path.glob("*.safetensors")),
        f"{key}: no .safetensors file in {path}; pickled weights are refused, "
        "convert them with save_pretrained(..., safe_serialization=True)",
    )
    return {"source": str(path), "revision": None}


def parse_encoder(name: str) -> EncoderSpec:
    """Return the encoder of that name in `ENCODERS`.

    Raises:
        SettingError: If the name is unknown.
    """
    known = isinstance(name, str) and name in ENCODERS
    require(known, f'unknown encoder "{name}": choose from {", ".join(ENCODERS)}')
    return ENCODERS[name]


def parse_data(source: str, base: DataSpec) -> DataSpec:
    """Return `base` with its rows taken from `source`.

    Args:
        source: A local .json, .jsonl or .parquet file, a name in `HUB_DATASETS`, or any other hub
            dataset as "owner/name@COMMIT". The licence is that of a known name, else unknown.
        base: Supplies the shares of the splits.

    Raises:
        SettingError: If the file does not exist, or a hub dataset comes without its commit.
    """
    name, _, revision = source.partition("@")
    revision = revision or HUB_DATASETS.get(name, "")
    if revision:
        require(len(revision) == 40, f"{name}: the commit after @ must have 40 hex digits")
        license = ALPACA_LICENSE if name in HUB_DATASETS else None
        return replace(base, source=name, revision=revision, license=license)
    path = _local(name)
    require(
        isfile(path),
        f"no such file: {path}; give a .json, .jsonl or .parquet file, or a hub dataset "
        "as owner/name@COMMIT",
    )
    return replace(base, source=str(path), revision=None, license=None)


def parse_columns(text: str, base: DataSpec) -> DataSpec:
    """Return `base` with its columns named by `text`.

    Args:
        text: "instruction=question, output=answer": a part of a row and the column that holds it.
            A part that is not named keeps the column that it has in `base`; "input=" says that
            there is none. A column whose name holds a comma is set by its field,
            `data.output_column`.
        base: The rows.

    Raises:
        SettingError: If a part is unknown or named twice, or a column is.

    Example:
        >>> parse_columns("instruction=question, output=answer, input=", DataSpec()).columns
        ('question', '', 'answer')
    """
    named: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        part, equals, column = (piece.strip() for piece in item.partition("="))
        require(
            bool(equals) and part in FIELDS,
            f"columns: {shown(item)} is not PART=COLUMN with instruction, input or output as PART, "
            f'such as "{COLUMNS_EXAMPLE}"',
        )
        require(part not in named, f"columns: {part} is named twice")
        named[part] = column
    return replace(base, **{f"{part}_column": column for part, column in named.items()})


def _local(text: str) -> Path:
    """Return the absolute path that a user means."""
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:  # "~nobody", a NUL, a circle of links
        raise SettingError(f"{text} is no path: {error}") from None
