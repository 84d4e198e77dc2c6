"""The rater's page alone in a browser, without Jupyter: clocks, layouts of keyboards, odd texts."""

import pytest

from alpaca_lab.human.rubric import RUBRICS, SKIPS
from alpaca_lab.human.widget import Rater
from chromium import RENDER, chromium

pytestmark = pytest.mark.browser

SIZE = {"width": 1100, "height": 800}
ELEMENTS = "node => [...node.querySelectorAll('*')].map((each) => each.tagName.toLowerCase())"


def screen(mode="acceptability", *, item="item1", rated=12, answers=("An answer.",), **changes):
    rubric = RUBRICS[mode]
    labels = ("Answer",) if len(answers) == 1 else ("Answer A", "Answer B")
    return {
        "mode": mode,
        "question": rubric.question,
        "rubric": [{"heading": heading, "text": text} for heading, text in rubric.advice],
        "levels": [{"label": each.label, "detail": each.detail} for each in rubric.levels],
        "reasons": list(SKIPS),
        "progress": {"rated": rated, "skipped": 1, "of": 60, "minutes_left": 14},
        "can_undo": True,
        "item": item,
        "texts": [{"label": "Instruction", "text": "Say it."}],
        "answers": [
            {"label": label, "text": text} for label, text in zip(labels, answers, strict=True)
        ],
        "finished": "",
    } | changes


def state_of(screen):
    return {"screen": screen, "problem": "", "turn": 0}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def tab(browser):
    return browser.new_page(viewport=SIZE)


@pytest.fixture
def show(tab):
    """Draw a screen on an empty page, and return the page with the rater focused."""

    def draw(shown=None, **changes):
        tab.set_viewport_size(SIZE)
        tab.goto("about:blank")
        tab.set_content(f"<style>{Rater._css}</style><div id=el></div>")
        tab.evaluate(RENDER, [str(Rater._esm), state_of(shown or screen(**changes))])
        tab.focus(".alpaca-rater")
        return tab

    return draw


def sent(page):
    return page.evaluate("sent")


def test_only_visible_time_counts(browser):
    page = browser.new_page()
    page.clock.install(time=0)
    page.set_content("<div id=el></div>")
    page.clock.pause_at(1000)
    page.evaluate(RENDER, [str(Rater._esm), state_of(screen())])
    page.focus(".alpaca-rater")
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.clock.run_for(3_000)
    page.evaluate(hide, True)
    page.clock.run_for(60_000)
    page.evaluate(hide, False)
    page.clock.run_for(1_240)
    page.keyboard.press("3")
    page.evaluate("screen => answer({ screen, turn: 1 })", screen(item="item2"))
    page.clock.run_for(700)
    page.keyboard.press("s")
    page.keyboard.press("1")
    assert [message["seconds"] for message in sent(page)] == [4.2, 0.7]
    page.close()


def test_a_kernel_that_does_not_answer_is_told_and_an_answer_takes_it_back(browser):
    page = browser.new_page()
    page.clock.install(time=0)
    page.set_content("<div id=el></div>")
    page.evaluate(RENDER, [str(Rater._esm), state_of(screen())])
    page.focus(".alpaca-rater")
    page.keyboard.press("3")
    page.clock.run_for(4_000)
    assert page.locator(".alpaca-problem").is_hidden()
    page.clock.run_for(2_000)
    assert "may not be saved" in page.locator(".alpaca-problem").text_content()
    page.evaluate("screen => answer({ screen, turn: 1 })", screen(item="item2"))
    assert page.locator(".alpaca-problem").is_hidden()
    page.keyboard.press("3")
    assert [message["item"] for message in sent(page)] == ["item1", "item2"]
    page.close()


def test_a_connection_that_is_gone_is_told_at_once(show):
    page = show()
    page.evaluate("() => { model.send = () => { throw new Error('disposed'); }; }")
    page.keyboard.press("3")
    assert "may not be saved" in page.locator(".alpaca-problem").text_content()


