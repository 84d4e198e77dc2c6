"""Every file of a study and of its finetunes, compared with its checksum.

Nothing is changed here. The stages mend what they can make anew when the study is run again; what
people rated they cannot.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, withheld
from .files import RecordError, read_json, read_lines
from .finetuning import finetune
from .human import plan as plans
from .human import ratings
from .human.rubric import MODES
from .runs import CHECKS, LIKELIHOOD, MANIFEST, REQUEST, Run
from .store import LOSS, Record

AGAIN = "run the study again"
RESTORE = "restore it from a copy: no program can make it anew"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file that is not as it was written."""

    path: Path
    cure: str


def verify(record: Record) -> tuple[int, list[Damage]]:
    """Return how many files of a study carry a checksum, and those that do not match theirs.

    Raises:
        RecordError: If there is no such study.
    """
    if not record.folder.is_dir():
        raise RecordError(f"no study in {record.folder}; run it first")
    checked = list(_all(record))
    return len(checked), [
        Damage(path=path, cure=_cure(record, path, cure)) for path, cure in checked if cure
    ]


def _cure(record: Record, path: Path, cure: str) -> str:
    """Return what mends a file: a published record cannot be run again in its place."""
    if record.is_published and path.is_relative_to(record.folder):
        return withheld.RESTORE
    return cure


def _all(record: Record) -> Iterator[tuple[Path, str]]:
    """Yield each file, and what mends it where it is damaged, else ""."""
    if record.is_published:
        listed = _read(record.folder / withheld.NAME, read_json)
        yield listed
        if listed[1]:  # nothing else knows which files should be there
            return
    index = _read(record.folder / "study.json", lambda _: record.index())
    yield index
    # How many questions there should be, the index knows, where it is whole.
    yield _read(
        record.folder / "questions.jsonl",
        lambda path: read_lines(path, whole=True) if index[1] else record.question_lines(),
    )
    for folder in sorted(record.folder.glob("training/*/")):
        manifest = _read(folder / MANIFEST, read_json)
        yield manifest
        if not manifest[1]:  # which knows the losses' checksum
            yield _read(folder / LOSS, lambda path: record.training(path.parent.name))
        yield from _finetune(record, folder)
    for folder in sorted([*record.folder.glob("runs/*/"), *record.judgings.glob("*/")]):
        yield from _run(Run(folder))
    data, original = record.folder / "data", record.folder / "original"
    for folder in (data, original, record.notebook.parent, record.folder):
        if (folder / files.SUMS).exists():  # else it is not written yet
            yield from _listed(folder)
    texts = original / "texts.jsonl"
    if texts.exists():
        yield _read(texts, read_lines)
    for mode in MODES:
        if plans.exists(record, mode):
            yield _read(
                plans.folder(record, mode) / "plan.json",
                lambda _, m=mode: plans.read(record, m),
                RESTORE,
            )
            yield _read(
                ratings.path(record, mode), lambda _, m=mode: ratings.read(record, m), RESTORE
            )


def _read(path: Path, read: Callable[[Path], Any], cure: str = AGAIN) -> tuple[Path, str]:
    """Read a file by who knows its checksum."""
    try:
        read(path)
    except RecordError:
        return path, cure
    return path, ""


def _run(run: Run) -> Iterator[tuple[Path, str]]:
    """Yield the files of a run: by its manifest where it is sealed, else by their own checksums."""
    if run.is_sealed:
        wrong = run.damaged()
        for path in {*run.folder.glob("[!.]*"), *wrong}:
            yield path, AGAIN if path in wrong else ""
        return
    readers = {
        REQUEST: lambda _: run.request(),
        CHECKS: lambda _: run.checks(),
        LIKELIHOOD: lambda _: run.likelihood(),
    }
    for path in run.folder.glob("[!.]*.json*"):
        yield _read(path, readers.get(path.name, read_lines))


def _finetune(record: Record, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of the finetune that a study's record tells of, where it is here."""
    try:
        manifest, place = record.training(folder.name)[0], record.adapter(folder.name)
    except RecordError:
        return
    if place.parent.is_dir():
        wrong = finetune.damaged(place.parent)
        paths = {place.parent / MANIFEST, *(place.parent / name for name in manifest["sha256"])}
        for path in paths | set(wrong):
            yield path, AGAIN if path in wrong else ""


def _listed(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a folder that its SHA256SUMS lists."""
    wrong = files.damaged(folder)
    for path in {*files.listed(folder), *wrong}:
        yield path, AGAIN if path in wrong else ""
