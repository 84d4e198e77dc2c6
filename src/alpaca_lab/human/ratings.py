"""The log of ratings: one row each, appended and never changed. It alone fills the Human column.

    time,rater,item,action,score,seconds,reason

`action` is "rated" (score 0-4), "skipped" (a reason) or "undone", which retracts the rater's last
rating or skip of that item. A row says which item, not whose answer it is: the key knows that.
"""

import csv
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from pathlib import Path

from filelock import FileLock

from ..characters import plain
from ..files import RecordError, write_atomically
from ..spreadsheet import guard, unguard
from ..store import Record
from . import checksums
from . import plan as plans
from .plan import Plan
from .rubric import TOP

COLUMNS = ("time", "rater", "item", "action", "score", "seconds", "reason")
RATED, SKIPPED, UNDONE = "rated", "skipped", "undone"
LONGEST_REASON = 200
"""Characters of a reason that are kept."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row of the log."""

    time: str
    """UTC, ISO 8601."""
    rater: str
    item: str
    action: str
    score: int | None = None
    """0 to `TOP`; None unless rated."""
    seconds: float | None = None
    """How long the item was looked at; None where nobody measured it, as in a sheet."""
    reason: str = ""
    """Why it was skipped."""

    def as_line(self) -> str:
        """Return the row as it is written, with its end of line."""
        text = StringIO()
        values = (
            self.time, self.rater, self.item, self.action,
            "" if self.score is None else self.score,
            "" if self.seconds is None else f"{self.seconds:.1f}",
            guard(_one_line(self.reason)),
        )  # fmt: skip
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


Standing = dict[tuple[str, str], Entry]
"""By (rater, item), the rating or skip that holds."""


def path(record: Record, mode: str) -> Path:
    """Return where the ratings of a mode are."""
    return plans.folder(record, mode) / "ratings.csv"


def read(record: Record, mode: str) -> tuple[Entry, ...]:
    """Return the log of a mode, oldest first; empty where nobody has rated.

    Raises:
        RecordError: If a row is no rating, double, or not asked for by the plan: with its line.
    """
    file = path(record, mode)
    if not file.is_file():
        return ()
    plan = plans.read(record, mode)
    entries = parse(file)
    checksums.refuse_damaged(file, (entry.as_line() for entry in entries))
    standing(entries, plan=plan, place=file)
    return entries


def parse(file: Path) -> tuple[Entry, ...]:
    """Return the rows of a ratings file, each of them possible by itself.

    A last row without its end of line counts if it is a row. If not, a kill cut it short before it
    was acknowledged to its rater, and it is left out.

    Raises:
        RecordError: If the file cannot be read or a row is no rating: with its line.
    """
    try:
        *whole, cut = file.read_bytes().split(b"\n")
        if not whole:
            whole, cut = [cut], b""
        text = b"\n".join(whole).decode("utf-8-sig")
    except FileNotFoundError:
        raise RecordError(f"no such file: {file}") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{file} is not UTF-8 text ({error.reason}); save it as such") from None
    first, *lines = [line.removesuffix("\r") for line in text.split("\n")]
    if tuple(first.split(",")) != COLUMNS:
        raise RecordError(f"{file}:1 is not the header {','.join(COLUMNS)}")
    entries = [_entry(line, f"{file}:{at}") for at, line in enumerate(lines, start=2)]
    if cut:
        with suppress(RecordError, UnicodeDecodeError):
            entries.append(_entry(cut.decode().removesuffix("\r"), ""))
    return tuple(entries)


def standing(
    entries: Iterable[Entry], *, plan: Plan | None = None, place: Path | str = "ratings.csv"
) -> Standing:
    """Return what holds at the end of a log.

    Args:
        entries: Rows, oldest first.
        plan: Refuse what it does not ask for; None takes any rater and item.
        place: What a refusal names.

    Raises:
        RecordError: If an item is rated twice by one rater without an undo between, if an undo has
            nothing to retract, or if the plan did not ask: with the line.
    """
    holds: Standing = {}
    asked = {rater: set(ids) for rater, ids in plan.order.items()} if plan else {}
    for line, entry in enumerate(entries, start=2):
        pair = (entry.rater, entry.item)
        where = f"{place}:{line}"
        if plan and entry.rater not in asked:
            raise RecordError(
                f'{where}: the plan has no rater "{entry.rater}"; it asks {", ".join(asked)}'
            )
        if plan and entry.item not in asked[entry.rater]:
            raise RecordError(f"{where}: {entry.rater} was not asked about item {entry.item}")
        if entry.action == UNDONE:
            if holds.pop(pair, None) is None:
                raise RecordError(
                    f"{where}: {entry.rater} has no rating of item {entry.item} to undo"
                )
        elif pair in holds:
            raise RecordError(
                f"{where}: {entry.rater} has {holds[pair].action} item {entry.item} already; "
                "delete this row"
            )
        else:
            holds[pair] = entry
    return holds


