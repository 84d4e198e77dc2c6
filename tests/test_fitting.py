"""What is promised to fit, fits; and what was measured is what was predicted, to a tenth."""

from dataclasses import replace

import pytest

from alpaca_lab.config import LLAMA_LINEARS, ResourceSpec, SettingError
from alpaca_lab.fitting import plan
from alpaca_lab.memory import KNOWN_SHAPES, finetune_gib, padded_gib
from alpaca_lab.profiles import MODELS, PROFILES

CARDS = (8, 16, 24, 40, 80)

# One H200, capped at 24 GiB, torch 2.11, PyTorch's reserve and the CUDA context together:
# (model, tokens in the largest pass asked for, blocks recomputed, GiB on the device).
MEASURED = [
    ("llama-2-7b", 2048, 0, 11.58),
    ("llama-2-7b", 4096, 0, 17.51),
    ("llama-2-7b", 5504, 0, 21.61),
    ("llama-2-7b", 8192, 16, 19.01),
    ("llama-2-7b", 8192, 32, 9.35),
    ("llama-2-7b", 16000, 32, 13.02),
    ("mistral-7b", 2048, 0, 11.94),
    ("mistral-7b", 4096, 0, 18.08),
    ("mistral-7b", 5504, 0, 22.18),
    ("phi-2", 2048, 0, 6.46),
    ("phi-2", 4096, 0, 9.36),
    ("phi-2", 8192, 0, 15.07),
    ("phi-2", 12288, 0, 20.89),
    ("phi-2", 8192, 16, 9.99),
    ("phi-2", 8192, 32, 5.25),
    ("phi-2", 16000, 32, 7.36),
]


def sizes(key):
    model = MODELS[key]
    shape = KNOWN_SHAPES[model.source]
    return shape, shape.lora_parameters(16, model.lora_targets)


@pytest.mark.parametrize(("key", "tokens", "recomputed", "measured"), MEASURED)
def test_prediction_is_within_a_tenth_of_what_was_measured(key, tokens, recomputed, measured):
    shape, trainable = sizes(key)
    predicted = finetune_gib(
        shape,
        trainable=trainable,
        micro_batch_tokens=tokens,
        recompute=recomputed / shape.layers,
    )
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("key", ["llama-2-7b", "mistral-7b", "phi-2"])
@pytest.mark.parametrize("card", CARDS)
def test_every_card_from_8_gib_on_gets_a_pass_that_fits_it(key, card):
    shape, trainable = sizes(key)
    study = PROFILES["full"]
    found = plan(study, MODELS[key], shape=shape, memory_gib=card)
    assert found.gib <= card
    assert found.micro_batch_tokens >= study.train.max_length
    assert found.gib == finetune_gib(
        shape,
        trainable=trainable,
        micro_batch_tokens=found.micro_batch_tokens,
        recompute=found.recompute,
    )


def test_a_larger_card_never_gets_a_slower_plan():
    shape, _ = sizes("llama-2-7b")
    study = PROFILES["full"]
    plans = [plan(study, MODELS["llama-2-7b"], shape=shape, memory_gib=card) for card in CARDS]
    assert [p.recompute for p in plans] == sorted((p.recompute for p in plans), reverse=True)
    assert plans[2].recompute == 0, "24 GiB keep everything"


def test_a_card_too_small_is_refused_with_what_is_needed():
    shape, _ = sizes("llama-2-7b")
    with pytest.raises(SettingError, match=r"needs \d\.\d GiB for a pass of 1024 tokens, here"):
        plan(PROFILES["full"], MODELS["llama-2-7b"], shape=shape, memory_gib=4.0)


def test_padded_rows_are_promised_less():
    """Measured: LLaMA through Transformers' own pass, 8,192 tokens, Liger's kernels, 12.4 GiB."""
    shape, trainable = sizes("llama-2-7b")
    assert padded_gib(shape, trainable=trainable, micro_batch_tokens=8192) == pytest.approx(
        12.4, rel=0.1
    )
    study = PROFILES["full"]
    padded = replace(study, train=replace(study.train, packing=False))
    for card in (8, 16, 24):
        found = plan(padded, MODELS["llama-2-7b"], shape=shape, memory_gib=card)
        assert found.recompute == 1.0
        assert found.gib <= card
    with pytest.raises(SettingError, match="needs"):
        plan(padded, MODELS["llama-2-7b"], shape=shape, memory_gib=5)


def test_wishes_are_honoured():
    shape, _ = sizes("phi-2")
    study = PROFILES["full"]

    def wished(**wish):
        asked = replace(study, resources=ResourceSpec(**wish))
        return plan(asked, MODELS["phi-2"], shape=shape, memory_gib=24)

    assert wished(micro_batch_tokens=2048).micro_batch_tokens == 2048
    assert wished(recompute=1.0).recompute == 1.0
    both = wished(micro_batch_tokens=4096, recompute=0.5)
    assert (both.micro_batch_tokens, both.recompute) == (4096, 0.5)
    with pytest.raises(SettingError, match="does not hold a row of max_length=1024"):
        wished(micro_batch_tokens=512)


def test_a_cpu_takes_a_pass_that_holds_any_row():
    shape, _ = sizes("phi-2")
    long = replace(PROFILES["full"], train=replace(PROFILES["full"].train, max_length=8192))
    assert plan(long, MODELS["phi-2"], shape=shape, memory_gib=None).micro_batch_tokens == 8192


def test_unpacked_architectures_are_told_apart():
    from types import SimpleNamespace

    from alpaca_lab.finetuning.layouts import why_not_packed

    llama = SimpleNamespace(
        model_type="llama", hidden_act="silu", rope_parameters={"rope_type": "default"},
        num_hidden_layers=2, hidden_size=64, intermediate_size=128, num_attention_heads=4,
        vocab_size=99,
    )  # fmt: skip
    lora = PROFILES["full"].lora
    rest = {"targets": LLAMA_LINEARS, "lora": lora, "max_length": 1024}
    assert why_not_packed(llama, **rest) is None
    cases = [
        ({"model_type": "gemma"}, {}, "architecture is gemma"),
        ({"hidden_act": "gelu"}, {}, "activation is gelu"),
        ({"rope_parameters": {"rope_type": "linear"}}, {}, "positions are scaled"),
        ({"sliding_window": 512}, {}, "window of 512 is shorter"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, {}, "attend to a window"),
        ({"intermediate_size": 130, "hidden_size": 60}, {}, "do not fill NF4's blocks of 64"),
        ({"qk_layernorm": True}, {}, "normalises queries"),
        ({}, {"lora": replace(lora, dropout=0.1)}, "dropout"),
        ({}, {"targets": ("q_proj",)}, "not on all 7 layers"),
    ]
    for config, change, reason in cases:
        other = SimpleNamespace(**vars(llama) | config)
        assert reason in why_not_packed(other, **rest | change)
