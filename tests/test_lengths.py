"""Tokens per row, and what padding and packing waste; under the tiny and the real tokenizers."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alpaca_lab.config import SettingError
from alpaca_lab.data import Dataset, Example, read_file
from alpaca_lab.datasheet import html as data_html
from alpaca_lab.datasheet import lengths
from alpaca_lab.datasheet.lengths import pack, padding, random_padding, token_lengths, waste
from alpaca_lab.encoding import IGNORED, encode_example
from alpaca_lab.models import load_tokenizer
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.rows.validation import Findings

ROWS = (
    Example(instruction="Name a colour.", input="", output="Red."),
    Example(instruction="Rewrite in the past.", input="I go home.", output="I went home."),
)


def frame(totals):
    return pd.DataFrame({"prompt": 1, "response": np.array(totals) - 1, "total": totals})


def test_padding_of_three_rows_in_pairs():
    # [2, 6] takes 12 tokens and holds 8; [4] takes 4.
    assert padding([2, 6, 4], batch_size=2) == 4 / 16


def test_padding_of_rows_of_one_length_is_none():
    assert padding([7] * 10, batch_size=4) == 0


def test_random_order_pads_the_same_on_every_call():
    sizes = list(range(1, 60))
    assert random_padding(sizes, batch_size=8) == random_padding(sizes, batch_size=8)
    assert random_padding(sizes, batch_size=8) > padding(sorted(sizes), batch_size=8)


def test_each_row_goes_into_the_fullest_bin_that_has_room():
    assert sorted(pack([4, 7, 1, 5, 3], max_length=10)) == [10, 10]  # 7 + 3, 5 + 4 + 1
    # 6 and 5 open a bin each; the 4 fills the first, so that the last 3 finds room in the second.
    assert sorted(pack([3, 5, 4, 6], max_length=10)) == [8, 10]


def test_packing_keeps_every_token_of_rows_that_fit():
    sizes = np.random.default_rng(0).integers(1, 100, 500).tolist()
    bins = pack(sizes, max_length=100)
    assert sum(bins) == sum(sizes) and max(bins) <= 100


def test_row_longer_than_a_bin_is_cut_to_it():
    assert pack([15, 3], max_length=10) == [10, 3]


def test_waste_compares_the_three_ways():
    table = waste({"words": frame([2, 6, 4, 4])}, max_length=8)
    by_length = table[table["order"] == "by length"].set_index("batch_size")["padding"]
    # Sorted: [2, 4] of 8, [4, 6] of 12; in one batch, 16 of 24.
    assert by_length.to_dict() == pytest.approx({2: 20.0, 8: 100 / 3, 16: 100 / 3})
    assert table.set_index("order").loc["packed", "padding"] == 0  # 2 + 6 and 4 + 4


def test_table_counts_what_is_cut():
    table = lengths.table({"words": frame([10, 20, 30])}, max_length=20)
    total = table[table["part"] == "total"].iloc[0]
    assert (total["mean"], total["median"], total["most"]) == (20, 20, 30)
    assert total["rows above 20"] == 1


@pytest.mark.model
def test_lengths_are_those_of_what_is_trained_on():
    tokenizer = load_tokenizer(Path(MODELS["tiny-llama"].source))
    table = token_lengths(tokenizer, ROWS)
    for row, found in zip(ROWS, table.itertuples(), strict=True):
        encoded = encode_example(tokenizer, row, max_length=1000)
        learnt = sum(label != IGNORED for label in encoded["labels"])
        assert (found.total, found.response) == (len(encoded["labels"]), learnt)
        assert found.prompt == found.total - found.response


@pytest.mark.model
def test_models_whose_tokenizers_agree_are_measured_as_one():
    dataset = Dataset(
        source={},
        train=ROWS,
        validation=ROWS,
        test=ROWS,
        findings=Findings(rows=2),
        duplicates={},
        near_pairs=(),
        overlaps=(),
    )
    found = lengths.measure(dataset, configure("smoke").models)
    assert list(found) == ["Tiny LLaMA, Tiny Mistral, Tiny Phi"]


@pytest.mark.model
def test_loss_mask_marks_the_answer_and_its_end_by_more_than_colour():
    tokenizer = load_tokenizer(Path(MODELS["tiny-llama"].source))
    shown = data_html.loss_mask(tokenizer, ROWS[1]).data
    learnt = "".join(
        part.split("</span>")[0].split(">", 1)[1]
        for part in shown.split("<span ")[3:]
        if "underline" in part.split(">")[0] and "bold" in part.split(">")[0]
    )
    assert learnt == "I went home.&lt;/s&gt;"
    assert "4 tokens" in shown or "5 tokens" in shown


@pytest.mark.model
def test_loss_mask_of_a_prompt_that_fills_everything_says_so():
    tokenizer = load_tokenizer(Path(MODELS["tiny-llama"].source))
    assert "left out" in data_html.loss_mask(tokenizer, ROWS[0], max_length=5).data


@pytest.mark.model
def test_text_in_a_loss_mask_is_never_rendered():
    tokenizer = load_tokenizer(Path(MODELS["tiny-llama"].source))
    row = Example(instruction="<img src=x onerror=alert(1)> $a$", input="", output="</div>")
    shown = data_html.loss_mask(tokenizer, row).data
    assert "<img" not in shown and shown.count("</div>") == 1
    assert "$" not in shown.replace("<span>$</span>", "")


@pytest.mark.model
def test_tokenizer_that_cannot_be_had_is_named(tmp_path):
    from dataclasses import replace

    with pytest.raises(SettingError, match=r"no tokenizer\.json"):
        lengths.tokenizer_of(replace(MODELS["tiny-llama"], source=str(tmp_path)))


def reference():
    folder = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    if not folder:
        pytest.skip("ALPACA_LAB_REFERENCE_DATA is not set: no real rows and tokenizers")
    return Path(folder)


@pytest.fixture(scope="module")
def real():
    """Lengths of 9,229 real rows under LLaMA-2's tokenizer, and the counts made elsewhere."""
    folder = reference()
    records = read_file(folder / "alpaca" / "alpaca_random_9229.jsonl")
    tokenizer = load_tokenizer(folder / "tokenizers" / "llama2")
    known = json.loads((folder / "alpaca" / "token_stats.json").read_text())["llama2"]
    return token_lengths(tokenizer, [Example(**record) for record in records]), known


