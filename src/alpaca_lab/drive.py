"""A study's copy on Google Drive: a Colab session that is cut off goes on in the next one.

The work stays on the machine's own disk. The mounted Drive uploads when it likes, knows no lock of
another machine, may vanish for minutes, and keeps what is deleted in a bin that counts. So files
are copied: fetched when a session begins, and brought there every minute as they grow. What a cut
leaves half uploaded, the record's checksums find, and the next run makes anew.
"""

import json
import os
import platform
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .config import SettingError, StudySpec
from .preflight import shape_of
from .progress import say
from .store import OUTPUTS, Record

MOUNT = Path("/content/drive")
INTERVAL_S = 60.0
"""How often what has changed is copied: a cut loses as much, and it is decoded again."""
ANSWERS_GIB = 0.2
"""Room for a study's answers, scores, tables and figures."""
OWNER = ".kept-by"
"""Names the session that a copy belongs to, in the copy; beside the record, the one that has it."""
_FINETUNE = re.compile(r"[0-9a-f]{12}")


@dataclass
class Copy:
    """One study's files here and on the drive, and who copies them."""

    record: Record
    place: Path
    """The folder on the drive that holds results/ and outputs/ as they stand here."""
    token: str
    known: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Size and time of each file here, by its path on the drive, as it was last alike there."""
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def folders(self) -> Iterator[tuple[Path, Path]]:
        """Yield (folder here, folder on the drive): the record, and each finetune."""
        yield self.record.folder, _results(self.place, self.record)
        there = self.place / "outputs"
        for parent in (OUTPUTS, there):
            for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
                if _FINETUNE.fullmatch(folder.name):
                    yield OUTPUTS / folder.name, there / folder.name

    def fetch(self) -> None:
        """Copy what is on the drive and not here. A finetune that is here too stays as it is."""
        for here, there in dict(self.folders()).items():
            if here.exists() and here != self.record.folder:
                continue
            for path in _files(there):
                target = here / path.relative_to(there)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                self.known[path] = _state(target)

    def bring(self) -> bool:
        """Copy what has changed here to the drive; return False where another session has it.

        In the order in which it was written, so that a manifest comes after what it vouches for,
        and in place: a file that is replaced goes to the bin.
        """
        with self.lock:
            if _token(_results(self.place, self.record) / OWNER) != self.token:
                self.ended.set()
                return False
            found = {
                there / path.relative_to(here): path
                for here, there in dict(self.folders()).items()
                for path in _files(here)
            }
            states = {target: _state(path) for target, path in found.items()}
            for target in sorted(states, key=lambda target: states[target][1]):
                if self.known.get(target) != states[target]:
                    self._copy(found[target], target, states[target])
            if self.record.folder.is_dir():
                for target in self.known.keys() - states.keys():
                    _delete(target)
                    del self.known[target]
            return True

    def _copy(self, path: Path, target: Path, state: tuple[int, int]) -> None:
        """Copy a file that is as it was when all were looked at, or that only grows.

        Any other waits for the next time: what it vouches for might not be there yet.
        """
        try:
            if _state(path) != state and path.suffix != ".jsonl":
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        except FileNotFoundError:
            if path.exists():  # else it has been deleted since
                raise
            return
        self.known[target] = state

    def watch(self) -> None:
        """Bring what changes until the copy is another session's, or finished."""
        silent = False
        while not self.ended.wait(INTERVAL_S):
            try:
                if not self.bring():
                    say(f"Google Drive: another session goes on with {self.record.folder.name}; "
                        "this one copies nothing there any more")  # fmt: skip
                silent = False
            except OSError as error:
                if not silent:
                    say(f"Google Drive cannot be written ({error}): the study goes on here, and is "
                        "copied once the Drive answers")  # fmt: skip
                silent = True


_copies: dict[Path, Copy] = {}


