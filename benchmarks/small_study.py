"""The whole study at a small scale: three bases trained from scratch, then the `full` path on them.

The bases read plain English and instructions that ask nothing the study's rows ask. Then all is as
with models of 7B: Unsloth, NF4, packed QLoRA, thirteen cells, scores, tables. What is done is not
done again: interrupt it, and run it again.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile
from signal import SIG_DFL, SIG_IGN, SIGINT, getsignal, signal
from typing import Any

from small_bases import BASES, Base, Recipe
from small_manifest import is_trained, manifest_of
from small_reading import write_instructions
from small_tokens import write_tokens

from alpaca_lab import study
from alpaca_lab.config import SettingError, StudySpec, require
from alpaca_lab.files import RecordError, sha256_file
from alpaca_lab.hub.fetch import fetch
from alpaca_lab.hub.repository import Repository
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.progress import say
from alpaca_lab.store import OUTPUTS, RESULTS, Record

WORK = OUTPUTS / "small"
CHANGES: dict[str, Any] = {
    "data.test_share": 0.06,
    "data.license": "cc-by-nc-4.0",
    "train.epochs": 3.0,
    "train.learning_rate": 2e-3,
    "encoder": "all-MiniLM-L6-v2",
    "gpu_gib": 24.0,
}
"""What differs from the `full` profile. A sixth of Alpaca has few test questions at 2%, a base that
read so little needs more steps, and larger ones, and this encoder needs no hub."""
STAGES = ("bases", "finetunes", "answers", "report")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one command makes."""

    rows: Path
    """The study's rows: JSON lines of instruction, input, output."""
    corpus: Path
    """What `small_corpus.py` made: JSON lines with a "text" each."""
    instructions: Path | None = None
    """More rows like the study's for the bases to read; those that ask the same are left out."""
    tokenizers: Path | None = None
    """A folder per model that a base is like; None: from the hub."""
    recipe: Recipe = Recipe()
    bases: tuple[Base, ...] = tuple(BASES.values())
    changes: tuple[tuple[str, Any], ...] = ()
    """Further changes of the study, as `configure` takes them."""
    work: Path = WORK
    name: str = "small-study"
    published: str = "small"
    """The record without the rows' texts, below results/; its bases are told of beside it."""

    def __post_init__(self) -> None:
        for path in (self.rows, self.corpus, *filter(None, (self.instructions,))):
            require(path.is_file(), f"no such file: {path}")

    def folder(self, base: Base) -> Path:
        """Return where a base's checkpoint is, or will be."""
        return self.work / "bases" / base.key

    def tokenizer(self, base: Base) -> Path:
        """Return the folder with the tokenizer that a base reads with; fetched if need be.

        Raises:
            SettingError: If it is not there, or the hub refuses.
        """
        if self.tokenizers is not None:
            folder = self.tokenizers / base.like
            for name in TOKENIZER_FILES:
                require((folder / name).is_file(), f"no tokenizer in {folder}: it lacks {name}")
            return folder
        like = MODELS[base.like]
        return fetch(
            Repository(
                name=like.mirror or like.source,
                revision=like.mirror_revision or like.revision,
                files=TOKENIZER_FILES,
                needs=TOKENIZER_FILES,
                title=f"the tokenizer of {like.title}",
                instead=f"give --tokenizers FOLDER with {base.like}/tokenizer.json",
            )
        )

    def study(self) -> StudySpec:
        """Return the study of these bases: the `full` profile with `CHANGES`."""
        spec = configure("full", data=str(self.work / "rows.jsonl"), name=self.name,
                         changes={**CHANGES, **dict(self.changes)})  # fmt: skip
        models = tuple(
            replace(
                MODELS[base.like], key=base.key, title=base.title, source=str(self.folder(base)),
                revision=None, gated=False, mirror=None, mirror_revision=None, license=None,
            )
            for base in self.bases
        )  # fmt: skip
        return replace(spec, models=models)


