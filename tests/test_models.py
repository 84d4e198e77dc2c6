"""What is loaded is what was asked for: every layer adapted, every tensor arrived."""

import json
import shutil
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from alpaca_lab import models
from alpaca_lab.config import TINY, LoraSpec, SettingError, TrainSpec
from alpaca_lab.models import dense, nf4
from alpaca_lab.profiles import MODELS
from alpaca_lab.weights import checkpoints, trust
from random_models import checkpoint

pytestmark = pytest.mark.model
TINY_MODELS = ("tiny-llama", "tiny-mistral", "tiny-phi")


def trainable(key):
    train = TrainSpec(loader="plain")
    return models.load_trainable(MODELS[key], lora=LoraSpec(), train=train)[0]


@pytest.mark.parametrize("key", TINY_MODELS)
def test_every_linear_layer_is_adapted_and_every_gradient_flows(key):
    """The trap of bitsandbytes 0.50.2 on CPUs with AVX512-BF16.

    Its first forward without gradients repacks the NF4 weights; after that 20 of 28 LoRA gradients
    of the tiny LLaMA are exactly 0, while the loss looks normal.
    """
    import torch

    model = trainable(key)
    ids = torch.arange(10, 42).reshape(2, 16)
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if ".lora_B." in name}
    assert len(gradients) == models.count_adapted(model)[0] > 0
    dead = [name for name, gradient in gradients.items() if not gradient.abs().max() > 0]
    assert not dead


def test_a_forgotten_target_is_refused():
    """PEFT adapts what matches and is silent about the rest: Phi under LLaMA's names."""
    phi = replace(MODELS["tiny-phi"], lora_targets=("q_proj", "k_proj", "v_proj"))
    model = trainable("tiny-phi")
    shape = checkpoints.read_shape(TINY / "phi")
    with pytest.raises(SettingError, match="LoRA adapts 24 layers .* expected 12"):
        models.check_adapted(model, shape=shape, targets=phi.lora_targets, lora=LoraSpec())


def test_adapter_names_its_layers_also_where_unsloth_finds_them_by_a_pattern(monkeypatch, tmp_path):
    """As on a GPU for Phi: PEFT would write the pattern, and `trust` refuse the adapter."""
    from peft import LoraConfig, get_peft_model

    class FastLanguageModel:
        from_pretrained = staticmethod(lambda folder, **_: (nf4.load_nf4(Path(folder)), None))

        @staticmethod
        def get_peft_model(model, *, r, lora_alpha, target_modules, **_):
            pattern = rf".*\.({'|'.join(target_modules)})"
            chosen = LoraConfig(
                r=r, lora_alpha=lora_alpha, target_modules=pattern, task_type="CAUSAL_LM"
            )
            return get_peft_model(model, chosen)

    fake = types.SimpleNamespace(FastLanguageModel=FastLanguageModel)
    monkeypatch.setitem(sys.modules, "unsloth", fake)
    spec = MODELS["tiny-phi"]
    model, _ = models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="unsloth"))
    model.save_pretrained(tmp_path)
    shape = checkpoints.read_shape(TINY / "phi")
    trust.check_adapter(tmp_path, shape=shape, targets=spec.lora_targets)


@pytest.mark.parametrize("key", ["tiny-llama", "tiny-phi"])
def test_adapter_names_its_layers_in_one_order(key, tmp_path):
    """PEFT's set has another in each process, and the file then another sha256."""
    spec = MODELS[key]
    model, _ = models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="plain"))
    model.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert said["target_modules"] == list(spec.lora_targets)


