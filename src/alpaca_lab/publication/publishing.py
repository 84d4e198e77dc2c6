"""From a finished record to a copy of it that holds no text of the rows and none of a model."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import report, verification, withheld
from ..config import SettingError
from ..files import SUMS, RecordError, sha256_file, write_atomically, write_json, write_sums
from ..original import page as original_page
from ..original import scores as original_scores
from ..store import Record
from . import forms, texts
from .forms import COPIED, KEYED, KINDS, LEFT_OUT, REMADE, Form

ANEW = "made anew from this record, without texts"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What became of one file."""

    path: str
    """Below the record."""
    kind: str
    """One of `forms.KINDS`."""
    before: int
    """Bytes in the record."""
    after: int
    """Bytes in the copy."""


def publish(record: Record, folder: Path) -> list[Entry]:
    """Write a copy of a record that holds no text, and from which every table follows.

    Its tables, figures, cards and report.html are not copied but made from the copy, which proves
    that they need no text. What is left out, and what is there in another form, is in
    withheld.json with its sha256. The copy has its name when it is whole.

    Args:
        record: A study that is finished and has its tables.
        folder: Where the copy goes; an earlier copy there is replaced, anything else is not.

    Returns:
        What became of each file.

    Raises:
        SettingError: If something else stands at `folder`.
        RecordError: If the record is damaged, unfinished or at work, a file of it is unknown, a
            table does not follow from its rows, or eight words of a text stand in the copy.
    """
    folder = folder.resolve()
    _refuse_taken(folder, record)
    _refuse_unfinished(record)
    plan = _plan(record)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".publish.") as place:
        # Of the same name, which stands in report.html.
        copy = Record(Path(place) / folder.name)
        _write(record, copy, plan)
        _remake(record, copy, plan)
        texts.refuse_pieces(_files(copy), of=texts.texts(record))
        for damage in verification.verify(copy)[1]:
            raise RecordError(f"{damage.path} is not as it should be: nothing is published")
        entries = _entries(record, copy, plan)
        if folder.exists():
            shutil.rmtree(folder)
        copy.folder.replace(folder)
    return entries


def summary(entries: Iterable[Entry]) -> str:
    """Return how many files became what, and their size before and after."""
    count, before, after = Counter(), Counter(), Counter()
    for entry in entries:
        for kind in (entry.kind, "in all"):
            count[kind] += 1
            before[kind] += entry.before
            after[kind] += entry.after
    lines = [f"{'':13}{'files':>6}{'KiB':>10}{'KiB published':>16}"]
    for kind in (*KINDS, "in all"):
        sizes = f"{before[kind] / 1024:10,.0f}{after[kind] / 1024:16,.0f}"
        lines.append(f"{kind:13}{count[kind]:6}{sizes}")
    return "\n".join(lines)


def _refuse_taken(folder: Path, record: Record) -> None:
    own = record.folder.resolve()
    if folder == own or own in folder.parents or folder in own.parents:
        raise SettingError(f"--to {folder}: the copy goes beside the record, not into its place")
    if folder.exists() and not Record(folder).is_published:
        raise SettingError(
            f"--to {folder}: something stands there that is no published record; move it away"
        )


def _refuse_unfinished(record: Record) -> None:
    record.index()  # says what is missing where there is no study
    record.require_texts()
    for holder in record.at_work():
        raise RecordError(f"{holder} works in {record.folder}: wait for its end")
    for damage in verification.verify(record)[1]:
        raise RecordError(f"{damage.path} is damaged: {damage.cure}, then publish")
    for place in (record.folder / "runs", record.judgings):
        for folder in sorted(place.glob("*/")):
            if not (folder / "manifest.json").is_file():
                raise RecordError(
                    f"{folder} is not finished: run the study to its end, or delete that folder if "
                    "its tables do without"
                )
    page = record.folder / "original" / "original.md"
    if page.is_file() and not _follows(page, record):
        raise RecordError(
            f"{page} does not follow from scores.csv: run `python -m alpaca_lab original` again"
        )


def _follows(page: Path, record: Record) -> bool:
    found = original_page.to_markdown(original_scores.read(record))
    return page.read_text(encoding="utf-8") == found


def _plan(record: Record) -> dict[str, Form]:
    """Return what becomes of each file of a record, by path below it."""
    paths = [path.relative_to(record.folder).as_posix() for path in _files(record)]
    return {path: forms.of(record.folder, path) for path in paths}


def _files(record: Record) -> list[Path]:
    """Return the files of a record but the locks of processes, hidden ones too."""
    return [
        path
        for path in sorted(record.folder.rglob("*"))
        if not path.is_dir() and not forms.is_lock(path.relative_to(record.folder).as_posix())
    ]


def _write(record: Record, copy: Record, plan: dict[str, Form]) -> None:
    """Write what is copied and what is keyed, and the list of what is withheld."""
    for path, form in plan.items():
        if form.kind == COPIED:
            write_atomically(copy.folder / path, (record.folder / path).read_bytes())
        elif form.kind == KEYED:
            write_atomically(copy.folder / path, form.content)
    data = copy.folder / "data"
    if data.is_dir():
        write_sums(data, [path.name for path in data.iterdir()])
    _list(record, copy, plan)


def _remake(record: Record, copy: Record, plan: dict[str, Form]) -> None:
    """Write tables, figures, cards and report.html from the copy; the tables must be the same."""
    report.build(copy)
    for lock in copy.folder.rglob(".*"):
        lock.unlink()
    remade = [path for path, form in plan.items() if form.kind == REMADE]
    for path in remade:
        if not (copy.folder / path).is_file():
            raise RecordError(
                f"{record.folder / path} is none that `report` writes: delete it, or move it away"
            )
    other = [path for path in remade if not _same(record.folder / path, copy.folder / path)]
    for path in other:
        if path.startswith(("tables/", "performance/")):
            raise RecordError(
                f"{record.folder / path} does not follow from the rows: run `python -m alpaca_lab "
                f"report --name {record.folder.name}`, then publish"
            )
    _list(record, copy, plan, anew=[path for path in other if Path(path).name != SUMS])


def _list(record: Record, copy: Record, plan: dict[str, Form], *, anew: Iterable[str] = ()) -> None:
    """Write withheld.json: what is not as it was, with the sha256 that it had."""
    kept = {path: form.kept for path, form in plan.items() if form.kind in (KEYED, LEFT_OUT)}
    changes = {
        path: {"sha256": sha256_file(record.folder / path), "kept": said}
        for path, said in sorted((kept | dict.fromkeys(anew, ANEW)).items())
    }
    write_json(copy.folder / withheld.NAME, {"files": changes})


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _entries(record: Record, copy: Record, plan: dict[str, Form]) -> list[Entry]:
    def size(folder: Path, path: str) -> int:
        return (folder / path).stat().st_size if (folder / path).is_file() else 0

    kinds = {path: form.kind for path, form in plan.items()} | {withheld.NAME: REMADE}
    return [
        Entry(path=path, kind=kind, before=size(record.folder, path), after=size(copy.folder, path))
        for path, kind in kinds.items()
    ]
