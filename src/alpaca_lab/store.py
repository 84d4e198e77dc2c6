"""The record: the only module that knows paths in results/. Append, resume, seal, verify.

study.json        the spec, and which run answers which cell of which model
questions.jsonl   the test questions
runs/             one folder per run, see `runs`
training/         one folder per finetune: its manifest and its losses
data/, tables/, figures/, cards/, performance/, human/, judge/, original/, report.html
withheld.json     only of a record that was published without its texts: which ones
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from . import locks, runs, withheld
from .config import (
    ROOT,
    STUDY_NAME,
    SettingError,
    as_dict,
    fingerprint,
    require,
    study_from_dict,
)
from .files import (
    RecordError,
    mismatched,
    read_json,
    read_lines,
    sha256_file,
    write_atomically,
    write_json,
    write_lines,
)
from .runs import CURE, MANIFEST, Run

RESULTS = ROOT / "results"
OUTPUTS = ROOT / "outputs"
CONTROL = "control"
"""The model key in study.json of runs that no model answered, such as the empty answer."""
LOSS = "loss.csv"


@dataclass(frozen=True)
class Record:
    """One study's folder below results/."""

    folder: Path

    @classmethod
    def of(cls, study: str, *, results: Path = RESULTS) -> "Record":
        """Return the record of the study of that name.

        Raises:
            SettingError: If that is no study's name, such as a path that leads elsewhere.
        """
        require(
            STUDY_NAME.fullmatch(study) is not None,
            f'study name "{study}" may hold letters, digits, "-" and "_" only',
        )
        return cls(results / study)

    def open_run(self, request: Mapping[str, Any]) -> Run:
        """Return the run that answers `request`, creating its folder when it is new.

        Args:
            request: Everything that decides the answers, JSON-able. Its fingerprint names the
                folder, so the same question is never paid for twice, and a changed question
                never reads an old answer.
        """
        run = Run(self.folder / "runs" / fingerprint(request))
        run.ask(request)
        return run

    def run(self, run_id: str) -> Run:
        """Return the run of that fingerprint, which must exist."""
        return runs.named(self.folder / "runs", run_id)

    def write_questions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the test questions: id, cluster, instruction, input, reference."""
        write_lines(self.folder / "questions.jsonl", rows)

    @property
    def is_published(self) -> bool:
        """True when the record was published without its texts."""
        return (self.folder / withheld.NAME).is_file()

    def require_texts(self) -> None:
        """Refuse what needs the texts of questions and answers, where they were withheld.

        Raises:
            RecordError: If the record was published without its texts.
        """
        if self.is_published:
            raise RecordError(withheld.sentence(self.folder))

    def questions(self) -> list[dict[str, Any]]:
        """Return the test questions in their order.

        Raises:
            RecordError: If a line is damaged, there are not as many as study.json says, or the
                record was published without its texts.
        """
        self.require_texts()
        return self.question_lines()

    def question_lines(self) -> list[dict[str, Any]]:
        """Return the lines of questions.jsonl; in a published record, keys in place of texts.

        Raises:
            RecordError: If a line is damaged, or there are not as many as study.json says.
        """
        path = self.folder / "questions.jsonl"
        questions = read_lines(path, whole=True, cure=CURE)
        expected = self.index().get("questions") if self.has_index() else None
        if expected not in (None, len(questions)):
            raise RecordError(f"{path} has {len(questions)} of {expected} questions; {CURE}")
        return questions

    def write_index(self, index: Mapping[str, Any]) -> None:
        """Write study.json: the spec, and which run answers which cell of which model."""
        write_json(self.folder / "study.json", index)

    def has_index(self) -> bool:
        """Return True when the study is prepared."""
        return (self.folder / "study.json").is_file()

    def index(self) -> dict[str, Any]:
        """Return study.json."""
        return read_json(self.folder / "study.json", cure="delete it and run the study again")

    def add_runs(
        self, model: str, runs: Mapping[str, str], *, spec: Mapping[str, Any] | None = None
    ) -> None:
        """Enter {cell name: run id} of one model in study.json, in place of what stood there.

        Under a lock: several models may be decoded at the same time.

        Args:
            model: The model's key.
            runs: Its runs.
            spec: The study that they answer, as `config.as_dict` returns it; None where they are
                of any study with these questions.

        Raises:
            RecordError: If study.json is of another study by now.
        """
        with self.changing_index():
            index = self.index()
            if spec is not None and not _is_of(index, spec):
                raise RecordError(
                    f"{self.folder / 'study.json'} is of another study since {model} was begun: "
                    "run this one again under a name of its own; what it answered is kept"
                )
            self.write_index(index | {"runs": index["runs"] | {model: dict(runs)}})

    def changing_index(self) -> AbstractContextManager[Any]:
        """Let one process at a time read study.json and write it anew."""
        return FileLock(self.folder / ".study.lock")

    def working(self, what: str, name: str) -> AbstractContextManager[None]:
        """Let one process at a time do a thing in this record, and others wait for it.

        A stage whose parent was killed goes on until it draws its bar again, and may meet the one
        that is to resume it: an answer would be there twice.

        Args:
            what: What is done, for whoever waits: "decoding".
            name: The model it is done with, or what else keeps two of them apart.
        """
        place = self.folder / f".{what}-{name}.lock"
        return locks.held(place, f"{what} {name} in {self.folder}")

    def wait_for(self, what: str, names: str) -> None:
        """Wait until nobody does a thing here any more, under any of the names of a pattern."""
        for place in sorted(self.folder.glob(f".{what}-{names}.lock")):
            with locks.held(place, f"{what} in {self.folder}"):
                pass

    def at_work(self) -> list[str]:
        """Return who works in this record now, as a message names them."""
        holders = (locks.holder(path) for path in sorted(self.folder.glob(".*-*.lock")))
        return [holder for holder in holders if holder is not None]

    def runs(self) -> Iterator[tuple[str, str, Run]]:
        """Yield (model key, cell name, run) for every cell that the study's tables hold."""
        for model, by_cell in self.index()["runs"].items():
            for cell, run_id in by_cell.items():
                yield model, cell, self.run(run_id)

    def write_training(self, model: str, manifest: Mapping[str, Any], losses: pd.DataFrame) -> None:
        """Write a finetune's loss table and, last, its manifest."""
        folder = self.folder / "training" / model
        write_atomically(folder / LOSS, losses.to_csv(index=False, lineterminator="\n"))
        sums = {**manifest.get("sha256", {}), LOSS: sha256_file(folder / LOSS)}
        write_json(folder / MANIFEST, {**manifest, "sha256": sums})

    def training(self, model: str) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return a finetune's manifest and loss table.

        Raises:
            RecordError: If there is none, or a file was changed or lost since.
        """
        folder = self.folder / "training" / model
        manifest = read_json(folder / MANIFEST, cure=CURE)
        for path in mismatched(folder, {LOSS: manifest["sha256"][LOSS]}):
            raise RecordError(f"{path} is damaged: it does not match its manifest; {CURE}")
        return manifest, pd.read_csv(folder / LOSS)

    def adapter(self, model: str) -> Path:
        """Return the folder of a finetuned model's adapter, below outputs/.

        Raises:
            RecordError: If there is no finetune, or its manifest names a folder elsewhere.
        """
        folder = str(self.training(model)[0]["adapter"]["folder"])
        if not re.fullmatch(r"outputs/[0-9a-f]{12}/adapter", folder):
            raise RecordError(
                f"{self.folder / 'training' / model / MANIFEST}: {folder[:60]!r} is no adapter's "
                f"folder; {CURE}"
            )
        return OUTPUTS.parent / folder

    def table(self, name: str) -> Path:
        """Path of a table without its ending (.csv, .md)."""
        return self.folder / "tables" / name

    def figure(self, name: str) -> Path:
        """Path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    def card(self, model: str) -> Path:
        """Folder of a finetuned model's card: README.md and what stands beside it."""
        return self.folder / "cards" / model

    @property
    def notebook(self) -> Path:
        """The main notebook as it was executed last; the sha256 of a whole one stands beside it."""
        return self.folder / "notebook" / "master_file.ipynb"

    @property
    def judgings(self) -> Path:
        """Folder of what language models judged: one run's folder per judging."""
        return self.folder / "judge"

    def judging(self, run_id: str) -> Run:
        """Return the judging of that fingerprint, which must exist."""
        return runs.named(self.judgings, run_id)

    def enter_judging(self, run_id: str) -> None:
        """Enter in study.json which judging the tables show, in place of what stood there."""
        with self.changing_index():
            self.write_index(self.index() | {"judging": run_id})

    def human(self, mode: str) -> Path:
        """Folder of what people rate, and of their ratings: plan, key, log."""
        return self.folder / "human" / mode


def _is_of(index: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Return True when study.json is of that study; an older one lacks what was added since."""
    if index["spec"] == spec:
        return True
    try:
        return as_dict(study_from_dict(index["spec"])) == spec
    except SettingError:
        return False
