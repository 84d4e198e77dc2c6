"""The GPU's memory: gone when a stage has ended, and no reason to lose a step when it runs out."""

import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.fixture
def tiny_study(small_study):
    """Few steps of many rows each, so that a pass weighs more than the model."""
    recipe = replace(small_study.train, batch_size=512, max_steps=3, evaluations=1)
    return replace(small_study, train=recipe)


def test_memory_that_runs_out_halves_the_passes_and_changes_no_loss(
    tiny_study, tmp_path, monkeypatch
):
    """A first finetune has all the memory; a second gets six tenths of what that one took."""
    from alpaca_lab import hardware, study
    from alpaca_lab.config import ResourceSpec
    from alpaca_lab.finetuning import finetune
    from alpaca_lab.store import Record

    wish = ResourceSpec(micro_batch_tokens=65536, recompute=0.0)
    roomy = replace(tiny_study, resources=wish, models=tiny_study.models[:1])

    def run(asked, name):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        monkeypatch.setattr(finetune, "OUTPUTS", tmp_path / name / "outputs")
        record = Record(tmp_path / name / "results")
        study.prepare(asked, record=record)
        manifest = finetune.finetune(asked, "tiny-llama", record=record)
        return manifest, record.training("tiny-llama")[1]

    try:
        whole, losses = run(roomy, "roomy")
        cap = 0.6 * hardware.peak_gib()
        halved, same = run(replace(roomy, gpu_gib=cap), "tight")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert whole["halved_at_steps"] == []
    assert halved["halved_at_steps"] and set(halved["halved_at_steps"]) == {1}
    assert halved["micro_batch_tokens"] < whole["micro_batch_tokens"]
    assert halved["peak_gib"] <= cap
    assert same["loss"].tolist() == pytest.approx(losses["loss"].tolist(), rel=2e-3)
    assert list(same["tokens"].dropna()) == list(losses["tokens"].dropna())


def test_memory_of_three_models_is_gone_and_the_third_takes_what_it_takes_alone(
    small_study, tmp_path
):
    """As from a notebook, whose own process has used the GPU and stays on it."""
    from alpaca_lab import study
    from alpaca_lab.store import OUTPUTS, Record

    torch.zeros(1, device="cuda")
    free, peaks = [torch.cuda.mem_get_info()[0]], {}
    for name, models in (("three", small_study.models), ("alone", small_study.models[2:])):
        record = Record(tmp_path / name)
        # A seed of its own makes it another finetune: none is taken as done.
        recipe = replace(small_study.train, seed=len(models) + 1000)
        asked = replace(small_study, name=name, models=models, train=recipe)
        study.prepare(asked, record=record)
        study.finetune_models(asked, record=record)
        free.append(torch.cuda.mem_get_info()[0])
        manifests = [record.training(model.key)[0] for model in models]
        peaks[name] = manifests[-1]["device_gib"]
        for manifest in manifests:
            shutil.rmtree((OUTPUTS.parent / manifest["adapter"]["folder"]).parent)
    assert max(free) - min(free) < 16 * 2**20
    assert peaks["three"] == pytest.approx(peaks["alone"], abs=0.05)
