"""What 1, 8 and 64 GPUs take for a full study, from what was measured on one GPU and on two.

benchmarks/scale.py leaves one JSON line per run; `benchmark_lines` describes them. This module
reads those lines; it measures nothing. On n GPUs each has an n-th of an optimiser step's rows and
of the questions; such shares were timed on one GPU, and adding up a gradient was timed on several.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil, nan
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import StudySpec
from ..files import write_atomically
from ..profiles import MODELS, PROFILES
from ..table_files import rounded, to_csv
from . import scale_out_page
from .benchmark_lines import Row, by_model, commits, conditions, latest, middle, outcome, results

COMMAND = "benchmarks/scale.py"
LINES = "scale_out.jsonl"
"""The file of lines, below results/performance/."""
CONDITIONS = ("gpu", "cap_gib", "data", "weights", "gpus", "warm", "steps", "packages")
"""What must be the same in two runs that stand in one table."""
WHOLE, TOGETHER, DECODE = "finetune", "finetune-together", "decode"
SHARES = (8, 64)
"""On so many GPUs, one has the share of a step, and of the questions, that is timed on one."""
ROWS = 51_760
"""Rows of yahma/alpaca-cleaned at the commit that the full study pins."""
LIKE = {"mistral-7b": "llama-2-7b"}
"""A model whose shares were not timed takes another's of about its size, by their own speeds."""
Speeds = Mapping[str, tuple[float, float]]
"""By model: tokens per second of one GPU, finetuning and decoding."""
COLUMNS = (
    "model", "gpus", "steps", "step_s", "sum_s", "finetune_s", "decode_s", "start_s", "total_s",
    "gpu_hours", "times", "note",
)  # fmt: skip
MEASURED = ("model", "gpus", "one_tok_s", "together_tok_s", "times", "sum_s", "note")


def share_arm(gpus: int) -> str:
    """Return the arm that times the share of one of so many GPUs."""
    return f"finetune-share-{gpus}" if gpus > 1 else WHOLE


def train_steps(study: StudySpec, *, rows: int = ROWS) -> int:
    """Return the optimiser steps of a study on so many rows.

    Example:
        >>> train_steps(PROFILES["full"])
        393
    """
    train = rows * (1 - study.data.test_share - study.data.validation_share)
    return ceil(study.train.epochs * train / study.train.batch_size)


def speeds(folder: Path) -> Speeds:
    """Return what the two other benchmarks measured of our own arms on one GPU, where they did."""
    found: dict[str, list[float]] = {}
    for name, chosen in (("finetune.csv", {}), ("generate.csv", {"pass": "nine cells"})):
        if not (folder / name).is_file():
            return {}
        ours = {"arm": "alpaca lab"} | chosen
        table = pd.read_csv(folder / name)
        for row in table.to_dict("records"):
            if ours.items() <= row.items():
                found.setdefault(row["model"], []).append(row["tok_s"])
    return {model: (one[0], one[1]) for model, one in found.items() if len(one) == 2}


def table(
    rows: Iterable[Row], *, study: StudySpec = PROFILES["full"], known: Speeds | None = None
) -> pd.DataFrame:
    """Return a row per model and number of GPUs: what a full study would take.

    Args:
        rows: Lines of the benchmark, in the order in which they were written.
        study: What would be run.
        known: As `speeds`: so that a model that was not timed can be inferred from one like it.

    Returns:
        Columns `COLUMNS`, seconds unless named otherwise: step_s of an optimiser step without
        sum_s, which adds up its gradient; start_s loads the models; times: how many times faster
        than one GPU. What was not measured is blank, and `note` says why.

    Raises:
        SettingError: If the rows do not belong in one table.
    """
    kept = latest(rows)
    conditions(kept, CONDITIONS, command=COMMAND)
    runs = by_model(kept)
    timed = {
        spec.key: list(_model(spec.key, runs.get(spec.key, []), study=study))
        for spec in study.models
    }
    for model, other in LIKE.items():
        if model not in runs and other in runs and {model, other} <= (known or {}).keys():
            timed[model] = list(_inferred(model, timed[other], known))
    return pd.DataFrame([line for lines in timed.values() for line in lines], columns=list(COLUMNS))


def _inferred(
    model: str, lines: Sequence[Mapping[str, Any]], known: Speeds
) -> Iterator[Mapping[str, Any]]:
    """Yield what a model takes as another does, each stage by both models' speeds on one GPU."""
    other, alone = lines[0]["model"], nan
    finetune, decode = (b / a for a, b in zip(known[model], known[other], strict=True))
    for line in lines:
        stages = {
            "step_s": line["step_s"] * finetune,
            "finetune_s": line["finetune_s"] * finetune,
            "decode_s": line["decode_s"] * decode,
        }
        total_s = stages["finetune_s"] + stages["decode_s"] + line["start_s"]
        alone = total_s if line["gpus"] == 1 else alone
        yield (
            line
            | stages
            | {
                "model": model,
                "total_s": total_s,
                "gpu_hours": line["gpus"] * total_s / 3600,
                "times": alone / total_s,
                "note": f"inferred from {other}: {finetune:.2f} of its seconds to finetune, "
                f"{decode:.2f} to decode",
            }
        )


