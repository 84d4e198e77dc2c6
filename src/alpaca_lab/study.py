"""The stages of a study in order. What is done is not done again.

Each heavy stage is a process of its own: GPU memory is really free between models, Unsloth's
patches never reach decoding, a crash costs one stage, an interrupt is clean, and the command that
runs here is the one that `accelerate launch` or a batch queue runs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import data, finetune, progress, report
from .config import StudySpec, as_dict
from .store import OUTPUTS, Record

LOGS = OUTPUTS / "logs"


class StageError(RuntimeError):
    """A stage's process ended in an error. The message is its own, with the log's place."""


def prepare(study: StudySpec, *, record: Record) -> data.Dataset:
    """Load and split the data, and write questions.jsonl and study.json.

    A study.json of the same spec keeps its runs; one of another spec starts an empty table (the
    runs themselves stay on disk, under their own fingerprints).

    Raises:
        SettingError: If the data cannot be had or a split comes out empty.
    """
    rows = data.load(study.data)
    questions = [data.question(row) for row in rows.test[: study.questions]]
    index = {"spec": as_dict(study), "data": rows.manifest(), "questions": len(questions)}
    known = record.index() if record.has_index() else {}
    same = all(known.get(name) == value for name, value in index.items())
    record.write_questions(questions)
    record.write_index({**index, "runs": known.get("runs", {}) if same else {}})
    if len(questions) < study.questions:
        print(f"{study.questions} questions asked for, the test split has {len(questions)}: all are taken")
    return rows


def finetune_models(study: StudySpec, *, record: Record) -> None:
    """Finetune every model of the study, each in a process of its own."""
    for model in study.models:
        if not finetune.is_done(study, model.key, record=record):
            run_stage("finetune", record=record, model=model.key)


def generate_answers(study: StudySpec, *, record: Record) -> None:
    """Decode every cell of every model, each model in a process of its own."""
    for model in study.models:
        run_stage("generate", record=record, model=model.key)


def score_answers(*, record: Record) -> None:
    """Score what is not scored yet, in a process of its own."""
    run_stage("score", record=record)


def run(study: StudySpec, *, record: Record) -> None:
    """Run the whole study: data, finetunes, answers, scores, tables and figures."""
    prepare(study, record=record)
    finetune_models(study, record=record)
    generate_answers(study, record=record)
    score_answers(record=record)
    report.build(record)


def run_stage(stage: str, *, record: Record, model: str | None = None) -> None:
    """Run `python -m alpaca_lab STAGE` on a prepared study, and show its progress here.

    Args:
        stage: "finetune", "generate" or "score".
        record: The prepared study's folder.
        model: One model's key, for the stages that take one.

    Raises:
        StageError: If the stage fails, with its own last sentence.
    """
    name = f"{stage}-{model}" if model else stage
    log = LOGS / record.folder.name / f"{name}.log"
    command = [sys.executable, "-m", "alpaca_lab", stage, "--spec", str(record.folder / "study.json")]
    status, seconds = _watch(command + (["--only", model] if model else []), log=log)
    if status != 0:
        raise StageError(f"{name}: {_last_words(log)} (log: {log})")
    print(f"{name}: done in {seconds:.0f} s")


def _watch(command: Sequence[str], *, log: Path) -> tuple[int, float]:
    """Run a command, draw its bars, log the rest; return its exit status and seconds."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started, bar = time.monotonic(), None
    environment = os.environ | {progress.PIPE_VARIABLE: "json", "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        try:
            for line in process.stdout:
                if line.startswith(progress.MARK):
                    bar = progress.redraw(bar, line)
                else:
                    file.write(line)
                    file.flush()
            process.wait()
        except BaseException:
            # Interrupted: let the stage finish its line and leave, before we do.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        finally:
            if bar is not None:
                bar.close()
    return process.returncode, time.monotonic() - started


def _last_words(log: Path) -> str:
    """Return the sentence a failed stage ended with."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return errors[-1].removeprefix("error: ") if errors else (lines or ["it left no output"])[-1]
