"""Predictions from a model's shape; the published parameter counts are the check on the shapes."""

import pytest

from alpaca_lab.memory import KNOWN_SHAPES, decode_gib, finetune_gib, slots_that_fit
from alpaca_lab.profiles import MODELS

# Published: parameters of the model without norms and biases are within .1% of the model card's
# total; adapter parameters of r=16 on all linear layers as PEFT prints them.
PUBLISHED = [
    ("llama-2-7b", 6_738_415_616, 224, 39_976_960),
    ("mistral-7b", 7_241_732_096, 224, 41_943_040),
    ("phi-2", 2_779_683_840, 192, 23_592_960),
]


@pytest.mark.parametrize(("key", "parameters", "layers", "trainable"), PUBLISHED)
def test_shapes_give_the_published_counts(key, parameters, layers, trainable):
    model = MODELS[key]
    shape = KNOWN_SHAPES[model.source]
    total = shape.block_parameters + shape.embedding_parameters
    assert total == pytest.approx(parameters, rel=1e-3)
    assert shape.adapted_layers(model.lora_targets) == layers
    assert shape.lora_parameters(16, model.lora_targets) == trainable


def test_phi_under_the_llama_names_loses_its_mlp_and_output():
    """The silent fault of copying a LLaMA recipe: only q, k and v exist in Phi-2."""
    shape = KNOWN_SHAPES["microsoft/phi-2"]
    with pytest.raises(KeyError, match="o_proj"):
        shape.lora_parameters(16, MODELS["llama-2-7b"].lora_targets)


def test_more_of_anything_needs_more_memory():
    shape = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    base = {"trainable": 39_976_960, "micro_batch": 4, "length": 1024, "checkpointing": True}
    need = finetune_gib(shape, **base)
    assert finetune_gib(shape, **base | {"micro_batch": 8}) > need
    assert finetune_gib(shape, **base | {"length": 2048}) > need
    assert finetune_gib(shape, **base | {"checkpointing": False}) > need
    assert decode_gib(shape, slots=32, length=1024) > decode_gib(shape, slots=16, length=1024)


def test_slots_never_promise_what_does_not_fit():
    shape = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    slots = slots_that_fit(shape, length=960, budget_gib=24, most=64)
    assert 0 < slots < 64
    assert decode_gib(shape, slots=slots, length=960) <= 24
    assert decode_gib(shape, slots=slots + 1, length=960) > 24
    assert slots_that_fit(shape, length=960, budget_gib=8, most=64) == 0