def _model(model: str, runs: Sequence[Row], *, study: StudySpec) -> Iterator[Mapping[str, Any]]:
    by_arm = {arm: [row for row in runs if row["arm"] == arm] for arm in _arms()}
    found = {arm: results(lines) for arm, lines in by_arm.items()}
    steps, alone = train_steps(study), nan
    for gpus in (1, *SHARES):
        arm = share_arm(gpus)
        step_s = middle("step_s", found[arm])
        # Around a ring, each of n GPUs sends 2 (n - 1) / n of the gradient: as much once, at two.
        sum_s = middle("sum_s", found[TOGETHER]) * 2 * (gpus - 1) / gpus if gpus > 1 else 0.0
        finetune_s = steps * (step_s + sum_s) + middle("first_step_s", found[arm])
        decode_s = _decode_s(found[DECODE], questions=study.questions, gpus=gpus)
        opening = sum(middle(name, found[DECODE]) for name in ("load_s", "merge_s"))
        # The finetuned model and its base are opened in turn.
        start_s = middle("load_s", found[arm]) + 2 * opening + middle("warm_up_s", found[DECODE])
        total_s = finetune_s + decode_s + start_s
        alone = total_s if gpus == 1 else alone
        needed = (arm, DECODE, TOGETHER)[: 2 if gpus == 1 else 3]
        yield {
            "model": model,
            "gpus": gpus,
            "steps": steps,
            "step_s": step_s,
            "sum_s": sum_s,
            "finetune_s": finetune_s,
            "decode_s": decode_s,
            "start_s": start_s,
            "total_s": total_s,
            "gpu_hours": gpus * total_s / 3600,
            "times": alone / total_s,
            "note": "; ".join(
                f"{name}: {note}" for name in needed for note in outcome(by_arm[name], found[name])
            ),
        }


def _arms() -> tuple[str, ...]:
    return (WHOLE, TOGETHER, DECODE, *map(share_arm, SHARES))


def _decode_s(found: Sequence[Mapping[str, Any]], *, questions: int, gpus: int) -> float:
    """Return the seconds of all passes over one GPU's share, from the nearest that was timed."""
    if not found:
        return nan
    wanted = questions / gpus
    timed = min(found[-1]["shares"], key=lambda share: abs(share["questions"] - wanted))
    # One GPU's share of many questions is a multiple of what was timed; few take their tail's time.
    return sum(timed["seconds"]) * max(1.0, round(wanted / timed["questions"], 1))


def together(rows: Iterable[Row]) -> pd.DataFrame:
    """Return what was measured of a finetune over several GPUs, a row per model.

    Returns:
        Columns `MEASURED`: tokens per second of one GPU and of all together, how many times the
        one, and the seconds in which the gradient is added up.
    """
    lines = []
    for model, runs in by_model(latest(rows)).items():
        one = results(row for row in runs if row["arm"] == WHOLE)
        both = [row for row in runs if row["arm"] == TOGETHER]
        one_tok_s, all_tok_s = middle("tok_s", one), middle("tok_s", results(both))
        lines.append(
            {
                "model": model,
                "gpus": runs[0]["gpus"],
                "one_tok_s": one_tok_s,
                "together_tok_s": all_tok_s,
                "times": all_tok_s / one_tok_s,
                "sum_s": middle("sum_s", results(both)),
                "note": "; ".join(outcome(both, results(both))),
            }
        )
    return pd.DataFrame(lines, columns=list(MEASURED))


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Write scale_out.csv and its page, scale_out.md, to `folder`.

    Args:
        folder: Made if it is not there.
        rows: Lines that belong in one table.
    """
    study, kept = PROFILES["full"], latest(rows)
    facts = conditions(kept, CONDITIONS, command=COMMAND)
    facts["commits"] = sorted({commit for arm in _arms() for commit in commits(kept, arm)})
    frame, measured = table(kept, study=study, known=speeds(folder)), together(kept)
    numbers = [name for name in COLUMNS if name not in ("model", "gpus", "steps", "note")]
    write_atomically(folder / "scale_out.csv", to_csv(rounded(frame, numbers)))
    titles = {key: spec.title for key, spec in MODELS.items()}
    page = scale_out_page.page(frame, measured, facts, study=study, rows=ROWS, titles=titles)
    write_atomically(folder / "scale_out.md", page)
