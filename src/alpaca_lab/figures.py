"""Figures from the tables' long data frames, as PNG bytes. No number is computed here.

Each model has its own colour and its own marker, so that a grey print can be read too. Figures
are drawn on their own canvas: the backend of a notebook, or of a machine without a screen, is
neither asked nor changed.
"""

from collections.abc import Mapping
from io import BytesIO

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .estimates import PRIMARY
from .store import CONTROL

DPI = 150
PAIRED = "bars are of each score, for paired differences see the table"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
AXIS_TITLES = {
    "temperature": ("Temperature", "temperature (top-k off)"),
    "num_beams": ("Beam width", "beams (1 is greedy)"),
    "top_k": ("Top-k", "top-k (temperature 1)"),
}


def axis(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw ROUGE-L over the values of one knob, a line per model, greedy at the left.

    Args:
        frame: One of `tables.axis_tables`.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG.
    """
    name = frame["axis"].iloc[0]
    scores = frame[frame["metric"] == PRIMARY]
    values = list(dict.fromkeys(scores["value"]))
    title, label = AXIS_TITLES[name]
    with _style():
        figure, plot = _figure(7, 4.2)
        for place, key in enumerate(titles):
            rows = scores[scores["model"] == key].set_index("value").reindex(values)
            # Values are evenly spaced, whatever they are; models stand side by side.
            shift = 0.1 * (place - (len(titles) - 1) / 2)
            _points(plot, [x + shift for x in range(len(values))], rows, place, titles[key], "-")
        plot.set_xticks(range(len(values)), values)
        plot.set_xlim(-0.5, len(values) - 0.5)
        plot.set(xlabel=label, ylabel="ROUGE-L F1 (0-100)")
        plot.grid(visible=False, axis="x")
        _title(plot, f"{title}: ROUGE-L with 95% intervals", f"{_sizes(scores)}; {PAIRED}")
        plot.legend(
            frameon=False, ncols=min(4, len(titles)), loc="upper left", bbox_to_anchor=(0, -0.16)
        )
        return _png(figure)


def main(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw ROUGE-L of each model before and after its finetune, above the empty answer.

    Args:
        frame: `tables.main_table`.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG.
    """
    scores = frame[frame["metric"] == PRIMARY]
    floor = scores[scores["model"] == CONTROL]["mean"].iloc[0]
    with _style():
        figure, plot = _figure(7, 4.2)
        for place, value in enumerate(("untuned", "finetuned")):
            rows = scores[scores["value"] == value].set_index("model").reindex(list(titles))
            places = [x + 0.2 * (place - 0.5) for x in range(len(titles))]
            _points(plot, places, rows, place, value, "none")
        if pd.notna(floor):
            plot.axhline(floor, color="0.4", linestyle=":", label="empty answer", zorder=0)
        plot.set_xticks(range(len(titles)), [_plain(title) for title in titles.values()])
        plot.set_xlim(-0.5, len(titles) - 0.5)
        plot.set(ylabel="ROUGE-L F1 (0-100)")
        plot.set_ylim(bottom=min(0, plot.get_ylim()[0]))
        plot.grid(visible=False, axis="x")
        heading = "Finetuned and untuned: ROUGE-L with 95% intervals"
        _title(plot, heading, f"{_sizes(scores)}, greedy; {PAIRED}")
        plot.legend(frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, -0.1))
        return _png(figure)


def loss(losses: Mapping[str, pd.DataFrame], *, titles: Mapping[str, str]) -> bytes:
    """Draw train and validation loss over the steps of each finetune, a panel per model.

    Args:
        losses: By model key, columns step, kind ("train" or "validation") and loss.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG.
    """
    kinds = {"train": ("-", ""), "validation": ("--", "s")}
    with _style():
        figure = _canvas(1.2 + 2.8 * len(titles), 3.6)
        plots = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        colours = sns.color_palette("colorblind")
        for plot, key in zip(plots, titles, strict=True):
            for colour, (kind, (line, marker)) in zip(colours, kinds.items(), strict=False):
                rows = losses[key][losses[key]["kind"] == kind].sort_values("step")
                plot.plot(rows["step"], rows["loss"], line, marker=marker, color=colour, label=kind)
            plot.set_title(_plain(titles[key]))
            plot.set_xlabel("optimiser step")
        plots[0].set_ylabel("loss (nats per response token)")
        plots[0].legend(frameon=False)
        figure.suptitle("Loss of each finetune, on the response only")
        return _png(figure)


def _style():
    return sns.axes_style("whitegrid", {"axes.spines.top": False, "axes.spines.right": False})


def _canvas(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _canvas(width, height)
    return figure, figure.subplots()


def _title(plot: Axes, title: str, caption: str) -> None:
    plot.set_title(title, loc="left", pad=22)
    text = plot.text(0, 1.025, caption, transform=plot.transAxes, fontsize=9, color="0.35")
    # It stands in the room that the title's pad left: the layout must not make room again.
    text.set_in_layout(False)


def _points(
    plot: Axes, places: list[float], rows: pd.DataFrame, number: int, label: str, line: str
) -> None:
    below = rows["mean"] - rows["ci_low"]
    above = rows["ci_high"] - rows["mean"]
    plot.errorbar(
        places,
        rows["mean"],
        # A mean without an interval is a point without bars.
        yerr=[below.fillna(0), above.fillna(0)],
        color=sns.color_palette("colorblind")[number % 10],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=line,
        linewidth=1.2,
        capsize=3,
        label=_plain(label),
    )


def _sizes(scores: pd.DataFrame) -> str:
    low, high = scores["n"].min(), scores["n"].max()
    return f"n = {low} questions" if low == high else f"n = {low} to {high} questions"


def _plain(text: str) -> str:
    """A title as it is: matplotlib would read what stands between dollar signs as mathematics."""
    return text.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
