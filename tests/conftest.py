"""Fixtures shared by the tests that train and decode the embedded tiny models."""

import os
import shutil
from dataclasses import replace

import pytest

from alpaca_lab.config import TINY
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.store import Record

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run on all cores: one thread each


LONGEST = ("test_study", "test_ranks", "test_exports", "test_any_model", "test_chat_session")


def pytest_collection_modifyitems(items):
    """Start with the longest files, so that no core waits for one at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session", autouse=True)
def drawn_figures_say_what_they_show():
    """Whatever a test draws has a title, and says what each of its axes is."""
    from matplotlib.figure import Figure

    from figure_rules import missing

    save = Figure.savefig

    def checked(figure, *arguments, **named):
        assert not missing(figure), missing(figure)
        return save(figure, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", checked)
        yield


@pytest.fixture(scope="module")
def one_thread():
    """With several threads a matrix product may split its rows unevenly: a last bit differs."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory):
    """A made-up scored study with something to rate, for tests to borrow from."""
    from human_records import fabricate

    return fabricate(tmp_path_factory.mktemp("study") / "made-up")


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
    from alpaca_lab import study
    from alpaca_lab.finetuning import finetune

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


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were waited for the hub; none of them passes."""
    from alpaca_lab.hub import patience

    spent = []
    monkeypatch.setattr(patience, "sleep", spent.append)
    monkeypatch.setattr(patience, "_gave_up", False)
    return spent


@pytest.fixture
def hub(monkeypatch, tmp_path, waits):
    """A hub on this machine that this process takes for the hub, without a token or a cache."""
    from huggingface_hub import close_session, constants

    from alpaca_lab.hub import cache
    from faults.hub_stub import Hub

    with Hub() as stub:
        url = stub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", stub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
        monkeypatch.setattr(cache, "OUTPUTS", tmp_path / "outputs")
        monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        close_session()
        yield stub
        close_session()


@pytest.fixture
def upload_hub(monkeypatch, waits):
    """A hub on this machine, and a token for it in the environment."""
    from threading import Thread

    from huggingface_hub import close_session, constants

    from upload_hub import TOKEN, UploadHub

    with UploadHub() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        close_session()
        yield server
        close_session()
        server.shutdown()
