"""The rater as a person meets it: in JupyterLab and Notebook, with a kernel and a real log."""

import json
import shutil
import time
from functools import cached_property

import pytest

from alpaca_lab.characters import visible
from alpaca_lab.human import draw, plan, ratings
from alpaca_lab.human.items import Texts
from alpaca_lab.human.rubric import SKIPS
from alpaca_lab.human.session import Session
from alpaca_lab.store import Record
from chromium import chromium
from human_records import HOSTILE, fabricate, secrets_of
from lab_server import PATIENCE_S, lab_server

pytestmark = pytest.mark.browser

FRONT_ENDS = {"lab": "lab/tree/rate.ipynb", "notebook": "notebooks/rate7.ipynb"}
SIZE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
CELL = """\
from pathlib import Path

from alpaca_lab.human.session import Session
from alpaca_lab.human.widget import Rater
from alpaca_lab.store import Record

folder, mode = open("job.txt").read().splitlines()
Rater(Session(Record(Path(folder)), "anna", mode=mode))"""
CELLS = """() => [...document.querySelectorAll(".jp-Notebook .jp-Cell")].map((cell) => [
  ["jp-CodeCell", "jp-MarkdownCell", "jp-RawCell"].find((kind) => cell.classList.contains(kind)),
  cell.querySelector(".cm-content")?.textContent,
  cell.classList.contains("jp-mod-noOutputs"),
])"""


