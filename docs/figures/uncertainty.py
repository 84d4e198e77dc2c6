"""Figures of intervals, tests and how many questions a study needs, as PNG bytes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from alpaca_lab import stats
from alpaca_lab.config import ROOT
from alpaca_lab.pages.drawing import GREY, MARKERS, canvas, colour, png, points, style
from alpaca_lab.profiles import PROFILES
from alpaca_lab.stats.exchanges import exchanges

LADDER = (0.01, 0.04, 0.03, 0.005)
FIVE = (1, 2, 3, 4, 5)
"""The worked examples of uncertainty.md: p values of a family, differences of five questions."""


def intervals() -> bytes:
    """Draw the intervals of forty studies of one truth; about one in twenty misses it."""
    random, truth = np.random.default_rng(3), 30.0
    found = [stats.t_interval(random.gamma(2, truth / 2, 60)) for _ in range(40)]
    rows = pd.DataFrame([(one.mean, one.low, one.high) for one in found],
                        columns=["mean", "ci_low", "ci_high"])  # fmt: skip
    missed = ~rows["mean"].between(truth - (rows["ci_high"] - rows["mean"]),
                                   truth + (rows["mean"] - rows["ci_low"]))  # fmt: skip
    with style():
        figure = canvas(
            9,
            3.2,
            title=f"Forty studies of one truth: {missed.sum()} of 40 intervals miss it",
            caption="Simulated: 60 questions each, skewed scores, mean 30.",
        )
        plot = figure.subplots()
        for hit, some in rows.groupby(~missed):
            points(plot, some.index + 1, some, color=colour(0) if hit else colour(3),
                   marker="o" if hit else "X", linestyle="", markersize=4)  # fmt: skip
        plot.axhline(truth, color=GREY, linewidth=1)
        plot.set(xlabel="study (number)", ylabel="mean score (points)", xlim=(0, 41))
        return png(figure)


def sign_flips() -> bytes:
    """Draw the mean of five differences under every way to flip their signs."""
    chosen, _ = exchanges(len(FIVE), draws=0, seed=0)
    means = (1 - 2 * chosen) @ np.array(FIVE) / len(FIVE)
    observed, p = np.mean(FIVE), stats.sign_flip_p(FIVE)
    far = np.abs(means) >= observed
    with style():
        figure = canvas(
            8,
            3.2,
            title=f"{far.sum()} of {len(means)} ways to flip the signs go as far: p = {p:g}",
            caption="Differences 1, 2, 3, 4 and 5; their own mean, "
            "3, and its mirror image are the two ways in colour.",
        )
        plot = figure.subplots()
        bins = np.arange(-3.1, 3.2, 0.2)
        plot.hist([means[~far], means[far]], bins=bins, stacked=True, color=["0.7", colour(3)])
        plot.set_yticks(range(4))
        plot.set(xlabel="mean of the flipped differences (points)", ylabel="ways (count)")
        return png(figure)


def holm() -> bytes:
    """Draw Holm's ladder: each p times how many are left, never below the step before."""
    raw, adjusted = np.sort(LADDER), np.sort(stats.holm(LADDER))
    steps = np.arange(1, len(raw) + 1)
    with style():
        figure = canvas(
            8.6,
            3.6,
            title="Holm's ladder: the smallest p pays for all four tests",
            caption="Grey: p as it was. Colour: after Holm; below the dashed line it "
            "is a finding. The last step may not fall below the one before it.",
        )
        plot = figure.subplots()
        plot.vlines(steps, raw, adjusted, color="0.7", zorder=1)
        plot.plot(steps, raw, "o", color="0.5", label="p")
        plot.step(steps, adjusted, where="mid", color=colour(0), marker="s", label="p after Holm")
        for step, before, after in zip(steps, raw, adjusted, strict=True):
            text = f"{before:g} x {len(raw) + 1 - step}"
            plot.annotate(
                f"{text} = {before * (len(raw) + 1 - step):g}",
                (step, after),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        plot.axhline(0.05, color=GREY, linewidth=1, linestyle="--")
        plot.set_xticks(steps, [f"{step}." for step in steps])
        plot.set(xlabel="test, from the smallest p (rank)", ylabel="p (0-1)", ylim=(0, 0.072),
                 xlim=(0.5, 4.5))  # fmt: skip
        plot.legend(frameon=False, loc="lower right")
        return png(figure)


def calibration() -> bytes:
    """Draw how often tests and intervals were wrong in simulations, beside what they promise."""
    frame = pd.read_csv(ROOT / "results" / "calibration" / "calibration.csv")
    frame["what"], frame["check"] = zip(*frame["check"].str.split(": ", n=1), strict=True)
    panels = {"false positives": 0.05, "coverage": 0.95}
    counts = [int((frame["what"] == what).sum()) for what in panels]
    with style():
        figure = canvas(
            10,
            8,
            title="What the tests and intervals promise, and what was counted",
            caption="Simulated data with a known truth. Negative controls are methods "
            "not used here, which must be seen to fail.",
        )
        plots = figure.subplots(2, 1, height_ratios=counts)
        for plot, (what, promise) in zip(plots, panels.items(), strict=True):
            _rates(plot, frame[frame["what"] == what].reset_index(drop=True), what, promise)
        handles, names = plots[0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside upper right", ncols=3)
        return png(figure)


def _rates(plot: Axes, rows: pd.DataFrame, what: str, promise: float) -> None:
    percent = rows[["rate", "low", "high"]] * 100
    for order, kind in enumerate(("method", "limit", "negative control")):
        some = rows["kind"] == kind
        points(plot, rows.index[some], percent[some], names=("rate", "low", "high"),
               horizontal=True, color=colour((0, 1, 3)[order]), marker=MARKERS[order], linestyle="",
               markersize=5, label=kind)  # fmt: skip
    plot.axvline(100 * promise, color=GREY, linewidth=1, linestyle="--")
    plot.set_yticks(rows.index, rows["check"], fontsize=8)
    plot.invert_yaxis()
    plot.set_xlabel(f"{what} (%), {100 * promise:g} promised")


def questions() -> bytes:
    """Draw the smallest difference that a study finds in four of five cases, by its size."""
    sizes = np.arange(20, 1001, 10)
    with style():
        figure = canvas(
            8,
            3.6,
            title="Four times the questions see half the difference",
            caption="80% power at 5%, one comparison by itself; dotted: the smoke "
            "study's 60 questions and the full study's 500.",
        )
        plot = figure.subplots()
        for order, sd in enumerate((10, 20, 30)):
            seen = [stats.minimum_detectable_effect(sd, n) for n in sizes]
            plot.plot(sizes, seen, color=colour(order), label=f"{sd} points")
        for name in ("smoke", "full"):
            plot.axvline(PROFILES[name].questions, color=GREY, linewidth=1, linestyle=":")
        plot.set(xlabel="questions (count)", ylabel="smallest difference\nseen (points)",
                 ylim=(0, None))  # fmt: skip
        plot.legend(frameon=False, title="differences vary by (sd)")
        return png(figure)
