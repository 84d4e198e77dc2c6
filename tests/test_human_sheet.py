"""A blind sheet out, a filled one back, and the command that does both. Ratings are synthetic."""

import csv
import sys
from io import StringIO

import pytest
from typer.testing import CliRunner

from alpaca_lab import __main__
from alpaca_lab.config import SettingError
from alpaca_lab.files import RecordError
from alpaca_lab.human import draw, ratings, sheet
from alpaca_lab.human import plan as plans
from alpaca_lab.human.rubric import RUBRICS
from alpaca_lab.human.session import Session
from alpaca_lab.spreadsheet import unguard
from alpaca_lab.store import Record
from human_records import borrow, fabricate, planned, secrets_of, text_of

MODE = "acceptability"
COLUMNS = ["rater", "item", "instruction", "input", "answer", "level", "reason"]
EVERY_CELL = {
    MODE: "greedy, base, temperature=1, num_beams=2, top_k=4, reference, other, copy, empty",
    "pairwise": "base, temperature=1, num_beams=2, top_k=4",
}


@pytest.fixture
def record(fabricated, tmp_path):
    """Twelve answers that anna and ben both rate."""
    return planned(fabricated, tmp_path / "made-up")


@pytest.fixture
def file(record, tmp_path):
    """anna's sheet, as it was written."""
    path = tmp_path / "anna.csv"
    assert sheet.export(record, MODE, "anna", path) == 12
    return path


def cells(path):
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines, strict=True))


def fill(path, levels, *, delimiter=",", encoding="utf-8-sig", lineterminator="\r\n", extra=()):
    """Save a sheet as a spreadsheet would: levels by row, a text that is no level is a reason."""
    rows = cells(path)
    for row, level in zip(rows, levels, strict=False):
        row["level" if level[:1].isdigit() else "reason"] = level
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=lineterminator)
    writer.writeheader()
    writer.writerows([*rows, *extra])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def edit(path, row, **changes):
    """Change some cells of a row, counted from 2 as a spreadsheet counts."""
    rows = cells(path)
    rows[row - 2].update(changes)
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8-sig"))


def scores(record, mode=MODE):
    return {
        (rater, item): row.score if row.action == "rated" else row.reason
        for (rater, item), row in ratings.standing(ratings.read(record, mode)).items()
    }


# Out


@pytest.mark.parametrize("mode", RUBRICS)
def test_sheet_gives_nothing_away(fabricated, tmp_path, mode):
    record = borrow(fabricated, tmp_path / "blind")
    plan = draw.write(record, mode=mode, settings=EVERY_CELL[mode], raters="anna")
    file = tmp_path / "sheet.csv"
    assert sheet.export(record, mode, "anna", file) == len(plan.items)
    written = file.read_bytes() + file.with_suffix(".txt").read_bytes()
    secrets = secrets_of(record) | {item.text_sha256 for item in plan.items.values()}
    secrets |= {f",{item.cluster}," for item in plan.items.values()} | {plans.salt(record, mode)}
    assert not [word for word in secrets if word.encode() in written]
    columns = {MODE: COLUMNS, "pairwise": [*COLUMNS[:4], "answer_a", "answer_b", *COLUMNS[5:]]}
    rows = cells(file)
    assert list(rows[0]) == columns[mode]
    assert tuple(row["item"] for row in rows) == plan.order["anna"]
    assert {(row["rater"], row["level"], row["reason"]) for row in rows} == {("anna", "", "")}


@pytest.mark.parametrize("mode", RUBRICS)
def test_sheet_shows_what_the_page_shows(fabricated, tmp_path, mode):
    record = borrow(fabricated, tmp_path / "same")
    draw.write(record, mode=mode, settings="base", questions=6, raters="anna")
    file = tmp_path / "sheet.csv"
    sheet.export(record, mode, "anna", file)
    session = Session(record, "anna", mode=mode)
    for row in cells(file):
        screen = session.screen()
        shown = [text["text"] for text in screen["texts"]]
        assert row["item"] == screen["item"]
        assert [row["instruction"], row["input"]] == [shown[0], *(shown[1:] or [""])]
        answers = [row[name] for name in row if name.startswith("answer")]
        assert answers == [answer["text"] for answer in screen["answers"]]
        session.rate(screen["item"], 3)


