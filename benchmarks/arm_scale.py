"""A finetune over the processes of one launch. The first of them prints one RESULT line of JSON.

The stage that a study runs, for a few steps. `--rows` takes fewer rows per step: what one GPU of
several has of it, on one.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import arm_options
import pandas as pd
from arm_finetune import measure, train

from alpaca_lab import environment, ranks

SUMS = 10


def sum_s(parameters: int) -> float:
    """Return the seconds in which the processes add up a gradient of so many parameters."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    gradient, seconds = torch.ones(parameters, device=accelerator.device), []
    for _ in range(SUMS):
        began = perf_counter()
        accelerator.reduce(gradient, "sum")
        torch.cuda.synchronize()
        seconds.append(perf_counter() - began)
    return median(seconds)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure, and return the RESULT."""
    folder = Path(ranks.agree(lambda: mkdtemp(prefix="scale-")))
    changes = {
        "gpu_gib": options.cap,
        "train.max_steps": options.warm + options.steps,
        "train.evaluations": 1,
        "train.batch_size": options.rows,
        "resources.checkpoints": 1,
    }
    manifest = train(
        key=options.key, model=options.model, data=options.data, changes=changes, folder=folder
    )
    losses = pd.read_csv(folder / "results" / "training" / options.key / "loss.csv")
    gpu = environment.gpu()
    return {
        **vars(options),
        **measure(losses, warm=options.warm),
        "processes": manifest["processes"],
        "micro_batch_tokens": manifest["micro_batch_tokens"],
        "recomputed_share": manifest["recompute"],
        "load_s": manifest["load_s"],
        "best_validation_loss": manifest["best_validation_loss"],
        "sum_s": sum_s(manifest["trainable_parameters"]) if ranks.count() > 1 else None,
        "gpu": gpu["name"] if gpu else None,
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = arm_options.parser(__doc__)
    parser.add_argument("--rows", type=int, default=128, help="rows of an optimiser step")
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps that are timed")
    parser.add_argument("--warm", type=int, default=4, help="steps before them")
    parser.add_argument("--gpus", type=int, default=1, help="how many processes there must be")
    options = parser.parse_args()
    ranks.join(options.gpus, gpu=True)
    found = run(options)
    if ranks.is_main():
        print("RESULT", json.dumps(found), flush=True)
    ranks.leave()


if __name__ == "__main__":
    main()
