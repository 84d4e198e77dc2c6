"""Which device computes: a GPU with bfloat16, or the CPU. The driver's program is a stand-in."""

import os
import subprocess
import sys

import pytest

from alpaca_lab import driver, environment


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Return a function that makes this machine's GPUs: their compute capabilities, as printed."""

    def make(answer, status=0):
        smi = tmp_path / "nvidia-smi"
        smi.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *compute_cap*) printf "{answer}"; exit {status};; esac\n'
            'case "$1" in -L) echo "GPU 0: Tesla T4 (UUID: x)";;\n'
            '*) echo "Tesla T4, 15360, 14910, 580";; esac\n'
        )
        smi.chmod(0o755)
        driver.capability.cache_clear()
        environment.gpu.cache_clear()

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    yield make
    driver.capability.cache_clear()
    environment.gpu.cache_clear()


@pytest.mark.parametrize(
    ("answer", "lacks"), [("7.5\\n", True), ("8.0\\n", False), ("7.5\\n8.9\\n", False)]
)
def test_only_a_machine_whose_cards_are_all_older_than_ampere_lacks_bfloat16(cards, answer, lacks):
    cards(answer)
    assert driver.lacks_bfloat16() is lacks
    assert environment.visible_gpus() == (() if lacks else ("0",))


def test_driver_that_does_not_know_the_question_hides_nothing(cards):
    cards("Field compute_cap is not a valid field to query.", 2)
    assert driver.capability() is None
    assert not driver.lacks_bfloat16()


def test_machine_without_a_driver_lacks_no_card(monkeypatch):
    monkeypatch.setenv("PATH", "")
    driver.capability.cache_clear()
    assert driver.capability() is None
    driver.capability.cache_clear()


@pytest.mark.model
def test_card_without_bfloat16_is_hidden_and_the_cpu_computes(cards):
    """In a process of its own: what torch has seen once stays seen."""
    pytest.importorskip("torch")
    cards("7.5\\n")
    code = (
        "import os; from alpaca_lab import hardware; hardware.claim_device(None); "
        "seen = repr(os.environ['CUDA_VISIBLE_DEVICES']); "
        "print(hardware.device(), hardware.compute_dtype(), seen)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.split() == ["cpu", "torch.float32", "''"]
