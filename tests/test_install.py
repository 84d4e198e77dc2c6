"""Which requirements a machine gets; nothing is installed here."""

from pathlib import Path

import pytest

from alpaca_lab import install

TEXT = """
torch==2.13.0        # [keep] tensors
peft==0.21.2         # LoRA
unsloth==2026.10.9   # [no-deps] kernels
torchao==0.17.0      # [gpu] [no-deps] imported by Unsloth
-e .
"""
REQUIREMENTS = Path(install.ROOT, "requirements.txt").read_text()


def test_cpu_machine_gets_nothing_of_the_gpu():
    plain, bare = install.select(TEXT, gpu=False, colab=False)
    assert plain == ["torch==2.13.0", "peft==0.21.2", "-e ."]
    assert bare == ["unsloth==2026.10.9"]


def test_gpu_machine_gets_unsloths_parts():
    assert install.select(TEXT, gpu=True, colab=False)[1] == [
        "unsloth==2026.10.9",
        "torchao==0.17.0",
    ]


def test_colab_keeps_what_it_ships():
    assert "torch==2.13.0" not in install.select(TEXT, gpu=True, colab=True)[0]


def test_every_requirement_is_pinned_and_says_why():
    for line in REQUIREMENTS.splitlines():
        if line and not line.startswith(("#", "-e")):
            requirement, _, why = line.partition("#")
            assert "==" in requirement, line
            assert len(why.split()) >= 2, line


def test_cuda_wheel_is_refused_on_a_cpu_machine(monkeypatch):
    """Several GB of CUDA on a machine without a GPU is never an accident that goes unsaid."""
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install, "reachable", lambda url: False)
    monkeypatch.setattr(install, "needs_cuda", lambda requirement: True)
    monkeypatch.setattr(install, "pip", lambda *arguments: pytest.fail("installed all the same"))
    with pytest.raises(SystemExit, match="no CPU build of torch"):
        install.install_cpu_torch("torch==2.13.0")


def test_cpu_index_is_taken_when_it_answers(monkeypatch):
    calls = []
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install, "reachable", lambda url: True)
    monkeypatch.setattr(install, "pip", lambda *arguments: calls.append(arguments))
    install.install_cpu_torch("torch==2.13.0")
    assert calls == [("torch==2.13.0", "--index-url", install.TORCH_CPU_INDEX)]
