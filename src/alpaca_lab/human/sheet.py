"""Rating without a notebook: a blind sheet for a spreadsheet, and the way back with every check.

A sheet holds what a rater sees and nothing else. A person fills in `level`, 1 to 5, or says why
not in `reason`; the rest of the row is theirs to read.
"""

import csv
import re
from io import StringIO
from pathlib import Path

from ..environment import now
from ..files import RecordError, write_atomically
from ..spreadsheet import guard, unguard
from ..store import Record
from . import plan as plans
from . import ratings
from .items import Texts
from .ratings import RATED, SKIPPED, Entry
from .rubric import TOP

ASKED = ("rater", "item", "instruction", "input")
ANSWERS = {False: ("answer",), True: ("answer_a", "answer_b")}
FILLED = ("level", "reason")
LEVEL = re.compile(r"([1-5])(\.0+)?")
"""A spreadsheet may write 4 as 4.0."""


def export(record: Record, mode: str, rater: str, file: Path) -> int:
    """Write what a rater has still to rate, and the rubric beside it; return how many rows.

    Args:
        record: The study's record.
        mode: "acceptability" or "pairwise".
        rater: One of the plan's raters.
        file: The sheet, CSV; the rubric goes to the same name with the ending .txt.

    Raises:
        SettingError: If the plan does not ask this rater.
        RecordError: If either file exists: somebody may have filled it in.
    """
    plan = plans.read(record, mode)
    items = plan.items_of(rater)
    words_file = file.with_suffix(".txt")
    if words_file == file:
        raise RecordError(f"{file} is where the rubric would go; name the sheet .csv")
    for path in (file, words_file):
        if path.exists():
            raise RecordError(f"{path} exists already, perhaps filled in; choose another name")
    done = ratings.standing(ratings.read(record, mode))
    texts, rows = Texts(record), []
    for item in items:
        if (rater, item) not in done:
            shown = texts.of(plan.items[item])
            question = dict(shown.question)
            asked = (question["Instruction"], question.get("Input", ""))
            words = (*asked, *(text for _, text in shown.answers))
            rows.append((rater, item, *map(guard, words), "", ""))
    text = StringIO()
    header = (*ASKED, *ANSWERS[len(shown.answers) == 2], *FILLED) if rows else (*ASKED, *FILLED)
    csv.writer(text, lineterminator="\r\n").writerows((header, *rows))
    # The mark at the start tells a spreadsheet that this is UTF-8.
    write_atomically(file, "\ufeff" + text.getvalue())
    write_atomically(words_file, _instructions(plan.rubric.as_text()))
    return len(rows)


def import_(record: Record, mode: str, file: Path) -> tuple[int, int]:
    """Add the ratings of a filled sheet to the log; return how many are new, and how many blank.

    All rows are added or none. A row that is in the log already, and says the same, adds nothing.

    Raises:
        RecordError: If a row is not valid, was not asked for, or contradicts the log: with its row.
    """
    plan = plans.read(record, mode)
    done = ratings.standing(ratings.read(record, mode))
    new, blank = [], 0
    for place, row in _rows(file):
        level, reason = row["level"].strip(), unguard(row["reason"]).strip()
        if not level and not reason:
            blank += 1
            continue
        found = LEVEL.fullmatch(level)
        if level and not found:
            raise RecordError(f'{place}: a level is 1, 2, 3, 4 or 5, not "{level}"')
        if level and reason:
            raise RecordError(f"{place}: rate it or say why not, not both")
        entry = Entry(
            time=now(),
            rater=row["rater"].strip(),
            item=row["item"].strip(),
            action=RATED if found else SKIPPED,
            score=int(found[1]) - 1 if found else None,
            reason=reason,
        )
        old = done.get((entry.rater, entry.item))
        if old is None:
            new.append((place, entry))
        elif (old.action, old.score) != (entry.action, entry.score):
            said = old.action if old.score is None else f"{old.action} {old.score + 1}"
            raise RecordError(
                f"{place}: {entry.rater} has {said} item {entry.item} already; undo that in the "
                "notebook, or delete this row"
            )
    _check(plan, new)
    if new:
        ratings.append(record, plan, [entry for _, entry in new])
    return len(new), blank


def is_log(file: Path) -> bool:
    """Return True when a file is a ratings log rather than a sheet."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as lines:
            return tuple(re.split("[,;\t]", lines.readline().strip())) == ratings.COLUMNS
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}") from None


def _check(plan: plans.Plan, new: list[tuple[str, Entry]]) -> None:
    """Refuse by its place in the sheet what the log would refuse by its own."""
    seen: dict[tuple[str, str], str] = {}
    for place, entry in new:
        if entry.rater not in plan.order:
            raise RecordError(
                f'{place}: the plan has no rater "{entry.rater}"; it asks {", ".join(plan.order)}'
            )
        if entry.item not in plan.order[entry.rater]:
            raise RecordError(f"{place}: {entry.rater} was not asked about item {entry.item}")
        first = seen.setdefault((entry.rater, entry.item), place)
        if first != place:
            raise RecordError(f"{place}: item {entry.item} is rated in {first} too; delete one")


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """Return (place, cells by column) of each row, counted as a spreadsheet counts them."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RecordError(f"no such file: {file}") from None
    except UnicodeDecodeError:
        raise RecordError(f"{file} is not UTF-8 text; save it as CSV in UTF-8") from None
    if not text.strip():
        raise RecordError(f"{file} is empty")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)  # a spreadsheet writes what its country does
    try:
        header, *rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise RecordError(f"{file} is no CSV ({error}); save the sheet as CSV again") from None
    missing = [name for name in ("rater", "item", *FILLED) if name not in header]
    if missing:
        raise RecordError(f"{file}, row 1: no column {', '.join(missing)}; keep the header")
    found = []
    for number, cells in enumerate(rows, start=2):
        if any(map(str.strip, cells)):
            padded = cells + [""] * (len(header) - len(cells))
            found.append((f"{file}, row {number}", dict(zip(header, padded, strict=False))))
    return found


def _instructions(rubric: str) -> str:
    return (
        f"{rubric}\n\nWrite 1 to {TOP + 1} under level; or leave it blank and say under reason why "
        "you pass the row over. Change nothing else. An apostrophe before a text is not part of "
        "it: it keeps the spreadsheet from computing it.\n"
    )
