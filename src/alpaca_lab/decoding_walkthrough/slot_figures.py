"""Figures of slots over time as PNG bytes: who sat where, and the columns that it took."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..pages import wording
from ..pages.drawing import GREY, canvas, colour, ink, png, style
from .timeline import Timeline

READS = {"facecolor": "0.9", "linewidth": 0}
WAITS = {"facecolor": "white", "edgecolor": "0.8", "hatch": "////", "linewidth": 0}
HIGH = 0.82
"""Height of a lane's bar; lanes are 1 apart."""
DIGIT = 0.0075
"""Width of a digit in a bar, as a share of the axis of steps."""


def slots(ours: Timeline, static: Timeline) -> bytes:
    """Draw who sat in which slot when: refilled slots above, static batches of the same below.

    Args:
        ours: What the decode loop told.
        static: `timeline.static` of the same answers.

    Returns:
        A PNG; the two panels have one axis of steps.
    """
    colours = cell_colours(dict.fromkeys(static.turns["cell"]))
    steps = max(ours.steps, static.steps)
    numbers = {key: str(n) for n, key in enumerate(dict.fromkeys(static.turns["question"]))}
    with style():
        figure = canvas(
            12,
            1.9 + 0.2 * (ours.slots + static.slots),
            title=f"The same {len(static.turns)} answers in {ours.slots} slots: refilled, "
            f"{ours.steps} steps; static batches, {static.steps}",
            caption="A bar is an answer, its number the question's, in their order. A static batch "
            "has one setting, and its first step reads all its prompts at once.",
        )
        above, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": (ours.slots, static.slots)}
        )
        _lanes(above, ours, colours, numbers, steps=steps)
        _reading(above, ours)
        _lanes(below, static, colours, numbers, steps=steps)
        _waiting(below, static)
        above.set_title(
            f"Slots refilled as answers end: {ours.drawing:.0%} of the slot-steps draw a token, "
            f"{ours.reading:.0%} read the next prompt",
            loc="left",
            fontsize=10.5,
        )
        below.set_title(
            f"Static batches: {static.drawing:.0%} of the slot-steps draw a token, the others wait",
            loc="left",
            fontsize=10.5,
        )
        above.axvline(ours.steps, color=GREY, linewidth=1, ymax=0.97)
        above.annotate(
            f" all answered after {ours.steps} steps",
            (ours.steps, ours.slots / 2 - 0.5),
            va="center",
            fontsize=10,
            color=GREY,
        )
        above.set_ylabel("slot")
        below.set_ylabel("row of the batch")
        below.set(xlabel="step of the model", xlim=(0, steps))
        handles = [Patch(facecolor=c, label=wording.cell(name)) for name, c in colours.items()]
        handles += [Patch(**READS, label="reads a prompt"), Patch(**WAITS, label="waits")]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
        return png(figure)


def cell_colours(names: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """Return a colour per cell: a hue for each knob, the darker the higher its value."""
    names = list(names)
    shades = {"temperature": "Oranges", "top_k": "Blues", "num_beams": "Greens"}
    found = dict.fromkeys(names, (0.3, 0.3, 0.3))
    for knob, palette in shades.items():
        some = [name for name in names if name.partition("=")[0] == knob]
        found |= dict(zip(some, sns.color_palette(palette, len(some) + 2)[1:-1], strict=True))
    return found


def _lanes(plot: Axes, timeline: Timeline, colours, numbers, *, steps: int) -> None:
    """Draw a timeline's bars, and the number of the question where it fits `steps` of the axis."""
    turns = timeline.turns
    for name, rows in turns.groupby("cell", sort=False):
        looks = {"color": colours[name], "edgecolor": "white", "linewidth": 0.6}
        plot.barh(rows["slot"], rows["end"] - rows["start"], HIGH, left=rows["start"], **looks)
    for row in turns.itertuples():
        number = numbers[row.question]
        if (row.end - row.start) / steps >= len(number) * DIGIT:
            looks = {"ha": "center", "va": "center_baseline", "fontsize": 7}
            middle = (row.start + row.end) / 2
            plot.text(middle, row.slot, number, color=ink(colours[row.cell]), **looks)
    plot.set_yticks(range(0, timeline.slots, 5))
    plot.set_ylim(timeline.slots - 0.4, -0.6)
    plot.grid(visible=False)


def _reading(plot: Axes, timeline: Timeline) -> None:
    """Draw rows that read prompts in the slots that are free then, which are as many or more."""
    taken = np.zeros((timeline.slots, timeline.steps), bool)
    for row in timeline.turns.itertuples():
        taken[row.slot, row.start : row.end] = True
    spare = ~taken & (np.cumsum(~taken, axis=0) <= timeline.read)
    for slot, lane in enumerate(spare):
        _strip(plot, slot, lane, READS)


def _waiting(plot: Axes, timeline: Timeline) -> None:
    """Draw from each answer's end to that of its batch."""
    turns = timeline.turns
    ends = turns.groupby("start")["end"].transform("max")
    for row, end in zip(turns.itertuples(), ends, strict=True):
        plot.broken_barh([(row.end, end - row.end)], (row.slot - HIGH / 2, HIGH), **WAITS)
    for end in sorted(set(ends)):
        plot.axvline(end, color=GREY, linewidth=0.7)


def _strip(plot: Axes, slot: int, lane: np.ndarray, looks) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lane.astype(int), [0]])))
    parts = [(start, end - start) for start, end in edges.reshape(-1, 2)]
    plot.broken_barh(parts, (slot - HIGH / 2, HIGH), **looks)


def pool(frame: pd.DataFrame, *, reserved: tuple[int, int]) -> bytes:
    """Draw the pool's columns over time against what a row of its own per slot would take.

    Args:
        frame: `timeline.columns_over_time`.
        reserved: `timeline.reserved`.

    Returns:
        A PNG.
    """
    budget, came = reserved
    with style():
        figure = canvas(
            11,
            3.6,
            title=f"At most {frame['used'].max():,} columns in use; a cache with a row per slot "
            f"reserves {budget:,}",
            caption=f"{budget:,}: every slot has room for the longest prompt and the whole budget. "
            "A column holds the keys and values of one token.",
        )
        plot = figure.subplots()
        looks = {"step": "mid", "color": colour(0), "alpha": 0.45, "linewidth": 0}
        plot.fill_between(frame["step"], frame["used"], label="in use", **looks)
        label = "the answers in slots, each with its own copy of the prompt"
        plot.plot(frame["step"], frame["copied"], color=colour(3), linewidth=1.3, label=label)
        label = "room for the longest answer that came, in every slot"
        plot.axhline(came, color=GREY, linestyle="--", label=label)
        plot.set(xlabel="step of the model", ylabel="columns", xlim=(0, frame["step"].max()))
        plot.set_ylim(0, 1.08 * came)
        plot.grid(visible=False, axis="x")
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        plot.legend(ncols=3, frameon=False, fontsize=9, **above)
        return png(figure)
