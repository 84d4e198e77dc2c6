"""Figures of the human score, from `tables.human`. No number is computed here."""

from collections.abc import Mapping

import pandas as pd

from ..human.rubric import ACCEPTABILITY
from ..tables.human import NOT_COLLECTED
from ..tables.human_metrics import EVERY
from .drawing import GREY, MARKERS, canvas, colour, png, points, style, text
from .render_human import NAMES, name


def scores(frame: pd.DataFrame, pairs: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw what people make of each model and setting: acceptability, and win rates over greedy.

    Args:
        frame: `human.score_table`.
        pairs: `human.pair_table`.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG: a panel per mode, a point per row of its table.
    """
    order = {key: place for place, key in enumerate(titles)}
    panels = (
        (frame, "mean", "Human score", "human score (0-1)"),
        (pairs, "win_rate", "Preferred to greedy", "win rate (0.5: no preference)"),
    )
    with style():
        figure = canvas(
            11,
            1.8 + 0.34 * max(2, len(frame), len(pairs)),
            title="What people make of each model and setting, rated blind",
            caption="95% intervals over questions.",
        )
        for plot, (rows, column, title, label) in zip(figure.subplots(1, 2), panels, strict=True):
            plot.set_title(title)
            plot.set_xlim(-0.02, 1.02)
            plot.set_xlabel(label)
            plot.grid(visible=False, axis="y")
            if column == "win_rate":
                plot.axvline(0.5, color=GREY, linewidth=1, zorder=1)
            if rows.empty or rows[column].isna().all():
                _say_none(plot)
                continue
            for height, (_, row) in enumerate(rows.iterrows()):
                place = order.get(row["model"], len(order))
                looks = {"color": colour(place), "marker": MARKERS[place % len(MARKERS)]}
                names = (column, "ci_low", "ci_high")
                points(plot, [height], row.to_frame().T, names=names, horizontal=True, **looks)
            labels = [text(name(row["model"], row["cell"], titles)) for _, row in rows.iterrows()]
            plot.set_yticks(range(len(rows)), labels)
            plot.set_ylim(len(rows) - 0.5, -0.5)
        return png(figure)


def metrics(frame: pd.DataFrame) -> bytes:
    """Draw how near each automatic metric comes to people, over all models.

    Args:
        frame: `human_metrics.metric_table`.

    Returns:
        A PNG: one line per metric, one marker per mode.
    """
    rows = frame[(frame["model"] == EVERY) & frame["rho"].notna()]
    shown = list(dict.fromkeys(rows["metric"]))
    with style():
        figure = canvas(
            8,
            1.8 + 0.34 * max(3, len(shown)),
            title="Which metric ranks answers as people do",
            caption="Spearman's rho over answers of all models, 95% intervals over questions.",
        )
        plot = figure.subplots()
        plot.set_xlim(-1.02, 1.02)
        plot.axvline(0, color=GREY, linewidth=1, zorder=1)
        plot.set_xlabel("rho (1: ranks as people do)")
        plot.grid(visible=False, axis="y")
        if rows.empty:
            _say_none(plot)
            return png(figure)
        for place, (mode, some) in enumerate(rows.groupby("mode", sort=False)):
            heights = [shown.index(metric) + 0.2 * (place - 0.5) for metric in some["metric"]]
            points(
                plot,
                heights,
                some,
                names=("rho", "ci_low", "ci_high"),
                horizontal=True,
                label="human score" if mode == ACCEPTABILITY else "preference",
                linestyle="none",
                color=colour(place),
                marker=MARKERS[place],
            )
        plot.set_yticks(range(len(shown)), [NAMES[metric] for metric in shown])
        plot.set_ylim(len(shown) - 0.5, -0.5)
        figure.legend(loc="outside right upper", frameon=False)
        return png(figure)


def _say_none(plot) -> None:
    plot.set_yticks([])
    plot.annotate(
        NOT_COLLECTED,
        (0.5, 0.5),
        xycoords="axes fraction",
        ha="center",
        va="center",
        color=GREY,
        backgroundcolor="white",
    )