@pytest.mark.model
@pytest.mark.parametrize(
    ("part", "name"), [("prompt", "prompt"), ("response", "response"), ("total", "full")]
)
def test_real_lengths_are_those_counted_elsewhere(real, part, name):
    table, known = real
    expected = known["nl"][name]
    assert table[part].mean() == pytest.approx(expected["mean"], abs=0.1)
    for percentile, key in ((0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")):
        assert table[part].quantile(percentile) == pytest.approx(expected[key], abs=1)
    assert table[part].max() == expected["max"]
    assert (table["total"] > 512).sum() == known["nl"]["over512"]


@pytest.mark.model
@pytest.mark.parametrize("size", [2, 8, 16])
def test_real_padding_is_that_counted_elsewhere(real, size):
    table, known = real
    sizes = table["total"].to_numpy()
    expected = known["waste_pct"][str(size)]
    assert 100 * random_padding(sizes, batch_size=size) == pytest.approx(
        expected["random"], abs=0.5
    )
    ascending = 100 * padding(np.sort(sizes), batch_size=size)
    assert ascending == pytest.approx(expected["full_sort"], abs=0.02)


@pytest.mark.model
@pytest.mark.parametrize("room", [512, 2048])
def test_real_packing_is_that_counted_elsewhere(real, room):
    table, known = real
    expected = known["waste_pct"][f"pack{room}_bfd"]
    bins = pack(table["total"].tolist(), max_length=room)
    assert len(bins) == pytest.approx(expected["bins"], abs=2)
    share = 100 * (1 - sum(bins) / (len(bins) * room))
    assert share == pytest.approx(expected["waste"], abs=0.1)


@pytest.mark.model
@pytest.mark.parametrize("name", ["llama2", "mistral-7b-v0.1", "phi-2"])
def test_characters_of_several_tokens_are_shown_whole(name):
    tokenizer = load_tokenizer(reference() / "tokenizers" / name)
    row = Example(instruction="Hi", input="", output="東京 \U0001f608 naïve\n\n  two\t$1")
    encoded = encode_example(tokenizer, row, max_length=1000)
    found = list(data_html.pieces(tokenizer, **encoded))
    learnt = "".join(text for text, label in found if label != IGNORED)
    assert learnt.strip().removesuffix(tokenizer.eos_token) == row.output
    assert not any("\ufffd" in text for text, _ in found)
