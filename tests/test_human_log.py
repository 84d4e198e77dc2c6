"""The log of ratings and a rater's way through it: nothing is lost, doubled or taken on trust.

All ratings here are synthetic: no person gave them.
"""

import json
import multiprocessing
import shutil
from dataclasses import replace

import pytest

from alpaca_lab.human import draw, plan, ratings
from alpaca_lab.human.ratings import COLUMNS, Entry
from alpaca_lab.human.session import Session
from alpaca_lab.pages.page import visible
from alpaca_lab.store import Record, RecordError
from human_records import fabricate, secrets_of, text_of

MODE = "acceptability"
TIME = "2026-01-02T03:04:05+00:00"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    record = fabricate(tmp_path_factory.mktemp("made-up") / "results")
    draw.write(record, questions=3, settings="greedy, base", raters="anna, ben", overlap=0.5)
    return record


@pytest.fixture
def record(made_up, tmp_path):
    return Record(shutil.copytree(made_up.folder, tmp_path / "results"))


@pytest.fixture
def file(record):
    return ratings.path(record, MODE)


def order(record, rater="anna"):
    return plan.read(record, MODE).order[rater]


def lines(file):
    return file.read_text().splitlines()


# The log


def test_a_rating_is_one_row_with_who_what_how_much_how_long_and_when(record, file):
    Session(record, "anna").rate(order(record)[0], 4, seconds=3.14)
    header, row = lines(file)
    assert header == "time,rater,item,action,score,seconds,reason"
    time, rest = row.split(",", 1)
    assert rest == f"anna,{order(record)[0]},rated,3,3.1,"
    assert time.endswith("+00:00") and time > "2026"


def test_rows_are_appended_and_never_changed(record, file):
    session = Session(record, "anna")
    session.rate(order(record)[0], 4)
    first = file.read_bytes()
    session.undo()
    session.skip(order(record)[0], "Another reason")
    assert file.read_bytes().startswith(first)
    assert [row.action for row in ratings.read(record, MODE)] == ["rated", "undone", "skipped"]


def test_log_cut_at_any_byte_of_its_last_row_keeps_the_others_and_goes_on(record, file):
    session = Session(record, "anna")
    first, second, third, *_ = order(record)
    session.rate(first, 2, seconds=1)
    whole = file.read_bytes()
    session.skip(second, 'I do not, "really", know', seconds=12.5)
    full = file.read_bytes()
    for end in range(len(whole), len(full)):
        file.write_bytes(full[:end])
        found = ratings.read(record, MODE)
        assert [row.item for row in found] in ([first], [first, second])
        if len(found) == 2:  # the row is there but for its end, so its reason may be cut
            assert 'I do not, "really", know'.startswith(found[1].reason.rstrip('"'))
        resumed = Session(record, "anna")
        resumed.rate(resumed.current, 5)
        after = ratings.read(record, MODE)
        assert after[: len(found)] == found and len(after) == len(found) + 1
        assert file.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{TIME},anna,ITEM,rated,5,1.0,", 'a score is 0, 1, 2, 3 or 4, not "5"'),
        (f"{TIME},anna,ITEM,rated,-1,1.0,", 'not "-1"'),
        (f"{TIME},anna,ITEM,rated,2.5,1.0,", 'not "2.5"'),
        (f"{TIME},anna,ITEM,rated,,1.0,", 'not ""'),
        (f"{TIME},anna,ITEM,rated,nan,1.0,", 'not "nan"'),
        (f"{TIME},anna,ITEM,skipped,3,1.0,why", 'a row "skipped" has no score'),
        (f"{TIME},anna,ITEM,skipped,,1.0, ", "a skipped item needs a reason"),
        (f"{TIME},anna,ITEM,liked,3,1.0,", '"liked" is not rated, skipped or undone'),
        (f"{TIME},anna,ITEM,rated,3,-1,", 'seconds are a number from 0 on, or blank; not "-1"'),
        (f"{TIME},anna,ITEM,rated,3,inf,", 'not "inf"'),
        (f"{TIME},anna,ITEM,rated,3,nan,", 'not "nan"'),
        ("yesterday,anna,ITEM,rated,3,1.0,", '"yesterday" is not a time in ISO 8601'),
        (f"{TIME},anna,ITEM,rated,3,1.0", "has 6 values instead of 7"),
        (f"{TIME},anna,ITEM,rated,3,1.0,,", "has 8 values instead of 7"),
        (f"{TIME},,ITEM,rated,3,1.0,", "names no rater or no item"),
        (f"{TIME},carl,ITEM,rated,3,1.0,", 'the plan has no rater "carl"; it asks anna, ben'),
        (f"{TIME},anna,i00000000000,rated,3,1.0,", "anna was not asked about item i00000000000"),
        (f"{TIME},anna,FIRST,rated,3,1.0,", "anna has rated item FIRST already"),
        (f"{TIME},anna,ITEM,undone,,,", "anna has no rating of item ITEM to undo"),
        ("", "has 0 values instead of 7"),
    ],
)
def test_a_row_that_is_no_rating_is_refused_with_its_line(record, file, row, message):
    first, second, *_ = order(record)
    Session(record, "anna").rate(first, 4)
    row, message = (text.replace("ITEM", second).replace("FIRST", first) for text in (row, message))
    file.write_text(f"{file.read_text()}{row}\n")
    with pytest.raises(RecordError) as refused:
        ratings.read(record, MODE)
    assert message in str(refused.value)
    assert f"{file}:3" in str(refused.value)