def append(record: Record, plan: Plan, new: Iterable[Entry]) -> Standing:
    """Add rows to the log, all or none of them, and return what holds then.

    Each is checked against what is there, under a lock: the same rater may have a second page
    open, and the plan on the disk may be newer than `plan`. The rows are on the disk before this
    returns.

    Raises:
        RecordError: If a row is impossible by itself or after those before it.
    """
    file, new = path(record, plan.mode), tuple(new)
    with locked(record, plan.mode):
        plan = plans.read(record, plan.mode)
        old = parse(file) if file.is_file() else ()
        checksums.refuse_damaged(file, (entry.as_line() for entry in old))
        holds = standing((*old, *new), plan=plan, place=file)
        added = "".join(entry.as_line() for entry in new)
        for entry in new:
            _entry(entry.as_line().rstrip("\n"), f"a rating by {entry.rater}")
        if not file.is_file() or not file.read_bytes().endswith(b"\n"):
            # A new file gets its header; one with a cut last row loses the cut, or its missing end.
            kept = "".join(entry.as_line() for entry in old)
            write_atomically(file, f"{','.join(COLUMNS)}\n{kept}{added}")
        else:
            with file.open("a", encoding="utf-8", newline="") as log:
                log.write(added)
                log.flush()
                os.fsync(log.fileno())
        checksums.write(file, (entry.as_line() for entry in (*old, *new)))
    return holds


def merge(record: Record, mode: str, file: Path) -> int:
    """Add the ratings of another copy of this study's log; return how many rows were new.

    A rater's rows in both files must begin alike: the longer one is that rater's log. So merging a
    file twice adds nothing, and two people under one name are found out.

    Raises:
        RecordError: If the file is damaged or is of another plan, or the logs of a rater part.
    """
    plan = plans.read(record, mode)
    rows = parse(file)
    standing(rows, plan=plan, place=file)
    theirs = _by_rater(rows)
    ours = _by_rater(read(record, mode))
    new: list[Entry] = []
    for rater, rows in theirs.items():
        known = ours.get(rater, [])
        shorter = min(len(known), len(rows))
        if known[:shorter] != rows[:shorter]:
            at = next(i for i in range(shorter) if known[i] != rows[i])
            raise RecordError(
                f"{file}: the ratings of {rater} part from those in {path(record, mode)} at the "
                f"rater's row {at + 1} (item {rows[at].item}): two people under one name, or one "
                "who rated in two places; give each a name of their own in the plan"
            )
        new += rows[shorter:]
    if new:
        append(record, plan, new)
    return len(new)


def _by_rater(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.rater, []).append(entry)
    return found


@contextmanager
def locked(record: Record, mode: str) -> Iterator[None]:
    """Let nobody else change the plan or the ratings of a mode meanwhile."""
    place = plans.folder(record, mode)
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".ratings.lock"):
        yield


def _entry(line: str, where: str) -> Entry:
    """Return the row that a line holds.

    Raises:
        RecordError: If it holds none.
    """
    try:
        [values] = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise RecordError(f"{where} is not a row of CSV; restore or delete it") from None
    if len(values) != len(COLUMNS):
        raise RecordError(f"{where} has {len(values)} values instead of {len(COLUMNS)}")
    row = dict(zip(COLUMNS, values, strict=True))
    if row["action"] not in (RATED, SKIPPED, UNDONE):
        raise RecordError(f'{where}: "{row["action"]}" is not rated, skipped or undone')
    if not row["rater"] or not row["item"]:
        raise RecordError(f"{where} names no rater or no item")
    try:
        datetime.fromisoformat(row["time"])
    except ValueError:
        raise RecordError(f'{where}: "{row["time"]}" is not a time in ISO 8601') from None
    return Entry(
        time=row["time"],
        rater=row["rater"],
        item=row["item"],
        action=row["action"],
        score=_score(row, where),
        seconds=_seconds(row["seconds"], where),
        reason=_reason(row, where),
    )


def _score(row: dict[str, str], where: str) -> int | None:
    text = row["score"]
    if row["action"] != RATED:
        if text:
            raise RecordError(f'{where}: a row "{row["action"]}" has no score, got {text}')
        return None
    if text not in map(str, range(TOP + 1)):
        raise RecordError(f'{where}: a score is 0, 1, 2, 3 or 4, not "{text}"')
    return int(text)


def _seconds(text: str, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise RecordError(f'{where}: seconds are a number from 0 on, or blank; not "{text}"')
    return round(seconds, 1)


def _reason(row: dict[str, str], where: str) -> str:
    if row["action"] == SKIPPED and not row["reason"].strip():
        raise RecordError(f"{where}: a skipped item needs a reason")
    return _one_line(unguard(row["reason"]))


def _one_line(reason: str) -> str:
    """Return a reason as it is kept: what no file can hold, and no terminal should, shown."""
    return plain(" ".join(reason.split()))[:LONGEST_REASON]
