"""Finetuning speed: every arm of every model, one after another on this GPU, as one table.

Each run is a process of its own with a time limit; its result, or the sentence that it failed with,
is appended to a file, and what stands there is not run again: interrupt it, and it goes on. The
table, its pages and its figure are written from that file after each model.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from breakdown import beside
from one_run import run_once

from alpaca_lab import breakdown as breakdowns
from alpaca_lab import environment, performance
from alpaca_lab.arms import ARMS, OURS, RATE, block_weights
from alpaca_lab.config import SettingError, require
from alpaca_lab.store import OUTPUTS, RESULTS, RecordError, append_line, read_lines, sha256_file

HERE = Path(__file__).resolve().parent
WORK = OUTPUTS / "benchmarks"
PACKED = ("--arm", "unsloth", "--packing", "1", "--bs", "4", "--ga", "1", "--gc", "unsloth")
SCRIPTS: dict[str, tuple[str, ...]] = {
    RATE: ("matrix_rate.py",),
    "transformers": ("peer_finetune.py", "--arm", "hf", "--bs", "2", "--ga", "4"),
    "unsloth": (
        "peer_finetune.py", "--arm", "unsloth", "--bs", "2", "--ga", "4", "--gc", "true",
    ),
    "unsloth-packed": ("peer_finetune.py", *PACKED),
    "unsloth-varlen": ("varlen_peer.py", *PACKED),
    OURS: ("arm_finetune.py",),
}  # fmt: skip
"""By arm: a script beside this one, and the arguments that make it that arm."""
RANDOM_NAMES = {"llama-2-7b": "llama2-7b", "mistral-7b": "mistral-7b", "phi-2": "phi-2"}
"""What random_checkpoint.py calls our models."""
MARK = "random_weights.txt"
"""Stands in a checkpoint that was written here: its weights are random, and it may be deleted."""
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "unsloth")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one command runs."""

    models: tuple[str, ...]
    arms: tuple[str, ...]
    data: Path
    """JSON lines of instruction, input, output."""
    checkpoints: Path
    """Folder with a checkpoint per model key."""
    tokenizers: Path | None = None
    """Folder with a tokenizer per model key: write random checkpoints; None takes those there."""
    delete: bool = False
    """Delete a random checkpoint after its arms."""
    cap_gib: float = 24.0
    warm: int = 12
    """Optimiser steps before those that are timed. Unsloth's are slow on Phi-2 up to its 12th."""
    steps: int = 12
    """Optimiser steps that are timed."""
    repeats: int = 1
    """Rounds: each runs the matrix rate and every arm once."""
    timeout_s: float = 1200.0
    """What one run is given."""
    again: bool = False
    """Run what stands in the file already, too."""
    breakdown: bool = False
    """Take the steps apart that would be timed, and time none."""

    def __post_init__(self) -> None:
        for model in self.models:
            block_weights(model)
        unknown = set(self.arms) - set(SCRIPTS)
        require(
            not unknown,
            f"unknown arms: {', '.join(sorted(unknown))}; choose from {', '.join(SCRIPTS)}",
        )
        require(self.data.is_file(), f"no such file: {self.data}")
        require(self.repeats >= 1 and self.steps >= 1, "repeats and steps must be at least 1")
        require(
            not self.breakdown or self.repeats == 1,
            "steps are taken apart once per arm: leave out --repeats",
        )

    def runs(self, model: str) -> Iterator[tuple[str, int]]:
        """Yield (arm, repeat) of a model, round by round, the matrix rate first if it is timed."""
        arms = self.arms if self.breakdown else dict.fromkeys((RATE, *self.arms))
        for repeat in range(self.repeats):
            yield from ((arm, repeat) for arm in arms)


Command = Callable[..., list[str]]


