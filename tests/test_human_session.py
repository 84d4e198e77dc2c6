"""A rater's way through a plan: what is shown, what is next, what a press writes. Synthetic."""

import json

import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError
from alpaca_lab.human import draw, ratings
from alpaca_lab.human.rubric import RUBRICS, SKIPS
from alpaca_lab.human.session import Session
from human_records import borrow, fabricate, planned, secrets_of, text_of

EVERY_CELL = {
    "acceptability": "greedy, base, temperature=0.75, temperature=1, num_beams=2, top_k=4, "
    "reference, other, copy, empty",
    "pairwise": "base, temperature=0.75, temperature=1, num_beams=2, top_k=4",
}


@pytest.fixture
def record(fabricated, tmp_path):
    """Twelve answers that anna and ben both rate."""
    return planned(fabricated, tmp_path / "made-up")


def rows(record, mode="acceptability"):
    return [(row.item, row.action, row.score) for row in ratings.read(record, mode)]


def test_items_come_in_the_plans_order_until_none_is_left(record):
    session = Session(record, "anna")
    seen = []
    for level in (1, 2, 3, 4, 5) * 2 + (1, 2):
        seen.append(session.current)
        session.rate(session.current, level, seconds=3.0)
    assert tuple(seen) == session.plan.order["anna"]
    assert session.current is None
    assert rows(record) == [
        (item, "rated", score)
        for item, score in zip(seen, (0, 1, 2, 3, 4) * 2 + (0, 1), strict=True)
    ]


def test_rating_says_who_when_and_how_long(record):
    Session(record, "ben").rate(Session(record, "ben").current, 4, seconds=2.34)
    [row] = ratings.read(record, "acceptability")
    assert (row.rater, row.seconds, row.reason) == ("ben", 2.3, "")
    assert row.time.endswith("+00:00")


def test_new_session_goes_on_where_the_last_one_stopped(record):
    first = Session(record, "anna")
    order = first.items
    first.rate(order[0], 3)
    first.skip(order[1], SKIPS[0])
    first.rate(order[2], 5)
    first.undo()
    again = Session(record, "anna")
    assert again.current == order[2]
    assert again.screen() == first.screen()
    assert Session(record, "ben").current == Session(record, "ben").items[0]


def test_undo_takes_back_the_last_that_holds_again_and_again(record):
    session = Session(record, "anna")
    a, b, c, *_ = session.items
    session.rate(a, 1)
    session.rate(b, 2)
    session.skip(c, SKIPS[1])
    session.undo()
    assert session.current == c
    session.undo()
    assert session.current == b
    session.rate(b, 5)
    assert session.current == c
    session.undo()
    session.undo()
    assert session.current == a and session.standing == {}
    with pytest.raises(RecordError, match="^nothing to undo$"):
        session.undo()
    assert [action for _, action, _ in rows(record)] == [
        "rated", "rated", "skipped", "undone", "undone", "rated", "undone", "undone"
    ]  # fmt: skip


def test_undo_takes_back_what_was_given_last_not_what_stands_last_in_the_plan(record):
    """A sheet may be filled from its end."""
    session = Session(record, "anna")
    first, *_, last = session.items
    time = "2026-01-02T03:04:05+00:00"
    entry = ratings.Entry(time=time, rater="anna", item=last, action="rated", score=4)
    ratings.append(record, session.plan, [entry])
    session.rate(first, 1)
    session.undo()
    assert set(session.standing) == {last}
    assert session.current == first


def test_undo_never_takes_back_anothers_rating(record):
    Session(record, "ben").rate(Session(record, "ben").current, 3)
    with pytest.raises(RecordError, match="nothing to undo"):
        Session(record, "anna").undo()
    assert len(rows(record)) == 1


def test_last_item_can_be_taken_back_too(record):
    session = Session(record, "anna")
    while session.current:
        session.rate(session.current, 2)
    last = session.items[-1]
    session.undo()
    assert session.screen()["item"] == last and not session.screen()["finished"]


