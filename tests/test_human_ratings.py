"""The log of ratings: nothing is lost, nothing doubled, nothing let through. All are synthetic."""

import csv
import multiprocessing
from dataclasses import replace

import pytest

from alpaca_lab.files import RecordError
from alpaca_lab.human import draw, progress, ratings
from alpaca_lab.human import plan as plans
from alpaca_lab.human.ratings import RATED, SKIPPED, UNDONE, Entry
from human_records import borrow, planned

MODE = "acceptability"
HEADER = "time,rater,item,action,score,seconds,reason\n"
TIME = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def record(fabricated, tmp_path):
    """A plan in which anna and ben rate the same twelve answers."""
    return planned(fabricated, tmp_path / "made-up")


@pytest.fixture
def plan(record):
    return plans.read(record, MODE)


@pytest.fixture
def items(plan):
    """The names of anna's items; ben's are the same ones."""
    return plan.order["anna"]


def rated(item, score=3, *, rater="anna", seconds=4.0, time=TIME):
    return Entry(time=time, rater=rater, item=item, action=RATED, score=score, seconds=seconds)


def skipped(item, reason="I do not know the subject", *, rater="anna"):
    return Entry(time=TIME, rater=rater, item=item, action=SKIPPED, reason=reason, seconds=2.0)


def undone(item, *, rater="anna"):
    return Entry(time=TIME, rater=rater, item=item, action=UNDONE)


def log(record):
    return ratings.path(record, MODE)


def put(record, *lines, header=HEADER):
    """Write a log by hand."""
    log(record).write_text(header + "".join(f"{line}\n" for line in lines))


def line(item, /, **changes):
    """A row of the log as text, some of its values changed."""
    names = HEADER.strip().split(",")
    values = dict(zip(names, (TIME, "anna", item, "rated", "3", "4.0", ""), strict=True))
    return ",".join((values | changes).values())


def test_nobody_has_rated_where_there_is_no_log(record):
    assert ratings.read(record, MODE) == ()


def test_each_rating_is_one_row_after_the_others(record, plan, items):
    for number, entry in enumerate(
        (rated(items[0], 0), skipped(items[1], "Why, this?"), undone(items[1]), rated(items[1], 4))
    ):
        before = log(record).read_text() if number else HEADER
        ratings.append(record, plan, [entry])
        after = log(record).read_text()
        assert after.startswith(before) and after.count("\n") == before.count("\n") + 1
    assert after == (
        f"{HEADER}"
        f"{TIME},anna,{items[0]},rated,0,4.0,\n"
        f'{TIME},anna,{items[1]},skipped,,2.0,"Why, this?"\n'
        f"{TIME},anna,{items[1]},undone,,,\n"
        f"{TIME},anna,{items[1]},rated,4,4.0,\n"
    )
    holds = ratings.standing(ratings.read(record, MODE))
    assert {item: entry.score for (_, item), entry in holds.items()} == {items[0]: 0, items[1]: 4}


def test_append_tells_what_holds(record, plan, items):
    ratings.append(record, plan, [rated(items[0], 1)])
    holds = ratings.append(record, plan, [skipped(items[1]), undone(items[0])])
    assert list(holds) == [("anna", items[1])]


def test_time_is_kept_to_the_tenth_and_may_be_unknown(record, plan, items):
    ratings.append(record, plan, [rated(items[0], seconds=3.14159), rated(items[1], seconds=None)])
    assert [entry.seconds for entry in ratings.read(record, MODE)] == [3.1, None]


# A kill

LAST = {
    "rated": lambda item: rated(item, 2, seconds=12.3),
    "skipped": lambda item: skipped(item, 'Né "vrai" ni faux, 日本'),
    "undone": lambda item: undone(item),
}


