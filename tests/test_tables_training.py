"""From the manifests and loss tables of two made-up finetunes to the pages that speak of them."""

import copy
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from alpaca_lab import report
from alpaca_lab.config import ModelSpec, StudySpec, as_dict
from alpaca_lab.profiles import MODELS
from alpaca_lab.store import Record
from alpaca_lab.tables.training import expected_layers

STUDY = StudySpec(
    name="made-up",
    models=(
        replace(MODELS["tiny-llama"], title="Alpha|7B"),
        ModelSpec(key="beta", title="Beta", source="someone/beta", revision="0" * 40),
    ),
)
MANIFEST = {
    "request": {
        "template": "9e2fc8ac063a",
        "lora": {"rank": 16},
        "train": {"batch_size": 128, "learning_rate": 2e-4},
    },
    "adapted_layers": 28,
    "trainable_parameters": 163840,
    "train_rows": 1000,
    "tokens": 128000,
    "response_tokens": 63000,
    "order_sha256": "0123456789012" + "a" * 51,  # its first digits alone would be a number
    "steps": 6,
    "best_validation_loss": 1.25,
    "layout": "packed",
    "micro_batch_tokens": 1024,
    "halved_at_steps": [],
    "predicted_gib": 19.75,
    "wall_s": 9.0,
    "peak_gib": 20.5,
}
# The first three steps are slow; then 1000, 4000 and 2000 tokens per second.
SECONDS = (50.0, 10.0, 10.0, 2.0, 0.5, 1.0)
LOSSES = pd.DataFrame(
    {
        "step": [1, 2, 3, 4, 5, 6, 6],
        "kind": ["train"] * 6 + ["validation"],
        "loss": [4.0, 3.5, 3.0, 2.5, 2.25, 2.0, 1.25],
        "tokens": pd.array([2000] * 6 + [None], dtype="Int64"),
        "seconds": [*SECONDS, None],
        "passes": pd.array([1, 2, 2, 3, 3, 3, None], dtype="Int64"),
    }
)


def manifest(**changes):
    """A manifest with facts changed; a fact of the request is named with a dot, None drops one."""
    made = copy.deepcopy(MANIFEST)
    for name, value in changes.items():
        *parts, last = name.split("__")
        place = made
        for part in parts:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return made


def built(folder, *, alpha=MANIFEST, beta=MANIFEST, losses=LOSSES):
    record = Record(folder)
    record.write_index({"spec": as_dict(STUDY), "runs": {}})
    for key, facts in (("tiny-llama", alpha), ("beta", beta)):
        record.write_training(key, facts, losses)
    report.build_training(record)
    return record


@pytest.fixture(autouse=True)
def no_figure(monkeypatch):
    monkeypatch.setattr(report.figures, "loss", lambda *_, **__: b"\x89PNG")


def page(record, name):
    return report.show(record, name).data.replace("\u00a0", " ")


def test_speed_is_the_median_step_after_the_first_three(tmp_path):
    row = report.read_table(built(tmp_path), "performance/training").iloc[0]
    assert row["tokens_per_s"] == 2000
    assert row["passes_per_step"] == 2.5
    assert (row["peak_gib"], row["predicted_gib"]) == (20.5, 19.75)


def test_training_page_tells_how_the_loss_fell_and_nothing_of_the_machine(tmp_path):
    """Its bytes are the same wherever the same adapters were trained."""
    record = built(tmp_path)
    assert r"| Alpha\|7B | 28 | 163,840 | 1,000 | 6 | 4.00 | 2.00 | 1.25 |" in page(
        record, "training"
    )
    assert not {"tokens_per_s", "peak_gib"} & set(report.read_table(record, "training"))


def test_cost_page_shows_speed_memory_and_passes(tmp_path):
    shown = page(built(tmp_path), "performance/training")
    assert r"| Alpha\|7B | 9.00 | 2,000 | 20.50 | 19.75 | 2.5 | - |" in shown
    assert '"-" under halved at steps: the memory never ran out.' in shown
    assert "on a CPU" not in shown


def test_memory_on_the_device_is_what_a_prediction_is_compared_with(tmp_path):
    record = built(tmp_path, alpha=manifest(device_gib=21.25))
    assert report.read_table(record, "performance/training")["peak_gib"].tolist() == [21.25, 20.5]


def test_too_few_steps_give_no_speed(tmp_path):
    record = built(tmp_path, losses=LOSSES[LOSSES["step"] <= 3])
    assert report.read_table(record, "performance/training")["tokens_per_s"].isna().all()
    assert '"-" under tokens per second: too few steps' in page(record, "performance/training")


