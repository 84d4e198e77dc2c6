"""What is loaded is what was asked for: every layer adapted, every tensor arrived."""

import json
import shutil
from dataclasses import replace

import pytest

from alpaca_lab import models
from alpaca_lab.config import TINY, LoraSpec, SettingError, TrainSpec
from alpaca_lab.profiles import MODELS

pytestmark = pytest.mark.model
TINY_MODELS = ("tiny-llama", "tiny-mistral", "tiny-phi")


@pytest.fixture
def copied(tmp_path):
    """A copy of the tiny LLaMA that a test may damage, and its spec."""
    folder = tmp_path / "llama"
    shutil.copytree(TINY / "llama", folder)
    return replace(MODELS["tiny-llama"], source=str(folder)), folder


def trainable(key):
    train = TrainSpec(loader="plain", gradient_checkpointing=False)
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
    shape = models.read_shape(TINY / "phi")
    with pytest.raises(SettingError, match="LoRA adapts 24 layers .* expected 12"):
        models.check_adapted(model, shape=shape, targets=phi.lora_targets, lora=LoraSpec())


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
    unmerged = PeftModel.from_pretrained(models._load_nf4(TINY / "llama"), str(adapter)).eval()
    ids = torch.arange(10, 42).reshape(2, 16)
    with torch.no_grad():
        merged_logits, unmerged_logits = dense(ids).logits, unmerged(ids).logits
    assert torch.allclose(merged_logits, unmerged_logits, atol=1e-3)
    untuned, _ = models.load_decoder(MODELS["tiny-llama"], None)
    assert (untuned(ids).logits - merged_logits).abs().max() > 0.01


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


def test_pickled_weights_are_refused(copied):
    spec, folder = copied
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SettingError, match="not a checkpoint in safetensors"):
        models.locate(spec)


def test_local_identity_changes_with_the_weights(copied):
    spec, folder = copied
    before = models.identify(spec)["sha256"]
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    assert models.identify(spec)["sha256"] != before


def hub_error(name, status):
    import httpx
    from huggingface_hub import errors

    request = httpx.Request("GET", "https://hub.invalid")
    return getattr(errors, name)("refused", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: hub_error("GatedRepoError", 403), "gated: accept its licence .* set HF_TOKEN"),
        (lambda: hub_error("HfHubHTTPError", 503), "could not be had .* llama-2-7b=FOLDER"),
        (lambda: OSError("no route"), "could not be had from the hub .OSError.*check the network"),
    ],
)
def test_hub_that_refuses_ends_in_one_sentence(monkeypatch, error, message):
    import huggingface_hub

    def refuse(*_, **__):
        raise error()

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(SettingError, match=message) as caught:
        models.locate(MODELS["llama-2-7b"])
    assert "hf_secret" not in str(caught.value)


def test_gated_model_without_a_token_is_taken_from_its_mirror_aloud(monkeypatch, capsys, tmp_path):
    import huggingface_hub

    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    models.locate(MODELS["llama-2-7b"])
    identity = models.identify(MODELS["llama-2-7b"])
    assert "is gated and no hub token is set" in capsys.readouterr().out
    assert identity["source"] == asked["name"] == MODELS["llama-2-7b"].mirror
    assert asked["revision"] == MODELS["llama-2-7b"].mirror_revision
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["patterns"])
