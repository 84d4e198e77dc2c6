"""The rater's page inside a notebook: what a session shows, and which presses reach it.

The browser gets `Session.screen()` and nothing else, so nothing that names a model, a cell or a run
can be found in the page, in its source or in its traffic. What it sends back is one press at a
time; a press for anything but the item on the screen is a double one, and changes nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import anywidget
import traitlets

from ..files import RecordError

LEVELS = 5
LONGEST_S = 1_000_000
"""No screen was looked at for eleven days: a longer time is a broken clock, and is not kept."""


class Rateable(Protocol):
    """What a rater drives; `session.Session` is the one of the study, a fake serves in tests."""

    mode: str
    rater: str

    def screen(self) -> dict[str, Any]:
        """Return what the browser may know now, as JSON."""

    def rate(self, item: str, level: int, *, seconds: float | None) -> None:
        """Keep a rating, level 1 to 5 from left to right."""

    def skip(self, item: str, reason: str, *, seconds: float | None) -> None:
        """Keep that an item was passed over, and why."""

    def undo(self) -> None:
        """Take the last rating or skip back, and show its item again."""


class Rater(anywidget.AnyWidget):
    """One question at a time, rated by a click or a key; show it as the last line of a cell.

    All state is the session's. The page can be reloaded and the cell run again: both go on at the
    first item that has no rating.

    Args:
        session: Who rates what; its files hold the ratings.

    Raises:
        RecordError: If the session's files do not agree with each other.
    """

    _esm = Path(__file__).with_name("rater.js")
    _css = Path(__file__).with_name("rater.css")

    screen = traitlets.Dict().tag(sync=True)
    """What is shown: `Session.screen()` as it is."""
    problem = traitlets.Unicode("").tag(sync=True)
    """Why the last press was not kept, as a sentence; empty when it was."""
    turn = traitlets.Int(0).tag(sync=True)
    """How many presses were answered. The page takes no further press until this moves, which a
    refused press must do too, though it may leave the screen and the problem as they were."""

    def __init__(self, session: Rateable) -> None:
        self._session = session
        super().__init__(screen=session.screen())
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        """Return the sentence that a saved notebook shows instead of the page."""
        progress = self.screen["progress"]
        left = progress["of"] - progress["rated"] - progress["skipped"]
        things = "pairs" if self._session.mode == "pairwise" else "answers"
        return (
            f"Rater of {self._session.rater}: {left} of {progress['of']} {things} to rate; "
            "shown in a running notebook"
        )

    def _answer(self, _: Any, content: Any, buffers: Any) -> None:
        step = self._step_of(content)
        if step is None:
            self.turn += 1
            return
        _, problem = self._attempt(step)
        screen, trouble = self._attempt(self._session.screen)
        with self.hold_sync():  # one message: the page never sees half of an answer
            self.screen = screen or self.screen
            self.problem = problem or trouble
            self.turn += 1

    def _step_of(self, content: Any) -> Callable[[], Any] | None:
        """Return what a message asks for; None if it is malformed, or about another screen."""
        here = self.screen["item"]
        match content:
            case {"item": item} if item != here:
                return None
            case {"kind": "undo"}:
                return self._session.undo
            case {"kind": "rate", "item": str(item), "level": level} if _is_level(level):
                seconds = _seconds_of(content)
                return lambda: self._session.rate(item, level, seconds=seconds)
            case {"kind": "skip", "item": str(item), "reason": str(reason)} if (
                reason in self.screen["reasons"]
            ):
                seconds = _seconds_of(content)
                return lambda: self._session.skip(item, reason, seconds=seconds)
        return None

    def _attempt(self, step: Callable[[], Any]) -> tuple[Any, str]:
        """Run a step; return what it returned, and the sentence for the page if it failed.

        Whatever fails is told in the page: ipywidgets would print a traceback into the notebook,
        which can name the model that the rater must not know, and leave the page waiting.
        """
        try:
            return step(), ""
        except RecordError as error:
            return None, str(error)
        except OSError as error:
            return None, f"The last press was not saved: {error.strerror or 'no access'}."
        except Exception as error:
            self.log.error("a press failed", exc_info=True)
            kind = type(error).__name__
            return None, (
                f"The last press may not be saved: an unexpected {kind}. "
                "The log of the Jupyter server says more."
            )


def _is_level(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LEVELS  # True is 1, and no level


def _seconds_of(content: dict[str, Any]) -> float | None:
    """Return the time on the screen; None where it is unknown, which costs no rating."""
    value = content.get("seconds")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < LONGEST_S else None
