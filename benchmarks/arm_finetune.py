"""QLoRA throughput and memory of Alpaca Lab's own finetune stage. Prints one RESULT line of JSON.

The stage that a study runs, for a few steps, in a process of its own; then its adapter, loaded in
another process by Transformers and PEFT alone, as any user of it would.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import arm_options
import pandas as pd
from breakdown import beside, watch

from alpaca_lab import environment

PACKAGES = ("torch", "transformers", "peft", "unsloth")
MANIFEST = (
    "adapted_layers", "trainable_parameters", "layout", "micro_batch_tokens", "halved_at_steps",
    "predicted_gib", "device_gib", "load_s",
)  # fmt: skip
"""Passed on from the finetune's manifest."""


def alone(function: Callable[..., Any], **arguments: Any) -> Any:
    """Return what a function gives in a fresh process: its GPU memory is free afterwards."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, **arguments).result()


def train(
    *,
    key: str,
    model: str,
    data: str,
    changes: Mapping[str, Any],
    folder: Path,
    watched: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Run the finetune stage of a study, everything that it writes below `folder`.

    Args:
        key: Model by name.
        model: Its checkpoint folder.
        data: JSONL of instruction, input, output.
        changes: Settings of the study, by field.
        folder: Where the study's outputs and results go.
        watched: Steps to take apart, as `breakdown.watch` has them.

    Returns:
        The manifest that the stage left, and what was watched under "breakdown".
    """
    from alpaca_lab import profiles, ranks, study
    from alpaca_lab.finetuning import finetune
    from alpaca_lab.store import Record

    spec = profiles.configure("full", models=f"{key}={model}", data=data, changes=changes)
    finetune.OUTPUTS = folder / "outputs"
    record = Record(folder / "results")
    ranks.once(lambda: study.prepare(spec, record=record))
    watching = watch(**watched) if watched else None
    manifest = finetune.finetune(spec, key, record=record)
    return {**manifest, "breakdown": watching.result if watching else None}


def measure(losses: pd.DataFrame, *, warm: int) -> dict[str, Any]:
    """Return speed and memory from a finetune's loss table.

    Args:
        losses: loss.csv: step, kind, loss, tokens, seconds, gib, ...; one row per optimiser step
            of kind "train".
        warm: The first so many steps are not counted: kernels are compiled in them.

    Returns:
        tok_s over all counted steps together, as the peers' scripts have it; step_s of the median
        step; first_step_s, with what was compiled in it; peak_gib of the whole run, None where it
        was not measured; steps and tokens that were counted; first_loss and last_loss.

    Raises:
        ValueError: If no step is left.
    """
    steps = losses[losses["kind"] == "train"].sort_values("step")
    timed = steps[steps["step"] > warm]
    if timed.empty:
        raise ValueError(f"{len(steps)} steps, of which {warm} warm up: nothing is left to time")
    peak = steps["gib"].max()
    return {
        "tok_s": float(timed["tokens"].sum() / timed["seconds"].sum()),
        "step_s": float(timed["seconds"].median()),
        "first_step_s": float(steps["seconds"].iloc[0]),
        "peak_gib": None if pd.isna(peak) else float(peak),
        "steps": len(timed),
        "tokens": int(timed["tokens"].sum()),
        "first_loss": float(steps["loss"].iloc[0]),
        "last_loss": float(steps["loss"].iloc[-1]),
    }


def reload(*, key: str, model: str, adapter: Path, cap: float | None) -> int:
    """Load an adapter on its base in 4 bits, by Transformers and PEFT alone, and check it.

    Returns:
        How many layers carry it.

    Raises:
        SettingError: If a layer or a tensor is missing, or arrived changed.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from alpaca_lab import hardware, models
    from alpaca_lab.config import LoraSpec
    from alpaca_lab.profiles import MODELS
    from alpaca_lab.weights import checkpoints

    hardware.claim_device(cap)
    base = AutoModelForCausalLM.from_pretrained(
        model,
        dtype=torch.bfloat16,
        device_map={"": hardware.device()},
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    )
    loaded = PeftModel.from_pretrained(base, str(adapter))
    config = loaded.peft_config["default"]
    layers, _ = models.check_adapted(
        loaded,
        shape=checkpoints.read_shape(Path(model)),
        targets=MODELS[key].lora_targets,
        lora=LoraSpec(rank=config.r, alpha=config.lora_alpha),
    )
    models.check_loaded(loaded, adapter)
    return layers


def reloaded(**arguments: Any) -> dict[str, Any]:
    """Return whether the adapter reloads in a fresh process, and if not, why."""
    try:
        alone(reload, **arguments)
    except Exception as error:  # whatever it is, the speed that was measured stands beside it
        return {"reloaded": False, "reload_error": str(error) or repr(error)}
    return {"reloaded": True}


def run(options: argparse.Namespace, *, folder: Path) -> dict[str, Any]:
    """Train, measure and reload, and return the RESULT."""
    place = {"key": options.key, "model": options.model}
    steps, watched = options.warm + options.steps, None
    if options.breakdown:
        watched = {"after": options.warm, "steps": options.steps}
        steps += beside(options.steps)
    changes = {
        "gpu_gib": options.cap,
        "train.max_steps": steps,
        "train.evaluations": 1,
        "resources.checkpoints": 1,  # the peers save none; no step's seconds hold a save anyway
        **dict(change.split("=", 1) for change in options.set),
    }
    manifest = alone(
        train, **place, data=options.data, changes=changes, folder=folder, watched=watched
    )
    if watched:
        return {"breakdown": manifest["breakdown"]}
    losses = pd.read_csv(folder / "results" / "training" / options.key / "loss.csv")
    gpu = environment.gpu()
    return {
        "arm": "alpaca lab",
        **vars(options),
        **measure(losses, warm=options.warm),
        **{name: manifest[name] for name in MANIFEST},
        "recomputed_share": manifest["recompute"],
        **reloaded(**place, adapter=folder / manifest["adapter"]["folder"], cap=options.cap),
        "versions": {name: environment.version_of(name) for name in PACKAGES},
        "gpu": gpu["name"] if gpu else None,
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = arm_options.parser(__doc__)
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps that are timed")
    parser.add_argument("--warm", type=int, default=12, help="steps before them")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="change one setting of the study, as train.batch_size=64; repeatable",
    )  # fmt: skip
    parser.add_argument("--breakdown", action="store_true", help="take the timed steps apart")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="finetune-") as folder:
        print("RESULT", json.dumps(run(options, folder=Path(folder))), flush=True)


if __name__ == "__main__":
    main()