class Notebook:
    """A notebook of one cell, open in one of the front ends."""

    def __init__(self, browser, server, path):
        self.server = server
        self.name = path.split("/")[-1]
        cell = {"cell_type": "code", "id": "rate", "metadata": {}, "source": CELL}
        python = {"display_name": "Python 3", "language": "python", "name": "python3"}
        content = {
            "cells": [cell | {"execution_count": None, "outputs": []}],
            "metadata": {"kernelspec": python},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        (server.root / self.name).write_text(json.dumps(content))
        self.heard = []
        self.page = browser.new_page(viewport=SIZE)
        self.page.set_default_timeout(15_000)
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._hear))
        self.root = self.page.locator(".alpaca-rater:not([data-old])")
        self.page.goto(server.page(path))
        self._settle()
        if path.startswith("lab"):  # its side bar leaves a phone no room
            self.page.locator(".jp-SideBar .lm-TabBar-tab.lm-mod-current").first.click()

    def _hear(self, frame):
        self.heard.append(frame if isinstance(frame, str) else frame.decode(errors="replace"))

    def _settle(self):
        """Wait until the page has a kernel and knows its widgets: a run before that is lost."""
        last = time.monotonic() + PATIENCE_S
        while not any("comm_info_reply" in frame for frame in self.heard):
            assert time.monotonic() < last, "the page found no kernel"
            self.page.wait_for_timeout(20)  # frames come in meanwhile

    def run(self, work):
        """Run the cell as its reader does, and wait for the rater that it draws."""
        (self.server.root / "job.txt").write_text(f"{work.record.folder}\n{work.mode}")
        self._outdate()
        self.page.locator(".jp-CodeCell .cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.root.wait_for()

    def save(self):
        self.page.locator(".jp-CodeCell .cm-content").click()
        with self.page.expect_response(lambda r: "contents" in r.url and r.request.method == "PUT"):
            self.page.keyboard.press("Control+s")

    def restart(self):
        """Restart the kernel and run the cell, with the button for that."""
        self._outdate()
        self.page.locator("[data-command='notebook:restart-run-all']").first.click()
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.root.wait_for()

    def _outdate(self):
        """Mark the rater in the page, so that the next one is known from it."""
        self.page.evaluate("""() => document.querySelectorAll(".alpaca-rater").forEach(
            (node) => node.setAttribute("data-old", ""))""")


class Work:
    """What a rater does with a plan in an open notebook, and what is on the disk of it."""

    def __init__(self, notebook, record, mode):
        self.notebook, self.record, self.mode = notebook, record, mode
        self.page, self.root = notebook.page, notebook.root
        self.items = plan.read(record, mode).items_of("anna")
        self.answers = self.root.locator(".alpaca-answers .alpaca-text")
        self.choices = self.root.locator(".alpaca-choice")

    @cached_property
    def texts(self):
        return Texts(self.record)

    def answers_of(self, place):
        """The texts of the rater's item at a place in the plan."""
        items = plan.read(self.record, self.mode).items
        return [text for _, text in self.texts.of(items[self.items[place]]).answers]

    def shows(self, place):
        """Wait until the page shows the item at a place, or the last screen at the end."""
        shown = self.answers_of(place) if place < len(self.items) else []
        shown = [text or "(empty answer)" for text in shown]
        wait = """(texts) => {
          const root = document.querySelector(".alpaca-rater:not([data-old])");
          const nodes = [...root.querySelectorAll(".alpaca-answers .alpaca-text")];
          const ready = [...root.querySelectorAll(".alpaca-choice")].every((b) => !b.disabled);
          return ready && JSON.stringify(nodes.map((n) => n.textContent)) === JSON.stringify(texts);
        }"""
        self.page.wait_for_function(wait, arg=shown, polling=20)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def focus(self):
        self.root.locator(".alpaca-count").click()
        assert self.has_focus()

    def has_focus(self):
        return self.root.evaluate("node => node === document.activeElement")

    def log(self):
        """The log as (action, place of the item in the plan, score or reason)."""
        return [
            (row.action, self.items.index(row.item), row.reason or row.score)
            for row in ratings.read(self.record, self.mode)
        ]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    pytest.importorskip("jupyterlab", reason="JupyterLab serves the notebook")
    with lab_server(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="module", params=FRONT_ENDS)
def notebook(request, browser, server):
    notebook = Notebook(browser, server, FRONT_ENDS[request.param])
    yield notebook
    notebook.page.close()


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    return fabricate(tmp_path_factory.mktemp("made-up") / "results")


@pytest.fixture
def start(notebook, made_up, tmp_path):
    """Plan some ratings in a record of the test's own, and run the cell that shows the rater."""

    def begin(mode="acceptability", **planned):
        record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
        planned = {"questions": 2, "settings": "base"} | planned
        draw.write(record, mode=mode, raters="anna", **planned)
        work = Work(notebook, record, mode)
        notebook.run(work)
        work.shows(0)
        return work

    notebook.page.set_viewport_size(SIZE)
    return begin


def test_a_click_rates_and_brings_the_next_answer(start):
    work = start()
    work.choices.nth(3).click()
    work.shows(1)
    assert work.log() == [("rated", 0, 3)]
    assert work.root.locator(".alpaca-count").text_content() == "1 of 4"
    [row] = ratings.read(work.record, work.mode)
    assert 0 <= row.seconds < 30


def test_keys_rate_and_keep_the_keyboard(start):
    work = start()
    work.focus()
    for place, key in enumerate("512"):
        work.press(key)
        work.shows(place + 1)
        assert work.has_focus()
    assert work.log() == [("rated", 0, 4), ("rated", 1, 0), ("rated", 2, 1)]


def test_arrows_move_a_highlight_and_enter_or_space_gives_it(start):
    work = start()
    work.focus()
    work.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert work.choices.nth(1).evaluate("node => node === document.activeElement")
    assert work.log() == []
    work.press("Enter")
    work.shows(1)
    work.press("ArrowLeft", "Space")
    work.shows(2)
    assert work.log() == [("rated", 0, 1), ("rated", 1, 4)]


def test_undo_brings_the_answer_back_and_retracts_its_rating(start):
    work = start()
    assert work.root.locator(".alpaca-undo").is_disabled()
    work.focus()
    work.press("2")
    work.shows(1)
    work.press("u")
    work.shows(0)
    assert work.log() == [("rated", 0, 1), ("undone", 0, None)]
    work.press("5")
    work.shows(1)
    work.root.locator(".alpaca-undo").click()
    work.shows(0)
    assert not Session(work.record, "anna").standing


def test_a_skip_has_one_of_the_reasons(start):
    work = start()
    work.focus()
    work.press("s")
    assert [text[1:] for text in work.choices.all_text_contents()] == list(SKIPS)
    work.press("Escape")
    work.page.get_by_text("How acceptable is this answer?").wait_for()
    work.press("s", "2")
    work.shows(1)
    work.root.locator(".alpaca-skip").click()
    work.root.get_by_text(SKIPS[3]).click()
    work.shows(2)
    assert work.log() == [("skipped", 0, SKIPS[1]), ("skipped", 1, SKIPS[3])]
    assert work.root.locator(".alpaca-count").text_content() == "2 of 4, 2 skipped"


def test_keys_in_the_rater_leave_the_notebook_as_it_is(start):
    work = start()
    before = work.page.evaluate(CELLS)
    keys = ["s", "Escape", *"myrabxcvzodd00j6", "Shift+Enter", "Shift+L", "Delete", "ArrowDown"]
    for inside in (None, "ArrowRight", "Tab"):  # the rater itself, a level of it, its guide
        work.focus()
        work.press(*filter(None, [inside]), *keys, "Escape", "1")
        work.shows(1)
        work.press("u")
        work.shows(0)
    assert work.page.evaluate(CELLS) == before
    assert work.page.locator("dialog, .jp-Dialog").count() == 0
    # The same keys outside of it do, so that this comparison sees what it should.
    work.page.locator(".jp-CodeCell .cm-content").click()
    work.press("Escape", "m")
    work.page.locator(".jp-MarkdownCell").wait_for()
    assert work.page.evaluate(CELLS) != before
    work.press("y")
    work.page.locator(".jp-CodeCell").wait_for()


def test_a_double_click_and_a_held_key_rate_one_answer(start):
    work = start()
    work.choices.nth(3).dblclick()
    work.shows(1)
    assert work.root.locator(".alpaca-problem").is_hidden()  # the second click was not even sent
    work.focus()
    work.page.keyboard.down("2")
    work.shows(2)
    for _ in range(3):
        work.page.keyboard.down("2")  # what a held key sends
    work.page.keyboard.up("2")
    work.press("5")
    work.shows(3)
    assert work.log() == [("rated", 0, 3), ("rated", 1, 1), ("rated", 2, 4)]


def test_a_reloaded_page_goes_on_with_the_same_kernel(start):
    work = start()
    work.focus()
    work.press("3")
    work.shows(1)
    work.notebook.save()
    work.page.reload()
    work.root.wait_for()
    work.shows(1)
    work.focus()
    work.press("4")
    work.shows(2)
    assert work.log() == [("rated", 0, 2), ("rated", 1, 3)]


def test_a_new_kernel_goes_on_after_what_is_rated(start):
    work = start()
    work.focus()
    work.press("3")
    work.shows(1)
    work.notebook.restart()
    work.shows(1)
    work.focus()
    work.press("1")
    work.shows(2)
    assert work.log() == [("rated", 0, 2), ("rated", 1, 0)]


def test_the_last_screen_thanks_and_can_still_undo(start):
    work = start(questions=1)
    work.focus()
    work.press("3")
    work.shows(1)
    work.press("3")
    work.page.get_by_text("That was the last one: 2 rated.").wait_for()
    assert work.choices.count() == 0
    assert work.root.locator(".alpaca-text").count() == 0
    work.press("1", "s")
    work.press("u")
    work.shows(1)
    assert work.log()[2:] == [("undone", 1, None)]


def test_an_answer_rated_in_another_window_is_told_and_not_rated_twice(start):
    work = start()
    Session(work.record, "anna").rate(work.items[0], 5, seconds=None)
    work.focus()
    work.press("1")
    work.shows(1)
    work.root.locator(".alpaca-problem").wait_for()
    assert work.root.locator(".alpaca-problem").text_content()
    assert work.log() == [("rated", 0, 4)]
    work.press("2")
    work.shows(2)
    assert work.root.locator(".alpaca-problem").is_hidden()


def test_the_next_screen_starts_at_its_top(start):
    work = start()
    work.page.set_viewport_size({"width": 1280, "height": 420})
    work.choices.nth(2).scroll_into_view_if_needed()
    top = "node => node.getBoundingClientRect().top"
    count = work.root.locator(".alpaca-count")
    panel = work.page.locator(".jp-WindowedPanel-outer").bounding_box()
    assert count.evaluate(top) < panel["y"]
    work.choices.nth(2).click()
    work.shows(1)
    assert count.evaluate(top) >= panel["y"]
    assert work.has_focus()


def test_hostile_answers_show_as_text_and_run_nothing(start):
    work = start(questions=12, settings="greedy")
    work.focus()
    unseen = {visible(text) for text in HOSTILE}
    for place in range(len(work.items)):
        [answer] = work.answers.all_text_contents()
        assert [answer] == work.answers_of(place)
        unseen -= {text for text in unseen if answer.endswith(text)}
        body = work.root.locator(".alpaca-stage")
        assert (
            body.locator("script, img, a, b, i, strong, em, mjx-container, .MathJax").count() == 0
        )
        if not unseen:
            break
        work.press("3")
        work.shows(place + 1)
    assert not unseen
    assert work.page.evaluate("window.hacked") is None


def test_an_empty_answer_is_said_to_be_empty(start):
    work = start(settings="empty")
    assert work.root.locator(".alpaca-nothing").text_content() == "(empty answer)"
    work.focus()
    work.press("1")
    work.shows(1)
    assert work.log() == [("rated", 0, 0)]


def test_pairs_are_rated_from_a_to_b(start):
    work = start("pairwise")
    assert work.root.locator(".alpaca-answers .alpaca-label").all_text_contents() == [
        "Answer A",
        "Answer B",
    ]
    work.page.get_by_text("Which answer is better?").wait_for()
    work.focus()
    work.press("1")
    work.shows(1)
    work.choices.nth(4).click()
    work.shows(2)
    assert work.log() == [("rated", 0, 0), ("rated", 1, 4)]


@pytest.mark.parametrize("mode", ["acceptability", "pairwise"])
def test_a_phone_needs_no_sideways_scrolling_and_no_small_finger(start, mode):
    work = start(mode)
    work.page.set_viewport_size(PHONE)
    within = "node => node.getBoundingClientRect().right <= innerWidth"
    work.page.wait_for_function(within, arg=work.root.element_handle())  # JupyterLab takes its time
    sizes = """(root) => {
      const box = root.getBoundingClientRect();
      const all = [...root.querySelectorAll("*")].filter((n) => n.getClientRects().length);
      const worded = all.filter((n) => [...n.childNodes].some((c) => c.data?.trim()));
      return {
        over: [root, ...all].filter((n) => n.scrollWidth > n.clientWidth + 1 && n.clientWidth
          && getComputedStyle(n).display !== "inline").map((n) => n.className),
        outside: all.filter((n) => n.getBoundingClientRect().right > box.right)
          .map((n) => n.className),
        letters: Math.min(...worded.map((n) => parseFloat(getComputedStyle(n).fontSize))),
      };
    }"""
    for key in (None, "s"):
        if key:
            work.focus()
            work.press(key)
        found = work.root.evaluate(sizes)
        assert (found["over"], found["outside"]) == ([], [])
        assert found["letters"] >= 16
        for button in work.root.locator("button").all():
            box = button.bounding_box()
            assert box["height"] >= 48
            assert box["width"] >= 44


CONTRASTS = """(root) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
  };
  const light = (rgb) => rgb
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const worded = [...root.querySelectorAll("*")].filter((node) => node.getClientRects().length
    && !node.closest(":disabled") && [...node.childNodes].some((child) => child.data?.trim()));
  return worded.map((node) => {
    const behind = [];
    for (let at = node; at; at = at.parentElement) {
      behind.unshift(getComputedStyle(at).backgroundColor);
    }
    const [ink, paper] = [[...behind, getComputedStyle(node).color], behind]
      .map((colours) => light(paint(colours)))
      .sort((one, other) => other - one);
    return [node.className, (ink + 0.05) / (paper + 0.05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_in_light_and_dark(start, scheme):
    work = start()
    work.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    work.page.wait_for_function(
        "dark => document.body.dataset.jpThemeLight === String(!dark)", arg=scheme == "dark"
    )
    dark = work.root.evaluate("node => getComputedStyle(node).color") == "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    found = work.root.evaluate(CONTRASTS)
    assert len(found) > 15
    assert [each for each in found if each[1] < 4.5] == []


@pytest.mark.parametrize("mode", ["acceptability", "pairwise"])
def test_nothing_that_reaches_the_browser_says_whose_answer_it_is(start, mode):
    settings = {"acceptability": "base, greedy, reference", "pairwise": "temperature=1"}
    work = start(mode, settings=settings[mode], questions=3)
    work.focus()
    pages = []
    for place in range(4):
        pages += [frame.content() for frame in work.page.frames]
        work.press("4")
        work.shows(place + 1)
    heard = "\n".join(work.notebook.heard)
    for place in range(5):
        assert work.items[place] in heard
    key = json.loads(next(plan.folder(work.record, mode).glob("key-*.json")).read_text())
    secrets = secrets_of(work.record) | {key["salt"]}
    for secret in secrets:
        assert secret not in heard, secret
        assert not [page for page in pages if secret in page], secret