@pytest.mark.parametrize("last", LAST)
def test_kill_at_any_byte_of_the_last_row_loses_at_most_that_row(record, plan, items, last):
    first = [rated(items[0], 4), rated(items[1], 0)]
    ratings.append(record, plan, first)
    whole_rows = log(record).read_bytes()
    entry = LAST[last](items[1] if last == "undone" else items[2])
    ratings.append(record, plan, [entry])
    row = log(record).read_bytes().removeprefix(whole_rows)
    kept = 0
    for length in range(len(row)):
        log(record).write_bytes(whole_rows + row[:length])
        forget_newest(record, 3)
        read = ratings.read(record, MODE)
        assert list(read[:2]) == first
        for cut in read[2:]:  # it is there but for its end of line, or but for the end of a reason
            kept += 1
            assert replace(cut, reason="") == replace(entry, reason="")
            assert entry.reason.startswith(cut.reason)
        ratings.append(record, plan, [rated(items[3], 1)])
        text = log(record).read_bytes()
        assert text.startswith(whole_rows) and text.endswith(b"\n")
        assert ratings.read(record, MODE) == (*read, rated(items[3], 1))
    assert kept >= 1  # all but the end of line
    assert (last != "rated") or kept == 1


def test_cut_row_can_be_rated_again(record, plan, items):
    ratings.append(record, plan, [rated(items[0]), rated(items[1])])
    log(record).write_bytes(log(record).read_bytes()[:-5])
    forget_newest(record, 2)
    assert [entry.item for entry in ratings.read(record, MODE)] == [items[0]]
    ratings.append(record, plan, [rated(items[1], 1)])
    assert [entry.score for entry in ratings.read(record, MODE)] == [3, 1]


def forget_newest(record, rows):
    """Leave checksums of fewer rows, as a kill does within or right after the last row."""
    place = log(record).with_name("ratings.csv.crc32")
    place.write_text("".join(place.read_text().splitlines(keepends=True)[: rows - 1]))


def test_rating_changed_or_lost_after_it_was_given_is_refused(record, plan, items):
    ratings.append(record, plan, [rated(items[0], 4), rated(items[1], 0)])
    whole = log(record).read_bytes()
    log(record).write_bytes(whole.replace(b",rated,0,", b",rated,1,"))
    with pytest.raises(RecordError, match=r"ratings\.csv:3 is damaged.* from a copy"):
        ratings.read(record, MODE)
    with pytest.raises(RecordError, match=r"ratings\.csv:3 is damaged"):
        ratings.append(record, plan, [rated(items[2])])
    log(record).write_bytes(whole[: whole[:-1].rindex(b"\n") + 1])
    with pytest.raises(RecordError, match="has 1 of 2 rows"):
        ratings.read(record, MODE)
    log(record).write_bytes(whole)
    assert len(ratings.read(record, MODE)) == 2


@pytest.mark.parametrize("content", [HEADER, HEADER.strip()])
def test_log_with_nothing_but_its_header_is_empty_and_can_be_added_to(record, plan, items, content):
    log(record).write_text(content)
    assert ratings.read(record, MODE) == ()
    ratings.append(record, plan, [rated(items[0])])
    assert log(record).read_text() == f"{HEADER}{line(items[0])}\n"


def test_write_that_fails_halfway_loses_nothing_before_it(record, plan, items, monkeypatch):
    ratings.append(record, plan, [rated(items[0])])

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ratings.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        ratings.append(record, plan, [rated(items[1])])
    monkeypatch.undo()
    assert rated(items[0]) in ratings.read(record, MODE)


# What is no rating

