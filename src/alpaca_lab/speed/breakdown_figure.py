"""The figure of where a finetuning step goes, from `breakdown.table`."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from ..pages.drawing import canvas, colour, ink, png, style, text

NAMES = {
    "products": "matrix products",
    "attention": "attention",
    "unpacking": "4-bit weights unpacked",
    "other": "other kernels",
    "copies": "copies alone",
    "waiting": "the GPU waits",
}
COLOURS = {
    "products": colour(0),
    "attention": colour(1),
    "unpacking": colour(2),
    "other": colour(9),
    "copies": colour(5),
    "waiting": to_rgb("0.85"),
}
SHOWN = 0.06
"""A share that is smaller has no figure in its bar."""


def figure(frame: pd.DataFrame, *, parts: Sequence[str], titles: Mapping[str, str]) -> bytes:
    """Draw each arm's step as one bar of its parts, a panel per model.

    Args:
        frame: `breakdown.table`.
        parts: Its columns of shares, from the left.
        titles: Printed name by model key, in drawing order from the top.

    Returns:
        A PNG.
    """
    arms = [len(frame[frame["model"] == key]) for key in titles]
    with style():
        drawn = canvas(
            9,
            1.7 + sum(0.9 + 0.36 * count for count in arms),
            title="Where a step goes: shares of its time",
            caption="Beside a bar: seconds per step, and kernels and copies started in it. "
            "Steps of different arms are of different size.",
        )
        plots = drawn.subplots(len(titles), 1, squeeze=False, height_ratios=arms)[:, 0]
        for plot, key in zip(plots, titles, strict=True):
            _panel(plot, frame[frame["model"] == key], parts=parts, title=titles[key])
        plots[0].legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.12), ncols=3, frameon=False, fontsize=9
        )
        plots[-1].set_xlabel("share of a step's time")
        return png(drawn)


def _panel(plot: Axes, rows: pd.DataFrame, *, parts: Sequence[str], title: str) -> None:
    places, left = range(len(rows)), pd.Series(0.0, index=rows.index)
    for part in parts:
        shares = rows[part].fillna(0.0)
        plot.barh(
            places, shares, height=0.72, left=left, color=COLOURS[part], label=NAMES[part], zorder=2
        )
        for place, share, start in zip(places, shares, left, strict=True):
            if share >= SHOWN:
                plot.annotate(
                    f"{share:.0%}", (start + share / 2, place), ha="center", va="center",
                    fontsize=9, color=ink(COLOURS[part]), zorder=3,
                )  # fmt: skip
        left += shares
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        plot.annotate(
            text(_said(row)), (left.iloc[place], place), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=9,
        )  # fmt: skip
    plot.set_yticks(places, [text(arm) for arm in rows["arm"]])
    plot.set_ylim(len(rows) - 0.45, -0.55)
    plot.set_xlim(0, 1.22)
    plot.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    plot.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    plot.set_title(text(title), loc="left")
    plot.grid(visible=False, axis="y")


def _said(row: Mapping[str, Any]) -> str:
    """What stands beside a bar: seconds and launches, or the beginning of why there is none."""
    if pd.isna(row["step_s"]):
        return shorten(row["note"], 64, placeholder=" ...")
    return f"{row['step_s']:.2f} s, {row['launches']:,.0f}"
