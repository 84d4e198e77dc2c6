"""Weights are the pinned ones, in safetensors; a hub that refuses ends in one sentence."""

import os
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from alpaca_lab.config import TINY, SettingError
from alpaca_lab.files import sha256_file
from alpaca_lab.judge.model import ModelJudge, parse_judge
from alpaca_lab.metrics import encoders
from alpaca_lab.profiles import MODELS
from alpaca_lab.rows import sources
from alpaca_lab.weights import checkpoints
from faults.hub_stub import COMMIT, Fault


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


def test_naming_a_local_model_leaves_the_hub_to_the_other_models(copied, monkeypatch):
    """The stages of all models inherit the environment of the process that names them."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    checkpoints.identify(copied[0])
    assert "HF_HUB_OFFLINE" not in os.environ


def put(hub, spec, folder="llama"):
    """Serve a tiny model under the name and commit of a large one."""
    files = {path.name: path.read_bytes() for path in (TINY / folder).iterdir()}
    hub.add("model", spec.source, spec.revision, files)


def test_a_hub_model_is_fetched_whole_and_loads(hub):
    spec = MODELS["phi-2"]
    put(hub, spec, "phi")
    folder = checkpoints.locate(spec)
    assert checkpoints.read_shape(folder) == checkpoints.read_shape(TINY / "phi")
    assert sha256_file(folder / "model.safetensors") == sha256_file(
        TINY / "phi" / "model.safetensors"
    )


def test_a_tokenizer_comes_without_its_weights(hub):
    spec = MODELS["phi-2"]
    put(hub, spec, "phi")
    assert (checkpoints.locate_tokenizer(spec) / "tokenizer.json").is_file()
    assert not hub.requests(where="safetensors")


def test_a_tokenizer_alone_is_not_taken_for_the_model(hub):
    spec = MODELS["phi-2"]
    put(hub, spec, "phi")
    checkpoints.locate_tokenizer(spec)
    hub.mend()
    assert (checkpoints.locate(spec) / "model.safetensors").is_file()
    assert not hub.requests(where="tokenizer.json")


@pytest.mark.parametrize(
    ("where", "fault", "message"),
    [
        (
            "/resolve/",
            Fault(status=403, headers={"X-Error-Code": "GatedRepo"}),
            "meta-llama/Llama-2-7b-hf is gated: accept its licence on the hub and set HF_TOKEN, or "
            "use a local folder with llama-2-7b=FOLDER",
        ),
        (
            "",
            Fault(status=503),
            "meta-llama/Llama-2-7b-hf could not be had, the hub does not answer (503): run again "
            "later, or use a local folder with llama-2-7b=FOLDER",
        ),
    ],
)
def test_hub_that_refuses_ends_in_one_sentence(hub, monkeypatch, where, fault, message):
    spec = MODELS["llama-2-7b"]
    put(hub, spec)
    hub.breaks(where, fault)
    for place in ("huggingface_hub.get_token", "huggingface_hub.utils._headers.get_token"):
        monkeypatch.setattr(place, lambda: "hf_secret")
    with pytest.raises(SettingError) as caught:
        checkpoints.locate(spec)
    assert str(caught.value) == message


@pytest.mark.model
def test_a_judge_that_cannot_be_had_is_named_with_the_judges_cure(hub):
    spec = parse_judge(f"lab/judge@{COMMIT}")
    with pytest.raises(SettingError, match="or give --judge a local folder$"):
        ModelJudge(spec)


def test_gated_model_without_a_token_is_taken_from_its_mirror_aloud(hub, monkeypatch, capsys):
    spec = MODELS["llama-2-7b"]
    mirror = replace(spec, source=spec.mirror, revision=spec.mirror_revision)
    put(hub, mirror)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    checkpoints.locate(spec)
    assert f"is gated and no hub token is set: taking its mirror {spec.mirror}" in (
        capsys.readouterr().out
    )
    assert checkpoints.identify(spec)["source"] == spec.mirror
    assert hub.requests(where=f"/{spec.mirror}/resolve/{spec.mirror_revision}/")
    assert not hub.requests(where=spec.source)


def test_no_pattern_asks_for_a_pickle_or_for_code():
    names = ["pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt", "training_args.bin",
             "modeling_phi.py", "model.safetensors.py", "rows.py", "rows.pkl.gz"]  # fmt: skip
    patterns = [*checkpoints.HUB_FILES, *checkpoints.TOKENIZER_FILES, *encoders.HUB_FILES]
    patterns += sources.HUB_FILES
    assert not [name for name in names for p in patterns if fnmatchcase(name, p)]
