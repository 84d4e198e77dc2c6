"""Figures are read back from their artists: what is drawn is what the table says."""

from io import BytesIO

import matplotlib
import pandas as pd
import pytest
from matplotlib.image import imread

from alpaca_lab import figures

TITLES = {"alpha": "Alpha costs $5 or $6", "beta": "Beta"}


def axis_frame(values=("greedy", "0.25", "1")):
    rows = [
        (key, "temperature", value, "rougeL", 60, mean, mean - 2, mean + 3)
        for key, start in (("alpha", 20.0), ("beta", 30.0))
        for value, mean in zip(values, (start, start + 1, start - 5), strict=True)
    ]
    names = ["model", "axis", "value", "metric", "n", "mean", "ci_low", "ci_high"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, kept before they become bytes."""
    kept = []
    encode = figures._png
    monkeypatch.setattr(figures, "_png", lambda figure: kept.append(figure) or encode(figure))
    return kept


def test_axis_figure_draws_each_mean_and_interval_with_greedy_at_the_left(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    [plot] = drawn[0].axes
    assert [label.get_text() for label in plot.get_xticklabels()] == ["greedy", "0.25", "1"]
    lines = [container.lines[0] for container in plot.containers]
    assert [list(line.get_ydata()) for line in lines] == [[20, 21, 15], [30, 31, 25]]
    lower, upper = plot.containers[0].lines[1]
    assert list(lower.get_ydata()) == [18, 19, 13]
    assert list(upper.get_ydata()) == [23, 24, 18]
    assert len({line.get_marker() for line in lines}) == 2


def test_models_stand_side_by_side_on_an_ordinal_axis(drawn):
    figures.axis(axis_frame(), titles=TITLES)
    alpha, beta = (c.lines[0].get_xdata() for c in drawn[0].axes[0].containers)
    assert list(alpha) == pytest.approx([-0.05, 0.95, 1.95])
    assert list(beta) == pytest.approx([0.05, 1.05, 2.05])


def test_blank_score_is_a_gap_and_not_a_zero(drawn):
    frame = axis_frame()
    frame.loc[1, ["mean", "ci_low", "ci_high"]] = None
    figures.axis(frame, titles=TITLES)
    line = drawn[0].axes[0].containers[0].lines[0]
    assert pd.isna(line.get_ydata()[1])


def style():
    # Asking rcParams for the backend would choose one.
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


def test_figure_is_a_png_of_150_dpi_and_leaves_the_backend_alone():
    before = matplotlib.get_backend(auto_select=False), style()
    image = imread(BytesIO(figures.axis(axis_frame(), titles=TITLES)))
    assert image.shape[:2] == (630, 1050)  # 4.2 x 7 inches
    assert (matplotlib.get_backend(auto_select=False), style()) == before


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