BAD = {
    "score 5": ({"score": "5"}, 'a score is 0, 1, 2, 3 or 4, not "5"'),
    "score -1": ({"score": "-1"}, 'a score is 0, 1, 2, 3 or 4, not "-1"'),
    "score 2.5": ({"score": "2.5"}, 'a score is 0, 1, 2, 3 or 4, not "2.5"'),
    "score 2.0": ({"score": "2.0"}, 'a score is 0, 1, 2, 3 or 4, not "2.0"'),
    "no score": ({"score": ""}, 'a score is 0, 1, 2, 3 or 4, not ""'),
    "score nan": ({"score": "nan"}, 'a score is 0, 1, 2, 3 or 4, not "nan"'),
    "score in another script": ({"score": "٣"}, "a score is 0, 1, 2, 3 or 4, not"),
    "unknown action": ({"action": "liked"}, '"liked" is not rated, skipped or undone'),
    "no action": ({"action": ""}, '"" is not rated, skipped or undone'),
    "bad time": ({"time": "yesterday"}, '"yesterday" is not a time in ISO 8601'),
    "no time": ({"time": ""}, '"" is not a time in ISO 8601'),
    "no such day": ({"time": "2026-02-30T00:00:00"}, "is not a time in ISO 8601"),
    "negative seconds": ({"seconds": "-0.1"}, "seconds are a number from 0 on, or blank; not"),
    "infinite seconds": ({"seconds": "inf"}, "seconds are a number from 0 on, or blank"),
    "nan seconds": ({"seconds": "nan"}, "seconds are a number from 0 on, or blank"),
    "seconds in words": ({"seconds": "long"}, "seconds are a number from 0 on, or blank"),
    "skip without reason": ({"action": "skipped", "score": ""}, "a skipped item needs a reason"),
    "skip for a blank": (
        {"action": "skipped", "score": "", "reason": "  "}, "a skipped item needs a reason",
    ),
    "skip with a score": ({"action": "skipped", "reason": "x"}, 'a row "skipped" has no score'),
    "undo with a score": ({"action": "undone"}, 'a row "undone" has no score, got 3'),
    "undo of nothing": ({"action": "undone", "score": ""}, "anna has no rating of item"),
    "unknown rater": ({"rater": "cleo"}, 'the plan has no rater "cleo"; it asks anna, ben'),
    "no rater": ({"rater": ""}, "names no rater or no item"),
    "no item": ({"item": ""}, "names no rater or no item"),
    "unknown item": ({"item": "i0123456789a"}, "anna was not asked about item i0123456789a"),
    "more values": ({"reason": "a,b"}, "has 8 values instead of 7"),
    "an open quote": ({"reason": '"a'}, "is not a row of CSV"),
    "more after a quote": ({"reason": '"a"b'}, "is not a row of CSV"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_row_that_is_no_rating_is_refused_by_its_line(record, plan, items, bad):
    changes, message = BAD[bad]
    put(record, line(items[0]), line(items[1], **changes), line(items[2]))
    before = log(record).read_bytes()
    for use in (
        lambda: ratings.read(record, MODE),
        lambda: ratings.append(record, plan, [rated(items[5])]),
        lambda: progress.table(record, MODE),
        lambda: draw.write(record, settings="reference", raters="anna, ben", overlap=1.0),
    ):
        with pytest.raises(RecordError) as caught:
            use()
        assert f"{log(record)}:3" in str(caught.value) and message in str(caught.value)
    assert log(record).read_bytes() == before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{}"], ":2 has 1 values instead of 7"),
        (["", "{}"], ":2 has 0 values instead of 7"),
        ([f"{TIME},anna,{{}},rated,3,4.0"], ":2 has 6 values instead of 7"),
    ],
)
def test_line_with_too_few_values_is_refused(record, items, rows, message):
    put(record, *(row.format(items[0]) for row in rows))
    with pytest.raises(RecordError) as caught:
        ratings.read(record, MODE)
    assert message in str(caught.value)


def test_item_rated_twice_is_refused_by_its_line(record, items):
    put(record, line(items[0]), line(items[0], rater="ben"), line(items[1]), line(items[0]))
    with pytest.raises(RecordError) as caught:
        ratings.read(record, MODE)
    assert f"ratings.csv:5: anna has rated item {items[0]} already; delete this row" in str(
        caught.value
    )


def test_item_rated_and_then_skipped_is_refused(record, plan, items):
    ratings.append(record, plan, [rated(items[0])])
    with pytest.raises(RecordError, match="anna has rated item .* already"):
        ratings.append(record, plan, [skipped(items[0])])


def test_undone_rating_can_be_given_again_but_not_undone_twice(record, plan, items):
    ratings.append(record, plan, [rated(items[0], 0), undone(items[0]), rated(items[0], 4)])
    assert ratings.append(record, plan, [undone(items[0])]) == {}
    with pytest.raises(RecordError, match=r"ratings.csv:6: anna has no rating of item .* to undo"):
        ratings.append(record, plan, [undone(items[0])])


