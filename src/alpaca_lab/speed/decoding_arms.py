"""The ways to decode that the benchmark compares, our goals, and what bandwidth allows."""

from dataclasses import dataclass
from math import isnan

BANDWIDTH = "copy-bandwidth"
"""Stands among the arms in a line: the GPU's copy rate, measured beside each model's arms."""
OURS_NAME = "alpaca lab"
NINE, ONE = "nine cells", "one cell"
NINE_FEW, ONE_FEW = f"{NINE}, few", f"{ONE}, few"
"""Passes of our own arm: cells of the sweep over all questions, and over a few."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to decode that a user would take instead."""

    key: str
    """Name in the command line and in the lines of the benchmark."""
    beams: int = 1
    questions: int
    """Questions side by side in a batch, each with its beams."""
    passes: tuple[str, ...]
    """Passes of our own arm that stand beside it; the first is the one that is compared."""
    goal: float
    """How many times its tokens per second we mean to reach."""

    @property
    def name(self) -> str:
        """Name as printed."""
        beams = f"{self.beams} beams, " if self.beams > 1 else ""
        return f"transformers, {beams}batch {self.questions}"


def _beams(width: int, *, questions: int) -> Peer:
    return Peer(
        key=f"transformers-beams-{width}",
        beams=width,
        questions=questions,
        passes=(f"num_beams={width}",),
        goal=4.0,
    )


# As many rows side by side as fit 24 GiB with LLaMA-2-7B's keys and values; a beam is a row.
PEERS = (
    Peer(key="transformers", questions=24, passes=(NINE, ONE, NINE_FEW, ONE_FEW), goal=15.0),
    _beams(2, questions=24),
    _beams(4, questions=12),
    _beams(8, questions=6),
)
"""In table order."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a measured value is to reach, or not to exceed."""

    value: float
    at_most: bool = False

    @property
    def bound(self) -> str:
        """How the value bounds: "at least" or "at most"."""
        return "at most" if self.at_most else "at least"

    def met(self, measured: float) -> str | None:
        """Return "yes" or "no", or None where nothing was measured.

        Example:
            >>> Goal(value=9.5, at_most=True).met(9.5), Goal(value=0.9).met(0.89)
            ('yes', 'no')
        """
        if isnan(measured):
            return None
        reached = measured <= self.value if self.at_most else measured >= self.value
        return "yes" if reached else "no"


SHARE_OF_LIMIT = Goal(value=0.55)
"""Of the nine cells' speed at the bandwidth limit."""
BUSY_SHARE = Goal(value=0.90)
"""Of the nine cells' rows that carry a token of a prompt or of an answer."""
CELLS = Goal(value=9.5, at_most=True)
"""Seconds of nine cells over those of one, all questions."""
CELLS_FEW = Goal(value=3.0, at_most=True)
"""The same for a few questions, where one cell alone leaves slots empty."""
GROWTH = Goal(value=1.0, at_most=True)
"""Seconds per token with all questions over those with a few: cost does not grow with them."""


def step_limit_s(*, weight_bytes: float, columns: float, column_bytes: float, tb_s: float) -> float:
    """Return the seconds of a decoding step that only moved its bytes, once, at a copy's rate.

    Args:
        weight_bytes: Bytes of weights that a step reads.
        columns: Key and value columns that it reads.
        column_bytes: Bytes of one column, keys and values of all layers.
        tb_s: Measured rate of a large copy, TB/s.

    Example:
        >>> step_limit_s(weight_bytes=13e9, columns=2000, column_bytes=500_000, tb_s=4.0)
        0.0035
    """
    return (weight_bytes + columns * column_bytes) / (tb_s * 1e12)
