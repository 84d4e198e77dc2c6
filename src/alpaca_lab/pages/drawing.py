"""What the figures share: canvas, colours, points with bars, labels that do not overlap, PNG bytes.

Each model has its own colour, marker and line style, so that a grey print can be read too. Figures
are drawn on their own canvas: the backend of a notebook, or of a machine without a screen, is
neither asked nor changed.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.optimize import isotonic_regression

from ..characters import plain

DPI = 150
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
GREY = "0.35"


def style():
    """Return the style of every figure, as a context."""
    return sns.axes_style("whitegrid", {"axes.spines.top": False, "axes.spines.right": False})


def colour(place: int) -> tuple[float, float, float]:
    """Return the colour of the model at that place; told apart by the colour-blind."""
    return sns.color_palette("colorblind")[place % 10]


def ink(ground: Sequence[float]) -> str:
    """Return the colour of words on a ground: "black" or "white", whichever is easier to read.

    Args:
        ground: Red, green and blue, each in [0, 1].

    Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio, whose ratios to black and to white are
        equal at a luminance of 0.179.

    Example:
        >>> ink((1.0, 0.6, 0.0)), ink((0.0, 0.2, 0.5))
        ('black', 'white')
    """
    linear = np.where(
        np.asarray(ground) <= 0.04045,
        np.asarray(ground) / 12.92,
        ((np.asarray(ground) + 0.055) / 1.055) ** 2.4,
    )
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"


def canvas(width: float, height: float, *, title: str, caption: str = "") -> Figure:
    """Return an empty figure, in inches, under what it shows and how to read it."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(text(title), x=0.01, ha="left", fontsize=12, fontweight="bold")
    if caption:
        figure.supxlabel(text(caption), x=0.01, ha="left", fontsize=9, color=GREY)
    return figure


def text(words: str) -> str:
    """Return words as they are: matplotlib reads what stands between dollars as mathematics."""
    return plain(words).replace("$", r"\$")


def points(
    plot: Axes,
    places: Sequence[float],
    rows: pd.DataFrame,
    *,
    names: tuple[str, str, str] = ("mean", "ci_low", "ci_high"),
    horizontal: bool = False,
    **looks,
) -> None:
    """Draw a mean and its interval per row; a mean without an interval has no bar.

    Args:
        plot: Where.
        places: Position of each row on the other axis.
        rows: One row per point; a blank mean is a gap.
        names: Columns of mean, lower and upper bound.
        horizontal: The scores run from left to right.
        looks: How matplotlib's `errorbar` draws them.
    """
    mean, low, high = (rows[name].to_numpy(dtype=float) for name in names)
    bars = np.nan_to_num([mean - low, high - mean])
    places = np.asarray(places, dtype=float)
    if horizontal:
        where = {"x": mean, "y": places, "xerr": bars}
    else:
        where = {"x": places, "y": mean, "yerr": bars}
    plot.errorbar(**where, **({"linewidth": 1.2, "capsize": 3} | looks))


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> np.ndarray:
    """Return places near the wanted ones, at least `gap` apart, in [low, high] where they fit.

    Example:
        >>> spread([1.0, 1.1, 5.0], gap=1.0, low=0.0, high=9.0).tolist()
        [0.55, 1.55, 5.0]
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(order))
    # Less its step, a place need only not fall below the one before it: isotonic regression.
    anchors = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    places = np.empty(len(order))
    places[order] = np.clip(anchors, low, max(low, high - steps[-1])) + steps
    return places


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, in 256 colours.

    No colour moves by more than 2 of 255, and a notebook can hold all of a study's figures: the
    file has a third of the size.
    """
    drawn, file = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    picture = (
        Image.open(drawn)
        .convert("RGB")
        .quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    picture.save(file, format="png", optimize=True, dpi=(figure.dpi, figure.dpi))
    return file.getvalue()
