"""The record: the only module that knows paths in results/. Append, resume, seal, verify.

A run is one cell of the sweep for one model; the fingerprint of what was asked names its folder.

    request.json     what was asked, written first
    answers.jsonl    one line per answer, appended as it is finished
    sessions.jsonl   one line per process that added answers: seconds, tokens, peak GiB, machine
    likelihood.csv   how surprising the model finds each reference; greedy and base runs only
    checks.json      what slots and merging change; greedy and base runs only
    scores.parquet   one row per answer
    manifest.json    written last and atomically: its presence means that the run is whole
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from .config import ROOT, fingerprint
from .printable import Refusal

RESULTS = ROOT / "results"
OUTPUTS = ROOT / "outputs"
MANIFEST = "manifest.json"
CONTROL = "control"
"""The model key in study.json of runs that no model answered, such as the empty answer."""


class RecordError(Refusal):
    """Something in results/ is not what its manifest says. The message names it and the cure."""


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object atomically. NaN and infinity are refused: an unknown is null."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RecordError: If the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"no such file: {path}; run the stage that writes it") from None
    except json.JSONDecodeError as error:
        raise RecordError(f"{path} is not JSON ({error}); delete it and run again") from None


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON line and hand it to the operating system: a kill loses at most this line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines. A last line cut short by a kill is removed from the file; it is redone.

    Raises:
        RecordError: If a line before the last is damaged.
    """
    if not path.exists():
        return []
    # Split on "\n" alone: a model may write U+2028, which str.splitlines would take for an end.
    *whole, rest = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(whole, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise RecordError(
                f"{path}:{number} is damaged; delete the folder {path.parent} and run again"
            ) from None
    if rest:
        write_atomically(path, b"".join(line + b"\n" for line in whole))
    return rows


@dataclass(frozen=True)
class Run:
    """One run's folder. Holds no state: every method reads or writes the files."""

    folder: Path

    @property
    def id(self) -> str:
        """The fingerprint that names the folder, 12 hex digits."""
        return self.folder.name

    @property
    def is_sealed(self) -> bool:
        """True when the run is whole: answered, scored, and its manifest written."""
        return (self.folder / MANIFEST).is_file()

    def request(self) -> dict[str, Any]:
        """Return what was asked."""
        return read_json(self.folder / "request.json")

    def answers(self) -> list[dict[str, Any]]:
        """Return the answers so far, in the order in which they were finished."""
        return read_lines(self.folder / "answers.jsonl")

    def append(self, answer: Mapping[str, Any]) -> None:
        """Record one finished answer.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        append_line(self.folder / "answers.jsonl", answer)

    def done(self) -> set[tuple[str, int]]:
        """Return the (question id, repeat) pairs that are answered."""
        return {(row["id"], row["repeat"]) for row in self.answers()}

    def append_session(self, session: Mapping[str, Any]) -> None:
        """Record what one process took to add its answers."""
        self.sessions()  # removes a line cut short, or this one would be glued to it
        append_line(self.folder / "sessions.jsonl", session)

    def sessions(self) -> list[dict[str, Any]]:
        """Return the record of every process that added answers."""
        return read_lines(self.folder / "sessions.jsonl")

    @property
    def has_likelihood(self) -> bool:
        """Return True when the references' likelihood under this run's model is recorded."""
        return (self.folder / "likelihood.csv").is_file()

    def write_likelihood(self, rows: pd.DataFrame) -> None:
        """Write one row per question: id, nats, tokens, characters.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        text = rows.to_csv(index=False, lineterminator="\n")
        write_atomically(self.folder / "likelihood.csv", text)

    def likelihood(self) -> pd.DataFrame | None:
        """Return one row per question (id, nats, tokens, characters), or None if not measured."""
        if not self.has_likelihood:
            return None
        return pd.read_csv(self.folder / "likelihood.csv", dtype={"id": str})

    def checks(self) -> dict[str, Any]:
        """Return what was measured of this run's model and slots, by check; empty if nothing."""
        path = self.folder / "checks.json"
        return read_json(path) if path.is_file() else {}

    def add_check(self, name: str, found: Mapping[str, Any]) -> None:
        """Write what one check found beside the others.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        write_json(self.folder / "checks.json", self.checks() | {name: dict(found)})

    def write_scores(self, scores: pd.DataFrame) -> None:
        """Write one row of scores per answer."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            part = Path(folder) / "scores.parquet"
            scores.to_parquet(part, index=False)
            os.replace(part, self.folder / "scores.parquet")

    def scores(self) -> pd.DataFrame:
        """Return the scores, sorted by question and repeat, so that file order never matters."""
        scores = pd.read_parquet(self.folder / "scores.parquet")
        return scores.sort_values(["id", "repeat"], ignore_index=True)

    def seal(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest: the request, `facts`, and the sha256 of each file. The last step.

        Raises:
            RecordError: If the run is sealed already.
        """
        self._refuse_sealed()
        names = (
            "request.json", "answers.jsonl", "sessions.jsonl", "likelihood.csv", "checks.json",
            "scores.parquet",
        )  # fmt: skip
        hashes = {
            name: sha256_file(self.folder / name) for name in names if (self.folder / name).exists()
        }
        write_json(
            self.folder / MANIFEST,
            {"run": self.id, "request": self.request(), **facts, "sha256": hashes},
        )

    def _refuse_sealed(self) -> None:
        if self.is_sealed:
            raise RecordError(f"run {self.id} is sealed; a finished run is never changed")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a whole run."""
        return read_json(self.folder / MANIFEST)

    def verify(self) -> None:
        """Compare every file with the manifest's sha256.

        Raises:
            RecordError: If a file was changed or lost since the run was sealed.
        """
        for name, expected in self.manifest()["sha256"].items():
            path = self.folder / name
            if not path.is_file() or sha256_file(path) != expected:
                raise RecordError(
                    f"{path} does not match its manifest; delete the folder {self.folder} "
                    "and run again"
                )


@dataclass(frozen=True)
class Record:
    """One study's folder below results/."""

    folder: Path

    @classmethod
    def of(cls, study: str, *, results: Path = RESULTS) -> "Record":
        """Return the record of the study of that name."""
        return cls(results / study)

    def open_run(self, request: Mapping[str, Any]) -> Run:
        """Return the run that answers `request`, creating its folder when it is new.

        Args:
            request: Everything that decides the answers, JSON-able. Its fingerprint names the
                folder, so the same question is never paid for twice, and a changed question
                never reads an old answer.
        """
        run = Run(self.folder / "runs" / fingerprint(request))
        if not (run.folder / "request.json").exists():
            write_json(run.folder / "request.json", request)
        return run

    def run(self, run_id: str) -> Run:
        """Return the run of that fingerprint, which must exist."""
        folder = self.folder / "runs" / run_id
        if not folder.is_dir():
            raise RecordError(f"no run {run_id} in {folder.parent}; run the study again")
        return Run(folder)

    def write_questions(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write the test questions: id, cluster, instruction, input, reference."""
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        write_atomically(self.folder / "questions.jsonl", "".join(lines))

    def questions(self) -> list[dict[str, Any]]:
        """Return the test questions in their order."""
        return read_lines(self.folder / "questions.jsonl")

    def write_index(self, index: Mapping[str, Any]) -> None:
        """Write study.json: the spec, and which run answers which cell of which model."""
        write_json(self.folder / "study.json", index)

    def has_index(self) -> bool:
        """Return True when the study is prepared."""
        return (self.folder / "study.json").is_file()

    def index(self) -> dict[str, Any]:
        """Return study.json."""
        return read_json(self.folder / "study.json")

    def add_runs(self, model: str, runs: Mapping[str, str]) -> None:
        """Enter {cell name: run id} of one model in study.json, in place of what stood there.

        Under a lock: several models may be decoded at the same time.
        """
        with FileLock(self.folder / ".study.lock"):
            index = self.index()
            self.write_index(index | {"runs": index["runs"] | {model: dict(runs)}})

    @contextmanager
    def decoding(self, model: str) -> Iterator[None]:
        """Let one process at a time decode a model, or an answer would be there twice.

        A stage whose parent was killed goes on until it draws its bar again, and may meet the one
        that is to resume it. The lock of a process that was killed is free.
        """
        lock = FileLock(self.folder / f".{model}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process decodes {model}: waiting for its end", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def runs(self) -> Iterator[tuple[str, str, Run]]:
        """Yield (model key, cell name, run) for every cell that the study's tables hold."""
        for model, by_cell in self.index()["runs"].items():
            for cell, run_id in by_cell.items():
                yield model, cell, self.run(run_id)

    def write_training(self, model: str, manifest: Mapping[str, Any], losses: pd.DataFrame) -> None:
        """Write a finetune's loss table and, last, its manifest."""
        folder = self.folder / "training" / model
        write_atomically(folder / "loss.csv", losses.to_csv(index=False, lineterminator="\n"))
        write_json(folder / MANIFEST, manifest)

    def training(self, model: str) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return a finetune's manifest and loss table."""
        folder = self.folder / "training" / model
        return read_json(folder / MANIFEST), pd.read_csv(folder / "loss.csv")

    def table(self, name: str) -> Path:
        """Path of a table without its ending (.csv, .md)."""
        return self.folder / "tables" / name

    def figure(self, name: str) -> Path:
        """Path of a figure."""
        return self.folder / "figures" / f"{name}.png"

    @property
    def judgings(self) -> Path:
        """Folder of what language models judged: one run's folder per judging."""
        return self.folder / "judge"

    def enter_judging(self, run_id: str) -> None:
        """Enter in study.json which judging the tables show, in place of what stood there."""
        with FileLock(self.folder / ".study.lock"):
            self.write_index(self.index() | {"judging": run_id})

    def human(self, mode: str) -> Path:
        """Folder of what people rate, and of their ratings: plan, key, log."""
        return self.folder / "human" / mode
