"""What a machine is told before it spends hours."""

import pytest

from alpaca_lab import environment, preflight
from alpaca_lab.config import SettingError
from alpaca_lab.profiles import configure


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this test's machine: its GPU in GiB (None: none), free disk."""

    def make(*, gpu_gib, disk_gib=500.0):
        gpu = gpu_gib and {
            "name": "Card",
            "total_gib": gpu_gib,
            "free_gib": gpu_gib,
            "driver": "1",
        }
        monkeypatch.setattr(environment, "gpu", lambda: gpu)
        monkeypatch.setattr(environment, "memory_gib", lambda: 24.0)
        monkeypatch.setattr(environment, "free_disk_gib", lambda _: disk_gib)

    return make


def test_full_study_fits_a_24_gib_card(machine):
    machine(gpu_gib=24.0)
    table = preflight.table(configure("full"))
    assert list(table["can run"]) == ["yes"] * 7
    preflight.require_feasible(configure("full"))


def test_full_study_on_a_cpu_is_refused_with_the_reason(machine):
    machine(gpu_gib=None)
    with pytest.raises(SettingError, match="finetune LLaMA-2-7B needs .* GiB.*needs a GPU"):
        preflight.require_feasible(configure("full"))


def test_small_card_is_refused_what_it_cannot_hold(machine):
    machine(gpu_gib=8.0)
    verdicts = preflight.table(configure("full")).set_index("what")["can run"]
    assert verdicts["decode LLaMA-2-7B"].startswith("no: decoding 960 tokens of prompt and answer")


def test_smoke_runs_on_a_cpu(machine):
    machine(gpu_gib=None)
    assert preflight.table(configure("smoke"))["can run"].eq("yes").all()


def test_full_disk_is_told_before_the_download(machine):
    machine(gpu_gib=24.0, disk_gib=1.0)
    with pytest.raises(SettingError, match="disk needs .* GiB, here is 1.0 GiB free"):
        preflight.require_feasible(configure("full"))