def test_no_press_counts_until_the_answer_and_a_refusal_is_one(show):
    page = show()
    for key in ("4", "2", "u", "s", "1"):
        page.keyboard.press(key)
    assert [(each["kind"], each["level"], each["item"]) for each in sent(page)] == [
        ("rate", 4, "item1")
    ]
    assert page.locator("button:enabled").count() == 0
    page.evaluate("answer({ turn: 1 })")  # neither the screen nor the problem moved
    page.keyboard.press("2")
    assert [each["level"] for each in sent(page)] == [4, 2]


KEYS = [
    ({"key": "&", "code": "Digit1"}, {"kind": "rate", "level": 1}),  # French
    ({"key": "5", "code": "Numpad5"}, {"kind": "rate", "level": 5}),
    ({"key": "U", "code": "KeyU"}, {"kind": "undo"}),  # caps lock
    ({"key": "г", "code": "KeyU"}, {"kind": "undo"}),  # Russian
    ({"key": "End", "code": "Numpad1"}, None),  # num lock off
    ({"key": "!", "code": "Digit1", "shiftKey": True}, None),
    ({"key": "1", "code": "Digit1", "ctrlKey": True}, None),
    ({"key": "1", "code": "Digit1", "altKey": True}, None),
    ({"key": "1", "code": "Digit1", "metaKey": True}, None),
    ({"key": "1", "code": "Digit1", "repeat": True}, None),
    ({"key": "1", "code": "Digit1", "isComposing": True}, None),
    ({"key": "6", "code": "Digit6"}, None),
    ({"key": "0", "code": "Digit0"}, None),
]


@pytest.mark.parametrize(("event", "wanted"), KEYS, ids=str)
def test_a_key_counts_by_its_sign_or_its_place_and_never_with_a_modifier(show, event, wanted):
    page = show()
    page.evaluate(
        """event => document.querySelector(".alpaca-rater").dispatchEvent(
             new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...event }))""",
        event,
    )
    got = [{key: each[key] for key in wanted or each} for each in sent(page)]
    assert got == ([wanted] if wanted else [])


def test_keys_pressed_elsewhere_in_the_page_do_nothing(show):
    page = show()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("3")
    assert sent(page) == []
    assert page.get_by_text("Click here to use the keyboard").is_visible()
    page.get_by_text("Click here to use the keyboard").click()
    assert page.get_by_text("Click here to use the keyboard").is_hidden()
    page.keyboard.press("3")
    assert len(sent(page)) == 1


def test_a_held_enter_gives_one_level(show):
    page = show()
    page.keyboard.press("ArrowRight")
    page.keyboard.down("Enter")
    page.evaluate("screen => answer({ screen, turn: 1 })", screen(item="item2"))
    page.keyboard.press("ArrowRight")
    page.keyboard.down("Enter")  # still held: a repeat
    page.keyboard.up("Enter")
    assert [each["item"] for each in sent(page)] == ["item1"]


def test_up_and_down_move_among_levels_and_else_scroll(show):
    page = show()
    page.keyboard.press("ArrowDown")
    assert page.locator(".alpaca-choice:focus").count() == 0
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert [each["level"] for each in sent(page)] == [4]


RAW = [
    '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">',
    r"$\int x\,dx$ \(y\) \[z\] $$w$$",
    "**bold** # head [x](javascript:window.hacked=1) &amp; &lt;",
    "\x1b[31mred\x1b[0m \x07\x00",
    "\u202eright to left\u202c \u2067isolated",
    "a\n\n  b\tc   d",
    "Z\u0300\u0301\u0302" * 50,
    "x" * 5000,
    "مرحبا 123",
]