def test_an_impossible_rating_is_refused_before_it_is_written(record, file):
    first = order(record)[0]
    with pytest.raises(RecordError, match="a score is 0, 1, 2, 3 or 4"):
        Session(record, "anna").rate(first, 6)
    assert not file.exists()
    Session(record, "anna").rate(first, 5)
    before = file.read_bytes()
    again = Entry(time=TIME, rater="anna", item=first, action="rated", score=1)
    with pytest.raises(RecordError, match="already"):
        ratings.append(record, plan.read(record, MODE), [again])
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "reason",
    [
        'commas, "quotes"',
        "a\nb\r\nc",
        "null\x00byte",
        "line\u2028end",
        "x" * 10_000,
        "=cmd()",
        "é漢",
    ],
)
def test_any_reason_is_one_row(record, file, reason):
    session = Session(record, "anna")
    session.skip(order(record)[0], reason)
    session.rate(order(record)[1], 1)
    assert len(file.read_bytes().split(b"\n")) == 4  # header, two rows, and nothing after
    [skip, _] = ratings.read(record, MODE)
    assert skip.reason == " ".join(reason.split())[: ratings.LONGEST_REASON]


def test_a_log_saved_by_a_spreadsheet_is_still_one(record, file):
    session = Session(record, "anna")
    session.rate(order(record)[0], 1, seconds=2)
    before = ratings.read(record, MODE)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert ratings.read(record, MODE) == before
    Session(record, "anna").rate(order(record)[1], 2)
    assert len(ratings.read(record, MODE)) == 2


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"rater,item\n", b"\xff\xfe\x00", b"PK\x03\x04", b'"', b"\x00" * 50]
)
def test_a_file_that_is_no_log_is_one_sentence(record, file, content):
    file.write_bytes(content)
    with pytest.raises(RecordError) as refused:
        ratings.read(record, MODE)
    assert str(file) in str(refused.value)


def rate_all(folder, rater):
    session = Session(Record(folder), rater)
    while session.current:
        session.rate(session.current, 3)


def test_raters_who_write_at_the_same_time_lose_and_double_nothing(made_up, tmp_path):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    draw.write(record, questions=12, settings="greedy, base", raters="anna, ben, carl", overlap=1.0)
    context = multiprocessing.get_context("spawn")
    work = [
        context.Process(target=rate_all, args=(record.folder, rater))
        for rater in ("anna", "ben", "carl")
    ]
    for process in work:
        process.start()
    for process in work:
        process.join()
    assert [process.exitcode for process in work] == [0, 0, 0]
    found = ratings.read(record, MODE)
    assert len(found) == len({(row.rater, row.item) for row in found}) == 3 * 48


