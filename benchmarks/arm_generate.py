"""Our own arm of the decoding benchmark: every pass of the sweep, in one process, over one engine.

Prompts and the lengths of answers are peer_generate.py's: random weights never stop, so each answer
ends where its row's does. Prints one RESULT line of JSON.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import arm_options

from alpaca_lab import environment, fitting, hardware, models
from alpaca_lab.config import DecodeSetting, LoraSpec, ModelSpec
from alpaca_lab.decoding import beams, slots
from alpaca_lab.decoding.jobs import Job, Step
from alpaca_lab.memory import Shape, column_bytes
from alpaca_lab.profiles import MODELS, PROFILES
from alpaca_lab.sweep import cells
from alpaca_lab.weights.checkpoints import read_shape

LONGEST = 512
NEVER = -5
"""No token: answers end by their budget."""
FEW = 20
REPEATS = 3
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "triton")
TEMPLATE = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n"
)


def rows_of(data: Path, tokenizer: Any, *, questions: int) -> list[tuple[tuple[int, ...], int]]:
    """Return (prompt in tokens, tokens of its answer) of the first rows of a JSONL file."""
    lines = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    found = []
    for line in lines[:questions]:
        prompt = tokenizer(TEMPLATE.format(line["instruction"], line["input"][:400])).input_ids
        length = min(LONGEST, max(1, len(tokenizer(line["output"]).input_ids)))
        found.append((tuple(prompt), length))
    return found


def jobs_of(rows: Sequence[tuple[tuple[int, ...], int]], settings: dict[str, Any]) -> list[Job]:
    """Return a job for each row and setting, row by row."""
    return [
        Job(
            question=str(n),
            prompt_ids=prompt,
            cell=name,
            setting=replace(setting, max_new_tokens=length),
            repeat=0,
        )
        for n, (prompt, length) in enumerate(rows)
        for name, setting in settings.items()
    ]


def nine_cells() -> dict[str, DecodeSetting]:
    """Return greedy, temperatures and top-k of the study: its cells that share a pass."""
    study = replace(PROFILES["full"], temperatures=(0.001, 0.25, 0.5, 0.75))
    return {cell.name: cell.setting for cell in cells(study) if cell.setting.num_beams == 1}


def random_adapter(folder: Path, *, shape: Shape, spec: ModelSpec, lora: LoraSpec) -> None:
    """Write an adapter that changes nothing, as a fresh one does, so that there is one to merge."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    part = {"q_proj", "k_proj", "v_proj", "o_proj", "dense"}
    tensors = {}
    for layer in range(shape.layers):
        for name in spec.lora_targets:
            inputs, outputs = shape.linears()[name]
            room = "self_attn" if name in part else "mlp"
            key = f"base_model.model.model.layers.{layer}.{room}.{name}.lora_"
            tensors[f"{key}A.weight"] = torch.randn(lora.rank, inputs)
            tensors[f"{key}B.weight"] = torch.zeros(outputs, lora.rank)
    LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(spec.lora_targets),
        task_type="CAUSAL_LM",
    ).save_pretrained(str(folder))
    save_file(tensors, folder / "adapter_model.safetensors")


