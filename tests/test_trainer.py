"""A finetune survives what happens to it: a kill, a full memory, a Ctrl-C, a loss that rises."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from alpaca_lab.config import SettingError, as_dict
from alpaca_lab.files import write_json

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")

STEPS = 4


@pytest.fixture(scope="module")
def one_model(small_study):
    """One tiny model, four steps of 8 rows, saved after each."""
    return replace(
        small_study,
        models=small_study.models[:1],
        train=replace(small_study.train, max_steps=STEPS, evaluations=2),
        resources=replace(small_study.resources, checkpoints=STEPS),
    )


@pytest.fixture
def train(monkeypatch, tmp_path):
    """Return a function that finetunes in a folder of this test's own."""
    from alpaca_lab.finetuning import finetune
    from alpaca_lab.store import Record

    monkeypatch.setattr(finetune, "OUTPUTS", tmp_path / "outputs")
    record = Record(tmp_path / "results")

    def run(study):
        manifest = finetune.finetune(study, "tiny-llama", record=record)
        return manifest, record.training("tiny-llama")[1]

    run.outputs = tmp_path / "outputs"
    return run


@pytest.fixture(scope="module")
def unbroken(one_model, tmp_path_factory):
    """The run that nothing happened to."""
    from alpaca_lab.finetuning import finetune
    from alpaca_lab.store import Record

    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "OUTPUTS", folder / "outputs")
        record = Record(folder / "results")
        manifest = finetune.finetune(one_model, "tiny-llama", record=record)
        return manifest, record.training("tiny-llama")[1]


def losses(table, kind="train"):
    return table.loc[table["kind"] == kind, "loss"].tolist()


def at_step(monkeypatch, step, act):
    """Let `act` run before the passes of one optimiser step, once."""
    from alpaca_lab.finetuning.trainer import StepTrainer

    whole, seen = StepTrainer.training_step, []

    def training_step(self, *args, **kwargs):
        if self.state.global_step + 1 == step and not seen:
            seen.append(step)
            act(self)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(StepTrainer, "training_step", training_step)


def test_each_step_is_recorded_with_what_it_took(unbroken):
    _, table = unbroken
    steps = table[table["kind"] == "train"]
    assert steps["step"].tolist() == [1, 2, 3, 4]
    assert (steps["tokens"] > 0).all() and (steps["seconds"] > 0).all()
    assert (steps["passes"] == 1).all()
    assert table[table["kind"] == "validation"]["step"].tolist() == [2, 4]
    assert table[table["kind"] == "validation"]["tokens"].isna().all()


@pytest.mark.parametrize("step", [1, 2, 4])
def test_killed_run_ends_like_an_unbroken_one(one_model, unbroken, train, monkeypatch, step):
    class Killed(BaseException):
        pass

    def kill(_):
        raise Killed

    with monkeypatch.context() as patch:
        at_step(patch, step, kill)
        with pytest.raises(Killed):
            train(one_model)
    manifest, table = train(one_model)
    expected, whole = unbroken
    assert losses(table) == pytest.approx(losses(whole), rel=1e-6)
    assert losses(table, "validation") == pytest.approx(losses(whole, "validation"), rel=1e-6)
    assert manifest["adapter"]["sha256"] == expected["adapter"]["sha256"]


ALONE = """
import sys
from pathlib import Path
from alpaca_lab.finetuning import finetune
from alpaca_lab.config import study_from_dict
from alpaca_lab.files import read_json
from alpaca_lab.store import Record

folder = Path(sys.argv[1])
finetune.OUTPUTS = folder / "outputs"
study = study_from_dict(read_json(folder / "study.json"))
finetune.finetune(study, "tiny-llama", record=Record(folder / "results"))
"""
"""A finetune in a process of its own, to be killed."""


