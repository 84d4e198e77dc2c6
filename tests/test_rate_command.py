"""Rating without a notebook: a blind sheet out, a filled one back, and the command line.

All ratings here are synthetic: no person gave them.
"""

import csv
import io
import shutil

import pytest
from typer.testing import CliRunner

from alpaca_lab.__main__ import app
from alpaca_lab.human import command, draw, plan, ratings, sheet
from alpaca_lab.human.session import Session
from alpaca_lab.store import Record, RecordError
from human_records import fabricate, secrets_of

MODE = "acceptability"


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    record = fabricate(tmp_path_factory.mktemp("made-up") / "results")
    for mode in (MODE, "pairwise"):
        draw.write(record, mode=mode, questions=6, settings="base", raters="anna, ben")
    return record


@pytest.fixture
def record(made_up, tmp_path):
    return Record(shutil.copytree(made_up.folder, tmp_path / "results"))


def exported(record, folder, mode=MODE):
    file = folder / "anna.csv"
    sheet.export(record, mode, "anna", file)
    return file


def rows_of(file):
    text = file.read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def fill(file, levels, *, delimiter=",", **changes):
    """Fill in levels from the top, as a person would; `changes` are of the first row."""
    rows = rows_of(file)
    for row, level in zip(rows, levels, strict=False):
        row["level"] = level
    rows[0].update(changes)
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return rows


@pytest.mark.parametrize("mode", [MODE, "pairwise"])
def test_sheet_is_blind_and_so_is_what_lies_beside_it(record, tmp_path, mode):
    file = exported(record, tmp_path, mode)
    for written in (file, file.with_suffix(".txt")):
        text = written.read_text(encoding="utf-8-sig")
        assert not [word for word in secrets_of(record) - {"greedy"} if word in text]
        assert "greedy" not in text
    assert "Which" in text or "How acceptable" in text


def test_sheet_holds_every_text_of_the_raters_items_in_their_order(record, tmp_path):
    rows = rows_of(exported(record, tmp_path, "pairwise"))
    session = Session(record, "anna", mode="pairwise")
    assert tuple(row["item"] for row in rows) == session.items
    first = session.screen()
    answers = [rows[0]["answer_a"], rows[0]["answer_b"]]
    assert answers == [answer["text"] for answer in first["answers"]]
    assert rows[0]["instruction"] == first["texts"][0]["text"]


def test_filled_sheet_fills_the_log(record, tmp_path):
    file = exported(record, tmp_path)
    rows = fill(file, ["5", "1.0", " 3 "])
    new, blank = sheet.import_(record, MODE, file)
    assert (new, blank) == (3, len(rows) - 3)
    found = ratings.read(record, MODE)
    assert [(row.item, row.score, row.seconds) for row in found] == [
        (rows[0]["item"], 4, None),
        (rows[1]["item"], 0, None),
        (rows[2]["item"], 2, None),
    ]
    assert Session(record, "anna").current == rows[3]["item"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_sheet_saved_with_a_countrys_own_delimiter_is_read(record, tmp_path, delimiter):
    file = exported(record, tmp_path)
    fill(file, ["4", "2"], delimiter=delimiter)
    assert sheet.import_(record, MODE, file)[0] == 2


def test_skipped_row_keeps_its_reason(record, tmp_path):
    file = exported(record, tmp_path)
    fill(file, [""], reason="I do not know, the subject")
    assert sheet.import_(record, MODE, file)[0] == 1
    [row] = ratings.read(record, MODE)
    assert (row.action, row.score, row.reason) == ("skipped", None, "I do not know, the subject")


def test_importing_twice_adds_nothing_and_a_contradiction_is_refused(record, tmp_path):
    file = exported(record, tmp_path)
    fill(file, ["4", "2"])
    sheet.import_(record, MODE, file)
    before = ratings.read(record, MODE)
    assert sheet.import_(record, MODE, file)[0] == 0
    fill(file, ["5", "2", "3"])
    with pytest.raises(RecordError, match=r"row 2: anna has rated 4 item \w+ already"):
        sheet.import_(record, MODE, file)
    assert ratings.read(record, MODE) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": "6"}, 'row 2: a level is 1, 2, 3, 4 or 5, not "6"'),
        ({"level": "0"}, 'not "0"'),
        ({"level": "five"}, 'not "five"'),
        ({"level": "4,5"}, 'not "4,5"'),
        ({"level": "4", "reason": "bad"}, "row 2: rate it or say why not, not both"),
        ({"level": "4", "rater": "carl"}, 'row 2: the plan has no rater "carl"'),
        ({"level": "4", "item": "i123"}, "row 2: anna was not asked about item i123"),
    ],
)
def test_a_wrong_row_is_refused_by_its_number_and_nothing_is_added(
    record, tmp_path, change, message
):
    file = exported(record, tmp_path)
    fill(file, ["", "3", "3"], **change)
    with pytest.raises(RecordError) as refused:
        sheet.import_(record, MODE, file)
    assert message in str(refused.value)
    assert ratings.read(record, MODE) == ()


