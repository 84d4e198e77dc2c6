"""A finetune on a GPU: by chance nothing, twice the same adapter."""

from dataclasses import replace

import pytest

from alpaca_lab import study
from alpaca_lab.finetuning import finetune
from alpaca_lab.profiles import MODELS
from alpaca_lab.store import Record

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("key", ["tiny-llama", "tiny-mistral", "tiny-phi"])
def test_finetune_twice_gives_the_same_adapter(key, small_study, tmp_path, monkeypatch):
    recipe = replace(small_study.train, max_steps=20)
    one = replace(small_study, models=(MODELS[key],), train=recipe)
    made = []
    for name in ("one", "two"):
        monkeypatch.setattr(finetune, "OUTPUTS", tmp_path / name / "outputs")
        record = Record(tmp_path / name / "results")
        study.prepare(one, record=record)
        made.append(finetune.finetune(one, key, record=record))
    assert made[0]["layout"] == "packed"
    assert made[0]["best_validation_loss"] == made[1]["best_validation_loss"]
    assert made[0]["adapter"]["sha256"] == made[1]["adapter"]["sha256"]
    configs = [manifest["sha256"]["adapter/adapter_config.json"] for manifest in made]
    assert configs[0] == configs[1]
