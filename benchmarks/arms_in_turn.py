"""Every arm of every model, one after another on this GPU: what the benchmarks here share.

Each run is a process of its own with a time limit; its result, or the sentence that it failed with,
is appended to a file, and what stands there is not run again: interrupt it, and it goes on. The
tables are written from that file after each model.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from one_run import run_once

from alpaca_lab import environment
from alpaca_lab.config import SettingError, require
from alpaca_lab.files import RecordError, append_line, read_lines, sha256_file
from alpaca_lab.speed import benchmark_lines
from alpaca_lab.speed.finetuning_arms import block_weights
from alpaca_lab.store import OUTPUTS, RESULTS

HERE = Path(__file__).resolve().parent
WORK = OUTPUTS / "benchmarks"
RANDOM_NAMES = {"llama-2-7b": "llama2-7b", "mistral-7b": "mistral-7b", "phi-2": "phi-2"}
"""What random_checkpoint.py calls our models."""
MARK = "random_weights.txt"
"""Stands in a checkpoint that was written here: its weights are random, and it may be deleted."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one command runs: a benchmark's own plan adds its sizes."""

    scripts: ClassVar[Mapping[str, tuple[str, ...]]]
    """By arm: a script beside this one, and the arguments that make it that arm."""
    rate: ClassVar[str]
    """The arm that measures the GPU, run first in each round."""
    packages: ClassVar[tuple[str, ...]]
    """Those whose versions are a condition."""

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
    repeats: int = 1
    """Rounds: each runs the rate and every arm once."""
    timeout_s: float = 1200.0
    """What one run is given."""
    again: bool = False
    """Run what stands in the file already, too."""

    def __post_init__(self) -> None:
        for model in self.models:
            block_weights(model)
        unknown = set(self.arms) - set(self.scripts)
        require(
            not unknown,
            f"unknown arms: {', '.join(sorted(unknown))}; choose from {', '.join(self.scripts)}",
        )
        require(self.data.is_file(), f"no such file: {self.data}")
        require(self.repeats >= 1, "repeats must be at least 1")

    @property
    def tables(self) -> ModuleType:
        """The module that makes tables of such runs: `LINES`, `CONDITIONS` and `write`."""
        raise NotImplementedError

    def sizes(self) -> dict[str, Any]:
        """Return the conditions that this benchmark alone has."""
        raise NotImplementedError

    def runs(self, model: str) -> Iterator[tuple[str, int]]:
        """Yield (arm, repeat) of a model, round by round, the rate first."""
        for repeat in range(self.repeats):
            yield from ((arm, repeat) for arm in dict.fromkeys((self.rate, *self.arms)))

    def conditions(self) -> dict[str, Any]:
        """Return what must be the same for two runs to stand in one table."""
        marked = all((self.checkpoints / model / MARK).is_file() for model in self.models)
        gpu = environment.gpu()
        lines = self.data.read_bytes().splitlines()
        return {
            "gpu": gpu["name"] if gpu else None,
            "cap_gib": self.cap_gib,
            "data": {
                "file": self.data.name,
                "rows": sum(bool(line.strip()) for line in lines),
                "sha256": sha256_file(self.data),
            },
            "weights": "random" if self.tokenizers is not None or marked else "given",
            **self.sizes(),
            "packages": {name: environment.version_of(name) for name in self.packages},
        }


Command = Callable[..., list[str]]
"""(arm, model=, plan=) to a command line."""


