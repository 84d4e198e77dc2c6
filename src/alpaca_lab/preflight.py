"""What this machine can run of a study, and why not the rest; arithmetic and look-ups only."""

from pathlib import Path

import pandas as pd

from . import environment, fitting
from .config import ModelSpec, SettingError, StudySpec
from .memory import KNOWN_SHAPES, Shape
from .store import OUTPUTS
from .weights.checkpoints import read_shape

PROMPT_TOKENS = 448
"""Room for the longest Alpaca prompt: 412 LLaMA tokens."""
CPU_PARAMETERS = 500_000_000
"""A larger model would take days on a CPU."""


def shape_of(source: str) -> Shape | None:
    """Return a model's sizes from its folder or from what we know of it, else None."""
    if Path(source).is_absolute():
        folder = Path(source)
        return read_shape(folder) if (folder / "config.json").is_file() else None
    return KNOWN_SHAPES.get(source)


def table(study: StudySpec) -> pd.DataFrame:
    """Return one row per need of the study: what is needed, what is here, and whether it fits.

    Returns:
        Columns "what", "needs", "here", "can run" ("yes", or "no: " and the reason).
    """
    gpu = environment.gpu()
    memory = (gpu["free_gib"] if gpu else environment.memory_gib()) or 0.0
    if gpu and study.gpu_gib:
        memory = min(memory, study.gpu_gib)
    here = f"{gpu['name']}, {memory:.1f} GiB free" if gpu else f"CPU, {memory:.1f} GiB"
    rows = []
    for model in study.models:
        shape = shape_of(model.source)
        if shape is None:
            rows.append((model.title, "unknown: shape not known before download", here, "yes"))
            continue
        train_needs, train_fits = _training(study, model, shape, memory if gpu else None)
        needs, fits = _decoding(study, shape, memory if gpu else None)
        slow = not gpu and shape.block_parameters > CPU_PARAMETERS
        reason = "no: needs a GPU; on a CPU it would take days" if slow else None
        rows.append((f"finetune {model.title}", train_needs, here, reason or train_fits))
        rows.append((f"decode {model.title}", needs, here, reason or fits))
    rows.append(_disk_row(study))
    return pd.DataFrame(rows, columns=["what", "needs", "here", "can run"])


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
