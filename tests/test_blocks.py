"""Which checkpoints can be trained, told from the headers of their weights before any is loaded."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from alpaca_lab import models
from alpaca_lab.config import LLAMA_LINEARS, PHI_LINEARS, TINY, LoraSpec, SettingError, TrainSpec
from alpaca_lab.config import ModelSpec as Spec
from alpaca_lab.models import nf4
from alpaca_lab.weights import blocks

NEEDED = (
    "needed are those of LoRA, one each (mlp.down_proj, mlp.gate_proj, mlp.up_proj, "
    "self_attn.k_proj, self_attn.o_proj, self_attn.q_proj, self_attn.v_proj)"
)
CONFIG = {
    "model_type": "gemma", "num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 16,
    "num_attention_heads": 2, "vocab_size": 5,
}  # fmt: skip
SIZES = {"q_proj": (12, 8), "k_proj": (6, 8), "v_proj": (6, 8), "o_proj": (8, 12),
         "gate_proj": (16, 8), "up_proj": (16, 8), "down_proj": (8, 16)}  # fmt: skip


def of_gemma(layers=2):
    """Return the shapes of a Gemma: heads of 6, though 8 / 2 is 4, and one embedding for both."""
    part = {name: "mlp" if "gate up down".find(name[:2]) >= 0 else "self_attn" for name in SIZES}
    found = {
        f"model.layers.{layer}.{part[name]}.{name}.weight": size
        for layer in range(layers)
        for name, size in SIZES.items()
    }
    return found | {"model.embed_tokens.weight": (5, 8), "model.norm.weight": (8,)}


def checkpoint(folder, shapes, **config):
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    tensors = {name: np.zeros(size, np.float16) for name, size in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_layers_of_the_embedded_models_are_llamas_seven_and_phis_six():
    assert blocks.targets_of(TINY / "llama") == blocks.targets_of(TINY / "mistral") == LLAMA_LINEARS
    assert blocks.targets_of(TINY / "phi") == PHI_LINEARS


def test_sizes_that_a_config_leaves_out_come_from_the_weights(tmp_path):
    shape = blocks.shape_of(checkpoint(tmp_path, of_gemma()))
    assert (shape.head_dim, shape.kv_heads, shape.tied) == (6, 1, True)
    assert shape.linears()["q_proj"] == (8, 12)
    assert blocks.targets_of(tmp_path) == LLAMA_LINEARS


def test_an_embedding_for_each_end_is_told_from_the_weights_too(tmp_path):
    shape = blocks.shape_of(checkpoint(tmp_path, of_gemma() | {"lm_head.weight": (5, 8)}))
    assert not shape.tied


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        (
            {"h.0.attn.c_attn.weight": (8, 24), "h.0.attn.c_proj.weight": (8, 8),
             "h.0.mlp.c_fc.weight": (8, 32), "h.0.ln_1.weight": (8,)},
            "attn.c_attn, attn.c_proj, mlp.c_fc",
        ),
        (
            {"model.layers.0.self_attn.qkv_proj.weight": (24, 8),
             "model.layers.0.mlp.gate_up_proj.weight": (32, 8)},
            "mlp.gate_up_proj, self_attn.qkv_proj",
        ),
        (
            {"model.layers.0.self_attn.q_proj.weight": (12, 8),
             "model.layers.0.mlp.experts.3.gate_proj.weight": (16, 8)},
            "mlp.experts.gate_proj, self_attn.q_proj",
        ),
        (
            {f"language_model.{name}": size for name, size in of_gemma().items()},
            "language_model.model.mlp.down_proj, language_model.model.mlp.gate_proj, ",
        ),
    ],
)  # fmt: skip
def test_other_blocks_are_refused_with_the_layers_found_and_needed(tmp_path, shapes, found):
    """GPT-2, fused projections as in Phi-3, experts, and a language model inside another."""
    checkpoint(tmp_path, shapes)
    with pytest.raises(SettingError) as caught:
        blocks.targets_of(tmp_path)
    sentence = str(caught.value)
    assert f"the matrices of its blocks are {found}" in sentence and NEEDED in sentence


def test_experts_beside_the_seven_layers_are_refused(tmp_path):
    """PEFT would adapt them too: they have the same names."""
    expert = {"model.layers.0.mlp.experts.0.up_proj.weight": (16, 8)}
    with pytest.raises(SettingError, match="experts.up_proj.*one each"):
        blocks.targets_of(checkpoint(tmp_path, of_gemma() | expert))


def test_a_config_of_other_names_is_refused_by_the_layers_of_its_blocks(tmp_path):
    """GPT-2 says n_head, and a model of pictures nests its text's sizes in text_config."""
    checkpoint(tmp_path, {"h.0.attn.c_attn.weight": (8, 24)})
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_head": 12}')
    with pytest.raises(SettingError, match="its blocks are attn.c_attn; needed are"):
        blocks.shape_of(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(SettingError, match=r"config.json is not of a decoder .*no 'num_attention"):
        blocks.shape_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quantization_config": {"quant_method": "gptq"}}, "is quantised already"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "of the kind 'chunked_att"),
        ({"num_hidden_layers": 3}, "2 of 3 layers have mlp.down_proj"),
    ],
)
def test_what_else_cannot_be_trained_is_one_sentence(tmp_path, config, message):
    with pytest.raises(SettingError, match=message):
        blocks.targets_of(checkpoint(tmp_path, of_gemma(), **config))


def test_layers_of_several_sizes_are_refused(tmp_path):
    odd = {"model.layers.1.mlp.up_proj.weight": (24, 8)}
    with pytest.raises(SettingError, match=r"layers.1.mlp.up_proj.weight has shape \(24, 8\), not"):
        blocks.targets_of(checkpoint(tmp_path, of_gemma() | odd))


def test_layers_that_the_architecture_does_not_have_are_refused(tmp_path):
    with pytest.raises(SettingError, match=r"its blocks are mlp.down_proj.*mlp.fc1"):
        blocks.targets_of(checkpoint(tmp_path, of_gemma(), model_type="phi"))


def test_names_of_a_strangers_tensors_are_shown_and_not_obeyed(tmp_path):
    names = {f"h.0.\x1b[31m{'x' * 200}{n}.weight": (2, 2) for n in range(50)}
    with pytest.raises(SettingError, match="and 38 more; needed are") as caught:
        blocks.targets_of(checkpoint(tmp_path, names))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("load", ["trainable", "decoder"])
def test_other_blocks_are_refused_before_anything_is_loaded(tmp_path, monkeypatch, load):
    def loaded(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(nf4, "load_nf4", loaded)
    checkpoint(tmp_path, {"h.0.attn.c_attn.weight": (8, 24)})
    spec = Spec(key="gpt", title="GPT", source=str(tmp_path))
    with pytest.raises(SettingError, match="its blocks are attn.c_attn"):
        if load == "trainable":
            models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="plain"))
        models.load_decoder(spec, None)
