"""A user's own model and rows through the whole study, with no file of src/ touched."""

import contextlib
import json
import re
import sys

import pytest

from alpaca_lab import data, models, profiles, store, study
from alpaca_lab.__main__ import main
from alpaca_lab.config import LLAMA_LINEARS, ROOT, TINY, LoraSpec, ModelSpec, TrainSpec
from alpaca_lab.encoding import encode_prompt
from alpaca_lab.finetuning import finetune
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.rows import cache
from alpaca_lab.store import Record
from faults.hub_stub import COMMIT
from random_models import checkpoint

pytestmark = pytest.mark.model
SMALL = {
    "train.loader": "plain",  # Unsloth patches the process it is imported in
    "train.max_steps": "2",
    "train.evaluations": "1",
    "questions": "4",
    "repeats": "1",
    "temperatures": "(1.0,)",
    "beams": "(2,)",
    "top_ks": "(4,)",
    "max_new_tokens": "10",
    "slots": "4",
}
NAMES = {"instruction": "question", "input": "context", "output": "answer"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A Qwen2 whose tokenizer has no BOS, and a Gemma whose tokenizer begins with one."""
    folder = tmp_path_factory.mktemp("models")
    checkpoint(folder / "qwen", "qwen2", tokenizer="phi", tie_word_embeddings=True)
    checkpoint(folder / "gemma", "gemma", tokenizer="llama")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The embedded rows under other names."""
    path = tmp_path_factory.mktemp("rows") / "asked.jsonl"
    lines = (TINY / "rows.jsonl").read_text().splitlines()
    records = [{NAMES[name]: text for name, text in json.loads(line).items()} for line in lines]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """Keep records, adapters and caches in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Record.of.__func__, "__kwdefaults__", {"results": folder / "results"})
        for module in (store, finetune, cache):
            patch.setattr(module, "OUTPUTS", folder / "outputs")
        yield folder


def lab(*arguments):
    """Run a command line in this process, which has the heavy packages already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(sys, "argv", ["alpaca_lab", *arguments])
        main()


@pytest.fixture(scope="module")
def record(folders, rows):
    """The stages of one study, each by its command."""
    changes = [part for field, value in SMALL.items() for part in ("--set", f"{field}={value}")]
    chosen = [
        "--models", f"qwen={folders / 'qwen'}, gemma={folders / 'gemma'}", "--data", str(rows),
        "--columns", "instruction=question, input=context, output=answer", "--name", "any",
    ]  # fmt: skip
    for stage in ("finetune", "generate", "score"):
        lab(stage, *chosen, *changes)
    lab("report", "--name", "any")
    return Record.of("any")


def test_two_models_that_nobody_knew_leave_tables_and_sealed_runs(record):
    assert {model: record.training(model)[0]["layout"] for model in ("qwen", "gemma")} == {
        "qwen": "packed", "gemma": "padded",
    }  # fmt: skip
    runs = list(record.runs())
    assert len(runs) == 2 * 5 + 4, "greedy, a cell of three axes and the base; four controls"
    assert all(run.is_sealed for _, _, run in runs)
    main_table = record.table("main").with_suffix(".md").read_text()
    assert "qwen<br>finetuned" in main_table and "gemma<br>untuned" in main_table
    assert (record.folder / "report.html").is_file()


def test_every_layer_of_their_blocks_is_adapted(record):
    for model in ("qwen", "gemma"):
        manifest, losses = record.training(model)
        assert manifest["adapted_layers"] == 2 * len(LLAMA_LINEARS)
        assert losses["loss"].notna().all()


def test_dense_model_reads_as_what_was_trained_does(record):
    for model in ("qwen", "gemma"):
        runs = {cell: run for key, cell, run in record.runs() if key == model}
        checks = runs["greedy"].checks()
        assert checks["dense"]["agreement"] > 0.99
        assert all(pair["identical"] == pair["n"] for pair in checks["identity"]["pairs"])


def test_rows_under_other_names_are_the_embedded_ones(record):
    facts = record.index()["data"]
    assert facts["columns"] == NAMES
    assert facts["test"] == data.load(profiles.PROFILES["smoke"].data).manifest()["test"]


def test_stages_read_a_model_of_the_users_from_the_study_alone(folders, monkeypatch, record):
    """They are processes of their own, which have never heard of it."""
    source = str(folders / "qwen")
    spec = ModelSpec(key="mine", title="My own", source=source)
    monkeypatch.setitem(MODELS, "mine", spec)
    chosen = configure("smoke", models="mine", name="mine", changes=SMALL)
    mine = Record.of("mine")
    study.prepare(chosen, record=mine)
    monkeypatch.delitem(MODELS, "mine")
    for stage in ("finetune", "generate", "score"):
        lab(stage, "--spec", str(mine.folder / "study.json"))
    lab("report", "--name", "mine")
    assert "My own" in mine.table("main").with_suffix(".md").read_text()
    # The same weights, rows and recipe as the study of before: the same finetune.
    folder = mine.training("mine")[0]["adapter"]["folder"]
    assert folder == record.training("qwen")[0]["adapter"]["folder"]


def test_a_model_of_the_hub_that_nobody_knew_is_fetched_and_loads(hub, folders):
    files = {path.name: path.read_bytes() for path in (folders / "gemma").iterdir()}
    hub.add("model", "lab/gemma", COMMIT, files)
    [spec] = profiles.parse_models(f"gemma=lab/gemma@{COMMIT}")
    model, tokenizer = models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="plain"))
    assert models.count_adapted(model)[0] == 2 * len(LLAMA_LINEARS)
    ids = encode_prompt(tokenizer, "Name a colour.", "")
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id


def test_model_of_the_page_is_chosen_as_it_says():
    """Its lines, as they stand there."""
    page = (ROOT / "docs" / "pages" / "running.md").read_text(encoding="utf-8")
    text = page.partition("## Any model")[2]
    lines = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(list(filter(None, lines.splitlines()))) == 5
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "MODELS", dict(MODELS))
        exec(lines, found)
    [model] = found["STUDY"].models
    assert (model.key, model.title) == ("qwen", "Qwen2.5-0.5B")
    option = re.search(r'MODELS="(.*?)"', text)[1]
    [short] = profiles.parse_models(option)
    assert (short.source, short.revision) == (model.source, model.revision)