# Several files


@pytest.fixture
def elsewhere(made_up, tmp_path):
    """Another copy of the study, where somebody else rates."""
    return Record(shutil.copytree(made_up.folder, tmp_path / "elsewhere"))


def test_ratings_of_another_copy_are_added_once(record, elsewhere, file):
    Session(record, "anna").rate(order(record)[0], 5)
    theirs = Session(elsewhere, "ben")
    theirs.rate(theirs.current, 2)
    theirs.skip(theirs.current, "Another reason")
    other = ratings.path(elsewhere, MODE)
    assert ratings.merge(record, MODE, other) == 2
    assert ratings.merge(record, MODE, other) == 0
    assert [row.rater for row in ratings.read(record, MODE)] == ["anna", "ben", "ben"]
    assert ratings.merge(elsewhere, MODE, file) == 1


def test_a_longer_copy_of_a_log_adds_what_is_new_and_an_older_one_nothing(record, elsewhere, file):
    session = Session(record, "anna")
    session.rate(session.current, 5)
    other = ratings.path(elsewhere, MODE)
    shutil.copy(file, other)
    session.rate(session.current, 1)
    session.undo()
    assert ratings.merge(record, MODE, other) == 0
    assert ratings.merge(elsewhere, MODE, file) == 2
    assert ratings.read(elsewhere, MODE) == ratings.read(record, MODE)


def test_two_people_under_one_name_are_found_out(record, elsewhere):
    Session(record, "anna").rate(order(record)[0], 5)
    theirs = Session(elsewhere, "anna")
    theirs.rate(theirs.current, 1)
    before = ratings.read(record, MODE)
    with pytest.raises(RecordError, match="the ratings of anna part from those in .* row 1"):
        ratings.merge(record, MODE, ratings.path(elsewhere, MODE))
    assert ratings.read(record, MODE) == before


def test_ratings_of_another_plan_are_refused_with_their_line(record, elsewhere):
    draw.write(elsewhere, questions=9, settings="greedy, base", raters="anna, ben", overlap=0.5)
    rate_all(elsewhere.folder, "anna")
    with pytest.raises(RecordError, match=r"ratings.csv:\d+: anna was not asked about item"):
        ratings.merge(record, MODE, ratings.path(elsewhere, MODE))


# A rater


def test_a_new_session_goes_on_where_the_last_one_stopped(record):
    first, second, third, *_ = order(record)
    session = Session(record, "anna")
    session.rate(first, 5)
    session.skip(second, "Another reason")
    assert Session(record, "anna").current == third == session.current
    assert Session(record, "ben").screen()["progress"]["rated"] == 0


def test_undo_takes_back_the_last_one_first_and_each_only_once(record):
    first, second, third, *_ = order(record)
    session = Session(record, "anna")
    session.rate(first, 5)
    session.rate(second, 1)
    session.undo()
    assert session.current == second
    session.skip(second, "Another reason")
    session.undo()
    session.undo()
    assert session.current == first and not session.screen()["can_undo"]
    with pytest.raises(RecordError, match="nothing to undo"):
        session.undo()
    session.rate(first, 2)
    assert session.standing[first].score == 1


def test_a_second_page_of_a_rater_sees_the_first_and_doubles_nothing(record):
    first, second, *_ = order(record)
    one, other = Session(record, "anna"), Session(record, "anna")
    one.rate(first, 5)
    with pytest.raises(RecordError, match="not the one to be rated now"):
        other.rate(first, 1)
    assert other.current == second
    assert [row.score for row in ratings.read(record, MODE)] == [4]


def test_only_the_current_item_is_rated(record):
    with pytest.raises(RecordError, match="not the one to be rated now"):
        Session(record, "anna").rate(order(record)[1], 5)


