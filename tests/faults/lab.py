"""A small study to break: made once without a fault, then copied, broken and compared with that.

A stage runs in a fork of this process, which has its imports behind it: a moment drawn at random
falls into its work. It is the very stage of the command line, on the embedded models.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import alpaca_lab.__main__ as command
from alpaca_lab import profiles, report, store, study
from alpaca_lab.config import StudySpec
from alpaca_lab.finetuning import finetune
from alpaca_lab.rows import cache as rows_cache
from alpaca_lab.store import Record

STAGES = ("finetune", "generate", "score", "report")
MODEL = "tiny-llama"
STUDY = replace(
    profiles.configure(
        "smoke",
        models=MODEL,
        name="lab",
        changes={
            "train.loader": "plain",  # Unsloth patches the process that it is imported in
            "train.max_steps": "12",
            "train.evaluations": "3",
            "train.batch_size": "4",
            "questions": "6",
            "temperatures": "(0.001, 1.0)",
            "beams": "(2,)",
            "top_ks": "(4,)",
            "max_new_tokens": "40",
            "slots": "8",
        },
    )
)


_SINKS: dict[int, subprocess.Popen] = {}
"""By process, what takes its words to the log."""


@dataclass(frozen=True)
class Lab:
    """A folder with a results/ and an outputs/ of its own."""

    root: Path
    spec: StudySpec = STUDY

    @property
    def record(self) -> Record:
        """The study's record."""
        return Record(self.root / "results" / self.spec.name)

    def copy(self) -> "Lab":
        """Return a copy that may be broken."""
        root = new_folder()
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Lab(root, self.spec)

    def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.root, ignore_errors=True)

    def start(self, stage: str, before: Callable[[], object] = lambda: None) -> int:
        """Start a stage in a fork, in a process group of its own; return its process id.

        Args:
            stage: One of `STAGES`, or "prepare".
            before: Called in the fork: sets a limit, or spoils something.
        """
        sys.stdout.flush()
        # By way of a pipe: a limit on the size of files must not meet the log.
        with (self.root / "log").open("ab") as log:
            sink = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        child = os.fork()
        if child:
            sink.stdin.close()
            _SINKS[child] = sink
            return child
        status = 70
        try:
            os.setsid()
            os.dup2(sink.stdin.fileno(), 1)
            os.dup2(sink.stdin.fileno(), 2)
            sink.stdin.close()
            # Those of the parent may remember a file that could be sought in.
            sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
            status = self.run(stage, before)
        except BaseException:  # what a real process would print before it ends
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def finish(self, stage: str, before: Callable[[], object] = lambda: None) -> int:
        """Run a stage to its end; return its exit status."""
        return self.wait(self.start(stage, before))

    def wait(self, child: int) -> int:
        """Wait for a stage and for what it printed; return its exit status."""
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _SINKS.pop(child).wait()
        return status

    def finish_all(self, stages: Sequence[str] = STAGES) -> None:
        """Run stages to their ends.

        Raises:
            RuntimeError: If one fails, with what it said.
        """
        for stage in stages:
            if self.finish(stage) != 0:
                raise RuntimeError(f"{stage} failed: {self.log()[-2000:]}")

    def killed(self, stage: str, after: float) -> bool:
        """Run a stage and kill it after so many seconds; return False where it was done by then."""
        child = self.start(stage)
        end = time.monotonic() + after
        while time.monotonic() < end:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self.wait(child)
                return False
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return self.wait(child) == -signal.SIGKILL

    def log(self) -> str:
        """Return what the stages printed."""
        path = self.root / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def tables(self) -> dict[str, bytes]:
        """Return every table, page and figure; those that tell seconds are left out.

        So is what a killed write left under a hidden name: a later write deletes it.
        """
        folders = [self.record.folder / name for name in ("tables", "figures")]
        files = (path for folder in folders for path in folder.glob("[!.]*"))
        timed = {"training.csv", "training.md", "training.tex", "cost.png", "loss.png"}
        return {path.name: path.read_bytes() for path in files if path.name not in timed}

    def run(self, stage: str, before: Callable[[], object] = lambda: None) -> int:
        """Run a stage in this very process, which can do nothing else any more."""
        self._move()
        before()
        return self._run(stage)

    def _move(self) -> None:
        """Let this process work below `root`."""
        outputs = self.root / "outputs"
        for module in (finetune, study, rows_cache, store):
            module.OUTPUTS = outputs
        for module in (store, report, command):
            module.RESULTS = self.root / "results"

    def _run(self, stage: str) -> int:
        words = ["--spec", str(self.record.folder / "study.json")]
        if stage == "prepare":
            study.prepare(self.spec, record=self.record)
            return 0
        if stage in ("report", "check", "verify"):
            words = {"report": [], "check": ["--check"], "verify": []}[stage]
            Record.of = classmethod(lambda cls, name, results=None: self.record)
            stage = "report" if stage == "check" else stage
        sys.argv = ["alpaca_lab", stage, *words]
        try:
            command.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0


@cache
def _place() -> Path:
    """Return a folder for all labs, which goes with this process; a fork leaves it alone."""
    folder = Path(tempfile.mkdtemp(prefix="alpaca-lab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def new_folder() -> Path:
    """Return a folder for a lab."""
    return Path(tempfile.mkdtemp(dir=_place()))


@cache
def unbroken() -> dict[str, Lab]:
    """Return the study before each of `STAGES`, and under "done" after the last, unbroken."""
    import bert_score.utils  # noqa: F401  a fork has its imports behind it
    import peft  # noqa: F401
    import torch
    import trl  # noqa: F401

    import alpaca_lab.decoding.decoders
    import alpaca_lab.finetuning.recipe
    import alpaca_lab.finetuning.trainer  # noqa: F401

    torch.set_num_threads(1)
    lab, states = Lab(new_folder()), {}
    lab.finish_all(["prepare"])
    for stage in STAGES:
        states[stage] = lab.copy()
        lab.finish_all([stage])
    return states | {"done": lab}


def seconds(stage: str) -> float:
    """Return how long a stage takes from its beginning, in a fork."""
    lab = unbroken()[stage].copy()
    started = time.monotonic()
    lab.finish_all([stage])
    lab.discard()
    return time.monotonic() - started