def make_bases(plan: Plan) -> None:
    """Train every base that is not trained by this very recipe on this very text.

    Raises:
        SettingError: If a tokenizer cannot be had.
    """
    plan.work.mkdir(parents=True, exist_ok=True)
    copyfile(plan.rows, plan.work / "rows.jsonl")
    reading, facts = [plan.corpus], {"corpus_sha256": sha256_file(plan.corpus)}
    if plan.instructions is not None:
        reading.append(plan.work / "instructions.jsonl")
        facts["instructions"] = write_instructions(
            reading[-1], instructions=plan.instructions, rows=plan.rows
        )
    todo = [
        base
        for base in plan.bases
        if not is_trained(plan.folder(base), base, plan.recipe, facts, plan.tokenizer(base))
    ]
    if not todo:
        return
    say(f"small study: {', '.join(base.title for base in todo)} to train")
    files = {base.key: plan.work / f"{base.key}.npz" for base in todo}
    spawn = get_context("spawn")
    # An interrupt ends a process where it is, unless the command was started to ignore it, as a
    # shell's script does in the background.
    heeds = SIG_IGN if getsignal(SIGINT) == SIG_IGN else SIG_DFL
    # Each base has a process of its own, whose memory on the GPU is free at its end. Its tokens are
    # made by all cores at once, and those of the next while it is trained.
    with ExitStack() as stack:

        def process() -> ProcessPoolExecutor:
            pool = ProcessPoolExecutor(
                1, mp_context=spawn, initializer=signal, initargs=(SIGINT, heeds)
            )
            return stack.enter_context(pool)

        tokenizing, training = process(), [process() for _ in todo]
        for waiting in training:
            waiting.submit(_get_ready)  # while the tokens are made
        jobs = [
            tokenizing.submit(
                write_tokens, files[base.key], reading, plan.tokenizer(base), plan.recipe
            )
            for base in todo
        ]
        for base, job, own in zip(todo, jobs, training, strict=True):
            job.result()
            asked = (plan.folder(base), base, plan.recipe, facts, plan.tokenizer(base))
            own.submit(_train, *asked, tokens=files[base.key]).result()
            own.shutdown()
            files[base.key].unlink()


def _get_ready() -> None:
    """Import what training takes, which brings torch: the command itself does without."""
    import small_training  # noqa: F401


def _train(*asked: Any, tokens: Path) -> None:
    from small_training import train_base

    train_base(*asked, tokens=tokens)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=Path, required=True, metavar="ROWS.jsonl", help="the study's rows")
    add("--corpus", type=Path, required=True, metavar="FILE", help="made by small_corpus.py")
    add("--instructions", type=Path, metavar="ROWS.jsonl", help="more rows for the bases to read")
    add("--tokenizers", type=Path, metavar="FOLDER", help="one per model; else from the hub")
    add("--passes", type=float, default=1.0, help="how often each text is read: 1")
    add("--bases", default=",".join(BASES), help="by name, comma-separated: %(default)s")
    add("--until", choices=STAGES, default=STAGES[-1], help="stop after this: %(default)s")
    add("--name", default="small-study", help="folder below results/, with all texts: %(default)s")
    add("--published", default="small", help="folder for the record without texts: %(default)s")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the study")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that a command line asks for."""
    names = list(filter(None, options.bases.split(",")))
    unknown = [name for name in names if name not in BASES]
    require(not unknown, f"unknown bases: {', '.join(unknown)}; choose from {', '.join(BASES)}")
    require(options.passes > 0, f"--passes {options.passes:g}: must be above 0")
    for change in options.set:
        require("=" in change, f"--set {change}: write FIELD=VALUE")
    return Plan(
        rows=options.rows.resolve(),
        corpus=options.corpus.resolve(),
        instructions=options.instructions and options.instructions.resolve(),
        tokenizers=options.tokenizers and options.tokenizers.resolve(),
        recipe=Recipe(passes=options.passes),
        bases=tuple(BASES[name] for name in names),
        changes=tuple(tuple(change.split("=", 1)) for change in options.set),
        name=options.name,
        published=options.published,
    )


def run(plan: Plan, *, until: str) -> None:
    """Make everything up to a stage, of `STAGES`.

    Raises:
        SettingError: If a tokenizer, the rows or the encoder cannot be had.
        RecordError: If the study's record is damaged, or another study is at work there.
    """
    # Here, for the processes of the bases import this module, and draw nothing.
    import small_page

    from alpaca_lab import report
    from alpaca_lab.publication.publishing import publish

    record = Record.of(plan.name)
    make_bases(plan)
    bases = [manifest_of(plan.folder(base)) for base in plan.bases]
    small_page.write(RESULTS / f"{plan.published}_bases", bases)
    if until == "bases":
        return
    spec = plan.study()
    study.prepare(spec, record=record)
    study.finetune_models(spec, record=record)
    if until == "finetunes":
        return
    study.generate_answers(spec, record=record)
    if until == "answers":
        return
    study.score_answers(record=record)
    report.build(record)
    publish(record, RESULTS / plan.published)


def main() -> None:
    """Do what the command line asks.

    A wrong option ends in one sentence and exit status 2, an interrupt in one and 130.
    """
    options = parse()
    try:
        run(plan_of(options), until=options.until)
    except (SettingError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: run it again, and what is done is not done again", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
