"""How surprising a model finds a reference, against Transformers' own loss."""

import math

import pandas as pd
import pytest

from alpaca_lab import encoding, models
from alpaca_lab.data import Example
from alpaca_lab.decoding.likelihood import response_nll
from alpaca_lab.profiles import MODELS

pytestmark = pytest.mark.model

QUESTIONS = [
    {"id": "a", "instruction": "Describe an ant.", "input": "", "reference": "An ant is tiny."},
    {"id": "b", "instruction": "Sort the words.", "input": "gold, cake", "reference": "cake, gold"},
]


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-mistral", "tiny-phi"])
def loaded(request):
    return models.load_decoder(MODELS[request.param], None)


def transformers_loss(model, tokenizer, question):
    import torch

    row = Example(
        instruction=question["instruction"], input=question["input"], output=question["reference"]
    )
    encoded = encoding.encode_example(tokenizer, row, max_length=512)
    tensors = {name: torch.tensor([encoded[name]]) for name in ("input_ids", "labels")}
    tokens = sum(label != encoding.IGNORED for label in encoded["labels"])
    with torch.no_grad():
        return float(model(**tensors).loss), tokens


def test_nats_per_token_are_the_loss_that_transformers_computes(loaded):
    model, tokenizer = loaded
    found = response_nll(model, tokenizer, QUESTIONS).set_index("id")
    for question in QUESTIONS:
        loss, tokens = transformers_loss(model, tokenizer, question)
        row = found.loc[question["id"]]
        assert row["tokens"] == tokens
        assert row["nats"] / row["tokens"] == pytest.approx(loss, rel=1e-5)
        assert row["characters"] == len(question["reference"])


def test_a_row_does_not_depend_on_its_neighbours(loaded):
    model, tokenizer = loaded
    together = response_nll(model, tokenizer, QUESTIONS)
    alone = pd.concat([response_nll(model, tokenizer, [question]) for question in QUESTIONS])
    pd.testing.assert_frame_equal(together, alone.reset_index(drop=True))


def test_reference_beyond_the_context_is_blank_rather_than_cut(loaded):
    model, tokenizer = loaded
    context = model.config.max_position_embeddings
    long = QUESTIONS[0] | {"id": "long", "reference": "ant " * context}
    found = response_nll(model, tokenizer, [long, QUESTIONS[1]])
    assert math.isnan(found["nats"][0]) and pd.isna(found["tokens"][0])
    assert found["nats"][1] > 0
