"""Figures from the tables' long data frames, as PNG bytes. No number is computed here."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..estimates import PRIMARY
from ..store import CONTROL
from ..sweep import AXES, BASE
from .drawing import GREY, LINES, MARKERS, canvas, colour, png, points, spread, style, text
from .page import p_equals
from .wording import KNOBS, METRICS, cell, setting

PANELS = ("corpus_bleu", PRIMARY, "bertscore_f1")
PAIRED = "Bars are of each score; whether two settings differ is read from the table."
KNOB_LABELS = {
    "temperature": "temperature (top-k off)",
    "num_beams": "beams (1 is greedy)",
    "top_k": "top-k (temperature 1)",
}
VERDICT_FILLS = {"changes": "full", "equivalent": "none", "inconclusive": "left"}
SCORE = f"{METRICS[PRIMARY]} F1 (0-100)"


def axis(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw BLEU, ROUGE-L and BERTScore over the values of one knob, greedy at the left.

    Args:
        frame: One of `scores.axis_tables`.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG: a panel per metric, a line per model.
    """
    knob = frame["axis"].iloc[0]
    values = list(dict.fromkeys(frame["value"]))
    title = f"{KNOBS[knob].capitalize()}: three scores of each value, with 95% intervals"
    with style():
        figure = canvas(11, 4.4, title=title, caption=f"{_sizes(frame)}. {PAIRED}")
        for plot, metric in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            scores = frame[frame["metric"] == metric]
            for place, key in enumerate(titles):
                rows = scores[scores["model"] == key].set_index("value").reindex(values)
                # Values are evenly spaced, whatever they are; models stand side by side.
                shift = 0.12 * (place - (len(titles) - 1) / 2)
                looks = _looks(place) | {"linestyle": LINES[place % len(LINES)]}
                where = [x + shift for x in range(len(values))]
                points(plot, where, rows, label=text(titles[key]), **looks)
            plot.set_xticks(range(len(values)), values)
            plot.set_xlim(-0.5, len(values) - 0.5)
            plot.set_title(f"{METRICS[metric]} (0-100)")
            plot.set_xlabel(KNOB_LABELS[knob])
            plot.grid(visible=False, axis="x")
        lines, names = plot.get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper right", ncols=len(titles), frameon=False)
        return png(figure)