@pytest.mark.parametrize("text", RAW, ids=lambda text: ascii(text)[:30])
def test_any_text_is_shown_as_it_is_and_nothing_of_it_is_run(show, text):
    page = show(answers=(text, text), mode="pairwise", texts=[{"label": "Input", "text": text}])
    assert page.locator(".alpaca-text").all_text_contents() == [text] * 3
    for body in page.locator(".alpaca-text").all():
        assert body.evaluate(ELEMENTS) == []
        assert body.get_attribute("dir") == "auto"
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("place", ["question", "finished", "problem", "rubric", "levels"])
def test_no_other_sentence_is_interpreted_either(show, place):
    evil = RAW[0]
    changes = {
        "question": {"question": evil},
        "finished": {"finished": evil, "item": None},
        "problem": {},
        "rubric": {"rubric": [{"heading": evil, "text": evil}], "rated": -1},
        "levels": {"levels": [{"label": evil, "detail": evil}] * 5},
    }[place]
    page = show(**changes)
    if place == "problem":
        page.evaluate("problem => answer({ problem })", evil)
    assert page.get_by_text(evil).first.is_visible()
    assert not {"script", "img"} & set(page.locator(".alpaca-rater").evaluate(ELEMENTS))
    assert page.evaluate("window.hacked") is None


def test_an_empty_answer_differs_from_one_that_says_so(show):
    page = show(answers=("", "(empty answer)"), mode="pairwise")
    empty, said = page.locator(".alpaca-answers .alpaca-text").all()
    assert empty.text_content() == said.text_content() == "(empty answer)"
    styles = [
        each.locator("xpath=descendant-or-self::*[last()]").evaluate(
            "node => getComputedStyle(node).fontStyle"
        )
        for each in (empty, said)
    ]
    assert styles == ["italic", "normal"]


def test_an_answer_of_white_space_is_said_to_be_one(show):
    assert (
        "nothing but white space"
        in show(answers=(" \n ",)).locator(".alpaca-answers").text_content()
    )


@pytest.mark.parametrize(("width", "beside"), [(1100, True), (600, False)])
def test_two_answers_stand_side_by_side_where_there_is_room(show, width, beside):
    page = show(answers=("one", "two\n" * 9), mode="pairwise")
    page.set_viewport_size({"width": width, "height": 800})
    left, right = [each.bounding_box() for each in page.locator(".alpaca-answers section").all()]
    assert (right["x"] > left["x"] + left["width"]) == beside
    assert (right["y"] > left["y"]) != beside
    if beside:
        assert left["height"] == right["height"]  # no answer is small beside another


def test_the_guide_is_open_at_first_and_stays_as_it_was_left(show):
    guide = "document.querySelector('details').open"
    page = show(rated=-1)  # with the one skipped: nothing is done
    assert page.evaluate(guide)
    page.keyboard.press("?")
    page.evaluate("screen => answer({ screen, turn: 1 })", screen(item="item2"))
    assert not page.evaluate(guide)
    page.keyboard.press("?")
    page.evaluate("screen => answer({ screen, turn: 2 })", screen(item="item3"))
    assert page.evaluate(guide)
    assert not show(rated=3).evaluate(guide)


PROGRESS = [
    ((12, 1, 60, 14), "13 of 60, 1 skipped, about 14 min left"),
    ((0, 0, 60, None), "0 of 60"),
    ((58, 0, 60, 0), "58 of 60, less than a minute left"),
    ((58, 2, 60, 0), "60 of 60, 2 skipped"),
]


@pytest.mark.parametrize(("numbers", "text"), PROGRESS)
def test_progress_is_a_sentence_and_a_bar(show, numbers, text):
    names = ("rated", "skipped", "of", "minutes_left")
    page = show(progress=dict(zip(names, numbers, strict=True)))
    count = page.locator(".alpaca-count")
    assert count.text_content() == text
    assert count.get_attribute("aria-live") == "polite"
    bar = page.get_by_role("progressbar")
    assert bar.get_attribute("aria-valuenow") == str(numbers[0] + numbers[1])


def test_levels_have_names_for_a_screen_reader(show):
    page = show()
    group = page.get_by_role("toolbar", name="How acceptable is this answer?")
    assert group.get_by_role("button", name="Excellent").count() == 1
    assert group.get_by_role("button").count() == 5
    assert group.locator("[tabindex='0']").count() == 1


def test_a_removed_page_listens_to_nothing(show):
    page = show()
    assert page.evaluate("listeners()") == 3
    page.evaluate("remove()")
    assert page.evaluate("listeners()") == 0