@pytest.mark.parametrize("level", [0, 6, -1, 2.5])
def test_level_that_is_none_is_refused_and_the_item_stays(record, level):
    session = Session(record, "anna")
    item = session.current
    with pytest.raises(RecordError, match="a rating by anna: a score is 0, 1, 2, 3 or 4"):
        session.rate(item, level)
    assert session.current == item and rows(record) == []


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_impossible_time_is_refused(record, seconds):
    session = Session(record, "anna")
    with pytest.raises(RecordError, match="seconds are a number from 0 on"):
        session.rate(session.current, 3, seconds=seconds)
    assert rows(record) == []


def test_skip_needs_a_reason(record):
    session = Session(record, "anna")
    with pytest.raises(RecordError, match="a skipped item needs a reason"):
        session.skip(session.current, "  ")
    session.skip(session.current, SKIPS[3])
    [row] = ratings.read(record, "acceptability")
    assert (row.action, row.score, row.reason) == ("skipped", None, SKIPS[3])


def test_only_the_current_item_can_be_rated(record):
    session = Session(record, "anna")
    first, second, *_ = session.items
    for item in (second, "i0123456789a", None, ""):
        for press in (lambda item=item: session.rate(item, 3), lambda i=item: session.skip(i, "x")):
            with pytest.raises(RecordError, match="this answer is not the one to be rated now"):
                press()
    session.rate(first, 3)
    with pytest.raises(RecordError, match="is not the one to be rated now"):
        session.rate(first, 5)
    assert rows(record) == [(first, "rated", 2)]


def test_nothing_can_be_rated_once_all_is(record):
    session = Session(record, "anna")
    while session.current:
        session.rate(session.current, 2)
    for item in (session.items[0], ""):
        with pytest.raises(RecordError, match="is not the one to be rated now"):
            session.rate(item, 3)
    assert len(rows(record)) == 12


# Two pages of one rater


def test_rating_in_another_page_is_seen_and_nothing_is_doubled(record):
    one, other = Session(record, "anna"), Session(record, "anna")
    first, second, third, *_ = one.items
    one.rate(first, 1)
    with pytest.raises(RecordError, match="is not the one to be rated now; the page is up to date"):
        other.rate(first, 5)
    assert other.current == second  # what the page shows now
    other.rate(second, 2)
    with pytest.raises(RecordError, match="is not the one to be rated now"):
        one.skip(second, SKIPS[0])
    assert one.current == third
    assert rows(record) == [(first, "rated", 0), (second, "rated", 1)]


def test_undo_in_another_page_takes_back_the_last_of_both(record):
    one, other = Session(record, "anna"), Session(record, "anna")
    first, second, *_ = one.items
    one.rate(first, 1)
    other.undo()
    assert other.current == first
    with pytest.raises(RecordError, match="nothing to undo"):
        one.undo()
    one.rate(first, 4)
    assert rows(record) == [(first, "rated", 0), (first, "undone", None), (first, "rated", 3)]


def test_log_damaged_meanwhile_is_told_and_not_added_to(record):
    session = Session(record, "anna")
    session.rate(session.current, 1)
    file = ratings.path(record, "acceptability")
    file.write_text(file.read_text().replace(",rated,0,", ",rated,7,"))
    before = file.read_bytes()
    with pytest.raises(RecordError, match=r"ratings.csv:2: a score is 0, 1, 2, 3 or 4, not .7."):
        session.rate(session.current, 3)
    with pytest.raises(RecordError, match=r"ratings.csv:2"):
        Session(record, "anna")
    assert file.read_bytes() == before


def test_plan_that_grew_meanwhile_costs_no_rating(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "grows")
    asked = {"settings": "reference", "raters": "anna"}
    draw.write(record, questions=3, **asked)
    session = Session(record, "anna")
    session.rate(session.current, 3)
    draw.write(record, questions=6, **asked)
    session.rate(session.current, 4)
    assert [score for _, _, score in rows(record)] == [2, 3]
    again = Session(record, "anna").screen()["progress"]
    assert (again["rated"], again["of"]) == (2, 6)


