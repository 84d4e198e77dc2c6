"""Common random numbers on the embedded tiny models: what they buy, as one table.

Decodes the held-out questions of the smoke study under several seeds and writes
results/performance/common_noise.{csv,md}; some minutes on one CPU core. The models are those that
the smoke study finetuned; where it has not, the shipped checkpoints.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from alpaca_lab import data, encoding, hardware, models
from alpaca_lab.config import ROOT, ModelSpec, SettingError, StudySpec, require
from alpaca_lab.decoding import slots
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.estimates import PRIMARY
from alpaca_lab.files import RecordError
from alpaca_lab.finetuning.finetune import is_whole
from alpaca_lab.metrics.rouge import rouge
from alpaca_lab.profiles import PROFILES
from alpaca_lab.progress import Bar
from alpaca_lab.store import RESULTS, Record
from alpaca_lab.sweep import GREEDY, Cell, cells
from alpaca_lab.tables import common_noise

SEEDS = 7
"""Prime, so that every shift of the seeds gives settings different ones: 42 pairs of two."""


def measured(study: StudySpec) -> tuple[Cell, ...]:
    """Return the cells that the comparisons need, in the order of the sweep."""
    wanted = {name for item in common_noise.COMPARISONS for name in item.weights}
    values = {
        axis: tuple(sorted(float(n.partition("=")[2]) for n in wanted if n.startswith(axis)))
        for axis in ("temperature", "top_k")
    }
    top_ks = tuple(map(int, values["top_k"]))
    wider = replace(study, temperatures=values["temperature"], beams=(), top_ks=top_ks)
    return tuple(cells(wider))


def answers(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Mapping[str, str]],
    *,
    study: StudySpec,
    seeds: int,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Return every answer of one model with its score: columns `common_noise.ANSWERS`.

    Args:
        model: A dense decode model.
        tokenizer: Its tokenizer.
        questions: As `data.question` returns them.
        study: Repeats, budget and slots.
        seeds: Decode under seed 0, 1, ... below this; greedy under seed 0 alone.
        advance: Called after each answer.
    """
    asked = {question["id"]: question for question in questions}
    prompts = {
        key: tuple(encoding.encode_prompt(tokenizer, question["instruction"], question["input"]))
        for key, question in asked.items()
    }
    sweep, rows = measured(study), []
    for seed in range(seeds):
        jobs = [
            Job(
                question=key,
                prompt_ids=prompt_ids,
                cell=cell.name,
                setting=cell.setting,
                repeat=repeat,
            )
            for key, prompt_ids in prompts.items()
            for cell in sweep
            if cell.name != GREEDY or seed == 0
            for repeat in range(cell.repeats)
        ]
        eos = tokenizer.eos_token_id
        for finished in slots.decode(model, jobs, slots=study.slots, eos_token_id=eos, seed=seed):
            job, question = finished.job, asked[finished.job.question]
            text = tokenizer.decode(list(finished.ids), skip_special_tokens=True)
            score = rouge(text, reference=question["reference"])[PRIMARY]
            identity = (job.cell, seed, job.question, question["cluster"], job.repeat)
            rows.append((*identity, score, finished.ids))
            advance()
    return pd.DataFrame(rows, columns=list(common_noise.ANSWERS))


def adapters(specs: Sequence[ModelSpec], *, record: Record) -> dict[str, Path] | None:
    """Return the folder of each model's adapter, or None unless every model has a whole one."""
    found = {}
    for spec in specs:
        try:
            manifest, _ = record.training(spec.key)
        except RecordError:
            return None
        folder = ROOT / manifest["adapter"]["folder"]
        if not is_whole(folder.parent):
            return None
        found[spec.key] = folder
    return found


def measure(study: StudySpec, *, seeds: int, record: Record) -> pd.DataFrame:
    """Return the table of every model of the study: columns `common_noise.COLUMNS`.

    Raises:
        SettingError: Before anything is decoded, if there are too few seeds.
    """
    least = max(len(item.weights) for item in common_noise.COMPARISONS)
    require(seeds >= least, f"--seeds {seeds}: take {least} or more, one per setting compared")
    questions = [data.question(row) for row in data.load(study.data).test]
    folders = adapters(study.models, record=record)
    weights = "finetuned" if folders else "shipped"
    hardware.claim_device(study.gpu_gib)
    per_seed = sum(cell.repeats for cell in measured(study) if cell.name != GREEDY)
    total = len(study.models) * len(questions) * (seeds * per_seed + 1)
    frames = []
    with Bar(total=total, desc="Decode", unit="answer") as bar:
        for spec in study.models:
            bar.set_postfix_str(spec.title)
            model, tokenizer = models.load_decoder(spec, folders[spec.key] if folders else None)
            scored = answers(
                model, tokenizer, questions, study=study, seeds=seeds, advance=bar.update
            )
            frames.append(common_noise.table(scored, model=spec.key, weights=weights))
    return pd.concat(frames, ignore_index=True)


def main() -> None:
    """Measure and write; a wrong option ends in one sentence and exit status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds to decode under: 7")
    options = parser.parse_args()
    study = PROFILES["smoke"]
    try:
        frame = measure(study, seeds=options.seeds, record=Record.of(study.name))
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    common_noise.write(RESULTS / "performance", frame)
    print(f"written to {RESULTS / 'performance' / 'common_noise.md'}")


if __name__ == "__main__":
    main()