def command_of(arm: str, *, model: str, plan: Plan) -> list[str]:
    """Return the command line of one run."""
    script, *arguments = SCRIPTS[arm]
    command, steps = [str(HERE / script), *arguments], plan.steps
    if arm == RATE:
        return [sys.executable, *command]
    if arm == OURS:
        command += ["--key", model, *(["--breakdown"] if plan.breakdown else [])]
    elif plan.breakdown:
        places = ["--after", f"{plan.warm}", "--steps", f"{plan.steps}"]
        command, steps = [str(HERE / "breakdown.py"), *places, *command], steps + beside(steps)
    command += ["--model", str(plan.checkpoints / model), "--data", str(plan.data)]
    sizes = {"--cap": plan.cap_gib, "--warm": plan.warm, "--steps": steps}
    words = [word for name, value in sizes.items() for word in (name, f"{value:g}")]
    return [sys.executable, *command, *words]


def benchmark(
    plan: Plan, *, raw: Path, out: Path, logs: Path, command: Command = command_of
) -> None:
    """Run what is not in `raw` yet, append it there, and write the table to `out`.

    Args:
        plan: What to run.
        raw: JSON lines, as `performance` describes them.
        out: Folder of the table.
        logs: Folder for what the runs print.
        command: (arm, model=, plan=) to a command line.

    Raises:
        SettingError: If a checkpoint is missing or cannot be written.
    """
    conditions = _conditions(plan)
    for model in plan.models:
        known = [] if plan.again else read_lines(raw)
        done = {
            (row["arm"], row["repeat"])
            for row in known
            if row["model"] == model and conditions.items() <= row.items()
        }
        todo = [run for run in plan.runs(model) if run not in done]
        if todo:
            folder = prepare_checkpoint(model, plan, logs=logs)
            for arm, repeat in todo:
                log = logs / f"{model}-{arm}-{repeat}.log"
                found = run_once(
                    command(arm, model=model, plan=plan), log=log, timeout_s=plan.timeout_s
                )
                raw.parent.mkdir(parents=True, exist_ok=True)
                identity = {"model": model, "arm": arm, "repeat": repeat}
                when = {"time": environment.now(), "commit": environment.commit()}
                append_line(raw, {**identity, **found, **conditions, **when})
                print(f"{model}, {arm}: {_said(found)}", flush=True)
            if plan.delete and (folder / MARK).is_file():
                shutil.rmtree(folder)
        # Rows of another card, cap or library stay in the file, and out of this table.
        alike = [row for row in read_lines(raw) if conditions.items() <= row.items()]
        _tables(plan.breakdown).write(out, alike)


def prepare_checkpoint(model: str, plan: Plan, *, logs: Path) -> Path:
    """Return a model's checkpoint folder, written with random weights first if the plan says so.

    Raises:
        SettingError: If there is none, or it cannot be written.
    """
    folder = plan.checkpoints / model
    if (folder / "config.json").is_file():
        require(
            plan.tokenizers is None or (folder / MARK).is_file(),
            f"{folder} holds a checkpoint that was not written here: leave out --random, or give "
            "another --checkpoints",
        )
        return folder
    require(
        plan.tokenizers is not None,
        f"no checkpoint in {folder}; give --checkpoints, or --random TOKENIZERS",
    )
    tokenizer, part = plan.tokenizers / model, folder.with_name(f".{model}.part")
    require(tokenizer.is_dir(), f"no tokenizer in {tokenizer}")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    script = str(HERE / "random_checkpoint.py")
    found = run_once(
        [sys.executable, script, RANDOM_NAMES[model], str(tokenizer), str(part)],
        log=logs / f"{model}-checkpoint.log",
        timeout_s=plan.timeout_s,
    )
    # The script prints no RESULT: what it leaves says whether it came to its end.
    whole = (part / "tokenizer.json").is_file() and (part / "config.json").is_file()
    require(
        whole and found["status"] != "timeout", f"{model}: no random checkpoint: {found['error']}"
    )
    (part / MARK).write_text("Random weights at the model's true shape, for speed alone.\n")
    part.rename(folder)
    return folder


