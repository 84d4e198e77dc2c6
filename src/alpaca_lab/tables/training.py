"""The tables of the finetunes: how the loss fell, how alike the models were treated, what it took.

They need no answer and no score: each comes from the manifests and loss tables of training/.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import TINY, ModelSpec, StudySpec, fingerprint
from ..preflight import shape_of
from ..store import Record

FIRST_STEPS = 3
"""Steps left out of a rate: they also load kernels and grow the memory's pool."""
DIGITS = 12
"""Hex digits of a hash that a table shows."""


def training_table(record: Record, spec: StudySpec) -> pd.DataFrame:
    """Return what was trained and how the loss fell, one row per model.

    Returns:
        Columns model, adapted_layers, trainable_parameters, train_rows, steps, first_train_loss,
        last_train_loss, best_validation_loss (nats per response token).
    """
    rows = []
    for model in spec.models:
        manifest, losses = record.training(model.key)
        train = losses[losses["kind"] == "train"].sort_values("step")["loss"]
        facts = ("adapted_layers", "trainable_parameters", "train_rows", "steps")
        rows.append(
            {"model": model.key}
            | {name: manifest[name] for name in facts}
            | {
                "first_train_loss": train.iloc[0] if len(train) else None,
                "last_train_loss": train.iloc[-1] if len(train) else None,
                "best_validation_loss": manifest["best_validation_loss"],
            }
        )
    return pd.DataFrame(rows)


def _median(values: pd.Series) -> float | None:
    return round(float(values.median()), 6) if values.notna().any() else None


def training_cost_table(record: Record, spec: StudySpec) -> pd.DataFrame:
    """Return what each finetune took of the machine that ran it; an unknown is blank.

    Returns:
        Columns model, wall_s; tokens_per_s, prompts counted; peak_gib and predicted_gib, on the
        device, blank on a CPU; passes_per_step, the median; halved_at_steps, a space between;
        micro_batch_tokens, most in a pass at the end.
    """
    rows = []
    for model in spec.models:
        manifest, losses = record.training(model.key)
        train = losses[losses["kind"] == "train"].sort_values("step")
        train = train.reindex(columns=["tokens", "seconds", "passes"]).astype(float)
        on_gpu = manifest["peak_gib"] is not None
        rows.append(
            {
                "model": model.key,
                "wall_s": manifest["wall_s"],
                "tokens_per_s": _median((train["tokens"] / train["seconds"]).iloc[FIRST_STEPS:]),
                "peak_gib": manifest.get("device_gib", manifest["peak_gib"]),
                # What is predicted is a GPU's memory: beside a CPU's run it would say nothing.
                "predicted_gib": manifest.get("predicted_gib") if on_gpu else None,
                "passes_per_step": _median(train["passes"]),
                "halved_at_steps": " ".join(map(str, manifest.get("halved_at_steps", ()))),
                "micro_batch_tokens": manifest.get("micro_batch_tokens"),
            }
        )
    return pd.DataFrame(rows).astype({"micro_batch_tokens": "Int64"})


def equal_treatment_table(record: Record, spec: StudySpec) -> pd.DataFrame:
    """Return what must be the same for every model, and what must fit its shape; a row per model.

    Returns:
        Columns model, train_rows; order, over the questions of each step; template; recipe, over
        LoRA's settings and the training's; batch_size in rows; steps; tokens and response_tokens
        of the train rows; adapted_layers, expected_layers, trainable_parameters; layout. A fact
        that the manifest lacks is blank.
    """
    rows = []
    for model in spec.models:
        manifest = record.training(model.key)[0]
        rows.append({"model": model.key} | _treatment(manifest) | _adapted(manifest, model))
    whole = (
        "train_rows", "batch_size", "steps", "tokens", "response_tokens",
        "adapted_layers", "expected_layers", "trainable_parameters",
    )  # fmt: skip
    return pd.DataFrame(rows).astype(dict.fromkeys(whole, "Int64"))


def _treatment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    request = manifest.get("request", {})
    recipe = {name: request[name] for name in ("lora", "train") if name in request}
    return {
        "train_rows": manifest.get("train_rows"),
        "order": manifest.get("order_sha256", "")[:DIGITS],
        "template": request.get("template", ""),
        "recipe": fingerprint(recipe) if len(recipe) == 2 else "",
        "batch_size": request.get("train", {}).get("batch_size"),
        "steps": manifest.get("steps"),
        "tokens": manifest.get("tokens"),
        "response_tokens": manifest.get("response_tokens"),
    }


def _adapted(manifest: Mapping[str, Any], model: ModelSpec) -> dict[str, Any]:
    return {
        "adapted_layers": manifest.get("adapted_layers"),
        "expected_layers": expected_layers(model),
        "trainable_parameters": manifest.get("trainable_parameters"),
        "layout": manifest.get("layout", ""),
    }


def expected_layers(model: ModelSpec) -> int | None:
    """Return how many layers LoRA must adapt, from the model's shape; None where it is not known.

    Known are the sizes that travel with the repository: those of its hub models and of its embedded
    checkpoints. A folder of the user's own is not asked: a table must come out the same elsewhere.
    """
    own = model.is_local and not Path(model.source).is_relative_to(TINY)
    shape = None if own else shape_of(model.source)
    return None if shape is None else shape.adapted_layers(model.lora_targets)
