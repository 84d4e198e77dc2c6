"""Weights are the pinned ones, in safetensors; a hub that refuses ends in one sentence."""

import pytest

from alpaca_lab import checkpoints
from alpaca_lab.config import SettingError
from alpaca_lab.profiles import MODELS


def test_pickled_weights_are_refused(copied):
    spec, folder = copied
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SettingError, match="not a checkpoint in safetensors"):
        checkpoints.locate(spec)


def test_local_identity_changes_with_the_weights(copied):
    spec, folder = copied
    before = checkpoints.identify(spec)["sha256"]
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    assert checkpoints.identify(spec)["sha256"] != before


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
        checkpoints.locate(MODELS["llama-2-7b"])
    assert "hf_secret" not in str(caught.value)


def test_gated_model_without_a_token_is_taken_from_its_mirror_aloud(monkeypatch, capsys, tmp_path):
    import huggingface_hub

    asked = {}

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoints.locate(MODELS["llama-2-7b"])
    identity = checkpoints.identify(MODELS["llama-2-7b"])
    assert "is gated and no hub token is set" in capsys.readouterr().out
    assert identity["source"] == asked["name"] == MODELS["llama-2-7b"].mirror
    assert asked["revision"] == MODELS["llama-2-7b"].mirror_revision
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["patterns"])
