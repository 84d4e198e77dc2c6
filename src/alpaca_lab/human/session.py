"""One rater's way through a plan: which item is next, and what a choice writes. No page, no clock.

`screen()` is all that a page or a sheet may know: texts and progress, never whose answer it is.
Where a rater stopped is read from the log, so a new session goes on there.
"""

import math
import statistics
from typing import Any

from ..environment import now
from ..files import RecordError
from ..store import Record
from . import plan as plans
from . import ratings
from .items import Texts
from .ratings import RATED, SKIPPED, UNDONE, Entry
from .rubric import ACCEPTABILITY, SKIPS

ENOUGH = 3
"""Timed ratings from which the time left is told."""


class Session:
    """A rater at work."""

    def __init__(self, record: Record, rater: str, *, mode: str = ACCEPTABILITY) -> None:
        """Open the plan where this rater stopped.

        Args:
            record: The study's record, with a plan of this mode.
            rater: One of the plan's raters.
            mode: "acceptability" or "pairwise".

        Raises:
            SettingError: If the plan does not ask this rater.
            RecordError: If there is no plan, or a rating in the log is not valid.
        """
        self.record, self.rater, self.mode = record, rater, mode
        self.plan = plans.read(record, mode)
        self.items = self.plan.items_of(rater)
        self._texts = Texts(record)
        self._look()

    @property
    def standing(self) -> dict[str, Entry]:
        """By item, what this rater has rated or skipped."""
        return {item: row for (_, item), row in ratings.standing(self._entries).items()}

    @property
    def current(self) -> str | None:
        """The item to be rated next, or None when all are done."""
        done = self.standing
        return next((item for item in self.items if item not in done), None)

    def screen(self) -> dict[str, Any]:
        """Return what the page shows, JSON-able; see `rater.js` for how.

        Raises:
            RecordError: If the study no longer has the answer.
        """
        item, rubric, done = self.current, self.plan.rubric, self.standing
        shown = self._texts.of(self.plan.items[item]) if item else None
        skipped = sum(row.action == SKIPPED for row in done.values())
        return {
            "mode": self.mode,
            "question": rubric.question,
            "rubric": [{"heading": heading, "text": text} for heading, text in rubric.advice],
            "levels": [{"label": one.label, "detail": one.detail} for one in rubric.levels],
            "reasons": list(SKIPS),
            "progress": {
                "rated": len(done) - skipped,
                "skipped": skipped,
                "of": len(self.items),
                "minutes_left": self._minutes_left(len(self.items) - len(done)),
            },
            "can_undo": bool(done),
            "item": item,
            "texts": _labelled(shown.question) if shown else [],
            "answers": _labelled(shown.answers) if shown else [],
            "finished": "" if item else self._finished(len(done) - skipped, skipped),
        }

    def rate(self, item: str, level: int, *, seconds: float | None = None) -> None:
        """Record a rating.

        Args:
            item: The current item.
            level: The place of the level, 1 to 5 from the left.
            seconds: How long the item was looked at.

        Raises:
            RecordError: If the item is not to be rated now, or the level is none.
        """
        self._refuse_other(item)
        self._append(item, RATED, score=level - 1, seconds=seconds)

    def skip(self, item: str, reason: str, *, seconds: float | None = None) -> None:
        """Pass over the current item, and say why."""
        self._refuse_other(item)
        self._append(item, SKIPPED, reason=reason, seconds=seconds)

    def undo(self) -> None:
        """Retract the last rating or skip that holds; its item comes back.

        Raises:
            RecordError: If there is none.
        """
        self._look()
        done = self.standing
        if not done:
            raise RecordError("nothing to undo")
        self._append(list(done)[-1], UNDONE)

    def _append(self, item: str, action: str, **facts: Any) -> None:
        entry = Entry(time=now(), rater=self.rater, item=item, action=action, **facts)
        try:
            ratings.append(self.record, self.plan, [entry])
        finally:
            self._look()

    def _look(self) -> None:
        """Read what holds: another page of this rater may have written meanwhile."""
        rows = ratings.read(self.record, self.mode)
        self._entries = [row for row in rows if row.rater == self.rater]

    def _refuse_other(self, item: str) -> None:
        self._look()
        if item != self.current:
            raise RecordError("this answer is not the one to be rated now; the page is up to date")

    def _minutes_left(self, items: int) -> int | None:
        timed = [row.seconds for row in self._entries if row.seconds and row.action != UNDONE]
        if len(timed) < ENOUGH or not items:
            return None
        # The median, because a rater who had lunch over one answer will not over the others.
        return max(1, math.ceil(statistics.median(timed) * items / 60))

    def _finished(self, rated: int, skipped: int) -> str:
        passed = f", {skipped} skipped" if skipped else ""
        return f"That was the last one: {rated} rated{passed}. Thank you; you may close this page."


def _labelled(texts: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"label": label, "text": text} for label, text in texts]
