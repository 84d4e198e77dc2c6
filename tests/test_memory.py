"""Predictions from a model's shape; the published parameter counts are the check on the shapes."""

import pytest

from alpaca_lab.memory import (
    COLUMNS_PER_SLOT,
    KNOWN_SHAPES,
    column_bytes,
    decode_gib,
    finetune_gib,
    kept_bytes,
    plan_decode,
    plan_pass,
)
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
    base = {"trainable": 39_976_960, "micro_batch_tokens": 4096}
    need = finetune_gib(shape, **base)
    assert finetune_gib(shape, **base | {"micro_batch_tokens": 8192}) > need
    assert finetune_gib(shape, **base | {"trainable": 80_000_000}) > need
    assert finetune_gib(shape, **base, recompute=1.0) < finetune_gib(shape, **base, recompute=0.5)
    assert finetune_gib(shape, **base, recompute=0.5) < need
    assert decode_gib(shape, slots=9, columns=800) > decode_gib(shape, slots=9, columns=400)


def test_what_a_block_keeps_is_counted_by_hand():
    """LLaMA in 16 bits: input and middle 2 x 4096, q k v 12288, attention 4096, gate and up 22016.

    Phi: input 2560, q k v 7680, attention 2560, inner 10240. In float32: a log-sum-exp for each of
    32 heads, and two numbers of norms.
    """
    llama = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    phi = KNOWN_SHAPES["microsoft/phi-2"]
    assert kept_bytes(llama) == 2 * (8192 + 12288 + 4096 + 22016) + 4 * 34
    assert kept_bytes(phi) == 2 * (2560 + 7680 + 2560 + 10240) + 4 * 34


def test_plan_spends_memory_on_keeping_before_tokens():
    llama = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    asked = {"trainable": 39_976_960, "max_length": 1024, "most": 16_384}
    plan = plan_pass(llama, budget_gib=24, **asked)
    assert plan.recompute == 0 and plan.gib <= 24
    assert plan_pass(llama, budget_gib=200, **asked).micro_batch_tokens == 16_384
    assert plan_pass(llama, budget_gib=5, **asked) is None


def test_a_decode_never_promises_what_does_not_fit():
    llama = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    plan = plan_decode(llama, slots=128, longest=960, budget_gib=24)
    assert plan.slots == 128 and plan.gib <= 24
    assert decode_gib(llama, slots=128, columns=plan.columns + 1) > 24
    assert plan_decode(llama, slots=128, longest=960, budget_gib=13) is None


def test_a_decode_takes_no_more_columns_than_its_slots_can_need():
    phi = KNOWN_SHAPES["microsoft/phi-2"]
    plan = plan_decode(phi, slots=8, longest=500, budget_gib=80)
    assert plan.columns == 8 * 500 + 1 and plan.gib < 10


def test_a_small_card_gets_fewer_slots_rather_than_starved_ones():
    llama = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    plan = plan_decode(llama, slots=128, longest=960, budget_gib=15)
    assert 1 < plan.slots < 128
    assert plan.columns >= plan.slots * COLUMNS_PER_SLOT


def test_a_column_holds_keys_and_values_of_all_layers():
    """LLaMA: 32 layers x 32 heads x 128 x 2 (keys, values) x 2 bytes."""
    llama = KNOWN_SHAPES["meta-llama/Llama-2-7b-hf"]
    assert column_bytes(llama) == 32 * 32 * 128 * 2 * 2 == 524_288
    assert column_bytes(llama, bytes_per_value=4) == 2 * 524_288
