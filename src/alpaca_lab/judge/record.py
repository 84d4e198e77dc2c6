"""What is on disk of a judging: its folder, a `runs.Run`, and its judgements read back.

request.json      who judges and what, written first; its fingerprint names the folder
judgements.jsonl  one line per pair, appended as it is judged; no text of an answer in it
sessions.jsonl    one line per process that added judgements: seconds, device
manifest.json     written last: its presence means that every pair has its line
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..files import RecordError, read_lines
from ..store import Record, Run

LINES = "judgements.jsonl"
COLUMNS = [
    "opponent", "model", "cell", "repeat", "id", "cluster", "status", "p_first", "p_second",
    "label_mass", "answer_words", "opponent_words", "answer_sha256", "opponent_sha256",
]  # fmt: skip
"""Of a line of judgements.jsonl."""
JUDGED = "judged"
IDENTICAL = "identical"
"""Status of a pair whose texts are the same: neither is better, and no tie is invented."""
MISSING = "missing"
"""Status of a pair without one of its texts: decoding failed, or ran out of memory."""
FAILED = "failed"
"""Status of a pair for which the judge's logits hold NaN; any other status says why the judge was
not asked."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The judging that a study's tables show."""

    run: str
    """Its id."""
    request: Mapping[str, Any]
    judgements: pd.DataFrame
    """As `judgements` returns."""
    is_stale: bool
    """True where some of the judged answers are no longer the study's."""

    @property
    def recipe(self) -> str:
        """Who judged and how, on one line."""
        judge, template = self.request["judge"], self.request["template"]
        weights = judge["revision"] or judge["sha256"]
        return (
            f"llm-judge|{judge['source']}|weights:{weights[:12]}|dtype:{judge['dtype']}|"
            f"template:{template[:12]}|orders:both|from:logits of A and B"
        )


def shown(record: Record) -> Judged | None:
    """Return the judging that study.json names, compared with its manifest; None without one.

    Raises:
        RecordError: If it is gone, not finished, or was changed.
    """
    index = record.index()
    if "judging" not in index:
        return None
    run = record.judging(index["judging"])
    if not run.is_sealed:
        raise RecordError(
            f"the judging {run.id} is not whole in {record.judgings}; run `python -m alpaca_lab "
            f"judge` again, or, to do without it, delete {record.folder / 'study.json'} and run "
            "the study again: nothing is decoded twice"
        )
    run.verify()
    request = run.request()
    present = {run_id for cells in index["runs"].values() for run_id in cells.values()}
    return Judged(
        run=run.id,
        request=request,
        judgements=judgements(run),
        is_stale=not set(request["runs"]) <= present,
    )


def judgements(run: Run) -> pd.DataFrame:
    """Return the judgements of a folder, cell by cell as they were given, then by question.

    Returns:
        Columns opponent, model, cell, repeat, id, cluster; status, `JUDGED` or why there is no
        judgement; p_first and p_second, the judge's preference for the answer in [0, 1] when the
        answer is shown first and second; preference, their mean; label_mass, the probability that
        the judge gave to the two labels together, the mean over both orders; answer_words and
        opponent_words; answer_sha256 and opponent_sha256. A number that does not exist is NaN.
    """
    places = {tuple(cell): place for place, cell in enumerate(run.request()["cells"])}
    frame = pd.DataFrame(read_lines(run.folder / LINES), columns=COLUMNS)
    numbers = ["p_first", "p_second", "label_mass", "answer_words", "opponent_words"]
    frame = frame.astype(dict.fromkeys(numbers, float))
    frame["preference"] = (frame["p_first"] + frame["p_second"]) / 2
    place = [
        places[cell] for cell in zip(frame["opponent"], frame["model"], frame["cell"], strict=True)
    ]
    frame = frame.assign(place=place).sort_values(["place", "id", "repeat"], ignore_index=True)
    return frame.drop(columns="place")
