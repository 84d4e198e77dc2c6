"""What a machine is told before it spends hours."""

import pytest

from alpaca_lab import driver, environment, preflight
from alpaca_lab.config import SettingError
from alpaca_lab.profiles import configure


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes this test's machine: its GPU in GiB (None: none), free disk."""

    def make(*, gpu_gib, disk_gib=500.0, capability=8.9):
        gpu = gpu_gib and {
            "name": "Card",
            "total_gib": gpu_gib,
            "free_gib": gpu_gib,
            "driver": "1",
        }
        monkeypatch.setattr(environment, "gpu", lambda: gpu)
        monkeypatch.setattr(driver, "capability", lambda: capability if gpu_gib else None)
        monkeypatch.setattr(environment, "memory_gib", lambda: 24.0)
        monkeypatch.setattr(environment, "free_disk_gib", lambda _: disk_gib)

    return make


def test_full_study_fits_a_24_gib_card(machine):
    machine(gpu_gib=24.0)
    table = preflight.table(configure("full"))
    assert list(table["can run"]) == ["yes"] * 8
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


# Cards by name


def test_card_without_bfloat16_is_refused_the_full_study_with_the_reason_and_the_cure(machine):
    machine(gpu_gib=15.0, capability=7.5)
    with pytest.raises(SettingError, match="Card has no bfloat16.* Phi-2.*: take an L4 or an A100"):
        preflight.require_feasible(configure("full"))


def test_smoke_runs_on_the_cpu_beside_a_card_without_bfloat16(machine):
    machine(gpu_gib=15.0, capability=7.5)
    table = preflight.table(configure("smoke"))
    assert table["can run"].eq("yes").all()
    assert table.iloc[0].to_list() == [
        "precision", "float32", "CPU, 24.0 GiB (Card has no bfloat16)", "yes",
    ]  # fmt: skip


@pytest.mark.parametrize("card", [card for card in preflight.CARDS if card != "T4"])
def test_larger_cards_run_the_full_study_within_their_memory(card):
    table = preflight.table(configure("full"), card=card)
    assert list(table["can run"]) == ["yes"] * 7
    assert table["needs"][0] == "bfloat16, flash attention"
    needs = table["needs"][1:].str.extract(r"^([\d.]+) GiB: (?:passes of|128 slots over) ")[0]
    assert needs.astype(float).max() < preflight.CARDS[card][0]


def test_t4_runs_none_of_the_full_study_and_all_of_smoke():
    full = preflight.table(configure("full"), card="T4")["can run"]
    assert list(full.str.startswith("no: T4 has no bfloat16")) == [False] + [True] * 6
    assert preflight.table(configure("smoke"), card="T4")["can run"].eq("yes").all()


def test_unknown_card_is_refused_with_the_known_ones():
    with pytest.raises(SettingError, match='no card "V100" is known: choose from T4, L4, A100'):
        preflight.table(configure("full"), card="V100")


def test_card_is_asked_for_on_a_cap_as_it_would_be_run():
    capped = preflight.table(configure("full", changes={"gpu_gib": 20.0}), card="A100")
    assert capped["here"][1] == "A100, 20.0 GiB"
