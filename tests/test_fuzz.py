"""No input ends in a traceback: some of the harness's hostile ones for every reader.

`make faults` tries a hundred times as many. What they have found has a test of its own here.
"""

import gzip
import json
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
sys.path.insert(0, str(Path(__file__).parent / "faults"))

import inputs

from alpaca_lab import jsonl
from alpaca_lab.characters import LONGEST_SENTENCE
from alpaca_lab.config import DataSpec, LoraSpec, SettingError, as_dict, study_from_dict
from alpaca_lab.endings import OneSentence
from alpaca_lab.files import RecordError
from alpaca_lab.original import whole_text
from alpaca_lab.profiles import PROFILES, configure, parse_data
from alpaca_lab.rows import sources, validation
from alpaca_lab.rows.ngrams import normalise
from alpaca_lab.scoring import answers_file
from alpaca_lab.store import Record

INPUTS = 60
"""For each reader; see `inputs.INPUTS`."""
FAMILIES = [
    "files",
    "values",
    "records",
    "ratings",
    "commands",
    pytest.param("tokenizers", marks=pytest.mark.model),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_input_ends_in_a_traceback_or_leaves_a_half(family):
    with inputs.family(family) as targets:
        tried = {target.name: inputs.attempt(target, count=INPUTS, seed=0) for target in targets}
    assert {name: one.failure for name, one in tried.items() if one.failure} == {}
    assert all(one.inputs >= INPUTS // 2 for one in tried.values())


def test_a_reader_that_fails_is_found_and_its_input_made_small():
    def check(text):
        if "b" in text:
            raise KeyError(text)

    from hypothesis import strategies

    bad = inputs.Target(name="bad", inputs=strategies.text("abc"), check=check)
    found = inputs.attempt(bad, count=100, seed=0)
    assert found.failure.startswith("KeyError: 'b'")


def test_a_refusal_is_one_short_printable_line_whatever_it_quotes():
    sentence = str(OneSentence(f"rows.jsonl:7 says \x1b[31m{'x' * 10**7}\n: write something else"))
    assert sentence.startswith("rows.jsonl:7 says ␛[31mxxx")
    assert sentence.endswith("xxx : write something else")
    assert len(sentence) < LONGEST_SENTENCE + 20


def fails(spec):
    with pytest.raises(SettingError) as caught:
        study_from_dict(spec)
    return str(caught.value)


SPEC = as_dict(PROFILES["smoke"])
DAMAGED = [
    (SPEC | {"colour": "red"}, "spec: this version knows no setting 'colour'"),
    (SPEC | {"train": 7}, "spec.train: expected an object, not 7"),
    (SPEC | {"lora": {"rank": "16"}}, "rank must be a whole number, not '16'"),
    (SPEC | {"gpu_gib": float("nan")}, "gpu_gib must be a number or None, not nan"),
    (SPEC | {"gpu_gib": float("inf")}, "gpu_gib must be a number or None, not inf"),
    (SPEC | {"seed": 10**30}, "seed must be a whole number, not 10000000"),
    (SPEC | {"beams": [2, [4]]}, "beams must be a list, each a whole number, not (2, [4])"),
    (SPEC | {"name": "\ud800"}, "name must be text"),
    (SPEC | {"models": [{}]}, "spec.models: no key"),
    ({}, "spec: no name"),
    (None, "spec: expected an object, not None"),
]


@pytest.mark.parametrize(("spec", "message"), DAMAGED)
def test_a_damaged_spec_is_named_by_its_field(spec, message):
    assert message in fails(spec)


def test_a_spec_nested_beyond_reason_is_refused():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    assert "cannot be read" in fails(SPEC | {"beams": deep})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperatures", "None"),
        ("questions", "None"),
        ("train.learning_rate", "1e999"),
        ("train.patience", "'often'"),
        ("train.weight_decay", float("nan")),
        ("gpu_gib", "{[]: 1}"),
        ("seed", "0x" + "f" * 9000),
        ("beams", "-" * 100_000 + "1"),
        ("__class__.name", "x"),
        ("encoder", ["all-MiniLM-L6-v2"]),
    ],
)
def test_a_setting_of_another_kind_is_refused(field, value):
    with pytest.raises(SettingError):
        configure("smoke", changes={field: value})