def test_adapter_that_does_not_fit_is_refused(adapter, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "adapter"
    shutil.copytree(adapter, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    name = sorted(weights)[0]
    foreign = {key.replace("layers.0", "layers.9"): value for key, value in weights.items()}
    save_file(foreign, broken / "adapter_model.safetensors")
    with pytest.raises(SettingError, match="tensors differ in name"):
        models.load_decoder(MODELS["tiny-llama"], broken)
    assert torch.isfinite(weights[name]).all()


def test_decoder_is_the_adapter_on_the_quantised_base(adapter):
    """Merged and dense, it computes what base + adapter compute unmerged, to float32 rounding."""
    import torch
    from peft import PeftModel

    dense, _ = models.load_decoder(MODELS["tiny-llama"], adapter)
    unmerged = PeftModel.from_pretrained(nf4.load_nf4(TINY / "llama"), str(adapter)).eval()
    ids = torch.arange(10, 42).reshape(2, 16)
    with torch.no_grad():
        merged_logits, unmerged_logits = dense(ids).logits, unmerged(ids).logits
    assert torch.allclose(merged_logits, unmerged_logits, atol=1e-3)
    untuned, _ = models.load_decoder(MODELS["tiny-llama"], None)
    assert (untuned(ids).logits - merged_logits).abs().max() > 0.01


def test_decoder_in_16_bits_keeps_its_rotary_frequencies_in_32(monkeypatch):
    """In bfloat16 the second of them, 10000 ** (-2 / 32) = 0.562341, would be 0.5625."""
    import torch

    for module in (nf4, dense):
        monkeypatch.setattr(module, "compute_dtype", lambda: torch.bfloat16)
    model, _ = models.load_decoder(MODELS["tiny-llama"], None)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    frequencies = [10000 ** (-2 * pair / 32) for pair in range(16)]
    assert model.model.rotary_emb.inv_freq.tolist() == pytest.approx(frequencies, rel=1e-6)


def test_decoding_never_imports_unsloth():
    import subprocess
    import sys

    code = (
        "import sys; from alpaca_lab import models; from alpaca_lab.profiles import MODELS; "
        "models.load_decoder(MODELS['tiny-phi'], None); sys.exit('unsloth' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_pad_is_never_eos_and_padding_is_left(copied):
    spec, folder = copied
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"pad_token": config["eos_token"], "unk_token": None}))
    tokenizer = models.load_tokenizer(folder)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.padding_side == "left"


def test_bare_sentencepiece_model_is_refused(copied):
    spec, folder = copied
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SettingError, match="no tokenizer.json"):
        models.load_tokenizer(folder)


def tokenizer_of(folder, *, spare=0, **changes):
    """Return a tokenizer with its config changed, for a model with so many rows to spare."""
    from transformers import AutoTokenizer

    names = {"unk_token": None, "pad_token": None, "bos_token": None} | changes
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | names))
    rows = len(AutoTokenizer.from_pretrained(folder)) + spare
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": rows}))
    return models.load_tokenizer(folder), rows


@pytest.mark.parametrize("pad", [None, "</s>"])
def test_a_tokenizer_of_llama_3_pads_with_bos(copied, pad):
    """No unknown token, and no row to spare for a new one: 128,256 of 128,256 are taken."""
    tokenizer, rows = tokenizer_of(copied[1], pad_token=pad, bos_token="<s>")
    assert tokenizer.pad_token == "<s>" and len(tokenizer) == rows


def test_where_there_is_a_row_to_spare_a_new_token_pads(copied):
    """Qwen2.5 has 271, and ships its EOS for padding."""
    tokenizer, rows = tokenizer_of(copied[1], pad_token="</s>", spare=1)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<|pad|>", rows - 1)


def test_without_any_other_token_an_ordinary_one_pads_and_stays_ordinary(copied):
    tokenizer, rows = tokenizer_of(copied[1])
    before = tokenizer("Name a colour!", add_special_tokens=False).input_ids
    pad = tokenizer.pad_token_id
    assert pad < rows and pad != tokenizer.eos_token_id
    assert len(tokenizer) == rows
    assert tokenizer.decode(before, skip_special_tokens=True) == "Name a colour!"


def test_a_padding_token_beyond_the_embedding_is_not_taken(copied):
    """Checkpoints exist whose tokenizer has "[PAD]" as its 32,001st token, and 32,000 rows."""
    spec, folder = copied
    path = folder / "config.json"
    config = json.loads(path.read_text())
    models.load_tokenizer(folder)
    path.write_text(json.dumps(config | {"vocab_size": 3}))  # <pad> of the tiny LLaMA is 3
    assert models.load_tokenizer(folder).pad_token_id < 3


def test_a_tokenizer_without_eos_is_refused(copied):
    with pytest.raises(SettingError, match="names no eos_token, so that no answer could end"):
        tokenizer_of(copied[1], eos_token=None)


def test_a_model_whose_attention_is_capped_attends_in_the_way_that_caps(tmp_path):
    """PyTorch's fused kernel leaves Gemma 2's cap out, without a word."""
    folder = checkpoint(tmp_path / "gemma2", "gemma2", attn_implementation="sdpa")
    assert nf4.load_nf4(folder).config._attn_implementation == "eager"
    assert nf4.load_nf4(TINY / "llama").config._attn_implementation == "sdpa"