def main(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw ROUGE-L of each model before and after its finetune, between floors and ceiling.

    Args:
        frame: `scores.main_table`.
        titles: Printed name by model key, in drawing order from the top.

    Returns:
        A PNG.
    """
    scores = frame[frame["metric"] == PRIMARY]
    controls = scores[(scores["model"] == CONTROL) & scores["mean"].notna()]
    with style():
        figure = canvas(
            9,
            1.9 + 0.75 * len(titles),
            title="ROUGE-L before and after the finetune, between floors and ceiling",
            caption=f"{_sizes(scores)}, decoded greedily, with 95% intervals. Lines: answers that "
            "no model gave.",
        )
        plot = figure.subplots()
        for place, value in enumerate(("finetuned", "untuned")):
            rows = scores[scores["value"] == value].set_index("model").reindex(list(titles))
            heights = [y + 0.24 * (place - 0.5) for y in range(len(titles))]
            looks = _looks(place) | {"linestyle": "none", "markersize": 7}
            points(plot, heights, rows, horizontal=True, label=value, **looks)
        for place, (_, row) in enumerate(controls.iterrows()):
            line = LINES[::-1][place % len(LINES)]
            name = f"{row['value']}: {row['mean']:.2f}"
            plot.axvline(row["mean"], color=GREY, linestyle=line, label=name, zorder=1)
        plot.set_yticks(range(len(titles)), [text(title) for title in titles.values()])
        plot.set_ylim(len(titles) - 0.5, -0.5)
        plot.set_xlim(-2, 102)
        plot.set_xlabel(SCORE)
        plot.grid(visible=False, axis="y")
        lines, names = plot.get_legend_handles_labels()
        # Matplotlib lists lines before points with bars; models come first here.
        order = [*range(len(controls), len(lines)), *range(len(controls))]
        figure.legend(
            [lines[place] for place in order],
            [names[place] for place in order],
            loc="outside right center",
            frameon=False,
        )
        return png(figure)


def contrasts(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw the linear change of ROUGE-L per knob and model, beside the band of equivalence.

    Args:
        frame: `trends.contrast_table`.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG: knobs from top to bottom, and the models within each.
    """
    order = {key: place for place, key in enumerate(titles)}
    knobs = [knob for knob in AXES if knob in set(frame["axis"])]
    margin = frame["margin"].max() if len(frame) else 0.0
    with style():
        figure = canvas(
            9,
            1.9 + 0.42 * len(frame),
            title="What each knob does to ROUGE-L, from one end to the other",
            caption=f"Fitted change, 95% interval, p after Holm. Grey: within {margin:g} of 0. "
            "Marker: full, changes; open, equivalent; half, inconclusive.",
        )
        plot = figure.subplots()
        plot.axvspan(-margin, margin, color="0.88", zorder=0)
        plot.axvline(0, color=GREY, linewidth=1, zorder=1)
        labels, heights, height = [], [], 0.0
        for knob in knobs:
            rows = frame[frame["axis"] == knob]
            for _, row in rows.iterrows():
                looks = _looks(order[row["model"]]) | {
                    "fillstyle": VERDICT_FILLS[row["verdict"]],
                    "markerfacecoloralt": "white",
                    "markersize": 8,
                }
                points(plot, [height], row.to_frame().T, horizontal=True, **looks)
                turned = f"{KNOBS[knob]} {setting(knob, row['from'])} to {row['to']}"
                labels.append(text(f"{turned}, {titles[row['model']]}"))
                heights.append(height)
                plot.annotate(
                    _said(row),
                    (1.01, height),
                    xycoords=plot.get_yaxis_transform(),
                    va="center",
                    fontsize=9,
                )
                height += 1
            height += 0.6
        plot.set_yticks(heights, labels)
        plot.set_ylim(height - 0.6, -1)
        plot.set_xlabel("change of ROUGE-L F1 (points)")
        plot.grid(visible=False, axis="y")
        return png(figure)


def cost(frame: pd.DataFrame, *, titles: Mapping[str, str]) -> bytes:
    """Draw what each setting is worth against what it took, a panel per model.

    Args:
        frame: `scores.cost_table`; a cell that was not timed is left out.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG.
    """
    timed = frame[frame["wall_s"].notna() & frame["rougeL"].notna()]
    timed = timed.assign(seconds=timed["wall_s"] / timed["answers"])
    untimed = len(frame) - len(timed)
    left_out = f" {untimed} settings were not timed." if untimed else ""
    knobs = ("greedy", *AXES)
    with style():
        figure = canvas(
            1 + 3.9 * len(titles),
            4.8,
            title="What each setting is worth, and what it takes",
            caption="ROUGE-L with 95% interval; up and to the left is better. Seconds are of one "
            f"machine on one day.{left_out}",
        )
        plots = figure.subplots(1, len(titles), sharex=True, sharey=True, squeeze=False)[0]
        for plot, key in zip(plots, titles, strict=True):
            rows = timed[(timed["model"] == key) & (timed["cell"] != BASE)]
            names = ("rougeL", "rougeL_low", "rougeL_high")
            for place, knob in enumerate(knobs):
                some = rows[rows["cell"].str.split("=").str[0] == knob]
                looks = _looks(place) | {"linestyle": "none", "linewidth": 0.8, "capsize": 2}
                label = KNOBS.get(knob, knob)
                points(plot, some["seconds"], some, names=names, label=label, **looks)
            plot.set_title(text(titles[key]))
            plot.set_xlabel("seconds per answer")
            plot.grid(visible=False, axis="x")
        plots[0].set_ylabel(SCORE)
        plots[0].set_xlim(0, 1.75 * timed["seconds"].max() if len(timed) else 1)
        for plot, key in zip(plots, titles, strict=True):
            _name_points(plot, timed[(timed["model"] == key) & (timed["cell"] != BASE)])
        lines, names = plots[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper right", ncols=len(knobs), frameon=False)
        return png(figure)


def loss(losses: Mapping[str, pd.DataFrame], *, titles: Mapping[str, str]) -> bytes:
    """Draw train and validation loss over the steps of each finetune, a panel per model.

    Args:
        losses: By model key, columns step, kind ("train" or "validation") and loss.
        titles: Printed name by model key, in drawing order.

    Returns:
        A PNG.
    """
    kinds = {"train": ("-", ""), "validation": ("--", "s")}
    with style():
        each = "each" if len(titles) > 1 else "the"
        title = f"Loss of {each} finetune, on the response only"
        width = max(5.0, 1.2 + 2.8 * len(titles))  # the title needs as much
        figure = canvas(width, 3.6, title=title)
        plots = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        for plot, key in zip(plots, titles, strict=True):
            for place, (kind, (line, marker)) in enumerate(kinds.items()):
                rows = losses[key][losses[key]["kind"] == kind].sort_values("step")
                looks = {"marker": marker, "color": colour(place), "label": kind}
                plot.plot(rows["step"], rows["loss"], line, **looks)
            plot.set_title(text(titles[key]))
            plot.set_xlabel("optimiser step")
        plots[0].set_ylabel("loss (nats per response token)")
        plots[0].legend(frameon=False)
        return png(figure)


def _looks(place: int) -> dict[str, object]:
    return {"color": colour(place), "marker": MARKERS[place % len(MARKERS)]}


def _name_points(plot: Axes, rows: pd.DataFrame) -> None:
    """Write each point's cell in a column at the right, joined to it by a thin line."""
    if rows.empty:
        return
    (low, high), right = plot.get_ylim(), plot.get_xlim()[1]
    column, gap = 0.66 * right, 0.052 * (high - low)
    heights = spread(rows["rougeL"], gap=gap, low=low + gap, high=high - gap)
    for height, (_, row) in zip(heights, rows.iterrows(), strict=True):
        ends = ([row["seconds"], column], [row["rougeL"], height])
        plot.add_line(Line2D(*ends, color="0.75", linewidth=0.6, zorder=0))
        plot.annotate(f" {cell(row['cell'])}", (column, height), va="center", fontsize=8)


def _said(row: pd.Series) -> str:
    """A contrast's verdict with the p that it rests on."""
    if pd.isna(row["mean"]):
        return "not tested"
    p = {"changes": row["p_holm"], "equivalent": row["p_equivalence_holm"]}.get(row["verdict"])
    return f"{row['verdict']}, {p_equals(p)}" if p is not None else row["verdict"]


def _sizes(scores: pd.DataFrame) -> str:
    scores = scores[scores["metric"] == PRIMARY]
    low, high = scores["n"].min(), scores["n"].max()
    return f"n = {low} questions" if low == high else f"n = {low} to {high} questions"