def test_sheet_is_marked_as_utf8_and_the_rubric_lies_beside_it(file):
    assert file.read_bytes().startswith(b"\xef\xbb\xbfrater,item,")
    words = file.with_suffix(".txt").read_text()
    assert words.startswith("How acceptable is this answer?")
    assert "1  Useless: " in words and "5  Excellent: " in words
    assert "Write 1 to 5 under level" in words


def test_sheet_holds_only_what_is_still_to_be_rated(record, tmp_path):
    session = Session(record, "anna")
    session.rate(session.items[0], 3)
    session.skip(session.items[1], "Another reason")
    path = tmp_path / "rest.csv"
    assert sheet.export(record, MODE, "anna", path) == 10
    assert [row["item"] for row in cells(path)] == list(session.items[2:])


def test_sheet_of_someone_who_is_done_has_no_rows_and_can_be_read_back(record, tmp_path):
    session = Session(record, "anna")
    while session.current:
        session.rate(session.current, 3)
    path = tmp_path / "done.csv"
    assert sheet.export(record, MODE, "anna", path) == 0
    assert sheet.import_(record, MODE, path) == (0, 0)


@pytest.mark.parametrize("name", ["anna.csv", "anna.txt"])
def test_file_that_exists_is_never_written_over(record, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RecordError, match=f"{name} exists already, perhaps filled in; choose ano"):
        sheet.export(record, MODE, "anna", tmp_path / "anna.csv")
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.glob("anna.*")] == [name]


def test_sheet_cannot_be_called_as_its_rubric(record, tmp_path):
    with pytest.raises(RecordError, match=r"anna.txt is where the rubric would go"):
        sheet.export(record, MODE, "anna", tmp_path / "anna.txt")
    assert not (tmp_path / "anna.txt").exists()


def test_sheet_goes_into_a_folder_that_is_not_there_yet(record, tmp_path):
    path = tmp_path / "new" / "anna.csv"
    sheet.export(record, MODE, "anna", path)
    assert len(cells(path)) == 12


def test_sheet_of_somebody_else_is_refused(record, tmp_path):
    with pytest.raises(SettingError, match='the plan asks anna, ben, not "cleo"'):
        sheet.export(record, MODE, "cleo", tmp_path / "cleo.csv")
    assert not (tmp_path / "cleo.csv").exists()


FORMULAS = (
    "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1:A9)", "\t=1+1", "\r=1+1", "\n=1+1",
    '=HYPERLINK("http://x";"y")', "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff201",
)  # fmt: skip


def test_no_cell_is_a_formula(tmp_path):
    def texts(model, cell, question, repeat):
        return FORMULAS[question] if cell == "base" else text_of(model, cell, question, repeat)

    record = fabricate(tmp_path / "made-up", text_of=texts)
    plan = draw.write(record, settings="base", raters="anna")
    path = tmp_path / "anna.csv"
    sheet.export(record, MODE, "anna", path)
    seen = set()
    for row in cells(path):
        number = int(plan.items[row["item"]].question[1:])
        shown = FORMULAS[number].replace("\r", "␍")
        assert unguard(row["answer"]) == shown
        assert row["answer"][0] in "'␍"
        seen.add(number)
    assert len(seen) == len(FORMULAS)


def test_question_is_no_formula_either(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "made-up")
    changes = {"instruction": "=1+1", "input": "@A1"}
    record.write_questions([row | changes for row in record.questions()])
    draw.write(record, settings="reference", raters="anna")
    sheet.export(record, MODE, "anna", tmp_path / "anna.csv")
    assert {(row["instruction"], row["input"]) for row in cells(tmp_path / "anna.csv")} == {
        ("'=1+1", "'@A1")
    }


# And back

