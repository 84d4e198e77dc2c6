"""A finetune leaves a whole record or none, and the same finetune is not paid for twice."""

import re
from dataclasses import replace

import pytest

from alpaca_lab import data
from alpaca_lab.config import TINY, SettingError
from alpaca_lab.files import sha256_file
from alpaca_lab.finetuning import finetune
from alpaca_lab.memory import Shape
from alpaca_lab.weights.checkpoints import read_shape

pytestmark = pytest.mark.model


def is_done(study, record):
    rows = data.load(study.data).manifest()
    return finetune.is_done(study, "tiny-llama", rows=rows, record=record)


def test_manifest_counts_what_was_trained(finetuned):
    study, _, manifest = finetuned
    shape: Shape = read_shape(TINY / "llama")
    targets = study.models[0].lora_targets
    assert manifest["adapted_layers"] == shape.adapted_layers(targets)
    assert manifest["trainable_parameters"] == shape.lora_parameters(16, targets)
    assert manifest["steps"] == 4
    assert 0 < manifest["response_tokens"] < manifest["tokens"]
    assert (manifest["rows_cut"], manifest["rows_dropped"]) == (0, 0)


def test_loss_table_has_every_step_and_the_validation_loss(finetuned):
    _, record, manifest = finetuned
    _, losses = record.training("tiny-llama")
    train, validation = (losses[losses["kind"] == kind] for kind in ("train", "validation"))
    assert list(train["step"]) == [1, 2, 3, 4]
    assert list(validation["step"]) == [2, 4]
    assert manifest["best_validation_loss"] == pytest.approx(validation["loss"].min())


def test_adapter_is_safetensors_and_nothing_is_left_over(adapter):
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    assert not (adapter.parent / "checkpoints").exists()


def test_adapter_has_its_card_in_place_of_an_empty_template(finetuned, adapter):
    """Of what is known before anything is decoded; its sha256 is the manifest's."""
    from huggingface_hub import ModelCard

    _, record, manifest = finetuned
    text = (adapter / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.to_dict()["license"] == "mit"
    assert "More Information Needed" not in text and str(TINY) not in text
    assert "# Tiny LLaMA, finetuned on rows.jsonl" in text
    assert manifest["base"]["sha256"] in text and "Not decoded yet" in text
    assert f"| adapted layers | {manifest['adapted_layers']} |" in text
    losses = record.training("tiny-llama")[1]
    best = losses.loc[losses["kind"] == "validation", "loss"].min()
    assert f"best {best:.2f} at step" in text
    assert (adapter / "loss.png").read_bytes().startswith(b"\x89PNG")
    for name in ("README.md", "loss.png"):
        assert manifest["sha256"][f"adapter/{name}"] == sha256_file(adapter / name)


def test_program_of_the_card_answers_as_what_was_trained(finetuned, adapter, capsys):
    """Word for word what stands in the card, but for the two folders."""
    import torch

    from alpaca_lab import encoding, models
    from alpaca_lab.model_card.loading import QUESTION

    text = (adapter / "README.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for place, folder in (("path/to/the/base", TINY / "llama"), ("path/to/this/folder", adapter)):
        assert program.count(place) == 1
        program = program.replace(place, str(folder))
    exec(program, {})
    printed = capsys.readouterr().out

    spec = finetuned[0].models[0]
    model, tokenizer = models.load_decoder(spec, adapter, merged=False)
    prompt = torch.tensor([encoding.encode_prompt(tokenizer, QUESTION, "")])
    budget = finetuned[0].max_new_tokens
    ids = model.generate(prompt, do_sample=False, num_beams=1, max_new_tokens=budget)
    answer = tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True)
    assert answer and printed == f"{answer}\n"


def test_licences_are_no_part_of_what_names_a_finetune(finetuned):
    study, record, _ = finetuned
    other = replace(study.models[0], license=None)
    rows = replace(study.data, license="cc-by-nc-4.0")
    assert is_done(replace(study, models=(other,), data=rows), record)


def test_same_finetune_is_not_done_again(finetuned, monkeypatch):
    study, record, manifest = finetuned
    monkeypatch.setattr(finetune, "_train", lambda *_, **__: pytest.fail("trained again"))
    assert is_done(study, record)
    assert finetune.finetune(study, "tiny-llama", record=record)["adapter"] == manifest["adapter"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, lora=replace(s.lora, rank=8)),
        lambda s: replace(s, train=replace(s.train, seed=1)),
        lambda s: replace(s, data=replace(s.data, max_train_rows=10)),
    ],
)
def test_changed_recipe_is_another_finetune(finetuned, change):
    study, record, _ = finetuned
    assert not is_done(change(study), record)


def test_damaged_adapter_is_not_taken_for_done(adapter):
    folder, weights = adapter.parent, adapter / finetune.WEIGHTS
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert not finetune.is_whole(folder)
    finally:
        weights.write_bytes(whole)
    assert finetune.is_whole(folder)


@pytest.mark.parametrize("name", ["manifest.json", "loss.csv"])
def test_damage_beside_a_whole_adapter_is_mended_from_the_studys_record(
    finetuned, adapter, monkeypatch, capsys, name
):
    from alpaca_lab.finetuning import finetune

    study, record, manifest = finetuned
    monkeypatch.setattr(finetune, "OUTPUTS", adapter.parent.parent)
    path = adapter.parent / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" + whole[-8:])
    assert is_done(study, record)
    assert path.read_bytes() == whole
    assert f"{path} was damaged: it is written again from" in capsys.readouterr().err


def test_prompts_that_do_not_fit_are_refused(finetuned):
    study, record, _ = finetuned
    short = replace(study, train=replace(study.train, max_length=16))
    with pytest.raises(SettingError, match="no prompt is shorter than max_length=16"):
        finetune.finetune(short, "tiny-llama", record=record)


def test_unknown_model_is_named(finetuned):
    study, record, _ = finetuned
    with pytest.raises(SettingError, match='no model "gpt-2": choose from tiny-llama'):
        finetune.finetune(study, "gpt-2", record=record)