@pytest.mark.parametrize(
    ("rater", "mode", "error", "message"),
    [
        ("cleo", "acceptability", SettingError, 'the plan asks anna, ben, not "cleo"'),
        ("", "acceptability", SettingError, "the plan asks anna, ben"),
        ("anna", "pairwise", RecordError, "no plan in"),
        ("anna", "pairs", SettingError, "mode: choose acceptability or pairwise"),
    ],
)
def test_session_of_nobody_or_nothing_is_refused(record, rater, mode, error, message):
    with pytest.raises(error, match=message):
        Session(record, rater, mode=mode)


# The screen


def test_screen_before_anything_is_rated(record):
    screen = Session(record, "anna").screen()
    assert set(screen) == {
        "mode", "question", "rubric", "levels", "reasons", "progress", "can_undo", "item", "texts",
        "answers", "finished",
    }  # fmt: skip
    rubric = RUBRICS["acceptability"]
    assert screen["question"] == "How acceptable is this answer?"
    assert [level["label"] for level in screen["levels"]] == [one.label for one in rubric.levels]
    assert screen["reasons"] == list(SKIPS)
    assert screen["progress"] == {"rated": 0, "skipped": 0, "of": 12, "minutes_left": None}
    assert screen["can_undo"] is False and screen["finished"] == ""
    [instruction, *_] = screen["texts"]
    number = int(instruction["text"].split()[1])
    assert instruction == {"label": "Instruction", "text": f"Say {number} <b>twice</b> & $stop$"}
    said = text_of("control", "reference", number, 0)
    text = said.replace("\x1b", "␛").replace("\u202e", "<U+202E>")
    assert screen["answers"] == [{"label": "Answer", "text": text}]


def test_input_is_shown_where_there_is_one(record):
    """Every third question has one."""
    session = Session(record, "anna")
    shown = []
    while session.current:
        shown.append([text["label"] for text in session.screen()["texts"]])
        session.rate(session.current, 3)
    assert sorted(map(len, shown)) == [1] * 8 + [2] * 4
    assert {tuple(labels) for labels in shown} == {("Instruction",), ("Instruction", "Input")}


def test_screen_counts_and_ends_with_thanks(record):
    session = Session(record, "anna")
    session.skip(session.current, SKIPS[0])
    assert session.screen()["can_undo"] is True
    while session.current:
        session.rate(session.current, 3)
    screen = session.screen()
    assert screen["progress"] == {"rated": 11, "skipped": 1, "of": 12, "minutes_left": None}
    assert (screen["item"], screen["texts"], screen["answers"]) == (None, [], [])
    assert screen["finished"] == (
        "That was the last one: 11 rated, 1 skipped. Thank you; you may close this page."
    )


def test_end_without_skips_does_not_mention_them(record):
    session = Session(record, "ben")
    while session.current:
        session.rate(session.current, 3)
    assert session.screen()["finished"].startswith("That was the last one: 12 rated. Thank you")


def test_minutes_left_come_from_the_median_of_three_timed_ratings_or_more(record):
    """12 items. After 10, 20 and 4000 s: 9 left at 20 s are 3 minutes; a lunch does not count.
    Then 40 s: the median of 10, 20, 40, 4000 is 30, and 8 left at 30 s are 4 minutes."""
    session = Session(record, "anna")

    def rate(seconds):
        session.rate(session.current, 3, seconds=seconds)
        return session.screen()["progress"]["minutes_left"]

    assert rate(10.0) is None
    assert rate(20.0) is None
    assert rate(4000.0) == 3
    assert rate(40.0) == 4


def test_untimed_ratings_tell_nothing_of_the_time_left(record):
    session = Session(record, "anna")
    for _ in range(5):
        session.rate(session.current, 3)
    assert session.screen()["progress"]["minutes_left"] is None


def test_time_left_is_never_below_a_minute_and_none_at_the_end(record):
    session = Session(record, "anna")
    for _ in range(11):
        session.rate(session.current, 3, seconds=1.0)
    assert session.screen()["progress"]["minutes_left"] == 1
    session.rate(session.current, 3, seconds=1.0)
    assert session.screen()["progress"]["minutes_left"] is None


