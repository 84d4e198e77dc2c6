"""The page of what decoding took, beside what it was worth."""

from collections.abc import Mapping

import pandas as pd

from ..characters import plain
from . import verdicts
from .page import BLANK, Page, count, interval, number
from .wording import cell


def cost(frame: pd.DataFrame, titles: Mapping[str, str]) -> Page:
    """Return the page of what each cell is worth and what it took to decode."""
    header = (
        "Model", "cell", "ROUGE-L", "wall seconds", "tokens per second", "peak GiB",
        "answers", "new tokens", "seconds per answer",
    )  # fmt: skip
    rows = [
        (
            plain(titles[row["model"]]),
            cell(row["cell"]),
            interval(row["rougeL"], row["rougeL_low"], row["rougeL_high"]),
            number(row["wall_s"]),
            number(row["tokens_per_s"]),
            number(row["peak_gib"]),
            count(row["answers"]),
            count(row["new_tokens"]),
            number(row["wall_s"] / row["answers"], decimals=3) if row["answers"] else BLANK,
        )
        for _, row in frame.iterrows()
    ]
    return Page(
        title="What each setting is worth, and what it took to decode",
        header=header,
        rows=tuple(rows),
        words=2,
        reading=(verdicts.dearest(frame, titles),),
        notes=(
            "Seconds are of one machine on one day: compare cells with each other. Cells share "
            "batches: the seconds of a cell are its share, by new tokens, of the seconds of the "
            "processes that decoded it, and its tokens per second are those of these processes.",
            *_blanks(rows, "not measured (peak GiB is measured on a GPU only)"),
        ),
        runs=tuple(frame["run"]),
    )


def _blanks(rows: list[tuple[str, ...]], reason: str) -> tuple[str, ...]:
    return (f'"{BLANK}": {reason}.',) if any(BLANK in row for row in rows) else ()