@pytest.mark.parametrize("place", ["~nobody-of-that-name/x", "a\x00b", "x" * 5000])
def test_what_cannot_be_a_path_is_refused(place):
    with pytest.raises(SettingError):
        parse_data(place, PROFILES["smoke"].data)


def test_a_whole_number_may_stand_for_a_number():
    assert configure("smoke", changes={"gpu_gib": "8"}).gpu_gib == 8
    assert DataSpec(source="/x", revision=None, test_share=0.5).test_share == 0.5
    with pytest.raises(SettingError, match="rank must be a whole number, not 1.5"):
        LoraSpec(rank=1.5)


@pytest.mark.parametrize("ending", [".json.gz", ".jsonl.gz"])
def test_a_gzipped_file_damaged_within_is_refused(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    packed = bytearray(
        gzip.compress(json.dumps([{"instruction": "a", "output": "b"}] * 99).encode())
    )
    packed[20:24] = b"\xff\xff\xff\xff"
    path.write_bytes(packed)
    with pytest.raises(SettingError, match="cannot be read"):
        sources.read_file(path)


def test_a_list_nested_beyond_reason_is_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("[" * 100_000)
    with pytest.raises(SettingError, match="cannot be read as .json"):
        sources.read_file(path)


def test_a_line_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 2**20)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"instruction": "a"}\n' + b" " * 2**21))
    with pytest.raises(SettingError, match="rows.jsonl.gz:2 is longer than 1 MiB"):
        list(jsonl.read(path))


def test_a_list_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_LIST", 2**20)
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * 2**21 + b"]"))
    with pytest.raises(SettingError, match="give it as .jsonl"):
        sources.read_file(path)


def test_a_row_of_millions_of_characters_is_left_out_and_named():
    rows = [{"instruction": "Say a.", "output": "a" * 10**7}, {"instruction": "b", "output": "b"}]
    examples, findings = validation.validate(rows, place="rows")
    assert [row.output for row in examples] == ["b"]
    assert findings.rejected[0].reason == "longer than 1,000,000 characters"
    assert len(findings.rejected[0].excerpt) < 100


def test_a_nested_value_in_a_row_is_excerpted_shortly():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    _, findings = validation.validate([{"instruction": deep, "output": "a"}], place="rows")
    assert findings.rejected[0].reason == "instruction is not text"
    assert "[[[[" in findings.rejected[0].excerpt and len(findings.rejected[0].excerpt) < 100


def test_a_pile_of_accents_is_normalised_in_linear_time():
    """Sorted in one run, a quarter of a million would take minutes."""
    started = time.monotonic()
    assert normalise("A" + "\u0300\u0316" * 125_000)[:2] == "\xe0\u0316"
    assert time.monotonic() - started < 5
    few = "e" + "\u0301\u0316" * 15
    assert "\u034f" not in normalise(few)


def test_a_likelihood_that_was_emptied_is_damaged(tmp_path):
    run = Record(tmp_path).open_run({"model": "phi-2"})
    (run.folder / "likelihood.jsonl").touch()
    with pytest.raises(RecordError, match="it has no line"):
        run.likelihood()


LINE = {"id": 1, "reference": "a", "answer": "a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE | {"cluster": "\ud800"}, "`cluster` is not valid Unicode"),
        (LINE | {"answer": "a" * 2_000_000}, "a text of 2,000,000 characters; shorten it"),
        (
            LINE | {"answer": "a\n" * 5000, "reference": "b\n" * 5000},
            "an answer of 5,001 lines and a reference of 5,001",
        ),
    ],
)
def test_a_line_that_cannot_be_scored_is_refused(tmp_path, line, message):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(SettingError, match=message):
        answers_file.read(path)


def test_special_tokens_by_the_hundred_thousand_are_dropped_at_once():
    started = time.monotonic()
    text = "<s> " * 100_000 + "Say a.\n### Response:\na" + "</s>" * 100_000
    assert whole_text.split(text, text).answer == "a"
    assert time.monotonic() - started < 5


def test_texts_that_would_take_minutes_are_refused_by_the_original_protocol():
    text = "a b c d. " * 20_000
    with pytest.raises(SettingError, match="80,000 words against one of 80,000"):
        whole_text.scores(text, reference_text=text)
