"""Figures are read back from their artists: what is drawn is what the table says."""

from io import BytesIO

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from alpaca_lab.pages import drawing, figures
from alpaca_lab.store import CONTROL
from figure_rules import missing

TITLES = {"alpha": "Alpha costs $5 or $6", "beta": "Beta"}
METRICS = ("corpus_bleu", "rougeL", "bertscore_f1", "rouge1")


def axis_frame(values=("greedy", "0.25", "1")):
    """Means of 20, 21, 15 and 30, 31, 25 in ROUGE-L; each other metric is 10 apart."""
    rows = [
        (key, "temperature", value, metric, 60, mean, mean - 2, mean + 3)
        for key, start in (("alpha", 20.0), ("beta", 30.0))
        for shift, metric in zip((-10, 0, 10, 20), METRICS, strict=True)
        for value, mean in zip(
            values, (start + shift, start + shift + 1, start + shift - 5), strict=True
        )
    ]
    names = ["model", "axis", "value", "metric", "n", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, kept before they become bytes."""
    kept = []
    encode = figures.png
    monkeypatch.setattr(figures, "png", lambda figure: kept.append(figure) or encode(figure))
    return kept


def lines(plot):
    return [container.lines[0] for container in plot.containers]


def test_axis_figure_has_a_panel_for_bleu_rouge_l_and_bertscore(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    plots = drawn[0].axes
    assert [plot.get_title() for plot in plots] == [
        "BLEU (0-100)",
        "ROUGE-L (0-100)",
        "BERTScore F1 (0-100)",
    ]
    assert [list(lines(plot)[0].get_ydata()) for plot in plots] == [
        [10, 11, 5],
        [20, 21, 15],
        [30, 31, 25],
    ]


def test_axis_figure_draws_each_mean_and_interval_with_greedy_at_the_left(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    plot = drawn[0].axes[1]
    assert [label.get_text() for label in plot.get_xticklabels()] == ["greedy", "0.25", "1"]
    assert [list(line.get_ydata()) for line in lines(plot)] == [[20, 21, 15], [30, 31, 25]]
    lower, upper = plot.containers[0].lines[1]
    assert list(lower.get_ydata()) == [18, 19, 13]
    assert list(upper.get_ydata()) == [23, 24, 18]


def test_models_differ_in_more_than_colour(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    for plot in drawn[0].axes:
        assert len({line.get_marker() for line in lines(plot)}) == 2
        assert len({line.get_linestyle() for line in lines(plot)}) == 2


def test_models_stand_side_by_side_on_an_ordinal_axis(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    alpha, beta = (line.get_xdata() for line in lines(drawn[0].axes[0]))
    assert list(alpha) == pytest.approx([-0.06, 0.94, 1.94])
    assert list(beta) == pytest.approx([0.06, 1.06, 2.06])


def test_blank_score_is_a_gap_and_not_a_zero(drawn):
    frame = axis_frame()
    frame.loc[frame["value"] == "0.25", ["mean", "ci_low", "ci_high"]] = None
    figures.axis(frame, titles=TITLES)
    assert pd.isna(lines(drawn[0].axes[1])[0].get_ydata()[1])


def style():
    # Asking rcParams for the backend would choose one.
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


def test_figure_is_a_png_of_150_dpi_and_leaves_the_backend_alone():
    before = matplotlib.get_backend(auto_select=False), style()
    image = imread(BytesIO(figures.axis(axis_frame(), titles=TITLES)))
    assert image.shape[:2] == (660, 1650)  # 4.4 x 11 inches
    assert (matplotlib.get_backend(auto_select=False), style()) == before


def main_frame():
    rows = [
        ("alpha", "finetuned", 30.0, 28.0, 32.0),
        ("beta", "finetuned", 40.0, 39.0, 41.0),
        ("alpha", "untuned", 20.0, 19.0, 21.0),
        ("beta", "untuned", 25.0, 24.0, 26.0),
        (CONTROL, "empty answer", 0.0, 0.0, 0.0),
        (CONTROL, "copied instruction", 12.5, 11.0, 14.0),
        (CONTROL, "another row's answer", None, None, None),
        (CONTROL, "reference", 100.0, 100.0, 100.0),
    ]
    frame = pd.DataFrame(rows, columns=["model", "value", "mean", "ci_low", "ci_high"])
    return frame.assign(metric="rougeL", n=60)


def test_main_figure_draws_both_states_of_each_model_and_a_line_per_control(drawn):
    figures.main(main_frame(), titles=TITLES)
    [plot] = drawn[0].axes
    finetuned, untuned = lines(plot)
    assert list(finetuned.get_xdata()) == [30, 40]
    assert list(untuned.get_xdata()) == [20, 25]
    upright = [line for line in plot.lines if list(line.get_ydata()) == [0, 1]]
    assert [line.get_xdata()[0] for line in upright] == [0.0, 12.5, 100.0]
    assert len({line.get_linestyle() for line in upright}) == 3
    [legend] = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "finetuned",
        "untuned",
        "empty answer: 0.00",
        "copied instruction: 12.50",
        "reference: 100.00",
    ]


def contrast_frame():
    rows = [
        ("alpha", "temperature", "greedy", "1", -2.0, "changes", 0.002, 0.9),
        ("beta", "temperature", "greedy", "1", 0.1, "equivalent", 0.8, 0.01),
        ("alpha", "num_beams", "1", "8", 0.6, "inconclusive", 0.4, 0.3),
        ("beta", "num_beams", "1", "8", None, "inconclusive", None, None),
    ]
    names = ["model", "axis", "from", "to", "mean", "verdict", "p_holm", "p_equivalence_holm"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(ci_low=frame["mean"] - 0.5, ci_high=frame["mean"] + 0.5, margin=1.0)


def test_contrast_figure_shades_the_margin_and_says_each_verdict_with_its_p(drawn):
    figures.contrasts(contrast_frame(), titles=TITLES)
    [plot] = drawn[0].axes
    [band] = plot.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == (-1, 1)
    assert [text.get_text() for text in plot.texts] == [
        "changes, p = 0.002",
        "equivalent, p = 0.010",
        "inconclusive",
        "not tested",
    ]
    assert [line.get_fillstyle() for line in lines(plot)][:3] == ["full", "none", "left"]
    assert [label.get_text() for label in plot.get_yticklabels()][0] == (
        r"temperature 0 (greedy) to 1, Alpha costs \$5 or \$6"
    )


def cost_frame(wall_s=(10.0, 12.0, 60.0, 30.0)):
    cells = ("greedy", "temperature=1", "num_beams=8", "base")
    rows = [
        (key, cell, 100, wall, 30.0, 29.0, 31.0)
        for key in TITLES
        for cell, wall in zip(cells, wall_s, strict=True)
    ]
    names = ["model", "cell", "answers", "wall_s", "rougeL", "rougeL_low", "rougeL_high"]
    return pd.DataFrame(rows, columns=names)


def test_cost_figure_draws_and_names_each_setting_at_its_seconds_per_answer(drawn):
    figures.cost(cost_frame(), titles=TITLES)
    assert len(drawn[0].axes) == 2
    plot = drawn[0].axes[0]
    assert [list(line.get_xdata()) for line in lines(plot)] == [[0.1], [0.12], [0.6], []]
    assert [text.get_text().strip() for text in plot.texts] == [
        "greedy",
        "temperature 1",
        "beams 8",
    ]
    heights = sorted(text.xy[1] for text in plot.texts)
    assert min(np.diff(heights)) >= 0.05 * np.ptp(plot.get_ylim())  # no two names overlap


def test_cost_figure_says_what_was_not_timed(drawn):
    figures.cost(cost_frame((10.0, None, 60.0, 30.0)), titles=TITLES)
    assert "2 settings were not timed" in drawn[0].get_supxlabel()
    figures.cost(cost_frame((None,) * 4), titles=TITLES)
    assert "8 settings were not timed" in drawn[1].get_supxlabel()


def test_loss_figure_has_a_panel_per_model_with_both_losses_in_step_order(drawn):
    losses = pd.DataFrame(
        [(2, "train", 3.0), (1, "train", 4.0), (2, "validation", 3.5)],
        columns=["step", "kind", "loss"],
    )
    figures.loss({"alpha": losses, "beta": losses}, titles=TITLES)
    assert len(drawn[0].axes) == 2
    train, validation = drawn[0].axes[0].lines
    assert list(train.get_xdata()) == [1, 2]
    assert list(train.get_ydata()) == [4, 3]
    assert list(validation.get_ydata()) == [3.5]


def test_every_figure_says_what_it_shows(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    figures.main(main_frame(), titles=TITLES)
    figures.contrasts(contrast_frame(), titles=TITLES)
    figures.cost(cost_frame(), titles=TITLES)
    assert [figure.get_suptitle().partition(":")[0] for figure in drawn] == [
        "Temperature",
        "ROUGE-L before and after the finetune, between floors and ceiling",
        "What each knob does to ROUGE-L, from one end to the other",
        "What each setting is worth, and what it takes",
    ]


def test_figure_without_a_title_or_the_name_of_an_axis_cannot_be_drawn_in_a_test():
    figure = drawing.canvas(4, 3, title="")
    above, below = figure.subplots(2, 1)
    below.set_xlabel("step")
    above.set_ylabel("loss (nats)")
    with pytest.raises(AssertionError, match="panel 1: nothing says what runs upwards"):
        drawing.png(figure)
    assert missing(figure) == [
        "the figure has no title",
        "panel 1: nothing says what runs upwards",
    ]
    below.set_yticks([0, 1], ["alpha", "beta"])
    below.set_xlabel("")
    figure.suptitle("What falls")
    assert missing(figure) == [
        "panel 0: nothing says what runs from left to right",
        "panel 1: nothing says what runs from left to right",
    ]
    below.set_xlabel("step")
    assert drawing.png(figure)


def test_words_on_a_colour_have_the_ink_with_more_contrast():
    """Luminances by hand: orange (222, 143, 5) 0.37, blue (1, 115, 178) 0.15."""
    assert drawing.ink(drawing.colour(1)) == "black"
    assert drawing.ink(drawing.colour(0)) == "white"
    assert (drawing.ink((1, 1, 1)), drawing.ink((0, 0, 0))) == ("black", "white")


def test_labels_are_spread_by_as_little_as_they_need():
    assert drawing.spread([5.0, 1.0, 9.0], gap=1.0, low=0, high=10).tolist() == [5, 1, 9]
    assert drawing.spread([5.0, 5.0, 5.0], gap=2.0, low=0, high=10).tolist() == [3, 5, 7]
    assert drawing.spread([0.0, 0.0], gap=2.0, low=0, high=10).tolist() == [0, 2]