def test_a_row_that_stands_twice_is_refused(record, tmp_path):
    file = exported(record, tmp_path)
    rows = fill(file, ["4", "4"])
    fill(file, ["4", "4"], item=rows[1]["item"])
    with pytest.raises(RecordError, match=r"row 3: item \w+ is rated in .*, row 2 too"):
        sheet.import_(record, MODE, file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n1,2\n", "row 1: no column rater, item, level, reason; keep the header"),
        (b"\xff\xfe\x00", "is not UTF-8 text; save it as CSV in UTF-8"),
        (b'rater,item,level,reason\n"open', "is no CSV"),
    ],
)
def test_a_file_that_is_no_sheet_is_one_sentence(record, tmp_path, content, message):
    file = tmp_path / "sheet.csv"
    file.write_bytes(content)
    with pytest.raises(RecordError) as refused:
        sheet.import_(record, MODE, file)
    assert message in str(refused.value)


@pytest.mark.parametrize("start", ["=cmd()", "+1", "-1", "@sum", "\tx", "\uff1dx"])
def test_no_text_is_a_formula_to_a_spreadsheet(record, tmp_path, start, monkeypatch):
    texts = sheet.Texts.of
    monkeypatch.setattr(
        sheet.Texts,
        "of",
        lambda self, item: type(texts(self, item))(
            question=(("Instruction", start),), answers=(("Answer", start),)
        ),
    )
    [row, *_] = rows_of(exported(record, tmp_path))
    assert row["answer"] == f"'{start}" and row["instruction"] == f"'{start}"


def test_an_items_name_is_no_number_to_a_spreadsheet(record):
    assert all(name.startswith("i") for name in plan.read(record, MODE).items)


def test_sheet_that_somebody_may_have_filled_in_is_never_overwritten(record, tmp_path):
    file = exported(record, tmp_path)
    fill(file, ["4"])
    before = file.read_bytes()
    with pytest.raises(RecordError, match="exists already, perhaps filled in"):
        sheet.export(record, MODE, "anna", file)
    assert file.read_bytes() == before


def test_next_sheet_holds_only_what_is_left(record, tmp_path):
    file = exported(record, tmp_path)
    rows = fill(file, ["4", "2"])
    sheet.import_(record, MODE, file)
    assert sheet.export(record, MODE, "anna", tmp_path / "rest.csv") == len(rows) - 2


# The command


@pytest.fixture
def rate(record, monkeypatch):
    monkeypatch.setattr(command.Record, "of", lambda name: record)

    def run(*arguments):
        return CliRunner().invoke(app, ["rate", *map(str, arguments)], catch_exceptions=False)

    return run


def test_plan_is_drawn_and_says_what_it_can_see(rate, record):
    done = rate("--plan", "--raters", "anna,ben", "--questions", 12, "--settings", "base,greedy")
    assert "12 answers per stratum can see a difference of 0.20" in done.output
    assert len(plan.read(record, MODE).strata) == 4


def test_sheet_goes_out_and_comes_back_and_progress_is_told(rate, record, tmp_path):
    file = tmp_path / "anna.csv"
    done = rate("--export", file, "--rater", "anna")
    assert f"rows for anna: {file}; what to do: {tmp_path / 'anna.txt'}" in done.output
    rows = fill(file, ["4", "2"])
    done = rate("--import", file)
    assert f"2 new ratings from {file}; {len(rows) - 2} rows are not rated yet" in done.output
    told = rate().output.split()
    assert told[told.index("anna") : told.index("anna") + 4] == [
        "anna", "2", "0", str(len(rows) - 2),
    ]  # fmt: skip


def test_log_of_another_copy_is_merged_by_the_same_option(rate, record, made_up, tmp_path):
    other = Record(shutil.copytree(made_up.folder, tmp_path / "other"))
    session = Session(other, "ben")
    session.rate(session.current, 4)
    done = rate("--import", ratings.path(other, MODE))
    assert done.output.startswith("1 new rows from ")
    assert [row.rater for row in ratings.read(record, MODE)] == ["ben"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan", "--import", "x.csv"), "choose one"),
        (("--export", "x.csv"), "say whose sheet with --rater NAME"),
        (("--export", "x.csv", "--rater", "carl"), 'the plan asks anna, ben, not "carl"'),
        (("--import", "nowhere.csv"), "nowhere.csv"),
        (("--plan",), "name who rates"),
    ],
)
def test_wrong_option_is_refused(rate, arguments, message):
    with pytest.raises(ValueError) as refused:
        rate(*arguments)
    assert message in str(refused.value)
