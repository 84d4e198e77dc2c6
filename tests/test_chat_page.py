"""The chat's page in a browser: alone, with odd texts, and in JupyterLab with a real model."""

import json
import time

import pytest

from alpaca_lab.chat.widget import Chat
from chromium import RENDER, chromium
from lab_server import PATIENCE_S, lab_server

pytestmark = pytest.mark.browser

SIZE = {"width": 1100, "height": 900}
PHONE = {"width": 390, "height": 844}
NUMBERS = {"temperature": "", "top_k": "0", "num_beams": "1", "max_new_tokens": "256", "seed": "0"}
ABOUT = {"title": "Tiny LLaMA, finetuned", "place": "cpu, float32", "note": "Each stands alone.",
         "defaults": NUMBERS}  # fmt: skip
IDLE = {"settings": "greedy, at most 256 tokens", "busy": False, "statistics": "", "prompt": "",
        "problem": ""}  # fmt: skip
DONE = IDLE | {"statistics": "2 tokens, 0.1 s, 20 tokens/s, ended by itself (eos); greedy",
               "prompt": "Below is an instruction.\n\n### Response:\n"}  # fmt: skip
EVIL = [
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">',
    r"$\int x\,dx$ \(y\) **bold** # head [x](javascript:window.hacked=1) &lt;",
    "\x1b[31mred\x1b[0m \u202eright to left",
    "x" * 3000,
    "a\n\n  b\tc   d",
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def show(browser):
    """Draw the page on an empty one."""
    tab = browser.new_page(viewport=SIZE)

    def draw(text="", shown=IDLE, about=ABOUT):
        tab.set_content(f"<style>{Chat._css}</style><div id=el></div>")
        state = {"about": about, "text": text, "shown": shown, "turn": 0}
        tab.evaluate(RENDER, [str(Chat._esm), state])
        return tab

    yield draw
    tab.close()


def sent(page):
    return page.evaluate("sent")


def fill(page, instruction="What is an owl?"):
    page.get_by_label("Instruction").fill(instruction)


def test_what_is_typed_is_sent_as_it_stands(show):
    page = show()
    fill(page, "Sort it.\nPlease.")
    page.get_by_text("Input (optional)").click()
    page.get_by_label("Input").fill("3, 1 ")
    page.get_by_label("temperature").fill("0.5")
    page.get_by_role("button", name="Ask").click()
    settings = NUMBERS | {"temperature": "0.5"}
    [message] = sent(page)
    assert message == {
        "kind": "ask", "instruction": "Sort it.\nPlease.", "input": "3, 1 ", "settings": settings,
    }  # fmt: skip


def test_enter_asks_and_shift_enter_begins_a_line(show):
    page = show()
    fill(page, "one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert sent(page) == []
    page.keyboard.press("Enter")
    assert [message["instruction"] for message in sent(page)] == ["one\ntwo"]


def test_enter_in_the_input_begins_a_line_of_it(show):
    page = show()
    page.get_by_text("Input (optional)").click()
    page.get_by_label("Input").press("Enter")
    assert sent(page) == []
    page.get_by_label("seed").press("Enter")
    assert len(sent(page)) == 1


def test_one_press_asks_once_and_a_refused_question_frees_the_page(show):
    page = show()
    fill(page)
    ask = page.get_by_role("button", name="Ask")
    ask.click()
    page.get_by_label("Instruction").press("Enter")
    assert len(sent(page)) == 1 and ask.is_disabled()
    problem = "sampled beams mix two factors"
    page.evaluate("shown => answer({ shown, turn: 1 })", IDLE | {"problem": problem})
    assert page.get_by_role("alert").text_content() == problem
    ask.click()
    assert len(sent(page)) == 2


def test_stop_can_be_pressed_while_an_answer_comes_and_only_then(show):
    page = show()
    stop = page.get_by_role("button", name="Stop")
    assert stop.is_disabled()
    page.evaluate("shown => answer({ shown })", DONE | {"busy": True, "statistics": ""})
    page.evaluate("answer({ text: 'An ' })")
    assert page.locator(".alpaca-chat-answer").text_content() == "An "
    assert page.get_by_role("button", name="Ask").is_disabled()
    stop.click()
    assert sent(page) == [{"kind": "stop"}]
    page.evaluate("shown => answer({ shown })", DONE)
    assert stop.is_disabled()


def test_a_kernel_that_does_not_answer_is_told_and_an_answer_takes_it_back(browser):
    page = browser.new_page()
    page.clock.install(time=0)
    page.set_content("<div id=el></div>")
    state = {"about": ABOUT, "text": "", "shown": IDLE, "turn": 0}
    page.evaluate(RENDER, [str(Chat._esm), state])
    fill(page)
    page.get_by_role("button", name="Ask").click()
    page.clock.run_for(4_000)
    assert page.get_by_role("alert").is_hidden()
    page.clock.run_for(2_000)
    assert "No word from the kernel yet" in page.get_by_role("alert").text_content()
    page.evaluate("answer({ turn: 1 })")
    assert page.get_by_role("alert").is_hidden()
    page.close()


@pytest.mark.parametrize("text", EVIL, ids=lambda text: ascii(text)[:30])
def test_any_text_is_shown_as_it_is_and_nothing_of_it_is_run(show, text):
    said = DONE | {"prompt": text, "problem": text, "settings": text, "statistics": text}
    page = show(text, said, ABOUT | {"title": text, "place": text, "note": text})
    for part in ("answer", "prompt", "problem", "statistics", "title", "place", "note"):
        body = page.locator(f".alpaca-chat-{part}")
        assert body.text_content() == text
        assert body.evaluate("node => node.children.length") == 0
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_how_is_decoded_stands_beside_the_answer_or_until_there_is_one(show):
    page = show()
    assert page.locator(".alpaca-chat-how").text_content() == IDLE["settings"]
    page.evaluate("shown => answer({ shown })", DONE)
    assert page.locator(".alpaca-chat-how").text_content() == ""
    assert "greedy" in page.locator(".alpaca-chat-statistics").text_content()


def test_an_empty_answer_is_said_to_be_one(show):
    assert show("", DONE).locator(".alpaca-chat-answer em").text_content() == "(empty answer)"
    page = show("(empty answer)", DONE)
    assert page.locator(".alpaca-chat-answer em").count() == 0


@pytest.mark.parametrize("size", [SIZE, PHONE], ids=["wide", "phone"])
def test_everything_has_room(show, size):
    page = show("An owl is a bird. " * 9, DONE)
    page.set_viewport_size(size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    fields = [field.bounding_box() for field in page.locator(".alpaca-chat-number").all()]
    assert min(box["width"] for box in fields) > 90
    columns = {round(box["x"]) for box in fields}
    assert len(columns) == (5 if size is SIZE else 2)


def test_a_page_that_is_removed_listens_no_more(show):
    page = show()
    page.evaluate("remove()")
    assert page.evaluate("listeners()") == 0


CELL = """\
import time
from alpaca_lab import adapters
from alpaca_lab.chat.choices import Choices
from alpaca_lab.chat.session import Session, open_session
from alpaca_lab.chat.widget import Chat

session = open_session(adapters.find("tiny-phi", untuned=True))
def slowly(*asked, hear, stopped):
    return Session.ask(
        session, *asked, hear=lambda text: (hear(text), time.sleep(0.05)), stopped=stopped
    )
session.ask = slowly
Chat(session, Choices(max_new_tokens=200))"""


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """A notebook in JupyterLab whose cell has drawn the page over a tiny model."""
    pytest.importorskip("jupyterlab", reason="JupyterLab serves the notebook")
    with lab_server(tmp_path_factory.mktemp("jupyter")) as server:
        cell = {"cell_type": "code", "id": "chat", "metadata": {}, "source": CELL}
        python = {"display_name": "Python 3", "language": "python", "name": "python3"}
        content = {
            "cells": [cell | {"execution_count": None, "outputs": []}],
            "metadata": {"kernelspec": python},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (server.root / "chat.ipynb").write_text(json.dumps(content))
        page, frames = browser.new_page(viewport=SIZE), []
        page.set_default_timeout(60_000)
        page.on("websocket", lambda socket: socket.on("framereceived", lambda f: frames.append(
            f if isinstance(f, str) else f.decode(errors="replace"))))  # fmt: skip
        page.goto(server.page("lab/tree/chat.ipynb"))
        last = time.monotonic() + PATIENCE_S
        while not any("comm_info_reply" in frame for frame in frames):
            assert time.monotonic() < last, "the page found no kernel"
            page.wait_for_timeout(20)  # frames come in meanwhile
        page.locator(".jp-SideBar .lm-TabBar-tab.lm-mod-current").first.click()
        page.locator(".jp-CodeCell .cm-content").click()
        page.keyboard.press("Control+Enter")
        page.locator(".alpaca-chat").wait_for()
        yield page
        page.close()


def lengths(page, *, until):
    """Return how long the answer was each time it had grown, until a condition of the page."""
    seen, answer = [], page.locator(".alpaca-chat-answer")
    while not until(seen):
        now = len(answer.text_content())
        if now > (seen[-1] if seen else 0):
            seen.append(now)
        page.wait_for_timeout(10)
    return seen


@pytest.mark.model
def test_an_answer_streams_into_a_notebook_and_is_counted(lab):
    fill(lab, "What is a monkey?")
    lab.get_by_label("max_new_tokens").fill("30")
    lab.keyboard.press("Enter")
    statistics = lab.locator(".alpaca-chat-statistics")
    seen = lengths(lab, until=lambda _: "tokens/s" in statistics.text_content())
    assert len(seen) > 3
    assert "greedy, at most 30 tokens" in statistics.text_content()
    assert (
        "### Instruction:\nWhat is a monkey?" in lab.locator(".alpaca-chat-prompt").text_content()
    )


@pytest.mark.model
def test_stop_in_a_notebook_stops_the_answer_and_the_next_is_asked(lab):
    fill(lab, "Tell me a long story.")
    lab.get_by_label("temperature").fill("2")
    lab.get_by_label("max_new_tokens").fill("1000")
    lab.get_by_role("button", name="Ask").click()
    lengths(lab, until=lambda seen: len(seen) > 2)
    lab.get_by_role("button", name="Stop").click()
    statistics = lab.locator(".alpaca-chat-statistics")
    statistics.get_by_text("stopped; sampled at temperature 2").wait_for()
    answer = lab.locator(".alpaca-chat-answer").text_content()
    lab.wait_for_timeout(300)
    assert lab.locator(".alpaca-chat-answer").text_content() == answer != ""
    lab.get_by_label("max_new_tokens").fill("3")
    lab.get_by_role("button", name="Ask").click()
    statistics.get_by_text("cut by max_new_tokens").wait_for()
