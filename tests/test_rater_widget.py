"""The rater's Python side without a browser: which messages count, and what a failure says."""

import json

import pytest

from alpaca_lab.files import RecordError
from alpaca_lab.human.widget import Rater


class Fake:
    """A session over three items that keeps what it is told; the next call raises `trouble`."""

    rater = "anna"

    def __init__(self, mode="acceptability"):
        self.mode = mode
        self.kept = []
        self.trouble = None

    def screen(self):
        done = len(self.kept)
        return {
            "mode": self.mode,
            "item": ["a", "b", "c", None][done],
            "reasons": ["I do not know the subject", "Another reason"],
            "progress": {"rated": done, "skipped": 0, "of": 3, "minutes_left": None},
        }

    def _keep(self, *row):
        if self.trouble:
            raise self.trouble
        self.kept.append(row)

    def rate(self, item, level, *, seconds):
        self._keep("rate", item, level, seconds)

    def skip(self, item, reason, *, seconds):
        self._keep("skip", item, reason, seconds)

    def undo(self):
        if self.trouble:
            raise self.trouble
        self.kept.pop()


@pytest.fixture
def session():
    return Fake()


@pytest.fixture
def rater(session):
    return Rater(session)


def press(rater, content):
    """Deliver a message as the browser's comes."""
    rater._handle_custom_msg(content, [])


RATE = {"kind": "rate", "item": "a", "level": 4, "seconds": 2.5}
SKIP = {"kind": "skip", "item": "a", "reason": "Another reason", "seconds": 1}


def test_a_rating_reaches_the_session_and_the_next_item_the_screen(rater, session):
    press(rater, RATE)
    assert session.kept == [("rate", "a", 4, 2.5)]
    assert rater.screen["item"] == "b"


def test_a_skip_and_an_undo_reach_the_session(rater, session):
    press(rater, SKIP)
    assert session.kept == [("skip", "a", "Another reason", 1.0)]
    press(rater, {"kind": "undo", "item": "b"})
    assert session.kept == []
    assert rater.screen["item"] == "a"


def test_undo_works_from_the_last_screen(rater, session):
    for item in "abc":
        press(rater, RATE | {"item": item})
    assert rater.screen["item"] is None
    press(rater, {"kind": "undo", "item": None})
    assert rater.screen["item"] == "c"


def test_a_double_press_counts_once(rater, session):
    press(rater, RATE)
    press(rater, RATE)
    press(rater, SKIP)
    assert session.kept == [("rate", "a", 4, 2.5)]
    press(rater, {"kind": "undo", "item": "a"})
    assert session.kept


MALFORMED = [
    None,
    "rate",
    [],
    {},
    {"kind": "rate"},
    {"kind": "reveal", "item": "a"},
    RATE | {"item": "z"},
    RATE | {"item": None},
    RATE | {"item": ["a"]},
    RATE | {"level": 0},
    RATE | {"level": 6},
    RATE | {"level": 3.0},
    RATE | {"level": "3"},
    RATE | {"level": True},
    RATE | {"level": None},
    SKIP | {"reason": "because"},
    SKIP | {"reason": None},
    {"kind": "rate", "level": 3},
]


@pytest.mark.parametrize("content", MALFORMED, ids=str)
def test_a_malformed_message_changes_nothing_and_frees_the_page(rater, session, content):
    before = (rater.screen, rater.problem)
    press(rater, content)
    assert session.kept == []
    assert (rater.screen, rater.problem) == before
    assert rater.turn == 1


def test_no_message_rates_after_the_last_item(rater, session):
    for item in "abc":
        press(rater, RATE | {"item": item})
    press(rater, RATE | {"item": None})
    assert len(session.kept) == 3
    assert rater.problem == ""


@pytest.mark.parametrize(
    "seconds", [None, "2", True, -1, float("nan"), float("inf"), 10**400, [1]], ids=repr
)
def test_a_broken_clock_costs_no_rating(rater, session, seconds):
    press(rater, RATE | {"seconds": seconds})
    assert session.kept == [("rate", "a", 4, None)]


TROUBLES = [
    (RecordError("this answer was rated in another window"), "rated in another window"),
    (OSError(28, "No space left on device", "/home/anna/x"), "not saved: No space left on device"),
    (OSError(), "not saved: no access"),
    (KeyError("secretalpha"), "may not be saved: an unexpected KeyError"),
]


@pytest.mark.parametrize(("trouble", "sentence"), TROUBLES, ids=repr)
@pytest.mark.parametrize("content", [RATE, SKIP, {"kind": "undo", "item": "a"}])
def test_a_failure_is_a_sentence_and_no_traceback(
    rater, session, content, trouble, sentence, capsys
):
    session.trouble = trouble
    press(rater, content)
    assert sentence in rater.problem
    assert rater.turn == 1
    shown = rater.problem + "".join(capsys.readouterr())
    for trace in ("Traceback", "secretalpha", "/home/anna"):
        assert trace not in shown


def test_a_failure_shows_where_things_stand_now(rater, session):
    """As after a rating of the same rater in another window: its item is not shown again."""

    def rated_elsewhere(item, level, *, seconds):
        session.kept.append("elsewhere")
        raise RecordError("rated already")

    session.rate = rated_elsewhere
    press(rater, RATE)
    assert rater.screen["item"] == "b"


def test_the_next_good_press_clears_the_problem(rater, session):
    session.trouble = RecordError("no")
    press(rater, RATE)
    session.trouble = None
    press(rater, RATE)
    assert rater.problem == ""
    assert session.kept == [("rate", "a", 4, 2.5)]


def test_a_screen_that_fails_leaves_the_old_one_and_says_why(rater, session):
    old = rater.screen
    session.screen = lambda: (_ for _ in ()).throw(RecordError("the answer is gone"))
    press(rater, RATE)
    assert rater.screen == old
    assert rater.problem == "the answer is gone"


def test_one_message_carries_the_whole_answer(rater, session, monkeypatch):
    sent = []
    monkeypatch.setattr(Rater, "_send", lambda self, message, buffers=None: sent.append(message))
    press(rater, RATE)
    assert [sorted(message["state"]) for message in sent] == [["screen", "turn"]]


def test_the_browser_gets_the_screen_and_nothing_else_of_the_session(rater):
    state = rater.get_state()
    ours = {key for key in state if not key.startswith("_")}
    assert ours - {"layout", "tabbable", "tooltip"} == {"screen", "problem", "turn"}
    json.dumps(rater.screen)


@pytest.mark.parametrize(("mode", "things"), [("acceptability", "answers"), ("pairwise", "pairs")])
def test_a_saved_notebook_says_what_was_here(mode, things):
    rater = Rater(Fake(mode))
    press(rater, RATE)
    sentence = f"Rater of anna: 2 of 3 {things} to rate; shown in a running notebook"
    assert repr(rater) == sentence
    data, _ = rater._repr_mimebundle_()
    assert data["text/plain"] == sentence


def test_the_page_asks_nothing_of_the_network_and_interprets_no_text(rater):
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "http", "fetch(", "eval", "url("):
        assert forbidden not in rater._esm + rater._css, forbidden
