"""The chat's page inside a notebook: a text box, and the answer as it comes.

An answer is decoded in a thread of its own, so that the kernel hears the stop button meanwhile.
What the page sends is a question or a stop; what it gets is text, and it shows text, never markup.
"""

import threading
from pathlib import Path
from time import monotonic
from typing import Any

import anywidget
import traitlets

from ..config import SettingError
from ..endings import ending
from .choices import NAMES, Choices
from .session import Question
from .terminal import BEAMS, Asks

EVERY_S = 0.05
"""The page gets new text so often at most: an eye sees no more, and a browser draws no more."""
NOTE = "Each question stands alone: the model was trained on single questions, and remembers none."


class Chat(anywidget.AnyWidget):
    """Ask a model and watch it answer; show it as the last line of a cell.

    Args:
        session: What answers; a `session.Session`.
        choices: What the settings are at first, and where the page leaves one blank.
    """

    _esm = Path(__file__).with_name("page.js")
    _css = Path(__file__).with_name("page.css")

    about = traitlets.Dict().tag(sync=True)
    """What never changes: title, place, note, and the settings that a blank field stands for."""
    text = traitlets.Unicode("").tag(sync=True)
    """The answer so far."""
    shown = traitlets.Dict().tag(sync=True)
    """All else of the last question: busy, settings, statistics, prompt and problem."""
    turn = traitlets.Int(0).tag(sync=True)
    """How many messages were answered, a refused one too: the page takes the next one then."""

    def __init__(self, session: Asks, choices: Choices) -> None:
        self._session, self._choices = session, choices
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        # Greedy has no temperature: a blank field says so, and None cannot be typed.
        first = {name: getattr(choices, name) for name in NAMES}
        self._shown_at = 0.0
        super().__init__(
            about={
                "title": session.title,
                "place": session.place,
                "note": NOTE,
                "defaults": {name: "" if v is None else str(v) for name, v in first.items()},
            },
            shown=_shown(settings=choices.describe()),
        )
        self.on_msg(self._answer)

    def __repr__(self) -> str:
        """Return the sentence that a saved notebook shows instead of the page."""
        return f"Chat with {self._session.title}; shown in a running notebook"

    def wait(self) -> None:
        """Return when no question is being answered."""
        if self._thread is not None:
            self._thread.join()

    def _answer(self, _: Any, content: Any, buffers: Any) -> None:
        match content:
            case {"kind": "stop"}:
                self._stop.set()
            case {
                "kind": "ask",
                "instruction": str(instruction),
                "input": str(given),
                "settings": dict(settings),
            } if not self.shown["busy"]:
                self._begin(instruction, given, settings)
        self.turn += 1

    def _begin(self, instruction: str, given: str, settings: dict[Any, Any]) -> None:
        """Check a question, and answer it in a thread of its own."""
        try:
            typed = {str(k): str(v).strip() for k, v in settings.items() if str(v).strip()}
            choices = self._choices.with_texts(typed)
            question = Question(instruction=instruction.strip(), input=given)
        except SettingError as error:
            self.shown = {**self.shown, "problem": str(error)}
            return
        self._stop.clear()
        asked = {"settings": choices.describe(), "prompt": question.prompt}
        with self.hold_sync():
            self.text = ""
            self.shown = _shown(
                **asked, busy=True, statistics=f"{BEAMS} ..." if choices.num_beams > 1 else ""
            )
        self._thread = threading.Thread(
            target=self._decode, args=(question, choices, asked), daemon=True
        )
        self._thread.start()

    def _decode(self, question: Question, choices: Choices, asked: dict[str, str]) -> None:
        """Answer a question; whatever fails is told in the page, which would wait forever."""
        pieces: list[str] = []

        def hear(piece: str) -> None:
            pieces.append(piece)
            if monotonic() - self._shown_at >= EVERY_S:
                self._shown_at, self.text = monotonic(), "".join(pieces)

        statistics = problem = ""
        try:
            answer = self._session.ask(question, choices, hear=hear, stopped=self._stop.is_set)
            statistics = answer.describe()
        except Exception as error:
            end = ending(error)
            problem = end[0] if end else f"{type(error).__name__}: {error}"
        with self.hold_sync():
            self.text = "".join(pieces)
            self.shown = _shown(**asked, statistics=statistics, problem=problem)


def _shown(
    *,
    settings: str,
    busy: bool = False,
    statistics: str = "",
    prompt: str = "",
    problem: str = "",
) -> dict[str, Any]:
    return {
        "settings": settings,
        "busy": busy,
        "statistics": statistics,
        "prompt": prompt,
        "problem": problem,
    }
