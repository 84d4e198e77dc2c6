"""Which rows are used, where they fall, and which of their tokens carry loss."""

import json
import os
from pathlib import Path

import pytest

from alpaca_lab.config import TINY, DataSpec, SettingError
from alpaca_lab.data import (
    IGNORED,
    Example,
    encode_example,
    encode_prompt,
    encode_rows,
    load,
    read_file,
    split_of,
    validate,
)

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


class Words:
    """A tokenizer of whole words, with BOS 1 and EOS 2."""

    eos_token_id = 2

    def __init__(self):
        self.words = ["<pad>", "<s>", "</s>"]

    def __call__(self, text, *, add_special_tokens=True):
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        ids = [self.words.index(word) for word in text.split()]
        return type("Encoding", (), {"input_ids": [1] * add_special_tokens + ids})


def test_loss_is_on_the_response_and_its_end_alone():
    tokenizer = Words()
    example = Example(**ROW | {"output": "It is Paris"})
    encoded = encode_example(tokenizer, example, max_length=200)
    trained = [label for label in encoded["labels"] if label != IGNORED]
    assert [tokenizer.words[label] for label in trained] == ["It", "is", "Paris", "</s>"]
    assert encoded["input_ids"].count(1) == 1
    assert encoded["input_ids"][-4:] == trained


def test_cut_answer_does_not_teach_the_model_to_stop():
    tokenizer = Words()
    prompt = len(encode_prompt(tokenizer, ROW["instruction"], ""))
    long = Example(**ROW | {"output": "one two three four"})
    encoded, counts = encode_rows(tokenizer, [long], max_length=prompt + 2)
    assert encoded[0]["labels"][-1] != tokenizer.eos_token_id
    assert (counts["cut"], counts["dropped"], counts["response_tokens"]) == (1, 0, 2)


def test_prompt_that_leaves_no_room_is_dropped_and_counted():
    encoded, counts = encode_rows(Words(), [Example(**ROW)], max_length=5)
    assert (encoded, counts["dropped"]) == ([], 1)


def reference_folder():
    folder = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    if not folder:
        pytest.skip("ALPACA_LAB_REFERENCE_DATA is not set: no reference tokenizers")
    return Path(folder)


def check_loss_mask(folder, examples):
    from alpaca_lab.models import load_tokenizer

    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    for example in examples:
        encoded = encode_example(tokenizer, example, max_length=4096)
        trained = [label for label in encoded["labels"] if label != IGNORED]
        assert trained[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in trained[:-1]
        assert tokenizer.decode(trained[:-1]).strip() == example.output.strip()
        if tokenizer.bos_token_id != tokenizer.eos_token_id:
            assert encoded["input_ids"].count(tokenizer.bos_token_id) == 1


SAMPLES = [
    Example(instruction="Name two colours.", input="", output="Red and blue."),
    Example(
        instruction="Translate.", input="good day", output="  Guten Tag\n- Herr M\u00fcller \u2603"
    ),
    Example(instruction="Print.", input="", output="def f(x):\n    return x + 1\n"),
    Example(instruction="Answer.", input="1 + 1", output="2"),
]


@pytest.mark.model
@pytest.mark.parametrize("name", ["llama", "mistral", "phi"])
def test_what_is_trained_on_decodes_to_the_answer_tiny(name):
    check_loss_mask(TINY / name, SAMPLES)


@pytest.mark.model
@pytest.mark.parametrize("name", ["llama2", "mistral-7b-v0.1", "phi-2"])
def test_what_is_trained_on_decodes_to_the_answer_real(name):
    folder = reference_folder()
    records = read_file(folder / "alpaca" / "alpaca_first_2000.jsonl")[:300]
    examples, _ = validate(records, place="reference")
    check_loss_mask(folder / "tokenizers" / name, SAMPLES + examples)
