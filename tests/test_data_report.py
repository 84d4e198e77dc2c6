"""What a user is told about his rows; texts of the data are shown and never interpreted."""

import re

import pandas as pd
import pytest

from alpaca_lab.config import DataSpec
from alpaca_lab.data import split
from alpaca_lab.datasheet import figures as data_figures
from alpaca_lab.datasheet import html as data_html
from alpaca_lab.datasheet import made_up
from alpaca_lab.datasheet import report as data_report
from alpaca_lab.files import SUMS, damaged, read_json
from alpaca_lab.rows import cache
from alpaca_lab.rows.validation import validate

EVIL = "<script>alert(1)</script> `x` \x1b[31m | $a$ [b](c)"


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    """An empty folder in place of outputs/."""
    monkeypatch.setattr(cache, "OUTPUTS", tmp_path / "outputs")


@pytest.fixture
def demonstration():
    return made_up.demonstration()


def dataset_of(records):
    examples, findings = validate(records, place="rows")
    spec = DataSpec(source="rows", revision=None, test_share=0.3, validation_share=0.2)
    source = {"source": "rows", "revision": None, "sha256": None}
    return split(examples, spec=spec, source=source, findings=findings)


def rows(n):
    return [
        {"instruction": f"Question {i}?", "input": "", "output": f"Answer {i}."} for i in range(n)
    ]


def test_made_up_rows_have_one_of_each_fault(demonstration):
    counts = data_report.report(demonstration).set_index("what")["count"].to_dict()
    assert counts == {
        "rows read": 14,
        "rows rejected": 3,
        "rejected: empty output": 1,
        "rejected: placeholder output": 2,
        "inputs that said there is none, read as empty": 3,
        "usable rows": 11,
        "rows whose question stood before (exact duplicates)": 1,
        "different questions": 10,
        "pairs of near-duplicate questions": 1,
        "clusters": 9,
        "clusters of two questions or more": 1,
        "rows in those": 2,
        "questions in the largest cluster": 2,
        "test answers that share 13 words in a row with train": 1,
        "test answers that share none": 0,
        "test answers of fewer than 13 words, too short to tell": 1,
    }


def test_each_rejected_row_and_filler_is_named(demonstration):
    rejected = data_report.rejected(demonstration)
    assert rejected["row"].tolist() == [6, 7, 8]
    assert rejected["excerpt"][0] == "Draw a lighthouse at night. | <nooutput>"
    assert set(data_report.fillers(demonstration)["filler"]) == {
        "<noinput>",
        "N/A",
        "No input required.",
    }


def test_duplicates_are_shown_with_both_texts_and_their_similarity(demonstration):
    [pair] = data_report.duplicates(demonstration).to_dict("records")
    assert pair["jaccard"] == 0.8571  # 6 shingles of 7
    texts = {pair["text_one"], pair["text_two"]}
    assert texts == {
        "List five tips for sleeping well at night.",
        "Please list five tips for sleeping well at night.",
    }
    assert pair["cluster"] == min(pair["one"], pair["two"])


def test_contamination_names_the_training_row_and_leaves_short_answers_blank(demonstration):
    shared, short = data_report.contamination(demonstration).to_dict("records")
    assert (shared["verdict"], shared["grams"], shared["shared"]) == ("shared", 8, 8)
    assert shared["train_id"] in {row.id for row in demonstration.train}
    assert short["verdict"] == "too short to tell" and pd.isna(short["share"])


def test_splits_say_what_their_rows_look_like(demonstration):
    table = data_report.splits(demonstration).set_index("split")
    assert table["rows"].to_dict() == {"train": 8, "validation": 1, "test": 2}
    assert table["questions"].to_dict() == {"train": 7, "validation": 1, "test": 2}
    assert table["clusters"].to_dict() == {"train": 6, "validation": 1, "test": 2}
    assert table.loc["validation", "median"] == 11  # words of the haiku


def test_first_words_are_counted_over_all_splits(demonstration):
    table = data_report.first_words(demonstration, n=2)
    assert table["first word"].tolist() == ["name", "list"]
    assert table["rows"].tolist() == [5, 1]
    assert table["share, %"].tolist() == pytest.approx([500 / 11, 100 / 11])


def test_page_says_all_of_it(demonstration):
    page = data_report.describe(demonstration)
    assert "| rows read | 14 |" in page.replace("\u00a0", " ")
    assert "- row 6: placeholder output: `Draw a lighthouse at night. | <nooutput>`" in page
    assert "`No input required.`: 1 row" in page
    assert "- 0.86: `" in page
    assert "- 100% of `e3498f94beed7ded`, first in `860fb8767c6284bb`" in page
    for name in ("train", "validation", "test"):
        assert demonstration.manifest()[name]["ids_sha256"] in page