def test_nobody_can_undo_anothers_rating(record, plan, items):
    ratings.append(record, plan, [rated(items[0])])
    with pytest.raises(RecordError, match="ben has no rating of item"):
        ratings.append(record, plan, [undone(items[0], rater="ben")])


def test_item_of_another_rater_is_refused(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "apart")
    plan = draw.write(record, settings="reference", raters="anna, ben", overlap=0.0)
    with pytest.raises(RecordError, match="ben was not asked about item"):
        ratings.append(record, plan, [rated(plan.order["anna"][0], rater="ben")])
    assert not log(record).exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"score": 5}, {"score": -1}, {"score": 2.5}, {"score": None}, {"seconds": -1.0},
        {"seconds": float("nan")}, {"seconds": float("inf")}, {"time": "now"},
        {"action": "liked"}, {"rater": "cleo"}, {"item": "x"},
        {"action": SKIPPED, "score": None, "reason": "\n"},
    ],
)  # fmt: skip
def test_impossible_rating_is_never_written_nor_those_with_it(record, plan, items, facts):
    ratings.append(record, plan, [rated(items[0])])
    before = log(record).read_bytes()
    with pytest.raises(RecordError):
        ratings.append(record, plan, [rated(items[1]), replace(rated(items[2]), **facts)])
    assert log(record).read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1 is not the header time,rater,item,"),
        (b"time,rater,item\n", ":1 is not the header time,rater,item,"),
        (b"time;rater;item;action;score;seconds;reason\n", ":1 is not the header"),
        (
            f"{HEADER}{TIME},anna,x,rated,3,4.0,".replace("\n", "\r").encode(),
            ":1 is not the header",
        ),
        (b"\xff\xfet\0i\0", "is not UTF-8 text (invalid start byte); save it as such"),
        (HEADER.encode() + b"x,\xe9,x,rated,3,1.0,\n", "is not UTF-8 text"),
    ],
)
def test_file_that_is_no_log_is_refused(record, content, message):
    log(record).write_bytes(content)
    with pytest.raises(RecordError) as caught:
        ratings.read(record, MODE)
    assert str(log(record)) in str(caught.value) and message in str(caught.value)


def test_log_that_a_spreadsheet_saved_is_read_and_added_to(record, plan, items):
    """A mark at the start, other ends of line, and no trailing zeros."""
    text = HEADER + line(items[0], seconds="4") + "\n" + line(items[1], seconds="2.5") + "\n"
    log(record).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    saved = (rated(items[0]), rated(items[1], seconds=2.5))
    assert ratings.read(record, MODE) == saved
    ratings.append(record, plan, [rated(items[2])])
    assert ratings.read(record, MODE) == (*saved, rated(items[2]))
    text = text.removesuffix("\n").replace("\n", "\r\n")  # and no end of line at the end
    log(record).write_bytes(b"\xef\xbb\xbf" + text.encode())
    log(record).with_name("ratings.csv.crc32").unlink()  # it knows of a third row
    ratings.append(record, plan, [rated(items[2])])
    assert ratings.read(record, MODE) == (*saved, rated(items[2]))


