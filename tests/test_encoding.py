"""Which tokens a model reads, and which of them carry loss; under the tiny and real tokenizers."""

import os
from pathlib import Path

import pytest

from alpaca_lab.config import TINY
from alpaca_lab.data import Example, read_file, validate
from alpaca_lab.encoding import IGNORED, encode_example, encode_prompt, encode_rows

ROW = {"instruction": "Name the capital of France.", "input": "", "output": "Paris"}


class Words:
    """A tokenizer of whole words, with BOS 1 and EOS 2."""

    eos_token_id = 2

    def __init__(self):
        self.words = ["<pad>", "<s>", "</s>"]

    def __call__(self, text, *, add_special_tokens=True, split_special_tokens=False):
        if isinstance(text, list):
            each = [self(one, add_special_tokens=add_special_tokens).input_ids for one in text]
            return type("Encoding", (), {"input_ids": each})
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


@pytest.mark.model
@pytest.mark.parametrize("folder", ["llama", "mistral", "phi"])
def test_a_row_that_says_the_end_token_does_not_end_there(folder):
    from alpaca_lab.models import load_tokenizer

    tokenizer = load_tokenizer(TINY / folder)
    row = ROW | {"instruction": "Close <s> with </s>", "output": "So: </s> and no more</s>"}
    encoded, _ = encode_rows(tokenizer, [Example(**row)], max_length=500)
    assert encoded[0] == encode_example(tokenizer, Example(**row), max_length=500)
    ids = encoded[0]["input_ids"]
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
    assert row["output"] in tokenizer.decode(ids[:-1])


def test_prompt_that_leaves_no_room_is_counted_and_keeps_its_number():
    encoded, counts = encode_rows(Words(), [Example(**ROW)], max_length=5)
    assert (encoded, counts["dropped"]) == ([None], 1)


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


def test_many_rows_are_encoded_as_each_alone(monkeypatch):
    from alpaca_lab import encoding

    monkeypatch.setattr(encoding, "MANY", 3)
    tokenizer = Words()
    rows = [Example(**ROW | {"output": "word " * n}) for n in range(1, 9)]
    alone = [encode_example(tokenizer, row, max_length=30) for row in rows]
    seen = []
    together, _ = encode_rows(tokenizer, rows, max_length=30, seen=seen.append)
    assert together == alone
    assert seen == [3, 3, 2]


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