@contextmanager
def timed(module: Any, name: str) -> Iterator[list[float]]:
    """Let a module's function tell how many seconds its calls took."""
    function, seconds = getattr(module, name), []

    def watched(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        found = function(*args, **kwargs)
        seconds.append(perf_counter() - began)
        return found

    setattr(module, name, watched)
    try:
        yield seconds
    finally:
        setattr(module, name, function)


def load(spec: ModelSpec) -> tuple[Any, Any, dict[str, float]]:
    """Load a model as the study does: NF4, dequantised, an adapter merged."""
    from alpaca_lab.models import nf4
    from alpaca_lab.weights.checkpoints import locate

    with TemporaryDirectory(prefix="adapter-") as folder:
        adapter = Path(folder)
        random_adapter(adapter, shape=read_shape(locate(spec)), spec=spec, lora=LoraSpec())
        began = perf_counter()
        with timed(nf4, "load_nf4") as reading:
            model, tokenizer = models.load_decoder(spec, adapter)
        whole = perf_counter() - began
    return model, tokenizer, {"load_s": sum(reading), "merge_s": whole - sum(reading)}


def weight_bytes(model: Any) -> int:
    """Return the bytes of weights that a step reads: all but the input embedding's other rows."""
    embedding = model.get_input_embeddings().weight
    tied = embedding is model.get_output_embeddings().weight
    read = sum(weight.nbytes for weight in model.parameters())
    return read if tied else read - embedding.nbytes


def one_pass(engine: Any, jobs: Sequence[Job]) -> dict[str, Any]:
    """Decode the jobs `REPEATS` times, and return what a pass took and did."""
    num_beams = jobs[0].setting.num_beams
    seconds: list[float] = []
    for _ in range(REPEATS):
        steps: list[Step] = []
        began = perf_counter()
        if num_beams > 1:
            done = list(beams.run(engine, jobs, eos_token_id=NEVER, watch=steps.append))
        else:
            done = list(slots.run(engine, jobs, eos_token_id=NEVER, seed=0, watch=steps.append))
        seconds.append(perf_counter() - began)
    new_tokens = sum(finished.n_new_tokens for finished in done)
    return {
        "cells": len({job.cell for job in jobs}),
        "questions": len({job.question for job in jobs}),
        "answers": len(done),
        "new_tokens": new_tokens,
        "seconds": median(seconds),
        "seconds_repeats": seconds,
        "tok_s": new_tokens / median(seconds),
        "steps": len(steps),
        "slot_steps": sum(step.size for step in steps),
        "busy_slot_steps": sum(step.drawn + step.read for step in steps),
        "drawn": new_tokens,
        "distinct_columns": sum(step.used for step in steps) / len(steps),
        "read_columns": sum(step.seen for step in steps) / len(steps),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Load, warm up, decode every pass, and return the RESULT."""
    from alpaca_lab.engine.engine import Engine

    spec = replace(
        MODELS[options.key], source=str(Path(options.model).resolve()), revision=None, mirror=None
    )
    study = replace(PROFILES["full"], gpu_gib=options.cap)
    study = replace(study, slots=options.slots or study.slots)
    hardware.claim_device(options.cap)
    model, tokenizer, paid = load(spec)
    rows = rows_of(Path(options.data), tokenizer, questions=options.questions)
    shape = read_shape(Path(options.model))
    plan = fitting.decode_plan(
        study,
        shape,
        longest=max(len(prompt) for prompt, _ in rows) + LONGEST,
        memory_gib=hardware.memory_gib(options.cap),
    )
    engine = Engine(model, rows=plan.slots, columns=plan.columns)
    nine, greedy = nine_cells(), {"greedy": DecodeSetting()}
    asked = {
        "nine cells": jobs_of(rows, nine),
        "one cell": jobs_of(rows, greedy),
        "nine cells, few": jobs_of(rows[:FEW], nine),
        "one cell, few": jobs_of(rows[:FEW], greedy),
    }
    for width in study.beams:
        setting = {f"num_beams={width}": DecodeSetting(num_beams=width)}
        asked[f"num_beams={width}"] = jobs_of(rows[: options.beam_questions], setting)
    passes = []
    for name, jobs in asked.items():
        small = [replace(job, setting=replace(job.setting, max_new_tokens=2)) for job in jobs[:18]]
        if jobs[0].setting.num_beams > 1:
            list(beams.run(engine, small, eos_token_id=NEVER))
        else:
            list(slots.run(engine, small, eos_token_id=NEVER, seed=0))
        passes.append({"name": name, **one_pass(engine, jobs)})
    gpu = environment.gpu()
    return {
        "arm": "alpaca lab",
        **vars(options),
        **paid,
        "warm_up_s": engine.warm_up_s,
        "slots": plan.slots,
        "columns": plan.columns,
        "weight_bytes": weight_bytes(model),
        "column_bytes": column_bytes(shape),
        "predicted_gib": plan.gib,
        "peak_gib": hardware.peak_gib(),
        "passes": passes,
        "versions": {name: environment.version_of(name) for name in PACKAGES},
        "gpu": gpu["name"] if gpu else None,
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = arm_options.parser(__doc__)
    parser.add_argument("--questions", type=int, default=200, help="rows that are answered")
    parser.add_argument("--beam-questions", type=int, default=48, help="rows of the beam passes")
    parser.add_argument("--slots", type=int, help="answers side by side; the study's number")
    options = parser.parse_args()
    print("RESULT", json.dumps(run(options)), flush=True)


if __name__ == "__main__":
    main()
