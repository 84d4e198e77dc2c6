"""Tokens per second as bars with their memory beside them: a panel of a benchmark's figure."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from textwrap import shorten
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..pages.drawing import colour, text
from ..pages.page import number, whole


def bars(
    plot: Axes,
    rows: pd.DataFrame,
    *,
    names: Sequence[str],
    ours: str,
    widest: float,
    title: str,
    marks: str | None = None,
) -> None:
    """Draw a bar per row from the top, and beside it its speed and memory, or why it has none.

    Args:
        plot: Where.
        rows: Columns arm, tok_s, peak_gib, note.
        names: What stands to the left of each bar.
        ours: The arm whose bars have a colour of their own.
        widest: The largest number to be seen, tokens per second; not positive where nothing is.
        title: Of the panel.
        marks: Column of what could be reached, in some rows: a mark, and the words behind it.
    """
    places = range(len(rows))
    colours = [colour(1 if arm == ours else 0) for arm in rows["arm"]]
    plot.barh(places, rows["tok_s"].fillna(0.0), height=0.7, color=colours, zorder=2)
    plot.set_xlim(0, 1.05 * widest if widest > 0 else 1)
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        mark = row[marks] if marks else nan
        if not isnan(mark):
            plot.plot([mark, mark], [place - 0.4, place + 0.4], color="black", zorder=4)
        where = pd.Series([0.0, row["tok_s"], mark]).max()
        plot.annotate(
            text(_said(row, mark)), (where, place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9, bbox=white, zorder=3,
        )  # fmt: skip
    plot.set_yticks(places, [text(name) for name in names])
    plot.set_ylim(len(rows) - 0.45, -0.55)
    plot.xaxis.set_major_formatter("{x:,.0f}")
    plot.set_title(text(title), loc="left")
    plot.grid(visible=False, axis="y")


def _said(row: Mapping[str, Any], mark: float) -> str:
    """What stands beside a bar: speed and memory, or the beginning of why there is none."""
    if pd.isna(row["tok_s"]):
        return shorten(row["note"], 64, placeholder=" ...")
    of = "" if isnan(mark) else f" of {whole(mark)}"
    peak = "" if pd.isna(row["peak_gib"]) else f" ({number(row['peak_gib'], decimals=1)} GiB)"
    return f"{whole(row['tok_s'])}{of}{peak}"