WAYS = {
    "as it was written": {},
    "semicolons": {"delimiter": ";"},
    "tabs": {"delimiter": "\t"},
    "no mark": {"encoding": "utf-8"},
    "other line ends": {"lineterminator": "\n"},
    "semicolons, no mark, other line ends": {
        "delimiter": ";", "encoding": "utf-8", "lineterminator": "\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_filled_sheet_comes_back_whatever_spreadsheet_saved_it(record, file, way):
    fill(file, ["1", "2", "3", "4", "5", 'I do not know, "really"; no', "4.0"], **WAYS[way])
    assert sheet.import_(record, MODE, file) == (7, 5)
    items = plans.read(record, MODE).order["anna"]
    given = (0, 1, 2, 3, 4, 'I do not know, "really"; no', 3)
    assert scores(record) == {
        ("anna", item): score for item, score in zip(items, given, strict=False)
    }
    assert {row.seconds for row in ratings.read(record, MODE)} == {None}


def test_pairs_come_back_by_their_place_from_the_left(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "pairs")
    plan = draw.write(record, mode="pairwise", raters="anna")
    path = tmp_path / "pairs.csv"
    sheet.export(record, "pairwise", "anna", path)
    fill(path, ["1", "5", "3"])
    assert sheet.import_(record, "pairwise", path) == (3, 21)
    assert list(scores(record, "pairwise").values()) == [0, 4, 2]
    assert Session(record, "anna", mode="pairwise").current == plan.order["anna"][3]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_answers_of_many_lines_are_one_row(tmp_path, delimiter):
    def texts(model, cell, question, repeat):
        return f'one {question}\n\n"two", three;\tfour\r\nfive {cell}\n'

    record = fabricate(tmp_path / "made-up", text_of=texts)
    draw.write(record, settings="reference", raters="anna")
    path = tmp_path / "anna.csv"
    sheet.export(record, MODE, "anna", path)
    assert {row["answer"][5:].lstrip("01") for row in cells(path)} <= {
        f'{rest}\n\n"two", three;\tfour␍\nfive reference\n' for rest in ["", *"23456789"]
    }
    fill(path, ["2"] * 11, delimiter=delimiter)
    assert sheet.import_(record, MODE, path) == (11, 1)


def test_row_is_counted_as_the_spreadsheet_counts_it_though_answers_have_many_lines(tmp_path):
    record = fabricate(tmp_path / "made-up", text_of=lambda *_: "one\ntwo\nthree")
    draw.write(record, settings="reference", raters="anna")
    path = tmp_path / "anna.csv"
    sheet.export(record, MODE, "anna", path)
    edit(path, 9, level="9")
    with pytest.raises(RecordError, match=r'anna.csv, row 9: a level is 1, 2, 3, 4 or 5, not "9"'):
        sheet.import_(record, MODE, path)


@pytest.mark.parametrize("level", ["6", "0", "five", "-1", "2.5", "1e0", "4,0", "٣", "1 2", "=4"])
def test_level_that_is_none_is_refused_by_its_row_and_nothing_is_written(record, file, level):
    fill(file, ["1", "2"])
    edit(file, 4, level=level)
    with pytest.raises(RecordError) as caught:
        sheet.import_(record, MODE, file)
    assert str(caught.value) == f'{file}, row 4: a level is 1, 2, 3, 4 or 5, not "{level}"'
    assert not ratings.path(record, MODE).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": "3", "reason": "because"}, "row 5: rate it or say why not, not both"),
        ({"level": "3", "rater": "cleo"}, 'row 5: the plan has no rater "cleo"; it asks anna, ben'),
        ({"level": "3", "rater": ""}, 'row 5: the plan has no rater ""'),
        ({"reason": "x", "item": "i0123456789a"}, "row 5: anna was not asked about item i0123"),
        ({"level": "3", "item": ""}, "row 5: anna was not asked about item"),
    ],
)
def test_row_that_was_not_asked_for_is_refused_and_nothing_is_written(
    record, file, changes, message
):
    fill(file, ["1", "2"])
    edit(file, 5, **changes)
    with pytest.raises(RecordError) as caught:
        sheet.import_(record, MODE, file)
    assert f"{file}, {message}" in str(caught.value)
    assert not ratings.path(record, MODE).exists()


def test_row_of_another_raters_item_is_refused(fabricated, tmp_path):
    record = borrow(fabricated, tmp_path / "apart")
    draw.write(record, settings="reference", raters="anna, ben", overlap=0.0)
    path = tmp_path / "anna.csv"
    sheet.export(record, MODE, "anna", path)
    edit(path, 3, level="3", rater="ben")
    with pytest.raises(RecordError, match=r"row 3: ben was not asked about item"):
        sheet.import_(record, MODE, path)


@pytest.mark.parametrize("level", ["1", "4"])
def test_row_that_stands_there_twice_is_refused_and_nothing_is_written(record, file, level):
    fill(file, ["1", "2"])
    fill(file, [], extra=[cells(file)[1] | {"level": level}])
    with pytest.raises(RecordError) as caught:
        sheet.import_(record, MODE, file)
    assert f"{file}, row 14: item " in str(caught.value)
    assert f"is rated in {file}, row 3 too; delete one" in str(caught.value)
    assert not ratings.path(record, MODE).exists()