def test_time_left_is_told_from_three_timed_ratings_by_their_median(record):
    """Of anna's items three are timed: 10, 20 and 3,600 seconds; the median is 20."""
    session = Session(record, "anna")
    for seconds, told in ((10, None), (3600, None), (20, True)):
        session.rate(session.current, 3, seconds=seconds)
        assert (session.screen()["progress"]["minutes_left"] is None) == (told is None)
    left = len(session.items) - 3
    assert session.screen()["progress"]["minutes_left"] == -(-20 * left // 60)


def test_the_last_screen_thanks_and_counts(record):
    session = Session(record, "anna")
    session.skip(session.current, "Another reason")
    rate_all(record.folder, "anna")
    screen = Session(record, "anna").screen()
    rated = len(session.items) - 1
    assert screen["item"] is None and screen["texts"] == screen["answers"] == []
    assert screen["finished"].startswith(f"That was the last one: {rated} rated, 1 skipped.")


@pytest.mark.parametrize(
    ("mode", "settings"),
    [(MODE, "greedy, base, temperature=1, reference"), ("pairwise", "base, num_beams=2")],
)
def test_no_screen_says_whose_answer_it_shows(made_up, tmp_path, mode, settings):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    shutil.rmtree(record.folder / "human")
    draw.write(record, mode=mode, questions=12, settings=settings, raters="anna")
    session = Session(record, "anna", mode=mode)
    shown = 0
    while session.current:
        screen = json.dumps(session.screen())
        assert not [word for word in secrets_of(record) if word in screen]
        session.rate(session.current, 3)
        shown += 1
    assert shown == len(session.items) > 40


def test_texts_are_shown_as_they_are_but_for_characters_that_would_act(made_up, tmp_path):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    shutil.rmtree(record.folder / "human")
    drawn = draw.write(record, questions=12, settings="greedy", raters="anna")
    session = Session(record, "anna")
    while session.current:
        item = drawn.items[session.current]
        number = int(item.question[1:])
        [answer] = session.screen()["answers"]
        assert answer["text"] == visible(text_of(item.model, item.cell, number, 0))
        assert not set(answer["text"]) & set("\x1b\u202e")
        session.rate(session.current, 3)


def test_empty_answer_is_an_empty_text(made_up, tmp_path):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    shutil.rmtree(record.folder / "human")
    draw.write(record, questions=2, settings="empty", raters="anna")
    assert Session(record, "anna").screen()["answers"] == [{"label": "Answer", "text": ""}]


def test_pair_shows_the_two_answers_on_the_sides_that_the_key_says(made_up, tmp_path):
    record = Record(shutil.copytree(made_up.folder, tmp_path / "results"))
    drawn = draw.write(record, mode="pairwise", questions=12, settings="base", raters="anna")
    session = Session(record, "anna", mode="pairwise")
    while session.current:
        item = drawn.items[session.current]
        number = int(item.question[1:])
        texts = [visible(text_of(item.model, cell, number, 0)) for cell in ("base", "greedy")]
        first, second = session.screen()["answers"]
        assert [first["label"], second["label"]] == ["Answer A", "Answer B"]
        assert [first["text"], second["text"]] == texts[:: -1 if item.opponent_left else 1]
        session.rate(session.current, 3)


def test_answer_that_the_study_lost_is_one_sentence(record):
    session = Session(record, "anna")
    item = session.plan.items[session.current]
    shutil.rmtree(record.run(item.run).folder)
    with pytest.raises(RecordError, match="run the study again") as refused:
        session.screen()
    assert item.run not in str(refused.value)


def test_columns_are_those_of_an_entry():
    assert set(COLUMNS) == set(Entry.__dataclass_fields__)
    entry = Entry(time=TIME, rater="anna", item="i1", action="rated", score=2, seconds=1.25)
    assert replace(entry, score=0).as_line() == f"{TIME},anna,i1,rated,0,1.2,\n"
