"""One run's folder: what was asked, the answers as they come, and the seal of a whole run.

A run is one cell of the sweep for one model; the fingerprint of what was asked names its folder.

    request.json      what was asked, written first
    answers.jsonl     one line per answer, appended as it is finished
    sessions.jsonl    one line per process that added answers: seconds, tokens, peak GiB, machine
    answers.1.jsonl   the same of the processes that were launched beside the first, until they
    sessions.1.jsonl  are brought together
    likelihood.jsonl  how surprising the model finds each reference; greedy and base runs only
    checks.json       what slots and merging change; greedy and base runs only
    scores.parquet    one row per answer
    manifest.json     written last and atomically: its presence means that the run is whole

While a run grows, each document and each line carries its own checksum; once it is sealed, the
manifest has the sha256 of every file. What does not match is never read: `mend` takes it out, and
the stages make it again.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from . import withheld
from .config import fingerprint
from .files import (
    RecordError,
    append_line,
    as_line,
    drop_damaged_lines,
    mismatched,
    read_json,
    read_lines,
    sha256_file,
    write_json,
    write_lines,
)

MANIFEST = "manifest.json"
REQUEST = "request.json"
ANSWERS = "answers.jsonl"
SESSIONS = "sessions.jsonl"
LIKELIHOOD = "likelihood.jsonl"
CHECKS = "checks.json"
SCORES = "scores.parquet"
CURE = "run the study again: what is damaged is made anew, and nothing else"


@dataclass(frozen=True)
class Run:
    """One run's folder. Holds no state: every method reads or writes the files."""

    folder: Path
    part: int = 0
    """Which of the processes that were launched together writes here; the first, 0, reads too."""

    @property
    def id(self) -> str:
        """The fingerprint that names the folder, 12 hex digits."""
        return self.folder.name

    @property
    def is_sealed(self) -> bool:
        """True when the run is whole: answered, scored, and its manifest written."""
        return (self.folder / MANIFEST).is_file()

    def request(self) -> dict[str, Any]:
        """Return what was asked.

        Raises:
            RecordError: If it is damaged, or is not what the folder is named after.
        """
        path = self.folder / REQUEST
        request = read_json(path, cure=CURE)
        if fingerprint(request) != self.id:
            raise RecordError(f"{path} is the request of another run than {self.id}; {CURE}")
        return request

    def ask(self, request: Mapping[str, Any]) -> None:
        """Write what is asked, unless it stands there already, undamaged."""
        try:
            self.request()
        except RecordError:
            write_json(self.folder / REQUEST, request)

    def answers(self) -> list[dict[str, Any]]:
        """Return the answers so far, in the order in which they were finished.

        Raises:
            RecordError: If a line is damaged, or the record was published without its texts.
        """
        path = self.folder / ANSWERS
        if not path.exists() and ANSWERS in withheld.left_out(self.folder):
            raise RecordError(withheld.sentence(self.folder.parent.parent))
        return read_lines(path, cure=CURE)

    def append(self, answer: Mapping[str, Any]) -> None:
        """Record one finished answer.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        append_line(self.folder / self._name(ANSWERS), answer)

    def done(self) -> set[tuple[str, int]]:
        """Return the (question id, repeat) pairs that are answered."""
        return {(row["id"], row["repeat"]) for row in self.answers()}

    def append_session(self, session: Mapping[str, Any]) -> None:
        """Record what one process took to add its answers."""
        append_line(self.folder / self._name(SESSIONS), session)

    def _name(self, name: str) -> str:
        return name.replace(".", f".{self.part}.") if self.part else name

    def gather(self) -> None:
        """Bring together what processes wrote side by side. None of them may be at work.

        A kill on the way costs nothing: a line that is in both places is one line.
        """
        for name in (ANSWERS, SESSIONS):
            parts = sorted(self.folder.glob(name.replace(".", ".[0-9]*.")))
            if not parts:
                continue
            paths = [self.folder / name, *parts]
            rows = {as_line(row): row for path in paths for row in read_lines(path, cure=CURE)}
            write_lines(self.folder / name, rows.values())
            for path in parts:
                path.unlink()

    def sessions(self) -> list[dict[str, Any]]:
        """Return the record of every process that added answers."""
        return read_lines(self.folder / SESSIONS, cure=CURE)

    @property
    def has_likelihood(self) -> bool:
        """Return True when the references' likelihood under this run's model is recorded."""
        return (self.folder / LIKELIHOOD).is_file()

    def write_likelihood(self, rows: pd.DataFrame) -> None:
        """Write one row per question: id, nats, tokens, characters.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        known = rows.astype(object).where(rows.notna(), None)
        write_lines(self.folder / LIKELIHOOD, known.to_dict("records"))

    def likelihood(self) -> pd.DataFrame | None:
        """Return one row per question (id, nats, tokens, characters), or None if not measured."""
        if not self.has_likelihood:
            return None
        lines = read_lines(self.folder / LIKELIHOOD, whole=True, cure=CURE)
        if not lines:
            raise RecordError(f"{self.folder / LIKELIHOOD} is damaged: it has no line; {CURE}")
        return pd.DataFrame(lines).astype({"nats": float, "tokens": "Int64"})

    def checks(self) -> dict[str, Any]:
        """Return what was measured of this run's model and slots, by check; empty if nothing."""
        path = self.folder / CHECKS
        return read_json(path, cure=CURE) if path.is_file() else {}

    def add_check(self, name: str, found: Mapping[str, Any]) -> None:
        """Write what one check found beside the others.

        Raises:
            RecordError: If the run is sealed: a finished run is never changed.
        """
        self._refuse_sealed()
        write_json(self.folder / CHECKS, self.checks() | {name: dict(found)})

    def write_scores(self, scores: pd.DataFrame) -> None:
        """Write one row of scores per answer."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".scores.") as folder:
            part = Path(folder) / SCORES
            scores.to_parquet(part, index=False, compression="zstd")
            os.replace(part, self.folder / SCORES)

    def scores(self) -> pd.DataFrame:
        """Return the scores, sorted by question and repeat, so that file order never matters."""
        scores = pd.read_parquet(self.folder / SCORES)
        return scores.sort_values(["id", "repeat"], ignore_index=True)

    def seal(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest: the request, `facts`, and the sha256 of each file. The last step.

        Raises:
            RecordError: If the run is sealed already.
        """
        self._refuse_sealed()
        names = sorted(path.name for path in self.folder.glob("[!.]*") if path.is_file())
        hashes = {name: sha256_file(self.folder / name) for name in names}
        write_json(
            self.folder / MANIFEST,
            {"run": self.id, "request": self.request(), **facts, "sha256": hashes},
        )

    def _refuse_sealed(self) -> None:
        if self.is_sealed:
            raise RecordError(f"run {self.id} is sealed; a finished run is never changed")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a whole run."""
        return read_json(self.folder / MANIFEST, cure=CURE)

    def damaged(self) -> list[Path]:
        """Return the files of a sealed run that were changed or lost since; or the manifest.

        A file that a published record is without is not lost, where it is the one that was sealed.
        """
        try:
            hashes = self.manifest()["sha256"]
        except RecordError:
            return [self.folder / MANIFEST]
        left_out = withheld.left_out(self.folder)
        return [
            path
            for path in mismatched(self.folder, hashes)
            if path.exists() or left_out.get(path.name) != hashes[path.name]
        ]

    def verify(self) -> None:
        """Compare every file with the manifest's sha256.

        Raises:
            RecordError: If a file was changed or lost since the run was sealed.
        """
        for path in self.damaged():
            raise RecordError(f"{path} is damaged: it does not match its manifest; {CURE}")

    def mend(self) -> list[str]:
        """Take out what is damaged, so that it is made again; return a sentence on each part.

        A sealed run with a damaged file is sealed no more. Of answers and sessions the damaged
        lines go, and those that say a second time what a line before them said. Whoever appends to
        the run must hold its lock.
        """
        told = []
        for path in self.damaged() if self.is_sealed else []:
            told.append(f"{path} was damaged: it is made anew")
            if path.suffix != ".jsonl" or path.name == LIKELIHOOD:
                path.unlink(missing_ok=True)
        if told:
            # Last of all: until then the run is sealed and damaged, and a kill changes nothing.
            (self.folder / MANIFEST).unlink(missing_ok=True)
        elif self.is_sealed:
            return []
        return told + self._mend_open()

    def _mend_open(self) -> list[str]:
        """Take out of a run that is not sealed what does not have its own checksum."""
        told = []
        for path in sorted(self.folder.glob("*.jsonl")):
            lost = 0 if path.name == LIKELIHOOD else drop_damaged_lines(path)
            if lost:
                told.append(f"{path} had {lost} damaged lines: they are left out")
        self.gather()
        answers, first = self.answers(), {}
        for row in answers:
            first.setdefault((row["id"], row["repeat"]), row)
        if len(first) < len(answers):
            write_lines(self.folder / ANSWERS, first.values())
            told.append(f"{self.folder / ANSWERS} had answers twice: one of each is kept")
        for name, read in ((CHECKS, self.checks), (LIKELIHOOD, self.likelihood)):
            try:
                read()
            except RecordError:
                (self.folder / name).unlink()
                told.append(f"{self.folder / name} was damaged: it is measured again")
        return told


def named(folder: Path, run_id: str) -> Run:
    """Return a run below a folder, by the id that some file names.

    Raises:
        RecordError: If that is no run's id, such as a path that leads elsewhere, or there is none.
    """
    if not isinstance(run_id, str) or not re.fullmatch(r"[0-9a-f]{12}", run_id):
        raise RecordError(f"{folder}: {repr(run_id)[:60]} is no run's id; {CURE}")
    if not (folder / run_id).is_dir():
        raise RecordError(f"no run {run_id} in {folder}; run the study again")
    return Run(folder / run_id)