def test_sheet_imported_twice_adds_nothing(record, file):
    fill(file, ["1", "2", "No idea"])
    assert sheet.import_(record, MODE, file) == (3, 9)
    before = ratings.path(record, MODE).read_bytes()
    assert sheet.import_(record, MODE, file) == (0, 9)
    assert ratings.path(record, MODE).read_bytes() == before


def test_sheet_filled_further_adds_what_is_new(record, file):
    fill(file, ["1", "2"])
    sheet.import_(record, MODE, file)
    fill(file, ["1", "2", "3", "4"])
    assert sheet.import_(record, MODE, file) == (2, 8)
    assert list(scores(record).values()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("level", "said"), [("4", "rated 2"), ("Do not know", "rated 2"), ("2.0", None)]
)
def test_row_that_contradicts_the_log_is_refused(record, file, level, said):
    session = Session(record, "anna")
    item = session.current
    session.rate(item, 2)
    fill(file, [level, "5"])
    before = ratings.path(record, MODE).read_bytes()
    if said is None:
        assert sheet.import_(record, MODE, file) == (1, 10)
        return
    with pytest.raises(RecordError) as caught:
        sheet.import_(record, MODE, file)
    assert f"{file}, row 2: anna has {said} item {item} already; undo that" in str(caught.value)
    assert ratings.path(record, MODE).read_bytes() == before


def test_rating_of_what_was_skipped_is_a_contradiction(record, file):
    session = Session(record, "anna")
    session.skip(session.current, "Another reason")
    fill(file, ["2"])
    with pytest.raises(RecordError, match="row 2: anna has skipped item .* already; undo that"):
        sheet.import_(record, MODE, file)


def test_what_was_taken_back_can_come_from_a_sheet(record, file):
    session = Session(record, "anna")
    session.rate(session.current, 2)
    session.undo()
    fill(file, ["5"])
    assert sheet.import_(record, MODE, file) == (1, 11)
    assert list(scores(record).values()) == [4]


def test_two_sheets_in_one_are_read(record, file):
    fill(file, ["1"] * 12, extra=[row | {"rater": "ben", "level": "5"} for row in cells(file)])
    assert sheet.import_(record, MODE, file) == (24, 0)
    assert set(scores(record).values()) == {0, 4}


def test_columns_may_be_moved_added_or_dropped(record, file):
    names = ["note", "level", "item", "reason", "rater"]
    text = StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row | {"level": "3", "note": "hm"} for row in cells(file))
    file.write_text(text.getvalue())
    assert sheet.import_(record, MODE, file) == (12, 0)


def test_rows_without_a_cell_are_passed_over_but_counted_as_rows(record, file):
    items = plans.read(record, MODE).order["anna"]
    lines = ["rater,item,level,reason", ",,,", "", f"anna,{items[0]},,", f"anna,{items[1]},4,"]
    file.write_text("\n".join(lines))
    assert sheet.import_(record, MODE, file) == (1, 1)
    file.write_text("\n".join([*lines, " , ,,", f"anna,{items[2]},9,"]))
    with pytest.raises(RecordError, match="row 7: a level is 1, 2, 3, 4 or 5, not .9."):
        sheet.import_(record, MODE, file)


def test_rows_cut_short_at_their_blank_end_are_read(record, file):
    items = plans.read(record, MODE).order["anna"]
    file.write_text(f"rater,item,level,reason\nanna,{items[0]},4\nanna,{items[1]}\n")
    assert sheet.import_(record, MODE, file) == (1, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"hello", "row 1: no column rater, item, level, reason; keep the header"),
        (b"rater,item,reason\nanna,x,\n", "row 1: no column level; keep the header"),
        ("rater,item,level,reason\nanna,x,,à".encode("latin-1"), "is not UTF-8 text; save it as"),
        ("rater,item,level,reason\n".encode("utf-16"), "is not UTF-8 text; save it as CSV"),
        (b'rater,item,level,reason\nanna,x,"3,\n', "is no CSV (unexpected end of data); save"),
        (b"PK\x03\x04\x14\x00\x06\x00", "row 1: no column rater, item, level, reason"),
    ],
)
def test_file_that_is_no_sheet_is_refused(record, tmp_path, content, message):
    path = tmp_path / "some.csv"
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        sheet.import_(record, MODE, path)
    assert str(path) in str(caught.value) and message in str(caught.value)


# The command


@pytest.fixture
def lab(record, monkeypatch, capsys):
    """Run the command on the made-up study; return (exit status, output, error)."""
    monkeypatch.setattr(Record, "of", classmethod(lambda cls, name: cls(record.folder)))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alpaca_lab", "rate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return run


