"""What this machine can run of a study, and why not the rest; arithmetic and look-ups only."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from . import driver, environment, fitting
from .config import ModelSpec, SettingError, StudySpec
from .memory import KNOWN_SHAPES, Shape
from .store import OUTPUTS
from .weights.checkpoints import read_shape

PROMPT_TOKENS = 448
"""Room for the longest Alpaca prompt: 412 LLaMA tokens."""
CPU_PARAMETERS = 500_000_000
"""A larger model would take days on a CPU."""

CARDS = {
    "T4": (14.7, 7.5), "L4": (22.1, 8.9), "A100": (39.5, 8.0), "A100-80GB": (79.1, 8.0),
    "A10G": (22.0, 8.6), "RTX-3090": (23.6, 8.6), "RTX-4090": (23.6, 8.9), "H100": (79.1, 9.0),
}  # fmt: skip
"""Colab's GPUs, and others that people have: GiB that torch has of each, compute capability."""


def shape_of(source: str) -> Shape | None:
    """Return a model's sizes from its folder or from what we know of it, else None."""
    if Path(source).is_absolute():
        folder = Path(source)
        return read_shape(folder) if (folder / "config.json").is_file() else None
    return KNOWN_SHAPES.get(source)


def table(study: StudySpec, *, card: str = "") -> pd.DataFrame:
    """Return one row per need of the study: what is needed, what is here, and whether it fits.

    Args:
        study: The study.
        card: A key of `CARDS`: what it could run, were it here; "" asks this machine.

    Returns:
        Columns "what", "needs", "here", "can run" ("yes", or "no: " and the reason).

    Raises:
        SettingError: If no such card is known.
    """
    place = _place_of(card, study.gpu_gib) if card else _here(study.gpu_gib)
    rows = [("precision", place.precision, place.name, "yes")]
    for model in study.models:
        shape = shape_of(model.source)
        if shape is None:
            rows.append(
                (model.title, "unknown: shape not known before download", place.name, "yes")
            )
            continue
        if place.gpu_gib is None and shape.block_parameters > CPU_PARAMETERS:
            refused = "a GPU with bfloat16", f"no: {place.no_gpu}; on a CPU it would take days"
            train = decode = refused
        else:
            train = _training(study, model, shape, place.gpu_gib)
            decode = _decoding(study, shape, place.gpu_gib)
        for stage, (needs, fits) in (("finetune", train), ("decode", decode)):
            rows.append((f"{stage} {model.title}", needs, place.name, fits))
    if not card:
        rows.append(_disk_row(study))
    return pd.DataFrame(rows, columns=["what", "needs", "here", "can run"])


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a study would compute."""

    name: str
    gpu_gib: float | None
    """What the GPU has for it; None where the CPU computes."""
    no_gpu: str = "needs a GPU"

    @property
    def precision(self) -> str:
        """In what numbers, and by whose attention."""
        return "float32" if self.gpu_gib is None else "bfloat16, flash attention"


def _here(cap: float | None) -> _Place:
    gpu, cpu = environment.gpu(), environment.memory_gib() or 0.0
    if gpu is None:
        return _Place(name=f"CPU, {cpu:.1f} GiB", gpu_gib=None)
    if driver.lacks_bfloat16():
        return _without_bfloat16(gpu["name"], f", {cpu:.1f} GiB")
    free = gpu["free_gib"] or 0.0
    free = min(free, cap) if cap else free
    return _Place(name=f"{gpu['name']}, {free:.1f} GiB free", gpu_gib=free)


def _place_of(card: str, cap: float | None) -> _Place:
    if card not in CARDS:
        raise SettingError(f'no card "{card}" is known: choose from {", ".join(CARDS)}')
    gib, capability = CARDS[card]
    if capability < driver.AMPERE:
        return _without_bfloat16(card)
    gib = min(gib, cap) if cap else gib
    return _Place(name=f"{card}, {gib:.1f} GiB", gpu_gib=gib)


def _without_bfloat16(card: str, cpu: str = "") -> _Place:
    return _Place(
        name=f"CPU{cpu} ({card} has no bfloat16)",
        gpu_gib=None,
        no_gpu=f"{card} has no bfloat16, in which all models are computed alike (float16 overflows "
        "in Phi-2): take an L4 or an A100, or any card from Ampere on",
    )


def _training(
    study: StudySpec, model: ModelSpec, shape: Shape, memory_gib: float | None
) -> tuple[str, str]:
    """Return what a finetune needs as it would be run here, and whether it can."""
    try:
        plan = fitting.plan(study, model, shape=shape, memory_gib=memory_gib)
    except SettingError as error:
        return "more", f"no: {error}"
    again = f", {plan.recompute:.0%} of the blocks run twice" if plan.recompute else ""
    needs = f"{plan.gib:.1f} GiB: passes of {plan.micro_batch_tokens:,} tokens{again}"
    if memory_gib is not None and plan.gib > memory_gib:
        return needs, "no: more than this machine has; lower resources.micro_batch_tokens"
    return needs, "yes"


def _decoding(study: StudySpec, shape: Shape, memory_gib: float | None) -> tuple[str, str]:
    """Return what decoding needs as it would be run here, and whether it can."""
    longest = PROMPT_TOKENS + study.max_new_tokens
    try:
        plan = fitting.decode_plan(study, shape, longest=longest, memory_gib=memory_gib)
    except SettingError as error:
        return "more", f"no: {error}"
    return f"{plan.gib:.1f} GiB: {plan.slots} slots over {plan.columns:,} tokens", "yes"


def _disk_row(study: StudySpec) -> tuple[str, str, str, str]:
    shapes = [shape_of(model.source) for model in study.models if not model.is_local]
    downloads = sum(
        2 * (shape.block_parameters + shape.embedding_parameters) / 2**30
        for shape in shapes
        if shape
    )
    need, free = 0.5 + downloads, environment.free_disk_gib(OUTPUTS)
    verdict = (
        "yes"
        if free > need
        else "no: free some space; weights of hub models count as not yet fetched"
    )
    return "disk", f"{need:.1f} GiB", f"{free:.1f} GiB free", verdict


def require_feasible(study: StudySpec) -> None:
    """Refuse a study that this machine cannot run, before anything is downloaded.

    Raises:
        SettingError: With the first reason.
    """
    found = table(study)
    for row in found.itertuples(index=False):
        if row[3] != "yes":
            raise SettingError(
                f"{row[0]} needs {row[1]}, here is {row[2]}: {row[3].removeprefix('no: ')}"
            )
