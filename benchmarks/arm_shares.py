"""All cells of a study decoded for fewer and fewer questions: what one GPU of several has of it.

Prompts and the lengths of answers are arm_generate.py's. Prints one RESULT line of JSON.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import arm_options
from arm_generate import LONGEST, NEVER, load, rows_of

from alpaca_lab import environment, fitting, hardware
from alpaca_lab.decoding import beams, slots
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.profiles import MODELS, PROFILES
from alpaca_lab.sweep import Cell, cells, untuned
from alpaca_lab.weights.checkpoints import read_shape

Rows = Sequence[tuple[tuple[int, ...], int]]


def jobs_of(rows: Rows, asked: Sequence[Cell]) -> list[Job]:
    """Return every answer that a study asks for, question by question."""
    return [
        Job(
            question=str(n),
            prompt_ids=prompt,
            cell=cell.name,
            setting=replace(cell.setting, max_new_tokens=length),
            repeat=repeat,
        )
        for n, (prompt, length) in enumerate(rows)
        for cell in asked
        for repeat in range(cell.repeats)
    ]


def decode(engine: Any, jobs: Sequence[Job]) -> int:
    """Decode one pass; return its new tokens."""
    if jobs[0].setting.num_beams > 1:
        found = beams.run(engine, jobs, eos_token_id=NEVER)
    else:
        found = slots.run(engine, jobs, eos_token_id=NEVER, seed=0)
    return sum(finished.n_new_tokens for finished in found)


def timed(engine: Any, rows: Rows, passes: Sequence[Sequence[Cell]]) -> dict[str, Any]:
    """Decode every pass of a study over some questions; return what that took."""
    seconds, tokens = [], []
    for asked in passes:
        jobs = jobs_of(rows, asked)
        small = [replace(job, setting=replace(job.setting, max_new_tokens=2)) for job in jobs[:18]]
        decode(engine, small)  # captures its steps, which a study does once for each pass
        began = perf_counter()
        tokens.append(decode(engine, jobs))
        seconds.append(perf_counter() - began)
    return {
        "questions": len(rows),
        "passes": [asked[0].name for asked in passes],
        "seconds": seconds,
        "new_tokens": tokens,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Load, warm up, decode every share, and return the RESULT."""
    from alpaca_lab.engine.engine import Engine

    spec = replace(
        MODELS[options.key], source=str(Path(options.model).resolve()), revision=None, mirror=None
    )
    study = replace(PROFILES["full"], gpu_gib=options.cap)
    hardware.claim_device(options.cap)
    model, tokenizer, paid = load(spec)
    shares = [int(n) for n in options.shares.split(",")]
    rows = rows_of(Path(options.data), tokenizer, questions=max(shares))
    plan = fitting.decode_plan(
        study,
        read_shape(Path(options.model)),
        longest=max(len(prompt) for prompt, _ in rows) + LONGEST,
        memory_gib=hardware.memory_gib(options.cap),
    )
    engine = Engine(model, rows=plan.slots, columns=plan.columns)
    everything = [*cells(study), untuned(study)]
    one_pass = [cell for cell in everything if cell.setting.num_beams == 1]
    passes = [one_pass, *([cell] for cell in everything if cell not in one_pass)]
    found = [timed(engine, rows[:n], passes) for n in shares]
    gpu = environment.gpu()
    return {
        **vars(options),
        **paid,
        "warm_up_s": engine.warm_up_s / len(shares),
        "slots": plan.slots,
        "columns": plan.columns,
        "peak_gib": hardware.peak_gib(),
        "shares": found,
        "tok_s": sum(found[0]["new_tokens"]) / sum(found[0]["seconds"]),
        "gpu": gpu["name"] if gpu else None,
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = arm_options.parser(__doc__)
    parser.add_argument("--shares", default="250,63,8", help="questions, comma-separated")
    options = parser.parse_args()
    print("RESULT", json.dumps(run(options)), flush=True)


if __name__ == "__main__":
    main()