def _conditions(plan: Plan) -> dict[str, Any]:
    """Return what must be the same for two runs to stand in one table."""
    marked = all((plan.checkpoints / model / MARK).is_file() for model in plan.models)
    gpu = environment.gpu()
    lines = plan.data.read_bytes().splitlines()
    return {
        "gpu": gpu["name"] if gpu else None,
        "cap_gib": plan.cap_gib,
        "data": {
            "file": plan.data.name,
            "rows": sum(bool(line.strip()) for line in lines),
            "sha256": sha256_file(plan.data),
        },
        "weights": "random" if plan.tokenizers is not None or marked else "given",
        "warm": plan.warm,
        "steps": plan.steps,
        "packages": {name: environment.version_of(name) for name in PACKAGES},
    }


def _tables(breakdown: bool) -> ModuleType:
    """Return the module that makes tables of such runs."""
    return breakdowns if breakdown else performance


def _said(found: dict[str, Any]) -> str:
    result = found["result"] or {}
    rates = {"tok_s": "tokens/s", "tflops": "TFLOP/s"}
    said = [f"{result[name]:,.0f} {unit}" for name, unit in rates.items() if result.get(name)]
    if result.get("breakdown"):
        said = [f"{result['breakdown']['step_s']:.3f} s per step"]
    return f"{(said or [found['error'] or 'no result'])[0]} ({found['wall_s']:.0f} s)"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="ROWS.jsonl", help="JSONL of instruction, input, output")
    add("--models", default=",".join(RANDOM_NAMES), help="by name, comma-separated: %(default)s")
    add("--arms", default=",".join(arm.key for arm in ARMS), help="%(default)s")
    add(
        "--checkpoints",
        type=Path,
        default=WORK / "checkpoints",
        metavar="FOLDER",
        help="one folder per model name, with its checkpoint",
    )
    add(
        "--random",
        type=Path,
        metavar="TOKENIZERS",
        help="write random weights at the true shape there first; TOKENIZERS has one folder per "
        "model name",
    )
    add("--delete", action="store_true", help="delete a random checkpoint after its arms")
    add("--cap", type=float, default=24.0, metavar="GIB", help="GiB of the GPU per process: 24")
    add("--warm", type=int, default=12, help="optimiser steps that are not timed: 12")
    add("--steps", type=int, default=12, help="optimiser steps that are: 12")
    add("--repeats", type=int, default=1, help="rounds of all arms: 1")
    add("--timeout", type=float, default=1200.0, metavar="S", help="seconds per run: 1200")
    add("--again", action="store_true", help="also what was run already, failed or not")
    add(
        "--breakdown",
        action="store_true",
        help="time nothing: take as many steps apart, into breakdown.{jsonl,csv,png}",
    )
    add("--draw", action="store_true", help="run nothing: write the table from --raw as it is")
    add(
        "--out",
        type=Path,
        default=RESULTS / "performance",
        metavar="FOLDER",
        help="where table, page and figure go: results/performance",
    )
    add(
        "--raw",
        type=Path,
        metavar="FILE",
        help="where each run is appended: finetune.jsonl, or breakdown.jsonl, in --out",
    )
    options = parser.parse_args(arguments)
    if not (options.data or options.draw):
        parser.error("--data ROWS.jsonl is needed")
    if options.raw is None:
        options.raw = options.out / _tables(options.breakdown).LINES
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    return Plan(
        models=tuple(filter(None, options.models.split(","))),
        arms=tuple(filter(None, options.arms.split(","))),
        data=options.data.resolve(),
        checkpoints=options.checkpoints.resolve(),
        tokenizers=options.random.resolve() if options.random else None,
        delete=options.delete,
        cap_gib=options.cap,
        warm=options.warm,
        steps=options.steps,
        repeats=options.repeats,
        timeout_s=options.timeout,
        again=options.again,
        breakdown=options.breakdown,
    )


def main() -> None:
    """Run the plan; a wrong option ends in one sentence and exit status 2."""
    options = parse()
    try:
        if options.draw:
            alike = performance.alike(read_lines(options.raw))
            _tables(options.breakdown).write(options.out, alike)
            return
        benchmark(plan_of(options), raw=options.raw, out=options.out, logs=WORK / "logs")
    except (SettingError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