@pytest.mark.parametrize("mode", RUBRICS)
def test_no_screen_of_a_whole_plan_gives_anything_away(fabricated, tmp_path, mode, monkeypatch):
    record = borrow(fabricated, tmp_path / "blind")
    draw.write(record, mode=mode, settings=EVERY_CELL[mode], raters="anna")
    session = Session(record, "anna", mode=mode)
    # In memory: a rating on the disk for each of the 160 would show nothing more.
    done = {}
    monkeypatch.setattr(Session, "standing", property(lambda self: done))
    secrets = secrets_of(record)
    assert len(secrets) > 20
    # Hashes of answers and clusters say which screens belong together.
    secrets |= {item.text_sha256 for item in session.plan.items.values()}
    secrets |= {f'"{item.cluster}"' for item in session.plan.items.values()}
    secrets |= {f'"{item.question}"' for item in session.plan.items.values()}
    entry = ratings.Entry(time="2026-01-02T03:04:05", rater="anna", item="", action="rated")
    seen = 0
    while session.current:
        screen = session.screen()
        said = json.dumps(screen, ensure_ascii=False, allow_nan=False)
        assert json.loads(said) == screen
        assert not [word for word in secrets if word in said]
        assert len(screen["answers"]) == (2 if mode == "pairwise" else 1)
        done[session.current] = entry
        seen += 1
    assert seen == len(session.plan.items) > 100
    assert not [word for word in secrets if word in json.dumps(session.screen())]


HOSTILE = {
    0: ("<script>window.hacked=1</script>", "<script>window.hacked=1</script>"),
    1: ('"><img src=x onerror="alert(1)">', '"><img src=x onerror="alert(1)">'),
    2: (r"$\int x$ \(y\) \[z\]", r"$\int x$ \(y\) \[z\]"),
    3: ("**b** [x](javascript:1) `c`", "**b** [x](javascript:1) `c`"),
    4: ("\x1b[31mred\x07\x00", "␛[31mred␇␀"),
    5: ("left \u202eright\u2066", "left <U+202E>right<U+2066>"),
    6: ("one\ntwo\tthree\r\nfour", "one\ntwo\tthree␍\nfour"),
    7: ("a\u2028b\u2029c\x85d", "a<U+2028>b<U+2029>c<U+0085>d"),
    8: ("é日本🦙 e\u0301", "é日本🦙 e\u0301"),
    9: ("  spaces  kept  ", "  spaces  kept  "),
    10: (" \n\t ", ""),
    11: ("&lt;b&gt; &amp;", "&lt;b&gt; &amp;"),
}
"""By question: what a model says, and what a rater sees of it."""


def test_hostile_texts_are_shown_as_they_are_but_for_control_and_direction(tmp_path):
    def texts(model, cell, question, repeat):
        return HOSTILE[question][0] if cell == "base" else text_of(model, cell, question, repeat)

    record = fabricate(tmp_path, text_of=texts)
    draw.write(record, settings="base", raters="anna")
    session = Session(record, "anna")
    seen = set()
    for item in session.items[:]:
        screen = session.screen()
        number = int(session.plan.items[item].question[1:])
        [answer] = screen["answers"]
        assert answer["text"] == HOSTILE[number][1]
        assert json.loads(json.dumps(screen)) == screen
        session.rate(item, 3)
        seen.add(number)
    assert seen == set(HOSTILE)


@pytest.mark.parametrize("mode", RUBRICS)
def test_damaged_run_is_told_without_naming_it(tmp_path, mode):
    """The page shows the sentence, and the run's name would say whose answer it was."""
    record = fabricate(tmp_path)
    plan = draw.write(record, mode=mode, settings="base", raters="anna")
    item = plan.items[plan.order["anna"][0]]
    (record.run(item.opponent or item.run).folder / "answers.jsonl").unlink()
    with pytest.raises(RecordError, match="is gone, or was changed since it was scored") as caught:
        Session(record, "anna", mode=mode).screen()
    assert not [word for word in secrets_of(record) if word in str(caught.value)]


def test_study_that_asks_other_questions_says_so(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "others")
    draw.write(record, settings="reference", raters="anna")
    record.write_questions([])
    with pytest.raises(RecordError, match="no longer asks a question that the plan is about; move"):
        Session(record, "anna").screen()