def test_sigkill_loses_no_more_than_a_step(one_model, unbroken, train, tmp_path):
    write_json(tmp_path / "study.json", as_dict(one_model))
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(tmp_path)])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/*/checkpoints/checkpoint-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()  # while the first checkpoint is being written, or just after
    process.wait()
    manifest, table = train(one_model)
    assert losses(table) == pytest.approx(losses(unbroken[1]), rel=1e-6)
    assert manifest["adapter"]["sha256"] == unbroken[0]["adapter"]["sha256"]


def test_checkpoint_cut_short_is_passed_over(one_model, unbroken, train, monkeypatch):
    class Killed(BaseException):
        pass

    def damage(_):
        (state,) = train.outputs.glob("*/checkpoints/checkpoint-2/trainer_state.json")
        state.write_text(state.read_text()[:100])
        raise Killed

    with monkeypatch.context() as patch:
        at_step(patch, 3, damage)
        with pytest.raises(Killed):
            train(one_model)
    assert losses(train(one_model)[1]) == pytest.approx(losses(unbroken[1]), rel=1e-6)


def full_above(monkeypatch, tokens):
    """Let the memory run out in every pass of more than so many tokens."""
    from alpaca_lab.finetuning.layouts import Packed

    whole = Packed.loss

    def loss(self, rows):
        if sum(len(row["input_ids"]) for row in rows) > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, rows)

    monkeypatch.setattr(Packed, "loss", loss)


def test_full_memory_halves_the_passes_and_changes_no_loss(
    one_model, unbroken, train, monkeypatch, capsys
):
    study = replace(one_model, train=replace(one_model.train, max_length=256))
    expected = train(study)[1]
    full_above(monkeypatch, 300)
    other = replace(study, train=replace(study.train, seed=study.train.seed))
    monkeypatch.setattr("alpaca_lab.finetuning.finetune.OUTPUTS", train.outputs.parent / "others")
    manifest, table = train(other)
    assert losses(table) == pytest.approx(losses(expected), rel=1e-5)
    assert manifest["halved_at_steps"] == [1, 1, 1, 1]
    assert manifest["micro_batch_tokens"] == 256
    assert (table.loc[table["kind"] == "train", "passes"] > 1).all()
    assert "out of memory at step 1: passes of 2048 tokens" in capsys.readouterr().err


def test_memory_that_does_not_hold_one_row_is_said(one_model, train, monkeypatch):
    full_above(monkeypatch, 1)
    with pytest.raises(SettingError, match="does not hold a pass of 1024 tokens: set resources"):
        train(one_model)


