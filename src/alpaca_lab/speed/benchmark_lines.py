"""The lines that a benchmark leaves: which of them belong in one table, and what they come to.

benchmarks/finetune.py and benchmarks/generate.py leave one JSON line per run. A line holds

    model, arm, repeat       a key of `profiles.MODELS`, a key of an arm, from 0
    status                   "ok", "failed" or "timeout"
    error                    the sentence that a run without a result ended in, else null
    result                   what the run printed, else null
    conditions, commit       under which it ran; which conditions, the table's module says
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..config import require
from ..files import RecordError, read_lines
from ..profiles import MODELS

if TYPE_CHECKING:
    from IPython.display import Markdown

Row = Mapping[str, Any]


def alike(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the lines that were run under the conditions of the last one.

    So a file may hold lines of several cards, caps or libraries, and a table those of one.

    Args:
        rows: Lines, in the order in which they were written.
        names: The conditions.
    """
    return [row for row in rows if all(row[name] == rows[-1][name] for name in names)]


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return the last line of each (model, arm, repeat): what was run again counts."""
    return list({(row["model"], row["arm"], row["repeat"]): row for row in rows}.values())


def conditions(rows: Sequence[Row], names: Sequence[str], *, command: str) -> dict[str, Any]:
    """Return the conditions that all rows share.

    Args:
        rows: Lines of one table.
        names: The conditions.
        command: What leaves such lines.

    Raises:
        SettingError: If there are no rows, or two differ: speeds of another day, card or library
            are not compared.
    """
    require(bool(rows), f"nothing was run yet: run {command}")
    first = rows[0]
    for row in rows[1:]:
        for name in names:
            require(
                row[name] == first[name],
                f"{row['model']}, {row['arm']} ran with {name} {row[name]}, the first row with "
                f"{first[name]}: run all arms again (--again), or keep them apart (--raw)",
            )
    return {name: first[name] for name in names}


def commits(rows: Iterable[Row], arm: str) -> list[str]:
    """Return the commits that an arm was run at, each once.

    They are no condition: our own arm may be run again after a change, beside the same peers.
    """
    return sorted({row["commit"] or "unknown" for row in rows if row["arm"] == arm})


def by_model(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the lines of each model that has some, in the order of `profiles.MODELS`.

    Raises:
        SettingError: If a model is not known.
    """
    found = {model: [] for model in MODELS}
    unknown = set()
    for row in rows:
        if row["model"] in found:
            found[row["model"]].append(row)
        else:
            unknown.add(row["model"])
    require(not unknown, f"unknown models: {', '.join(sorted(unknown))}")
    return {model: lines for model, lines in found.items() if lines}


def results(runs: Iterable[Row]) -> list[Mapping[str, Any]]:
    """Return what the runs printed that came to their end."""
    return [row["result"] for row in runs if row["status"] == "ok"]


def values(name: str, found: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return a value of each result that has it, and not as NaN."""
    known = (result.get(name) for result in found)
    return [value for value in known if value is not None and not isnan(value)]


def middle(name: str, found: Iterable[Mapping[str, Any]]) -> float:
    """Return the median of a value over the results that have it; NaN where none has."""
    known = values(name, found)
    return median(known) if known else nan


def highest(name: str, found: Iterable[Mapping[str, Any]]) -> float:
    """Return the highest of a value over the results that have it; NaN where none has."""
    return max(values(name, found), default=nan)


def outcome(runs: Sequence[Row], found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why an arm has no result, or how many of its runs have one, where not all of one.

    Args:
        runs: The arm's lines.
        found: What those that came to their end printed.
    """
    failed = [row for row in runs if row["status"] != "ok"]
    if not runs:
        return ["not run"]
    if len(failed) == len(runs):
        return [f"no result: {failed[-1]['error']}"]
    notes = []
    if len(runs) > 1:
        notes.append(f"median of {len(found)} runs{_spread(values('tok_s', found))}")
    if failed:
        notes.append(f"{len(failed)} of {len(runs)} runs failed: {failed[-1]['error']}")
    return notes


def _spread(speeds: Sequence[float]) -> str:
    return f", {min(speeds):,.0f} to {max(speeds):,.0f}" if len(speeds) > 1 else ""


def load(path: Path, names: Sequence[str], *, command: str) -> list[Row]:
    """Return the lines of a file that belong in one table, those alike the last one.

    Args:
        path: JSON lines.
        names: The conditions.
        command: What leaves such lines.

    Raises:
        RecordError: If there is no such file.
    """
    if not path.is_file():
        raise RecordError(f"no {path.name} in {path.parent}: run {command}")
    return alike(read_lines(path), names)


def show(path: Path, *, command: str) -> "Markdown":
    """Return a written page for display in a notebook: its Markdown file, as it stands.

    Args:
        path: The page.
        command: What writes it.

    Raises:
        RecordError: If it has not been written.
    """
    from IPython.display import Markdown

    if not path.is_file():
        raise RecordError(f"no {path.name} in {path.parent}: run {command}")
    return Markdown(path.read_text(encoding="utf-8"))