def keep(record: Record, *, wanted: bool, study: StudySpec | None = None) -> None:
    """Go on from a study's copy on Google Drive, if there is one, and keep that copy from now on.

    Args:
        record: The study's record.
        wanted: False does nothing.
        study: The study, where it is to be run: its adapters and checkpoints must fit.

    Raises:
        SettingError: If the Drive cannot be had, is too full, or holds another record of that name
            than the one that is here.
    """
    if not wanted:
        return
    place = _mounted() / "alpaca-lab"
    _require_room(place, record, study)
    there, mark = _results(place, record), record.folder / OWNER
    if (now := _copies.pop(record.folder, None)) is not None:
        now.ended.set()
    copy = Copy(record=record, place=place, token=_token(mark) or uuid.uuid4().hex)
    if not _token(mark) and record.has_index() and (there / "study.json").exists():
        raise SettingError(
            f"{record.folder.name} is here and on Google Drive, and neither was made from the "
            f"other: choose another NAME, or delete {record.folder} or {there}"
        )
    with _in_one_sentence():
        if _token(there / OWNER) != copy.token:
            _write(mark, copy.token)  # what is here from now on is of the copy
            copy.fetch()
            _write(there / OWNER, copy.token)
        copy.bring()
    threading.Thread(target=copy.watch, daemon=True).start()
    _copies[record.folder] = copy
    print(f"Google Drive: {len(copy.known)} files of {record.folder.name} in {place}; copied "
          f"every {INTERVAL_S:.0f} s")  # fmt: skip


def finish(record: Record) -> None:
    """Bring the last of a study to the Drive and wait until it is uploaded; else do nothing.

    Raises:
        SettingError: If the Drive cannot be written.
    """
    copy = _copies.pop(record.folder, None)
    if copy is None:
        return
    copy.ended.set()
    with _in_one_sentence():
        copy.bring()
    from google.colab import drive

    drive.flush_and_unmount()
    print(f"Google Drive: {record.folder.name} is there, in {copy.place}")


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingError(
            f"Google Drive failed ({error}): run the cell with DRIVE again, and it is mounted "
            "anew; what is done is still here"
        ) from None


def needed_gib(study: StudySpec | None) -> float:
    """Return the GiB that a study may take on the drive: adapters, checkpoints, answers.

    An adapter is in float32; a checkpoint holds it with its two moments. There are the newest, the
    best, and for a moment the one that comes next.
    """
    shapes = [(shape_of(m.source), m.lora_targets) for m in study.models] if study else []
    sizes = [shape.lora_parameters(study.lora.rank, names) for shape, names in shapes if shape]
    kept = study.resources.checkpoints_kept + 2 if study else 0
    return ANSWERS_GIB + (4 * sum(sizes) + 12 * kept * max(sizes, default=0)) / 2**30


def _mounted() -> Path:
    """Mount the Drive, also one that has fallen off, and return the user's folder on it."""
    try:
        from google.colab import drive
    except ImportError:
        raise SettingError(
            "DRIVE keeps a study on Google Drive from Colab, and this is another machine: set it "
            "to False; results/ and outputs/ stay on this disk"
        ) from None
    home = MOUNT / "MyDrive"
    try:
        drive.mount(str(MOUNT))
        if not _answers(home):
            drive.mount(str(MOUNT), force_remount=True)
        why = "" if _answers(home) else f"there is no {home}"
    except Exception as error:  # of no kind of its own
        why = str(error) or type(error).__name__
    if why:
        raise SettingError(
            f"Google Drive could not be mounted ({why}): run the cell again and allow access in "
            "the window that opens, or set DRIVE to False"
        )
    return home


def _answers(folder: Path) -> bool:
    """Return False also where the mount is there and nobody serves it."""
    try:
        return folder.is_dir()
    except OSError:
        return False


def _require_room(place: Path, record: Record, study: StudySpec | None) -> None:
    """Refuse a study that the drive has no room for.

    Raises:
        SettingError: With what it needs.
    """
    place.mkdir(exist_ok=True)
    held = sum(path.stat().st_size for path in _files(_results(place, record))) / 2**30
    need, free = needed_gib(study), shutil.disk_usage(place).free / 2**30
    if free + held < need:
        raise SettingError(
            f"Google Drive has {free:.1f} GiB free, and {record.folder.name} needs {need:.1f} "
            "(adapters, checkpoints, answers): free some, empty its bin too, or set DRIVE to False"
        )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder but for locks, notes and halves of files: their names have dots.

    A dead machine's locks would only be waited for.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _delete(path: Path) -> None:
    """Delete a file on the drive, emptied: the bin counts what lies in it."""
    if path.exists():
        path.write_bytes(b"")
        path.unlink()
    with suppress(OSError):  # the folder goes with its last file
        path.parent.rmdir()


def _results(place: Path, record: Record) -> Path:
    return place / "results" / record.folder.name


def _write(path: Path, token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"token": token, "machine": platform.node(), "since": time.time()}
    path.write_text(json.dumps(note) + "\n", encoding="utf-8")


def _token(path: Path) -> str:
    """Return the token of a note of `_write`, "" where there is none, or a half."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["token"]
    except (FileNotFoundError, ValueError):
        return ""