def test_loss_table_of_an_older_finetune_leaves_its_unknowns_blank(tmp_path):
    record = built(tmp_path, losses=LOSSES[["step", "kind", "loss"]])
    row = report.read_table(record, "performance/training").iloc[0]
    assert row[["tokens_per_s", "passes_per_step"]].isna().all()
    assert '"-" under passes per step: not recorded by the finetune.' in page(
        record, "performance/training"
    )


def test_on_a_cpu_memory_is_blank_and_the_page_says_why(tmp_path):
    cpu = manifest() | {"peak_gib": None}
    record = built(tmp_path, alpha=cpu)
    alpha, beta = (row for _, row in report.read_table(record, "performance/training").iterrows())
    assert pd.isna(alpha["peak_gib"]) and pd.isna(alpha["predicted_gib"])
    assert beta["predicted_gib"] == 19.75
    assert '"-" under peak GiB and predicted GiB: a finetune on a CPU' in page(
        record, "performance/training"
    )


@pytest.mark.parametrize(
    ("steps", "said"), [([4], "step 4 and went on"), ([2, 4], "steps 2 and 4 and went on")]
)
def test_memory_that_ran_out_is_told_with_its_step_and_the_new_size(tmp_path, steps, said):
    record = built(tmp_path, beta=manifest(halved_at_steps=steps))
    shown = page(record, "performance/training")
    assert f"Beta ran out of memory at {said} with passes of at most 1,024 tokens" in shown
    assert f"| {', '.join(map(str, steps))} |" in shown
    assert "Alpha\\|7B ran out" not in shown


def test_equal_treatment_is_said_with_its_numbers(tmp_path):
    record = built(tmp_path)
    shown = page(record, "equal_treatment")
    assert (
        "Treatment was equal: every model learned from the same 1,000 rows in the same order, "
        "under the same template and recipe, 128 rows to a step and 6 steps; their tokenizers "
        "agree, on 63,000 response tokens." in shown
    )
    assert "| 1,000 | 012345678901 | 9e2fc8ac063a |" in shown
    assert "| 128 | 6 | 63,000 | 28 | 28 | 163,840 | packed |" in shown


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train_rows": 999}, "train rows"),
        ({"order_sha256": "f" * 64}, "order of the rows"),
        ({"request__template": "f" * 12}, "template"),
        ({"request__lora__rank": 8}, "recipe"),
        ({"request__train__batch_size": 64}, "recipe and rows per step"),
        ({"steps": 5}, "steps"),
        ({"response_tokens": 62999}, "response tokens under one tokenizer"),
    ],
)
def test_any_unequal_treatment_is_named_and_warned_of(tmp_path, changes, named):
    shown = page(built(tmp_path, beta=manifest(**changes)), "equal_treatment")
    assert f"Treatment was not equal: models differ in {named}." in shown
    assert "**The models were not treated alike" in shown
    assert "Treatment was equal" not in shown


def test_another_layout_and_another_tokenizer_are_no_unequal_treatment(tmp_path):
    beta = manifest(layout="padded", tokens=140000, response_tokens=70000)
    shown = page(built(tmp_path, beta=beta), "equal_treatment")
    assert "Treatment was equal" in shown
    assert "their tokenizers differ, and with them the response tokens." in shown


def test_what_is_not_recorded_is_not_called_equal(tmp_path):
    record = built(tmp_path, beta=manifest(order_sha256=None))
    shown = page(record, "equal_treatment")
    assert "Equal treatment cannot be shown, not recorded: order of the rows (Beta)." in shown
    assert "The models were not treated alike" not in shown
    unequal = built(tmp_path / "unequal", beta=manifest(order_sha256=None, steps=5))
    said = "models differ in steps (not recorded: order of the rows (Beta))."
    assert said in page(unequal, "equal_treatment")


def test_layers_that_lora_missed_are_warned_of(tmp_path):
    shown = page(built(tmp_path, alpha=manifest(adapted_layers=14)), "equal_treatment")
    assert r"**Alpha\|7B: LoRA adapts 14 layers instead of 28.**" in shown


def test_expected_layers_are_known_for_what_travels_with_the_repository():
    assert expected_layers(MODELS["llama-2-7b"]) == 32 * 7
    assert expected_layers(MODELS["phi-2"]) == 32 * 6
    assert expected_layers(MODELS["tiny-phi"]) == 24
    own = replace(MODELS["tiny-phi"], source=str(Path(__file__).parent))
    assert expected_layers(own) is None


def test_one_model_is_compared_with_none(tmp_path):
    record = Record(tmp_path)
    record.write_index({"spec": as_dict(replace(STUDY, models=STUDY.models[:1])), "runs": {}})
    record.write_training("tiny-llama", MANIFEST, LOSSES)
    report.build_training(record)
    assert "One model: there is nothing to compare." in page(record, "equal_treatment")
