"""Figures of the data as PNG bytes: lengths in tokens, and what padding wastes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..pages.drawing import LINES, canvas, colour, png, style, text

HATCHES = ("", "//", "..", "xx")
SEEN = 0.995
"""Share of the rows in sight: one row of a thousand tokens would press all others to the left."""


def lengths(frames: Mapping[str, pd.DataFrame], *, max_length: int) -> bytes:
    """Draw which share of the rows is at most so long, a line per tokenizer, by prompt and answer.

    Args:
        frames: `lengths.token_lengths` by the tokenizer's name.
        max_length: Tokens at which a row is cut; marked where it is in sight.

    Returns:
        A PNG.
    """
    parts = {"prompt": "prompt", "response": "answer and its end", "total": "whole row"}
    with style():
        figure = canvas(
            9,
            3.6,
            title="Length of the training rows in tokens",
            caption="A line at 80% over 40 tokens: four rows of five take 40 tokens or fewer. "
            f"The longest {100 - 100 * SEEN:g}% of the rows lie beyond the right edge.",
        )
        plots = figure.subplots(1, len(parts), sharey=True)
        for plot, (part, label) in zip(plots, parts.items(), strict=True):
            for place, (name, frame) in enumerate(frames.items()):
                values = np.sort(frame[part])
                share = 100 * np.arange(1, len(values) + 1) / len(values)
                look = {"color": colour(place), "linestyle": LINES[place % len(LINES)]}
                plot.step(values, share, where="post", label=text(name), **look)
            edge = max(frame[part].quantile(SEEN) for frame in frames.values())
            if part == "total" and edge > max_length:
                plot.axvline(max_length, color="0.4", linewidth=1)
                plot.text(max_length, 2, " cut", color="0.4", fontsize=9)
            plot.set(xlabel=f"tokens, {label}", xlim=(0, edge), ylim=(0, 101))
        plots[0].set_ylabel("rows of at most so many (%)")
        handles, names = plots[0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside upper right", ncols=len(names))
        return png(figure)


def waste(frame: pd.DataFrame) -> bytes:
    """Draw which share of the tokens is padding, by how rows are batched.

    Args:
        frame: `lengths.waste`.

    Returns:
        A PNG.
    """
    names = list(dict.fromkeys(frame["tokenizer"]))
    first = frame[frame["tokenizer"] == names[0]]
    ways = [_way(row) for row in first.itertuples()]
    height = 0.8 / len(names)
    with style():
        figure = canvas(
            8,
            1.3 + 0.45 * len(ways),
            title="Padding, share of all tokens",
            caption="Random order is the mean of 20 shuffles; packed bins hold whole rows.",
        )
        plot = figure.subplots()
        for place, name in enumerate(names):
            values = frame.loc[frame["tokenizer"] == name, "padding"]
            rows = np.arange(len(ways)) + height * (place - (len(names) - 1) / 2)
            look = {"color": colour(place), "hatch": HATCHES[place % len(HATCHES)]}
            bars = plot.barh(rows, values, height, edgecolor="white", label=text(name), **look)
            plot.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        plot.set_yticks(range(len(ways)), ways)
        plot.invert_yaxis()
        plot.grid(visible=False, axis="y")
        plot.set_xlabel("padding (% of tokens)")
        plot.margins(x=0.08)
        figure.legend(frameon=False, loc="outside upper right", ncols=len(names))
        return png(figure)


def _way(row) -> str:
    names = {"random": "random order", "by length": "sorted by length", "packed": "packed"}
    way = names[row.order]
    return way if pd.isna(row.batch_size) else f"{way}, batches of {row.batch_size}"