def python(script: str, *words: str, **options: Any) -> list[str]:
    """Return the command line of a script beside this one: words as they are, then options.

    Example:
        >>> python("peer.py", "--arm", "hf", cap=24.0, n=200)[2:]
        ['--arm', 'hf', '--cap', '24', '--n', '200']
    """
    named = ((f"--{name.replace('_', '-')}", _word(value)) for name, value in options.items())
    return [sys.executable, str(HERE / script), *words, *(word for pair in named for word in pair)]


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def benchmark(plan: Plan, *, command: Command, raw: Path, out: Path, logs: Path) -> None:
    """Run what is not in `raw` yet, append it there, and write the tables to `out`.

    Args:
        plan: What to run.
        command: Gives the command line of each run.
        raw: JSON lines, as `benchmark_lines` describes them.
        out: Folder of the tables.
        logs: Folder for what the runs print.

    Raises:
        SettingError: If a checkpoint is missing or cannot be written.
    """
    conditions = plan.conditions()
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
                print(f"{model}, {arm}: {said(found)}", flush=True)
            if plan.delete and (folder / MARK).is_file():
                shutil.rmtree(folder)
        # Rows of another card, cap or library stay in the file, and out of these tables.
        alike = [row for row in read_lines(raw) if conditions.items() <= row.items()]
        plan.tables.write(out, alike)


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
    found = run_once(
        python("random_checkpoint.py", RANDOM_NAMES[model], str(tokenizer), str(part)),
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


def said(found: Mapping[str, Any]) -> str:
    """Return what a run came to in a few words: a rate, or why there is none."""
    result = found["result"] or {}
    # Our decoding arm has a rate per pass; its first pass is the one that is compared.
    result = {**next(iter(result.get("passes") or ()), {}), **result}
    rates = {"tok_s": "{:,.0f} tokens/s", "tflops": "{:,.0f} TFLOP/s", "tb_s": "{:.2f} TB/s"}
    words = [form.format(result[name]) for name, form in rates.items() if result.get(name)]
    if result.get("breakdown"):
        words = [f"{result['breakdown']['step_s']:.3f} s per step"]
    return f"{(words or [found['error'] or 'no result'])[0]} ({found['wall_s']:.0f} s)"


def options_of(description: str, *, arms: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of the options that the benchmarks share; a benchmark adds its own."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="ROWS.jsonl", help="JSONL of instruction, input, output")
    add("--models", default=",".join(RANDOM_NAMES), help="by name, comma-separated: %(default)s")
    add("--arms", default=",".join(arms), help="%(default)s")
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
    add("--repeats", type=int, default=1, help="rounds of all arms: 1")
    add("--timeout", type=float, default=1200.0, metavar="S", help="seconds per run: 1200")
    add("--again", action="store_true", help="also what was run already, failed or not")
    add("--draw", action="store_true", help="run nothing: write the tables from --raw as it is")
    add(
        "--out",
        type=Path,
        default=RESULTS / "performance",
        metavar="FOLDER",
        help="where tables, page and figure go: results/performance",
    )
    add("--raw", type=Path, metavar="FILE", help="where each run is appended: a file in --out")
    return parser


def parsed(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    *,
    tables_of: Callable[[argparse.Namespace], ModuleType],
) -> argparse.Namespace:
    """Read the command line, and add to it the `tables` that it asks for, and where `raw` is."""
    options = parser.parse_args(arguments)
    if not (options.data or options.draw):
        parser.error("--data ROWS.jsonl is needed")
    options.tables = tables_of(options)
    if options.raw is None:
        options.raw = options.out / options.tables.LINES
    return options


def shared(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `Plan` that a command line asks for."""
    return {
        "models": tuple(filter(None, options.models.split(","))),
        "arms": tuple(filter(None, options.arms.split(","))),
        "data": options.data.resolve(),
        "checkpoints": options.checkpoints.resolve(),
        "tokenizers": options.random.resolve() if options.random else None,
        "delete": options.delete,
        "cap_gib": options.cap,
        "repeats": options.repeats,
        "timeout_s": options.timeout,
        "again": options.again,
    }


def run(
    options: argparse.Namespace, *, plan_of: Callable[[argparse.Namespace], Plan], command: Command
) -> None:
    """Do what a command line asks; a wrong option ends in one sentence and exit status 2."""
    raw, out, tables = options.raw, options.out, options.tables
    try:
        if options.draw:
            tables.write(out, benchmark_lines.alike(read_lines(raw), tables.CONDITIONS))
            return
        benchmark(plan_of(options), command=command, raw=raw, out=out, logs=WORK / "logs")
    except (SettingError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
