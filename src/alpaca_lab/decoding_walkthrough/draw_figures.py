"""Figures of one draw as PNG bytes: what may come next, and the race of tokens under one noise."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..pages.drawing import GREY, LINES, canvas, colour, png, spread, style, text
from .draws import Race

LONGEST = 60
"""Characters of an answer that a title shows."""
CROWD = 40
"""Lines of a race that are drawn beside those that matter."""


def chances(frame: pd.DataFrame, *, said: str) -> bytes:
    """Draw the likeliest tokens under several settings, a panel each, the drawn one marked.

    Args:
        frame: `draws.likeliest`.
        said: The answer up to there; empty at its beginning.

    Returns:
        A PNG.
    """
    names = list(dict.fromkeys(frame["cell"]))
    tokens = list(frame.loc[frame["cell"] == names[0], "token"])
    with style():
        figure = canvas(
            11,
            1.5 + 0.28 * len(tokens),
            title=f'What may come after "{_end_of(said)}"' if said else "What may come first",
            caption="Drawn: what this setting took, all under one noise. Out: shut out by top-k.",
        )
        plots = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for plot, name in zip(plots, names, strict=True):
            rows = frame[frame["cell"] == name]
            for drawn in (False, True):
                some = rows["drawn"].to_numpy() == drawn
                values = 100 * rows["probability"].to_numpy()[some]
                bars = plot.barh(np.flatnonzero(some), values, color=colour(0) if drawn else "0.75")
                labels = [f"{_percent(value)}{' drawn' * drawn}" for value in values]
                weight = "bold" if drawn else "normal"
                plot.bar_label(bars, labels, padding=3, fontsize=8, fontweight=weight)
            plot.set_title(name)
            plot.set_xlim(0, 160)
            plot.set_xticks([0, 50, 100])
            plot.set_xlabel("probability (%)")
            plot.grid(visible=False, axis="y")
        plots[0].set_yticks(range(len(tokens)), [text(token) for token in tokens])
        plots[0].set_ylabel("next token")
        plots[0].invert_yaxis()
        return png(figure)


def _end_of(said: str) -> str:
    return said if len(said) <= LONGEST else f"... {said[-LONGEST:]}"


def _percent(value: float) -> str:
    if not value:
        return "out"
    return f"{value:.1f}" if value >= 0.05 else "<0.1"


def race(run: Race, *, marks: Sequence[float], labels: int = 5) -> bytes:
    """Draw each token's logit + T x noise over the temperature T: who is on top is drawn.

    Args:
        run: The race.
        marks: Temperatures that are marked.
        labels: How many of the likeliest tokens are named beside those that win.

    Returns:
        A PNG.
    """
    lines, t = run.lines, run.temperatures
    winners = list(dict.fromkeys(run.winners.tolist()))
    named = [*winners, *(token for token in lines.index[:labels] if token not in winners)]
    ends = lines["logit"] + t[-1] * lines["noise"]
    crowd = ends.loc[~ends.index.isin(named)].nlargest(CROWD).index
    top = np.array([_height(lines.loc[token], x) for token, x in zip(run.winners, t, strict=True)])
    with style():
        figure = canvas(
            11,
            5,
            title="One noise, every temperature: the token on top is the one that is drawn",
            caption="A line per token: at the left its logit, its slope its noise. Thick: on top. "
            "Grey: the rest of the vocabulary, as far as it comes up.",
        )
        plot = figure.subplots()
        for token in crowd:
            plot.plot(t, _height(lines.loc[token], t), color="0.87", linewidth=0.8, zorder=1)
        for order, token in enumerate(named):
            wins = token in winners
            looks = {"color": colour(order) if wins else GREY, "linewidth": 1.6 if wins else 0.9}
            height = _height(lines.loc[token], t)
            plot.plot(t, height, LINES[order % len(LINES)] if wins else "-", zorder=2, **looks)
            if wins:
                ahead = np.where(run.winners == token, height, np.nan)
                plot.plot(t, ahead, color=looks["color"], linewidth=6, alpha=0.45, zorder=3)
        for mark in marks:
            plot.axvline(mark, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        heights = lines.loc[named, "logit"] + t[-1] * lines.loc[named, "noise"]
        low = min(heights.min(), lines.loc[named, "logit"].min())
        edge = 0.05 * (top.max() - low)
        low, high = low - 4 * edge, top.max() + 2 * edge
        places = spread(heights, gap=1.1 * edge, low=low + edge, high=high - edge)
        for order, (token, at) in enumerate(zip(named, places, strict=True)):
            wins = token in winners
            plot.annotate(
                text(lines.loc[token, "token"]),
                (t[-1], heights[token]),
                xytext=(1.02, at),
                textcoords=plot.get_yaxis_transform(),
                va="center",
                fontsize=10,
                fontweight="bold" if wins else "normal",
                color=colour(order) if wins else GREY,
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.6},
            )
        plot.set(xlim=(0, t[-1]), ylim=(low, high), xlabel="temperature T (0 is greedy)")
        ticks = sorted({0.0, *marks, float(t[-1])})
        plot.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        plot.set_ylabel("logit + T x noise")
        plot.grid(visible=False)
        return png(figure)


def _height(line: pd.Series, t: np.ndarray | float) -> np.ndarray | float:
    return line["logit"] + t * line["noise"]
