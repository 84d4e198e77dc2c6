"""The chat page's Python side without a browser: which messages count, and what is shown then."""

import threading

import pytest

from alpaca_lab.chat.choices import Choices
from alpaca_lab.chat.session import Question
from alpaca_lab.chat.widget import Chat
from alpaca_lab.config import SettingError
from chats import FakeSession


def page(session=None, choices=None):
    return Chat(session or FakeSession(), choices or Choices())


def send(chat, content):
    """Deliver a message as the browser's comes."""
    chat._handle_custom_msg(content, [])


def ask(chat, instruction="What is an owl?", given="", **settings):
    send(chat, {"kind": "ask", "instruction": instruction, "input": given, "settings": settings})
    chat.wait()


def test_a_question_is_answered_with_its_settings_statistics_and_prompt():
    session = FakeSession()
    chat = page(session)
    ask(chat, "Sort it.", "3, 1", temperature=" 0.5 ", top_k="", num_beams="1", seed="7")
    expected = Choices(temperature=0.5, seed=7)
    assert session.asked == [(Question(instruction="Sort it.", input="3, 1"), expected)]
    assert chat.text == "An owl."
    assert chat.shown == {
        "settings": "sampled at temperature 0.5, at most 512 tokens, seed 7",
        "busy": False,
        "statistics": "2 tokens, 2.0 s, 1 tokens/s, ended by itself (eos); sampled at "
        "temperature 0.5, at most 512 tokens, seed 7",
        "prompt": Question(instruction="Sort it.", input="3, 1").prompt,
        "problem": "",
    }
    assert chat.turn == 1


def test_a_blank_field_stands_for_what_the_chat_began_with():
    session = FakeSession()
    chat = page(session, Choices(temperature=0.25, max_new_tokens=64))
    assert chat.about["defaults"] == {
        "temperature": "0.25", "top_k": "0", "num_beams": "1", "max_new_tokens": "64", "seed": "0",
    }  # fmt: skip
    ask(chat, temperature="", seed="3")
    assert session.asked[0][1] == Choices(temperature=0.25, max_new_tokens=64, seed=3)
    assert page().about["defaults"]["temperature"] == ""


@pytest.mark.parametrize(
    ("instruction", "settings", "problem"),
    [
        ("  ", {}, "there is no instruction"),
        ("a", {"temperature": "1", "num_beams": "2"}, "sampled beams mix two factors"),
        ("a", {"seed": "x"}, "seed must be a whole number"),
        ("a", {"colour": "red"}, "there is no colour"),
    ],
)
def test_what_cannot_be_asked_is_told_and_keeps_the_answer_before(instruction, settings, problem):
    session = FakeSession()
    chat = page(session)
    ask(chat)
    ask(chat, instruction, **settings)
    assert problem in chat.shown["problem"] and len(session.asked) == 1
    assert chat.text == "An owl." and not chat.shown["busy"] and chat.turn == 2
    ask(chat)
    assert chat.shown["problem"] == ""


MALFORMED = [
    None, "ask", [], {}, {"kind": "ask"}, {"kind": "run", "code": "1"},
    {"kind": "ask", "instruction": 7, "input": "", "settings": {}},
    {"kind": "ask", "instruction": "a", "input": "", "settings": []},
]  # fmt: skip


@pytest.mark.parametrize("content", MALFORMED, ids=str)
def test_a_message_that_is_none_asks_nothing_and_frees_the_page(content):
    session = FakeSession()
    chat = page(session)
    send(chat, content)
    chat.wait()
    assert session.asked == [] and chat.turn == 1


class Held(FakeSession):
    """Waits before its second piece until it is let go."""

    def __init__(self):
        super().__init__(before=self.hold)
        self.reached, self.go, self.count = threading.Event(), threading.Event(), 0

    def hold(self):
        self.count += 1
        if self.count == 2:
            self.reached.set()
            assert self.go.wait(10)


def begin(session):
    chat = page(session)
    send(chat, {"kind": "ask", "instruction": "a", "input": "", "settings": {}})
    assert session.reached.wait(10)
    return chat


def test_text_is_shown_before_its_answer_has_ended():
    session = Held()
    chat = begin(session)
    assert chat.text == "An " and chat.shown["busy"]
    session.go.set()
    chat.wait()
    assert chat.text == "An owl." and not chat.shown["busy"]


def test_stop_ends_an_answer_and_keeps_what_was_said():
    session = Held()
    chat = begin(session)
    send(chat, {"kind": "stop"})
    session.go.set()
    chat.wait()
    assert chat.text == "An " and "stopped" in chat.shown["statistics"]
    ask(chat)
    assert chat.text == "An owl."  # the stop was of that answer alone


def test_a_second_question_waits_for_no_thread_and_is_not_asked():
    session = Held()
    chat = begin(session)
    send(chat, {"kind": "ask", "instruction": "b", "input": "", "settings": {}})
    session.go.set()
    chat.wait()
    assert [question.instruction for question, _ in session.asked] == ["a"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SettingError("the prompt is too long: shorten it"), "the prompt is too long: shorten it"),
        (MemoryError(), "this needs more memory than the machine has"),
        (FloatingPointError("the logits hold NaN"), "FloatingPointError: the logits hold NaN"),
    ],
)
def test_whatever_fails_is_told_in_the_page_and_frees_it(error, told):
    def fail():
        raise error

    chat = page(FakeSession(before=fail))
    ask(chat)
    assert told in chat.shown["problem"]
    assert not chat.shown["busy"] and chat.shown["statistics"] == ""


def test_a_saved_notebook_says_what_stood_there():
    assert repr(page()) == "Chat with Tiny LLaMA, finetuned; shown in a running notebook"
