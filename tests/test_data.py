"""Which rows are used, and where they fall."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from alpaca_lab import data
from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.data import Example, load, question, read_file, split_of, validate
from alpaca_lab.profiles import PROFILES
from alpaca_lab.rows import cache, clusters

ROW = {"instruction": "Name the capital of France.", "input": "", "output": "Paris"}


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    """An empty folder in place of outputs/."""
    monkeypatch.setattr(cache, "OUTPUTS", tmp_path / "outputs")
    return tmp_path / "outputs"


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


def test_rows_without_a_usable_answer_or_question_are_dropped_by_name():
    examples, findings = validate(
        [
            ROW,
            ROW | {"output": "  "},
            ROW | {"output": "<nooutput>"},
            ROW | {"instruction": " "},
            ROW | {"output": 5},
            ROW | {"output": "half an emoji: \ud83e"},
        ],
        place="rows.jsonl",
    )
    assert len(examples) == 1
    assert findings.rows == 6
    capital = "Name the capital of France."
    assert findings.rejected == (
        (2, "empty output", f"{capital} | "),
        (3, "placeholder output", f"{capital} | <nooutput>"),
        (4, "empty instruction", " | Paris"),
        (5, "output is not text", f"{capital} | 5"),
        (6, "not valid Unicode", f"{capital} | half an emoji: <U+D83E>"),
    )


def test_excerpt_of_a_rejected_row_is_short_and_holds_no_escape_sequence():
    long = ROW | {"instruction": "\x1b[31m" + "word " * 50, "output": ""}
    [found] = validate([long], place="x")[1].rejected
    assert "\x1b" not in found.excerpt and len(found.excerpt) < 80


@pytest.mark.parametrize(
    "filler",
    ["<noinput>", "No input", "Noinput", "No Input.", "<no input>.", "No input required.",
     "No input needed.", "`<noinput>`", "< noinput >", "<noinputs>", "\\<noinput\\>", "[noinput]",
     "N/A", "<N/A>", "<none>", "none", "No input is necessary", "(no input)", "<noinput"],
)  # fmt: skip
def test_input_that_says_there_is_none_is_empty_and_counted_as_spelled(filler):
    """Spellings found in Alpaca."""
    examples, findings = validate([ROW | {"input": filler}, ROW | {"input": None}], place="x")
    assert [example.input for example in examples] == ["", ""]
    assert findings.fillers == {filler: 1}


@pytest.mark.parametrize(
    "text",
    ["He was <noinput>", "<noinput> 8", "No matter how hard I try", "None of them came.", "+", "NA",
     "No input was given to the program, so it stopped.", "<photo of a beach>", "nonetheless"],
)  # fmt: skip
def test_input_that_says_something_is_kept(text):
    examples, findings = validate([ROW | {"input": text}], place="x")
    assert (examples[0].input, findings.fillers) == (text, {})


@pytest.mark.parametrize(
    ("output", "dropped"),
    [
        ("<nooutput>", True),
        ("<No output>", True),
        ("No Output", True),
        ("No output required", True),
        ("<noinput>", True),
        ("<nooutput> - Visuals cannot be created by a language model.", True),
        ("<No output. The task requires a poster,\nnot text.>", True),
        ("No output is printed, because the loop never runs.", False),
        ("<noinput>\nThe algorithm is as follows.", False),
        ("N/A", False),
        ("None", False),
    ],
)
def test_answer_that_was_never_written_is_dropped_and_no_other(output, dropped):
    assert bool(validate([ROW | {"output": output}], place="x")[1].rejected) == dropped


def test_row_without_output_is_named():
    with pytest.raises(SettingError, match="rows.jsonl, row 2 has no column 'output'.*--columns"):
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
    examples, findings = validate(read_file(tmp_path / "a.parquet"), place="a.parquet")
    assert [example.input for example in examples] == ["", "x"]
    assert not findings.rejected


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
    with pytest.raises(SettingError, match=r"no row fell into the \w+ split; give more rows"):
        load(write(tmp_path / "a.jsonl", rows(1)))


TEMPLATE = "Say in one word how the writer of the following short message felt at that moment"


def test_rows_of_one_template_that_cannot_be_split_are_explained(tmp_path):
    alike = [ROW | {"instruction": f"{TEMPLATE}: {i}"} for i in range(30)]
    with pytest.raises(SettingError, match="30 of the 30 questions are one cluster"):
        load(write(tmp_path / "a.jsonl", alike))


def test_near_duplicates_are_never_on_two_sides_and_share_their_cluster(tmp_path):
    words = ("now", "please", "today")
    texts = [f"Say {i} times how much {i} apples of the kind {i} weigh" for i in range(100)]
    records = [
        ROW | {"instruction": f"{text} {word}", "output": word} for text in texts for word in words
    ]
    dataset = load(write(tmp_path / "a.jsonl", records))
    places = {}
    for name, split in dataset.splits().items():
        for row in split:
            places.setdefault(row.cluster, []).append((name, row.key))
    assert len(places) == 100
    for cluster, members in places.items():
        assert len({name for name, _ in members}) == 1
        assert cluster == min(key for _, key in members)
    assert len(dataset.test) == 3 * sum(m[0][0] == "test" for m in places.values())
    asked = [question(row) for row in dataset.test]
    assert {line["cluster"] for line in asked} < set(places)
    assert len({line["id"] for line in asked}) == len(asked)


def test_question_that_was_never_split_is_its_own_cluster():
    alone = Example(**ROW)
    assert question(alone)["cluster"] == alone.key


def test_embedded_rows_are_split_as_ever():
    """They have no near-duplicates, so that clusters change nothing in any recorded run."""
    facts = load(PROFILES["smoke"].data).manifest()
    assert facts["duplicates"]["near_pairs"] == facts["duplicates"]["exact"] == 0
    assert facts["train"] == {
        "rows": 525,
        "ids_sha256": "e39a16850d07055ce14e623c8a30cb10999e34baaf8ba9a13e9a9a1d9b80e8f2",
    }
    assert facts["validation"] == {
        "rows": 28,
        "ids_sha256": "0ac14047534ee7fed35e7ec3acccc761f9a3afcc75a8f24d9e1847136af948c4",
    }
    assert facts["test"] == {
        "rows": 106,
        "ids_sha256": "e300ac059c09e096d2d0e9b89545d3486fdb16f9f828f037bc866498e34d3432",
    }


def test_manifest_is_the_same_after_json_and_on_every_load(tmp_path):
    spec = write(tmp_path / "a.jsonl", rows(100))
    facts = load(spec).manifest()
    assert json.loads(json.dumps(facts)) == facts == load(spec).manifest()


def test_manifest_counts_what_was_found(tmp_path):
    long = "It takes thirteen words in a row before anyone may speak of a copy."
    records = [ROW | {"instruction": f"Question {i}?", "output": long} for i in range(50)]
    records += [records[0] | {"output": "Another answer."}, ROW | {"input": "No input."}]
    records += [ROW | {"output": "<nooutput>"}]
    facts = load(write(tmp_path / "a.jsonl", records)).manifest()
    assert facts["rows"] == 53
    assert facts["rejected"] == {"placeholder output": 1}
    assert facts["fillers"] == {"No input.": 1}
    assert facts["duplicates"] == {
        "questions": 51,
        "exact": 1,
        "clusters": 51,
        "clusters_of_several": 0,
        "rows_in_them": 0,
        "largest": 1,
        "near_pairs": 0,
    }
    told = facts["contamination"]
    assert told["words"] == 13
    assert told["shared"] + told["too_short_to_tell"] == facts["test"]["rows"]
    assert told["none_shared"] == 0 and told["shared"] > 0


def test_clusters_are_computed_once(tmp_path, monkeypatch):
    spec = write(tmp_path / "a.jsonl", rows(60))
    first = load(spec).manifest()
    monkeypatch.setattr(clusters, "near_pairs", None)
    monkeypatch.setattr(data.contamination, "overlaps", None)
    assert load(spec).manifest() == first


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", "value", "request"])
def test_damaged_cache_is_computed_again(tmp_path, outputs, damage):
    alike = [
        ROW | {"instruction": f"Count all of the legs of every spider in town {i}"}
        for i in range(2)
    ]
    spec = write(tmp_path / "a.jsonl", rows(60) + alike)
    first = load(spec)
    [path] = outputs.glob("cache/clusters-*")
    whole = path.read_bytes()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        path.write_text(json.dumps(json.loads(whole) | {damage: []}))
    assert load(spec) == first and len(first.near_pairs) == 1
    assert path.read_bytes() == whole


def reference(name):
    folder = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    if not folder:
        pytest.skip("ALPACA_LAB_REFERENCE_DATA is not set: no real Alpaca rows")
    return str(Path(folder) / "alpaca" / name)


def test_real_rows_are_validated_clustered_and_split():
    """Counts of 9,229 random rows of Alpaca; duplicates recounted by brute force elsewhere."""
    spec = DataSpec(source=reference("alpaca_random_9229.jsonl"), revision=None)
    dataset = load(spec)
    facts = dataset.manifest()
    assert facts["rejected"] == {"placeholder output": 13, "empty output": 4}
    assert sum(facts["fillers"].values()) == 132
    assert facts["fillers"]["No input"] == 39 and len(facts["fillers"]) == 27
    assert facts["duplicates"] == {
        "questions": 9212,
        "exact": 0,
        "clusters": 9210,
        "clusters_of_several": 1,
        "rows_in_them": 3,
        "largest": 3,
        "near_pairs": 3,
    }
    assert [facts[name]["rows"] for name in data.SPLITS] == [8942, 79, 191]
    told = facts["contamination"]
    assert (told["shared"], told["none_shared"], told["too_short_to_tell"]) == (1, 131, 59)
    fewer = load(replace(spec, max_train_rows=100))
    assert fewer.train == dataset.train[:100] and fewer.test == dataset.test


def test_manifest_changes_with_any_row(tmp_path):
    one = load(write(tmp_path / "a.jsonl", rows(100))).manifest()
    changed = rows(100)
    changed[0]["output"] += " Indeed."
    assert load(write(tmp_path / "a.jsonl", changed)).manifest() != one


RENAMED = {"instruction": "question", "input": "context", "output": "answer"}
COLUMNS = {"instruction_column": "question", "input_column": "context", "output_column": "answer"}


def renamed(records):
    return [{RENAMED[name]: text for name, text in record.items()} for record in records]


def test_rows_under_other_names_are_the_same_dataset(tmp_path):
    records = [row | {"input": f"Input {i}."} for i, row in enumerate(rows(60))]
    plain = load(write(tmp_path / "rows.jsonl", records))
    spec = replace(write(tmp_path / "others.jsonl", renamed(records)), **COLUMNS)
    other = load(spec)
    assert other.splits() == plain.splits() and other.findings == plain.findings
    assert other.manifest()["columns"] == RENAMED
    for name in ("train", "validation", "test"):
        assert other.manifest()[name] == plain.manifest()[name]


def test_columns_of_alpaca_leave_no_trace_in_the_identity(tmp_path):
    """Studies that were run before columns could be named keep their runs."""
    plain = load(write(tmp_path / "rows.jsonl", rows(60)))
    assert set(plain.source) == {"source", "revision", "sha256"}


def test_rows_whose_input_column_is_left_out_have_no_input(tmp_path):
    records = [row | {"input": f"Input {i}."} for i, row in enumerate(rows(60))]
    dataset = load(replace(write(tmp_path / "rows.jsonl", records), input_column=""))
    assert not any(row.input for part in dataset.splits().values() for row in part)


def test_a_row_may_lack_the_input_under_its_other_name_too():
    records = renamed([ROW | {"input": "here"}, {k: v for k, v in ROW.items() if k != "input"}])
    examples, _ = validate(records, place="x", columns=("question", "context", "answer"))
    assert [example.input for example in examples] == ["here", ""]


@pytest.mark.parametrize("columns", [{}, {"output_column": "reply"}, {"input_column": "notes"}])
def test_missing_column_is_one_sentence_with_those_there_and_the_option(tmp_path, columns):
    names = {"instruction_column": "question", "output_column": "answer", "input_column": ""}
    spec = write(tmp_path / "rows.jsonl", renamed(rows(3)))
    with pytest.raises(SettingError) as caught:
        load(replace(spec, **(names | columns if columns else {})))
    place = f"{spec.source}, row 1 has no column" if "input_column" not in columns else spec.source
    assert str(caught.value).startswith(place)
    assert str(caught.value).endswith(
        "; its columns are 'question', 'context', 'answer': say which hold instruction and output "
        '(and input, where there is one), as --columns "instruction=question, output=answer"'
    )


def test_a_hundred_columns_of_any_length_still_make_one_short_sentence():
    row = {f"\x1b[31mcolumn {i} " + "x" * 500: "" for i in range(100)}
    with pytest.raises(SettingError, match="and 88 more: say which") as caught:
        validate([row], place="x")
    assert len(str(caught.value)) < 1000 and "\x1b" not in str(caught.value)


def test_columns_in_themselves_wrong_are_refused():
    for columns in ({"output_column": ""}, {"instruction_column": "output"}, {"input_column": 3}):
        with pytest.raises(SettingError, match="column"):
            DataSpec(**columns)