REASONS = {
    "commas and quotes": ('a, "b", c;d', 'a, "b", c;d'),
    "lines": ("a\nb\r\nc\rd", "a b c d"),
    "a nul": ("a\0b", "a␀b"),
    "an escape sequence": ("\x1b]52;c;eA==\x07red", "␛]52;c;eA==␇red"),
    "half a character": ("a\ud800b", "a<U+D800>b"),
    "a formula": ("=1+1", "=1+1"),
    "a formula after a semicolon": ("no;=1+1", "no;=1+1"),
    "an apostrophe and a formula": ("'=1+1", "'=1+1"),
    "other line ends": ("a\u2028b\u2029c\x85d\x0be\x0cf", "a b c d e f"),
    "10,000 characters": ("x" * 10_000, "x" * 200),
    "10,000 words": ("no " * 10_000, ("no " * 67)[:200]),
    "a quote alone": ('"', '"'),
    "an emoji": ("🦙 nay", "🦙 nay"),
    "a mark of order": ("\ufeffx", "\ufeffx"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_any_reason_is_one_row(record, plan, items, reason):
    given, kept = REASONS[reason]
    ratings.append(record, plan, [rated(items[0]), skipped(items[1], given), rated(items[2])])
    assert log(record).read_bytes().count(b"\n") == 4
    assert [entry.item for entry in ratings.read(record, MODE)] == list(items[:3])
    assert ratings.read(record, MODE)[1].reason == kept.strip()
    ratings.append(record, plan, [rated(items[3])])
    assert len(ratings.read(record, MODE)) == 4


def test_log_is_csv_to_any_reader(record, plan, items):
    ratings.append(record, plan, [skipped(items[0], 'a, "b"\nc'), rated(items[1])])
    with log(record).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["reason"] for row in rows] == ['a, "b" c', ""]
    assert list(rows[0]) == HEADER.strip().split(",")


# At the same time


def _rate_many(record, names, start):
    plan = plans.read(record, MODE)
    start.wait()
    for name in names:
        ratings.append(record, plan, [rated(name)])


def _rate_those_that_are_free(record, names, start, taken):
    plan = plans.read(record, MODE)
    start.wait()
    for name in names:
        try:
            ratings.append(record, plan, [rated(name)])
            taken.put(name)
        except RecordError as error:
            assert "already" in str(error)


def together(target, arguments):
    work = multiprocessing.get_context("fork")
    start = work.Barrier(len(arguments))
    processes = [work.Process(target=target, args=(*given, start)) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.fixture
def large(fabricated, tmp_path):
    """A plan of 120 items for one rater."""
    record = borrow(fabricated, tmp_path / "large")
    draw.write(record, settings="greedy, base, temperature=1, num_beams=2, top_k=4", raters="anna")
    return record, plans.read(record, MODE).order["anna"]


def test_four_pages_at_the_same_time_lose_nothing_and_double_nothing(large):
    record, names = large
    assert len(names) == 120
    together(_rate_many, [(record, names[at : at + 25]) for at in (0, 25, 50, 75)])
    assert sorted(entry.item for entry in ratings.read(record, MODE)) == sorted(names[:100])
    text = log(record).read_text()
    assert text.startswith(HEADER) and text.count("\n") == 101


def test_four_pages_of_the_same_items_rate_each_once(large):
    record, names = large
    work = multiprocessing.get_context("fork")
    taken = work.Queue()
    barrier = work.Barrier(4)
    processes = [
        work.Process(target=_rate_those_that_are_free, args=(record, names[:12], barrier, taken))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    acknowledged = sorted(taken.get(timeout=60) for _ in range(12))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert acknowledged == sorted(names[:12])
    assert sorted(entry.item for entry in ratings.read(record, MODE)) == acknowledged


# Another copy


@pytest.fixture
def copy(record, fabricated, tmp_path):
    """The same plan in another copy of the study."""
    other = borrow(fabricated, tmp_path / "copy")
    draw.write(other, settings="reference", raters="anna, ben", overlap=1.0)
    assert plans.read(other, MODE) == plans.read(record, MODE)
    return other


def by(rater, names, scores):
    return [rated(name, score, rater=rater) for name, score in zip(names, scores, strict=True)]


def test_copies_of_two_raters_are_joined(record, copy, plan, items):
    ratings.append(record, plan, by("anna", items[:3], (0, 1, 2)))
    theirs = [*by("ben", items[:2], (3, 4)), skipped(items[2], rater="ben")]
    ratings.append(copy, plan, theirs)
    assert ratings.merge(record, MODE, log(copy)) == 3
    assert list(ratings.read(record, MODE)) == by("anna", items[:3], (0, 1, 2)) + theirs


def test_merging_twice_adds_nothing_nor_does_merging_a_log_into_itself(record, copy, plan, items):
    ratings.append(copy, plan, by("ben", items[:2], (3, 4)))
    ratings.merge(record, MODE, log(copy))
    before = log(record).read_bytes()
    assert ratings.merge(record, MODE, log(copy)) == 0
    assert ratings.merge(record, MODE, log(record)) == 0
    assert log(record).read_bytes() == before


def test_longer_copy_of_a_raters_log_adds_its_end_and_an_older_one_nothing(
    record, copy, plan, items
):
    start = by("anna", items[:2], (1, 2))
    ratings.append(record, plan, start)
    more = [*start, undone(items[1]), rated(items[1], 4), rated(items[2], 0)]
    ratings.append(copy, plan, more)
    assert ratings.merge(record, MODE, log(copy)) == 3
    assert list(ratings.read(record, MODE)) == more
    put(copy, line(items[0], score="1"))
    assert ratings.merge(record, MODE, log(copy)) == 0
    assert list(ratings.read(record, MODE)) == more


def test_merge_into_a_study_that_nobody_has_rated(record, copy, plan, items):
    both = by("anna", items[:2], (1, 2)) + by("ben", items[:2], (3, 4))
    ratings.append(copy, plan, [both[0], both[2], both[1], both[3]])
    assert ratings.merge(record, MODE, log(copy)) == 4
    assert list(ratings.read(record, MODE)) == both


def test_two_people_under_one_name_are_found_out(record, copy, plan, items):
    ratings.append(record, plan, by("anna", items[:3], (1, 2, 3)))
    ratings.append(copy, plan, by("anna", items[:3], (1, 0, 3)) + by("ben", items[:1], (4,)))
    before = log(record).read_bytes()
    with pytest.raises(RecordError) as caught:
        ratings.merge(record, MODE, log(copy))
    assert f"{log(copy)}: the ratings of anna part from those in {log(record)}" in str(caught.value)
    assert f"at the rater's row 2 (item {items[1]})" in str(caught.value)
    assert "give each a name of their own" in str(caught.value)
    assert log(record).read_bytes() == before


def test_same_scores_at_other_times_are_another_persons(record, copy, plan, items):
    ratings.append(record, plan, [rated(items[0])])
    ratings.append(copy, plan, [rated(items[0], time="2026-01-02T03:04:06+00:00")])
    with pytest.raises(RecordError, match=r"part from those in .* row 1"):
        ratings.merge(record, MODE, log(copy))


def test_copy_that_a_spreadsheet_saved_is_the_same_copy(record, copy, plan, items):
    both = [rated(items[0]), skipped(items[1], "a, b")]
    ratings.append(record, plan, both)
    ratings.append(copy, plan, [*both, rated(items[2])])
    text = log(copy).read_text().replace(",4.0,", ",4,").replace("\n", "\r\n")
    log(copy).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert ratings.merge(record, MODE, log(copy)) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (({"item": "i0123456789a"},), ":2: anna was not asked about item i0123456789a"),
        (({"rater": "cleo"},), ':2: the plan has no rater "cleo"'),
        (({}, {}), ":3: anna has rated item"),
        (({}, {"score": "9"}), ":3: a score is 0, 1, 2, 3 or 4"),
    ],
)
def test_copy_of_another_plan_or_with_damage_is_refused_by_its_line(
    record, copy, items, rows, message
):
    put(copy, *(line(items[0], **changes) for changes in rows))
    with pytest.raises(RecordError) as caught:
        ratings.merge(record, MODE, log(copy))
    assert f"{log(copy)}{message}" in str(caught.value)
    assert not log(record).exists()


def test_merge_of_nothing_names_it(record, tmp_path):
    with pytest.raises(RecordError, match="no such file: .*nowhere.csv"):
        ratings.merge(record, MODE, tmp_path / "nowhere.csv")


# How far everyone is


def test_progress_counts_what_holds(record, plan, items):
    """Of twelve each: anna rated two (4 and 8 s) and skipped one (2 s), and took one back."""
    ratings.append(
        record,
        plan,
        [
            rated(items[0], seconds=4.0),
            rated(items[1], seconds=8.0),
            skipped(items[2]),
            rated(items[3], seconds=99.0),
            undone(items[3]),
        ],
    )
    table = progress.table(record, MODE)
    assert table.columns.tolist() == ["rater", "rated", "skipped", "to do", "seconds"]
    assert table.iloc[0].tolist() == ["anna", 2, 1, 9, 4.0]
    assert table.iloc[1].tolist()[:4] == ["ben", 0, 0, 12]
    assert table["seconds"].isna().tolist() == [False, True]
