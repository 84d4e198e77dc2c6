"""Fixtures shared by the tests that train and decode the embedded tiny models."""

import os
import shutil
from dataclasses import replace

import pytest

from alpaca_lab.config import TINY
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.store import Record

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run on all cores: one thread each


def pytest_collection_modifyitems(items):
    """Start with the longest file, so that no core waits for it at the end."""
    items.sort(key=lambda item: item.path.stem != "test_study")


@pytest.fixture(scope="session")
def small_study():
    """The smoke study cut down to what a test needs: few steps, few questions, few tokens."""
    return configure(
        "smoke",
        changes={
            "train.loader": "plain",  # Unsloth patches the process it is imported in
            "train.max_steps": "4",
            "train.evaluations": "2",
            "questions": "4",
            "temperatures": "(0.001, 1.0)",
            "beams": "(2,)",
            "top_ks": "(4,)",
            "max_new_tokens": "12",
            "slots": "5",
        },
    )


@pytest.fixture(scope="session")
def finetuned(small_study, tmp_path_factory):
    """A tiny LLaMA finetuned for four steps: its study, record and manifest."""
    from alpaca_lab import finetune, study

    folder = tmp_path_factory.mktemp("study")
    one = replace(small_study, models=small_study.models[:1])
    record = Record(folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "OUTPUTS", folder / "outputs")
        study.prepare(one, record=record)
        manifest = finetune.finetune(one, "tiny-llama", record=record)
        yield one, record, manifest


@pytest.fixture
def adapter(finetuned):
    """The folder of that finetune's adapter."""
    _, record, manifest = finetuned
    return record.folder.parent / manifest["adapter"]["folder"]


@pytest.fixture
def copied(tmp_path):
    """A copy of the tiny LLaMA that a test may damage, and its spec."""
    folder = tmp_path / "llama"
    shutil.copytree(TINY / "llama", folder)
    return replace(MODELS["tiny-llama"], source=str(folder)), folder
