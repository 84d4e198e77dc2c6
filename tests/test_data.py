"""Which rows are used, and where they fall."""

import json

import pytest

from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.data import Example, load, read_file, split_of, validate

ROW = {"instruction": "Name the capital of France.", "input": "", "output": "Paris"}


def rows(n):
    return [ROW | {"instruction": f"Question {i}?", "output": f"Answer {i}."} for i in range(n)]


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return DataSpec(source=str(path), revision=None, test_share=0.3, validation_share=0.2)


def test_same_question_has_one_key_whatever_its_case_space_and_form():
    one = Example(instruction="Name  the capital\nof France.", input="", output="Paris")
    two = Example(instruction="name the capital of france.", input=" ", output="It is Paris.")
    wide = Example(instruction="\uff2eame the capital of France.", input="", output="Paris")
    assert one.key == two.key == wide.key


def test_instruction_and_input_are_not_run_together():
    one = Example(instruction="a b", input="c", output="x")
    two = Example(instruction="a", input="b c", output="x")
    assert one.key != two.key


def test_fillers_are_no_input_and_placeholders_are_dropped_by_name():
    examples, rejected = validate(
        [
            ROW | {"input": "<noinput>"},
            ROW | {"input": None},
            ROW | {"output": "  "},
            ROW | {"output": "<nooutput>"},
            ROW | {"instruction": " "},
            ROW | {"output": 5},
            ROW | {"output": "half an emoji: \ud83e"},
        ],
        place="rows.jsonl",
    )
    assert [example.input for example in examples] == ["", ""]
    assert rejected == [
        (3, "empty output"),
        (4, "placeholder output"),
        (5, "empty instruction"),
        (6, "output is not text"),
        (7, "not valid Unicode"),
    ]


def test_row_without_output_is_named():
    with pytest.raises(SettingError, match="rows.jsonl, row 2 has no `output`.*rename"):
        validate([ROW, {"instruction": "x", "response": "y"}], place="rows.jsonl")


def test_row_that_is_not_an_object_is_named():
    with pytest.raises(SettingError, match="row 1: expected an object"):
        validate([["instruction", "output"]], place="rows.jsonl")


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    import gzip

    import pandas as pd

    records = rows(3)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.json").write_text(json.dumps(records))
    pd.DataFrame(records).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.jsonl.gz", "a.json", "a.parquet"):
        assert read_file(tmp_path / name) == records


def test_missing_input_of_a_parquet_file_is_no_input(tmp_path):
    import pandas as pd

    pd.DataFrame([ROW | {"input": None}, ROW | {"input": "x"}]).to_parquet(tmp_path / "a.parquet")
    examples, rejected = validate(read_file(tmp_path / "a.parquet"), place="a.parquet")
    assert [example.input for example in examples] == ["", "x"]
    assert not rejected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"instruction": 1}\n{"x', r"a\.jsonl:2 is not JSON"),
        ("a.json", b'{"instruction": "x"}', "expected a JSON list"),
        ("a.json", b"\xff\xfe", "cannot be read as .json"),
        ("a.parquet", b"no parquet", "cannot be read as .parquet"),
        ("a.csv", b"a,b", r"must end in \.json"),
    ],
)
def test_damaged_file_is_named_with_its_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingError, match=message):
        read_file(tmp_path / name)


def test_split_does_not_depend_on_order_or_on_other_rows(tmp_path):
    whole = load(write(tmp_path / "a.jsonl", rows(200)))
    fewer = load(write(tmp_path / "b.jsonl", rows(200)[::-1][:150]))
    assert set(fewer.test) < set(whole.test)
    assert set(fewer.train) < set(whole.train)
    assert list(fewer.test) == [row for row in whole.test if row in fewer.test]


def test_no_question_is_on_both_sides(tmp_path):
    twice = [row | {"output": answer} for row in rows(200) for answer in ("Yes.", "No.")]
    parts = load(write(tmp_path / "a.jsonl", twice))
    keys = [{row.key for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert len(parts.test) == len(keys[2]), "a test question is asked once"


def test_split_shares_are_near_what_was_asked():
    splits = [split_of(f"{i:064x}", test_share=0.02, validation_share=0.01) for i in range(20_000)]
    assert abs(splits.count("test") / 20_000 - 0.02) < 0.004
    assert abs(splits.count("validation") / 20_000 - 0.01) < 0.003


def test_empty_split_is_refused(tmp_path):
    with pytest.raises(SettingError, match="no row fell into the .* split"):
        load(write(tmp_path / "a.jsonl", rows(1)))


def test_manifest_changes_with_any_row(tmp_path):
    one = load(write(tmp_path / "a.jsonl", rows(100))).manifest()
    changed = rows(100)
    changed[0]["output"] += " Indeed."
    assert load(write(tmp_path / "a.jsonl", changed)).manifest() != one