def test_command_is_among_the_others():
    shown = CliRunner().invoke(__main__.app, ["rate", "--help"])
    assert shown.exit_code == 0
    for option in ("--plan", "--export", "--import", "--rater", "--raters", "--mode"):
        assert option in shown.output


def test_study_is_rated_from_a_shell(lab, record, tmp_path):
    path = tmp_path / "anna.csv"
    asked = ("--settings", "reference", "--raters", "anna,ben", "--overlap", "1")
    status, said, _ = lab("--plan", *asked)
    assert status == 0
    assert "12 answers from 1 stratum (model and setting): anna rates 12, ben rates 12." in said
    assert f"written to {record.human(MODE)}" in said
    status, said, _ = lab("--export", path, "--rater", "anna")
    assert (status, said) == (
        0, f"12 rows for anna: {path}; what to do: {path.with_suffix('.txt')}\n"
    )  # fmt: skip
    fill(path, ["4", "5", "cannot tell"])
    assert lab("--import", path)[1] == f"3 new ratings from {path}; 9 rows are not rated yet\n"
    assert lab("--import", path)[1] == f"0 new ratings from {path}; 9 rows are not rated yet\n"
    status, said, _ = lab()
    assert [line.split() for line in said.splitlines()] == [
        ["rater", "rated", "skipped", "to", "do", "seconds"],
        ["anna", "2", "1", "9", "-"],
        ["ben", "0", "0", "12", "-"],
    ]


def test_pairs_are_rated_from_a_shell(lab, record, tmp_path):
    assert lab("--plan", "--mode", "pairwise", "--raters", "anna")[0] == 0
    path = tmp_path / "pairs.csv"
    assert lab("--mode", "pairwise", "--export", path, "--rater", "anna")[0] == 0
    fill(path, ["1"] * 24)
    assert lab("--mode", "pairwise", "--import", path)[1].startswith("24 new ratings from")
    assert not ratings.path(record, MODE).exists()


def test_log_of_another_copy_is_merged(lab, fabricated, record, tmp_path):
    other = borrow(fabricated, tmp_path / "copy")
    draw.write(other, settings="reference", raters="anna, ben", overlap=1.0)
    for rater, level in (("anna", 1), ("ben", 5)):
        session = Session(other, rater)
        session.rate(session.current, level)
    log = ratings.path(other, MODE)
    assert lab("--import", log)[:2] == (0, f"2 new rows from {log}\n")
    assert lab("--import", log)[1] == f"0 new rows from {log}\n"
    assert ratings.read(record, MODE) == ratings.read(other, MODE)
    log.write_bytes(b"\xef\xbb\xbf" + log.read_bytes().replace(b"\n", b"\r\n"))
    assert lab("--import", log)[1] == f"0 new rows from {log}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan", "--export", "x.csv"), "--plan, --export and --import: choose one"),
        (("--import", "x.csv", "--export", "y.csv"), "--plan, --export and --import: choose one"),
        (("--export", "x.csv"), "--export: say whose sheet with --rater NAME"),
        (("--export", "x.csv", "--rater", "cleo"), 'the plan asks anna, ben, not "cleo"'),
        (("--import", "nowhere.csv"), "nowhere.csv cannot be read: No such file or directory"),
        (("--import", "."), "cannot be read: Is a directory"),
        (("--mode", "pairs"), 'mode: choose acceptability or pairwise, not "pairs"'),
        (("--mode", "pairwise"), "no plan in"),
        (("--mode", "pairwise", "--import", "x.csv"), "cannot be read"),
        (("--plan",), "raters: name who rates, such as anna,ben"),
        (("--plan", "--raters", "anna", "--settings", "hot"), 'settings: no "hot"; choose from'),
        (("--plan", "--raters", "anna", "--overlap", "2"), "overlap: need a share from 0 to 1"),
    ],
)
def test_wrong_use_is_one_sentence(lab, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, error = lab(*arguments)
    assert status == 2
    [sentence] = error.strip().splitlines()
    assert sentence.startswith("error: ") and message in sentence
    assert not list(tmp_path.glob("*.csv"))


def test_study_that_is_not_there_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Record, "of", classmethod(lambda cls, name: cls(tmp_path / name)))
    for arguments, message in ((("--plan", "--raters", "a"), "no such file"), ((), "no plan in")):
        monkeypatch.setattr(sys, "argv", ["alpaca_lab", "rate", "--name", "never", *arguments])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        assert end.value.code == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