def test_page_of_clean_rows_says_none():
    assert data_report.describe(dataset_of(rows(40))).count("None.") == 4


def test_page_names_a_few_rows_and_says_how_many_more():
    page = data_report.describe(dataset_of(rows(40) + [rows(1)[0] | {"output": ""}] * 12))
    assert page.count("empty output: `") == 5
    assert "- and 7 more. Each is in rejected.csv." in page


def test_files_hold_every_row_and_the_manifest(demonstration, tmp_path):
    data_report.write(demonstration, tmp_path / "data")
    written = {path.name for path in (tmp_path / "data").iterdir()}
    assert written == {*data_report.FILES, SUMS} and not damaged(tmp_path / "data")
    manifest = read_json(tmp_path / "data" / "manifest.json")
    assert manifest == demonstration.manifest()
    assert len(pd.read_csv(tmp_path / "data" / "rejected.csv")) == 3
    assert len(pd.read_csv(tmp_path / "data" / "contamination.csv")) == 2
    assert (tmp_path / "data" / "report.md").read_text() == data_report.describe(demonstration)


def test_writing_twice_gives_the_same_bytes(demonstration, tmp_path):
    for name in ("a", "b"):
        data_report.write(demonstration, tmp_path / name)
    for name in data_report.FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_text_of_the_data_is_shown_and_never_interpreted(tmp_path):
    records = rows(40)
    records += [{"instruction": f"{EVIL} says {word}", "output": ""} for word in ("one", "two")]
    twins = [f"{EVIL} one two three four five six seven eight nine ten {w}" for w in ("a", "b")]
    records += [{"instruction": text, "input": "", "output": "x"} for text in twins]
    dataset = dataset_of(records)
    page = data_report.describe(dataset)
    assert "\x1b" not in page
    for line in page.splitlines():
        assert line.count("`") % 2 == 0 and "script>" not in "".join(line.split("`")[::2])
    shown = data_html.near_pairs(dataset).data
    assert "<script" not in shown and "\x1b" not in shown and "&lt;script&gt;" in shown
    assert "$" not in shown.replace("<span>$</span>", "")
    data_report.write(dataset, tmp_path)
    assert "\x1b" not in (tmp_path / "rejected.csv").read_text()


def test_table_of_a_notebook_is_escaped_with_words_left_and_numbers_right(demonstration):
    shown = data_html.table(data_report.rejected(demonstration)).data
    assert "| &lt;nooutput&gt;</td>" in shown and "<nooutput>" not in shown
    assert '<td style="text-align: right; vertical-align: top">6</td>' in shown
    assert '<td style="text-align: left; vertical-align: top">empty output</td>' in shown


def test_table_leaves_a_missing_number_blank_and_groups_thousands():
    frame = pd.DataFrame({"share": [0.5, None], "rows": pd.array([12345, None], dtype="Int64")})
    shown = data_html.table(frame, decimals=2).data
    assert [cell.split("</td>")[0] for cell in shown.split('top">')[3:]] == [
        "0.50",
        "12,345",
        "",
        "",
    ]


def test_table_says_yes_and_no():
    shown = data_html.table(pd.DataFrame({"whole": [True, False]})).data
    assert re.findall(r">(yes|no)<", shown) == ["yes", "no"]


def test_empty_table_says_none():
    assert "None" in data_html.table(data_report.fillers(dataset_of(rows(40)))).data


def test_pairs_are_shown_with_the_differing_words_underlined(demonstration):
    shown = data_html.near_pairs(demonstration).data
    assert "<b><u>Please list</u></b> five tips" in shown
    assert "<b><u>List</u></b> five tips" in shown
    assert 'text-align: right; vertical-align: top; width: 10%">0.86</td>' in shown


def test_rows_without_duplicates_say_so():
    assert "No near-duplicate" in data_html.near_pairs(dataset_of(rows(40))).data


def test_only_the_first_pairs_are_shown_and_the_rest_counted():
    texts = [f"Tell me all that there is to know about the number {i}" for i in (1, 2, 3)]
    alike = [{"instruction": text, "input": "", "output": "x"} for text in texts]
    shown = data_html.near_pairs(dataset_of(rows(40) + alike), n=1).data
    assert shown.count("<tr>") == 2 and "2 more" in shown


def test_figures_are_png():
    frame = pd.DataFrame({"prompt": [3, 4], "response": [1, 9], "total": [4, 13]})
    assert data_figures.lengths({"a$b$": frame, "c": frame}, max_length=8)[:4] == b"\x89PNG"
    columns = ["tokenizer", "order", "batch_size", "padding"]
    table = pd.DataFrame([("a", "random", 2, 3.0), ("a", "packed", pd.NA, 1.0)], columns=columns)
    assert data_figures.waste(table)[:4] == b"\x89PNG"