def test_ctrl_c_leaves_a_usable_adapter_and_goes_on_from_there(
    one_model, unbroken, train, monkeypatch, capsys
):
    from alpaca_lab import models
    from alpaca_lab.config import LoraSpec, TrainSpec

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        at_step(patch, 2, lambda _: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train(one_model)
    assert "stopped after step 2; a usable adapter stands in" in capsys.readouterr().out
    (folder,) = train.outputs.glob("*/checkpoints/checkpoint-2")
    from peft import PeftModel

    base, _ = models.load_trainable(
        one_model.models[0], lora=LoraSpec(), train=TrainSpec(loader="plain")
    )
    loaded = PeftModel.from_pretrained(base.unload(), str(folder))
    models.check_loaded(loaded, folder)
    assert signal.getsignal(signal.SIGINT) is before
    assert losses(train(one_model)[1]) == pytest.approx(losses(unbroken[1]), rel=1e-6)


def test_early_stopping_stops(one_model, train):
    recipe = replace(one_model.train, max_steps=12, evaluations=12, patience=2, learning_rate=10.0)
    manifest, table = train(replace(one_model, train=recipe))
    assert manifest["steps"] < 12
    assert manifest["best_validation_loss"] == pytest.approx(min(losses(table, "validation")))


def test_loss_that_is_no_number_stops_the_run(one_model, train, monkeypatch):
    from alpaca_lab.finetuning.layouts import Packed

    whole = Packed.loss
    monkeypatch.setattr(Packed, "loss", lambda self, rows: whole(self, rows) * float("nan"))
    with pytest.raises(SettingError, match=r"is nan at step 1: lower train\.learning_rate"):
        train(one_model)


def test_padded_rows_train_alike(one_model, unbroken, train):
    padded = replace(one_model, train=replace(one_model.train, packing=False))
    manifest, table = train(padded)
    assert manifest["layout"] == "padded"
    assert losses(table) == pytest.approx(losses(unbroken[1]), rel=1e-3)


def test_order_is_the_same_for_every_model(one_model, small_study, train, unbroken):
    from alpaca_lab import data
    from alpaca_lab.finetuning import finetune

    rows = data.load(one_model.data)
    assert finetune._order_sha256(small_study, rows) != finetune._order_sha256(
        replace(one_model, train=replace(one_model.train, seed=1)), rows
    )
    assert unbroken[0]["order_sha256"] == finetune._order_sha256(one_model, rows)


@pytest.mark.parametrize(
    ("kept", "gib", "expected"),
    [(2, 4.0, 2), (5, 1.0, 2), (5, 100.0, 5), (5, 0.01, 1)],
)
def test_checkpoints_are_kept_by_number_and_by_size(one_model, kept, gib, expected):
    """LLaMA's adapter takes .45 GiB with its two moments."""
    from alpaca_lab.finetuning.recipe import checkpoints_kept

    resources = replace(one_model.resources, checkpoints_kept=kept, checkpoints_gib=gib)
    assert checkpoints_kept(39_976_960, replace(one_model, resources=resources)) == expected


def make_checkpoint(folder, step, *, best):
    from alpaca_lab.files import write_sums
    from alpaca_lab.finetuning.history import STATE

    place = folder / "checkpoints" / f"checkpoint-{step}"
    place.mkdir(parents=True)
    best = best and str(folder / "checkpoints" / f"checkpoint-{best}")
    state = {"global_step": step, "best_model_checkpoint": best}
    (place / STATE).write_text(json.dumps(state))
    (place / "adapter_model.safetensors").write_bytes(bytes([step]) * 99)
    write_sums(place, [STATE, "adapter_model.safetensors"])
    return place


@pytest.fixture
def checkpoints(tmp_path):
    """Three of them: the second is the best one that the second and the third know of."""
    best = {1: None, 2: 2, 3: 2}
    return {step: make_checkpoint(tmp_path, step, best=which) for step, which in best.items()}


def test_finetune_goes_on_from_the_newest_checkpoint(checkpoints, tmp_path):
    from alpaca_lab.finetuning.history import last_checkpoint

    assert last_checkpoint(tmp_path) == str(checkpoints[3])
    assert last_checkpoint(tmp_path / "none") is None


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors"])
def test_damaged_checkpoint_is_said_deleted_and_not_gone_on_from(
    checkpoints, tmp_path, capsys, name
):
    from alpaca_lab.finetuning.history import last_checkpoint

    path = checkpoints[3] / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert last_checkpoint(tmp_path) == str(checkpoints[2])
    assert not checkpoints[3].exists()
    assert f"{path} is damaged: the finetune goes on from before" in capsys.readouterr().err


def test_checkpoint_that_a_kill_cut_short_goes_without_a_word(checkpoints, tmp_path, capsys):
    from alpaca_lab.finetuning.history import last_checkpoint

    (checkpoints[3] / "SHA256SUMS").unlink()
    assert last_checkpoint(tmp_path) == str(checkpoints[2])
    assert capsys.readouterr().err == ""


def test_checkpoint_whose_best_one_is_damaged_is_not_gone_on_from(checkpoints, tmp_path):
    """It would end with weights that are lost; the one before knows of none."""
    from alpaca_lab.finetuning.history import last_checkpoint

    (checkpoints[2] / "adapter_model.safetensors").write_bytes(b"")
    assert last_checkpoint(tmp_path) == str(checkpoints[1])


def test_loss_table_keeps_whole_numbers_whole(unbroken, tmp_path):
    _, table = unbroken
    assert pd.api.types.is_numeric_dtype(table["tokens"])
    assert not any("." in str(value) for value in table["tokens"].dropna().astype("Int64"))


@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_tracker_that_is_not_installed_is_named(one_model, train, monkeypatch, tracker):
    from alpaca_lab.finetuning import recipe

    monkeypatch.setattr(recipe, "find_spec", lambda name: None)
    wish = replace(one_model.resources, report_to=tracker)
    with pytest.raises(SettingError, match=f"pip install {tracker}"):
        train(replace(one_model, resources=wish))


def test_one_ctrl_c_that_arrives_twice_is_one(monkeypatch):
    from alpaca_lab.finetuning import callbacks

    now = [100.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    interrupt = callbacks.Interrupt()
    with interrupt.listening():
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += 0.2
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.wanted
        now[0] += 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
