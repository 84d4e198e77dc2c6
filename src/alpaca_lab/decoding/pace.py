"""How fast a model decodes, and how long it still will: what its bar says beside the answers.

Answers per second would mislead: those of wide beams are slow, and come last. So an answer counts
as many times as it has beams, each of which is a row of every step; what is left is divided by the
rate of the last seconds of decoding, of this pass or the one before.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from tqdm.std import tqdm

from ..sweep import Cell

WINDOW_S = 20.0
"""Seconds of decoding that a rate is taken over."""
FEW = 8
"""A rate is taken over so many answers, however long they took; fewer at the beginning."""
SHORTEST_S = 1.0
"""Seconds of decoding before a rate is told."""
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""The form of a bar that shows a pace, in place of what `tqdm` makes of answers per second."""


class _Mark(NamedTuple):
    """How far decoding had come when an answer finished."""

    seconds: float
    tokens: int
    rows: int
    """Answers, each counted once per beam."""


@dataclass
class Pace:
    """The pace of one model in one process.

    As text it is what a bar shows: "02:05 left, 889 tokens/s, 11 of 14 cells, num_beams=4".
    """

    missing: dict[Cell, int] = field(default_factory=dict)
    """How many answers each cell lacks."""
    clock: Callable[[], float] = perf_counter
    """Tells the seconds."""
    _now: tuple[Cell, ...] = ()
    _marks: deque[_Mark] = field(default_factory=lambda: deque([_Mark(0.0, 0, 0)]))
    _last: float | None = None
    """When the answer before this one finished; None at the beginning of a pass."""

    def begin(self, cells: Iterable[Cell]) -> None:
        """Begin a pass over some cells: the time since the pass before does not count."""
        self._now, self._last = tuple(cells), None

    def add(self, cell: Cell, *, new_tokens: int) -> None:
        """Note an answer that has just finished."""
        self.missing[cell] -= 1
        now, before = self.clock(), self._last
        self._last = now
        if before is None:
            return  # loading and warming up came before it, for which no other answer will wait
        seconds, tokens, rows = self._marks[-1]
        seconds += now - before
        self._marks.append(_Mark(seconds, tokens + new_tokens, rows + cell.setting.num_beams))
        while len(self._marks) > FEW + 1 and self._marks[1].seconds < seconds - WINDOW_S:
            self._marks.popleft()

    def __str__(self) -> str:
        """Return time left, tokens per second, cells done, and the pass's cell where it is one."""
        first, last = self._marks[0], self._marks[-1]
        seconds, parts = last.seconds - first.seconds, []
        if seconds >= SHORTEST_S:
            left = sum(n * cell.setting.num_beams for cell, n in self.missing.items())
            left_s = left * seconds / (last.rows - first.rows)
            parts += [f"{tqdm.format_interval(left_s)} left"]
            parts += [f"{(last.tokens - first.tokens) / seconds:,.0f} tokens/s"]
        parts += [self._cells_done()]
        return ", ".join(parts + [cell.name for cell in self._now if len(self._now) == 1])

    def ended(self, tokens_per_s: float | None) -> str:
        """Return what stands beside a bar at its end: the rate of the whole process, and cells."""
        rate = [] if tokens_per_s is None else [f"{tokens_per_s:,.0f} tokens/s"]
        return ", ".join([*rate, self._cells_done()])

    def _cells_done(self) -> str:
        done = sum(not missing for missing in self.missing.values())
        return f"{done} of {len(self.missing)} cells"
