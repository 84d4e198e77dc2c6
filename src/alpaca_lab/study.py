"""The stages of a study in order. What is done is not done again.

Each heavy stage is a process of its own, started with the very command that a user or a batch
queue would run.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import data, environment
from .config import ModelSpec, StudySpec, as_dict
from .datasheet import report as data_report
from .files import RecordError
from .finetuning import finetune
from .processes import run_stages
from .progress import say
from .store import OUTPUTS, Record


def prepare(study: StudySpec, *, record: Record) -> data.Dataset:
    """Load and split the data; write what was found there, questions.jsonl and study.json.

    A study.json of the same spec keeps its runs and its judging; one of another spec starts an
    empty table (both stay on disk, under their own fingerprints).

    Raises:
        SettingError: If the data cannot be had or a split comes out empty.
        RecordError: If the record is of another study, which a process is at work on, or was
            published without its texts.
    """
    record.require_texts()
    rows = data.load(study.data)
    questions = [data.question(row) for row in rows.test[: study.questions]]
    index = {"spec": as_dict(study), "data": rows.manifest(), "questions": len(questions)}
    with record.changing_index():
        known = _known(record)
        same = all(known.get(name) == value for name, value in index.items())
        busy = [] if same else record.at_work()
        if busy:
            raise RecordError(
                f"{record.folder} is another study, and {busy[0]} works there: wait for its end, "
                "or choose another --name"
            )
        data_report.write(rows, record.folder / "data")
        record.write_questions(questions)
        kept = {name: known[name] for name in ("runs", "judging") if same and name in known}
        record.write_index({**index, "runs": {}, **kept})
    if len(questions) < study.questions:
        asked = f"{study.questions} questions asked for"
        print(f"{asked}, the test split has {len(questions)}: all are taken")
    return rows


def _known(record: Record) -> dict[str, Any]:
    """Return study.json; nothing where there is none, or where it is damaged, which is said."""
    try:
        return record.index() if record.has_index() else {}
    except RecordError as error:
        say(f"{error}: done, its runs are found again by what they answer")
        return {}


def finetune_models(study: StudySpec, *, record: Record) -> None:
    """Finetune every model of the study that is not finetuned by this very recipe."""
    rows = record.index()["data"]
    todo = [
        model
        for model in study.models
        if not finetune.is_done(study, model.key, rows=rows, record=record)
    ]
    _run("finetune", todo, record=record)


def generate_answers(study: StudySpec, *, record: Record) -> None:
    """Decode every cell of every model."""
    _run("generate", study.models, record=record)


def score_answers(*, record: Record) -> None:
    """Score what is not scored yet."""
    run_stages({"score": ["score", *_of(record)]}, logs=logs(record))


def repeat_original(*, record: Record) -> None:
    """Repeat the first study's procedure with this study's models; what is decoded is kept."""
    stage = ["original", "--name", record.folder.name]
    run_stages({"original": stage}, logs=logs(record))


def run(study: StudySpec, *, record: Record) -> None:
    """Run the whole study: data, finetunes, answers, scores, tables and figures."""
    from . import report

    prepare(study, record=record)
    finetune_models(study, record=record)
    generate_answers(study, record=record)
    score_answers(record=record)
    report.build(record)


def logs(record: Record) -> Path:
    """Return where the stages' logs stand."""
    return OUTPUTS / "logs" / record.folder.name


def _run(stage: str, models: Iterable[ModelSpec], *, record: Record) -> None:
    """Run a stage for each model: one at a time on each GPU, all side by side on a CPU.

    On a CPU each takes one thread (see `hardware.claim_device`), so together they fill the cores.
    """
    stages = {f"{stage}-{m.key}": [stage, *_of(record), "--only", m.key] for m in models}
    width = max(1, len(stages))
    run_stages(stages, logs=logs(record), width=width, devices=environment.visible_gpus())


def _of(record: Record) -> list[str]:
    return ["--spec", str(record.folder / "study.json")]
