"""From a key, a folder or a commit of the hub to the base that an adapter belongs on."""

import json
import shutil
from dataclasses import replace

import pytest

from alpaca_lab import adapters, store
from alpaca_lab.config import LLAMA_LINEARS, PHI_LINEARS, TINY, SettingError
from alpaca_lab.files import RecordError, write_json
from alpaca_lab.hub import cache
from alpaca_lab.profiles import MODELS
from faults.hub_stub import COMMIT

LLAMA, PHI = MODELS["llama-2-7b"], MODELS["phi-2"]


def config(base, revision=None, targets=LLAMA_LINEARS, **more):
    said = {"base_model_name_or_path": base, "revision": revision}
    plain = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 4}
    return said | plain | {"lora_dropout": 0.0, "target_modules": list(targets)} | more


@pytest.fixture
def folder(tmp_path):
    """A folder named adapter, and what writes an adapter_config.json there."""
    place = tmp_path / "somewhere" / "adapter"
    place.mkdir(parents=True)
    (place / "adapter_model.safetensors").write_bytes(b"weights")

    def write(*said, **more):
        (place / "adapter_config.json").write_text(json.dumps(config(*said, **more)))
        return str(place)

    return write


def refused(*arguments, **options):
    with pytest.raises(SettingError) as caught:
        adapters.find(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize("revision", [None, LLAMA.revision])
def test_a_known_model_of_the_hub_is_found_with_its_commit_and_without(folder, revision):
    found = adapters.find(folder(LLAMA.source, revision))
    assert found.spec == LLAMA and found.folder.name == "adapter" and found.merged


def test_a_known_model_is_found_by_its_mirror(folder):
    assert adapters.find(folder(LLAMA.mirror)).spec == LLAMA
    assert adapters.find(folder(LLAMA.mirror, LLAMA.mirror_revision)).spec == LLAMA


def test_another_commit_of_a_known_model_is_taken_as_it_is_said(folder):
    spec = adapters.find(folder(LLAMA.source, COMMIT)).spec
    assert (spec.source, spec.revision, spec.title) == (LLAMA.source, COMMIT, "LLaMA-2-7B")
    assert spec.mirror is None  # its commit is not the mirror's


def test_an_unknown_base_is_made_of_what_the_adapter_says(folder):
    found = adapters.find(folder("lab/Some.Model", COMMIT, targets=("v_proj", "q_proj")))
    assert (found.spec.source, found.spec.revision) == ("lab/Some.Model", COMMIT)
    assert found.spec.lora_targets == ("q_proj", "v_proj") and found.spec.key == "Some.Model"


def test_fewer_layers_of_a_known_model_are_those_of_the_adapter(folder):
    spec = adapters.find(folder(PHI.source, targets=("dense", "fc1"))).spec
    assert spec == replace(PHI, lora_targets=("dense", "fc1"))
    assert adapters.find(folder(PHI.source, targets=PHI_LINEARS[::-1])).spec == PHI


@pytest.mark.parametrize("revision", [None, "main", "abc", 7])
def test_a_base_without_a_commit_is_refused_with_the_cure(folder, revision):
    message = refused(folder("lab/model", revision))
    assert "without a commit of 40 hex digits: add --base owner/name@COMMIT or --base" in message


@pytest.mark.parametrize("base", [None, "", 7, ["x"]])
def test_a_base_that_is_not_named_is_refused_with_the_cure(folder, base):
    assert "does not name its base: add --base" in refused(folder(base))


def test_a_user_s_base_comes_first(folder):
    place = folder("lab/model")
    assert adapters.find(place, base="llama-2-7b").spec == LLAMA
    assert adapters.find(place, base=f"lab/other@{COMMIT}").spec.source == "lab/other"
    assert adapters.find(place, base=str(TINY / "llama")).spec == MODELS["tiny-llama"]
    assert "owner/name@COMMIT, 40 hex" in refused(place, base="lab/other")
    assert "no such folder with a config.json" in refused(place, base="/nowhere/at/all")
    assert "no such folder with a config.json" in refused(place, base="a\0b")


def test_a_base_in_a_folder_is_taken_where_it_is_one(folder, copied):
    spec, place = copied
    found = adapters.find(folder(str(place))).spec
    assert (found.source, found.revision, found.title) == (spec.source, None, "llama")
    assert adapters.find(folder(str(TINY / "phi"), targets=PHI_LINEARS)).spec == MODELS["tiny-phi"]
    assert "a folder of another machine: add --base" in refused(folder("/nowhere/llama"))


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head"], [], None, [["q_proj"]]])
def test_an_adapter_on_anything_but_layers_of_a_block_is_refused(folder, targets):
    place = folder(LLAMA.source)
    said = json.dumps(config(LLAMA.source) | {"target_modules": targets})
    (adapters.Path(place) / "adapter_config.json").write_text(said)
    assert "target_modules must name linear layers of a block such as q_proj" in refused(place)


@pytest.mark.parametrize("text", ["[]", "{", "null", '{"a": ' * 2000])
def test_a_config_that_is_none_is_refused(folder, text):
    place = folder(LLAMA.source)
    (adapters.Path(place) / "adapter_config.json").write_text(text)
    assert "is not a JSON object" in refused(place)


@pytest.mark.parametrize("text", ["nowhere", "./x/y", "lab/model@main", "lab/model", "~nobody/x",
                                  "x" * 5000, "", "/", "tiny-llama"])  # fmt: skip
def test_what_is_no_adapter_is_one_sentence_with_the_ways_to_name_one(text):
    message = refused(text, name="never-run")
    assert "is no adapter: give a finetuned model's key" in message or "is no path" in message
    assert "results/never-run has no study: run master_file.ipynb" in message or "~" in text


@pytest.mark.parametrize("text", ["a\0b"])
def test_what_cannot_be_a_path_is_refused(text):
    assert "is no path" in refused(text)


@pytest.fixture
def study(finetuned, monkeypatch):
    """The finetuned tiny LLaMA as the study "mine"."""
    _, record, _ = finetuned
    monkeypatch.setattr(store.Record.of.__func__, "__kwdefaults__", {"results": None})
    monkeypatch.setattr(adapters.Record, "of", classmethod(lambda cls, name: record))
    monkeypatch.setattr(store, "OUTPUTS", record.folder.parent / "outputs")
    return record


@pytest.mark.model
def test_a_study_s_model_is_found_by_its_key(study, finetuned, adapter):
    found = adapters.find("tiny-llama", name="mine")
    assert (found.spec, found.folder) == (MODELS["tiny-llama"], adapter)
    assert found.study == finetuned[0] and found.merged


@pytest.mark.model
def test_untuned_leaves_the_adapter_out(study, adapter):
    for text in ("tiny-llama", str(adapter)):
        found = adapters.find(text, untuned=True)
        assert (found.spec, found.folder) == (MODELS["tiny-llama"], None)
    assert adapters.find("tiny-phi", untuned=True).spec == MODELS["tiny-phi"]  # not in this study


@pytest.mark.model
def test_a_study_s_model_needs_no_base_and_takes_none(study):
    assert "leave --base out" in refused("tiny-llama", base="tiny-phi")


@pytest.mark.model
def test_the_manifest_beside_an_adapter_names_its_base(adapter):
    """Not the path in adapter_config.json, which is of the machine that trained it."""
    for place in (adapter, adapter.parent):
        found = adapters.find(str(place), name="never-run")
        assert (found.spec, found.folder) == (MODELS["tiny-llama"], adapter)


@pytest.fixture
def moved(adapter, tmp_path):
    """A copy of the finetune that says its base was elsewhere, and what changes its manifest."""
    place = tmp_path / "moved"
    shutil.copytree(adapter.parent, place)
    said = json.loads((place / "adapter" / "adapter_config.json").read_text())
    said["base_model_name_or_path"] = "/nowhere/llama"
    (place / "adapter" / "adapter_config.json").write_text(json.dumps(said))
    manifest = adapters.read_json(place / "manifest.json")

    def write(**base):
        request = manifest["request"] | {"base": manifest["request"]["base"] | base}
        write_json(place / "manifest.json", manifest | {"request": request})
        return place / "adapter"

    return write


@pytest.mark.model
def test_a_base_is_known_by_its_sha256_wherever_it_lies(moved):
    assert adapters.find(str(moved()), name="never-run").spec == MODELS["tiny-llama"]


@pytest.mark.model
def test_a_base_that_is_not_here_is_refused_with_the_cure(moved):
    message = refused(str(moved(sha256="0" * 64)), name="never-run")
    assert "which is not found here: say where it is with --base FOLDER" in message
    by_hand = adapters.find(str(moved(sha256="0" * 64)), base="tiny-llama", name="never-run")
    assert by_hand.spec == MODELS["tiny-llama"]


@pytest.mark.model
def test_a_hub_base_of_the_manifest_keeps_its_commit(moved):
    place = moved(source=LLAMA.mirror, revision=LLAMA.mirror_revision, sha256=None)
    assert adapters.find(str(place), name="never-run").spec == LLAMA


@pytest.mark.model
def test_an_adapter_that_is_not_its_manifest_s_is_refused(moved, study, adapter):
    place = moved()
    (place / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(RecordError, match="is not the one of"):
        adapters.find(str(place), name="mine")


@pytest.mark.model
def test_a_damaged_manifest_is_named_with_what_goes_without_it(moved):
    place = moved()
    (place.parent / "manifest.json").write_text("{}")
    with pytest.raises(RecordError, match="manifest.json is damaged: .* name the base with --base"):
        adapters.find(str(place), name="never-run")
    assert adapters.find(str(place), name="never-run", base="tiny-llama").folder == place


@pytest.mark.model
def test_a_damaged_adapter_of_a_study_is_refused(study, adapter, monkeypatch):
    monkeypatch.setattr(adapters, "sha256_file", lambda path: "0" * 64)
    with pytest.raises(RecordError, match="does not match its manifest; run the study again"):
        adapters.find("tiny-llama")


@pytest.mark.model
def test_a_model_that_is_not_finetuned_is_refused_with_the_cure(study, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "OUTPUTS", tmp_path / "outputs")
    assert "is not finetuned in results/results: run master_file.ipynb" in refused("tiny-llama")


@pytest.mark.model
def test_a_study_that_decoded_unmerged_is_asked_unmerged(study, monkeypatch):
    index = study.index()
    run = study.open_run({"weights": "unmerged"})
    runs = {"runs": {"tiny-llama": {"greedy": run.id}}}
    monkeypatch.setattr(adapters.Record, "index", lambda self: index | runs)
    assert not adapters.find("tiny-llama").merged
    assert adapters.find("tiny-llama", untuned=True).merged


def hub_adapter(hub, **files):
    said = json.dumps(config(LLAMA.source, LLAMA.revision)).encode()
    kept = {"adapter_config.json": said, "adapter_model.safetensors": b"weights"}
    hub.add("model", "lab/adapter", COMMIT, kept | files)
    return f"lab/adapter@{COMMIT}"


def test_an_adapter_of_the_hub_is_fetched_at_its_commit_weights_and_config_alone(hub):
    evil = {"adapter_model.bin": b"pickle", "code.py": b"print()", "tokenizer.json": b"{}"}
    found = adapters.find(hub_adapter(hub, **evil))
    assert found.spec == LLAMA
    names = sorted(path.name for path in found.folder.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    assert found.folder.is_relative_to(cache.home(adapters.Repository(
        name="lab/adapter", revision=COMMIT, files=(), title="", instead="")))  # fmt: skip


def test_an_adapter_of_the_hub_with_pickled_weights_alone_is_refused(hub):
    hub.add("model", "lab/adapter", COMMIT, {"adapter_config.json": b"{}", "a.bin": b""})
    assert "has no adapter_model.safetensors" in refused(f"lab/adapter@{COMMIT}")


def test_an_adapter_of_the_hub_may_not_name_a_folder_of_this_machine(hub):
    said = json.dumps(config(str(TINY / "llama"))).encode()
    message = refused(hub_adapter(hub, **{"adapter_config.json": said}))
    assert "a folder of another machine" in message


@pytest.mark.model
def test_an_adapter_of_layers_that_its_base_lacks_is_refused(folder):
    from alpaca_lab.weights.checkpoints import read_shape
    from alpaca_lab.weights.trust import check_adapter

    place = adapters.Path(folder(str(TINY / "llama"), targets=("dense", "fc1")))
    with pytest.raises(SettingError, match="a block of llama has no linear layer dense, fc1"):
        check_adapter(place, shape=read_shape(TINY / "llama"), targets=("dense", "fc1"))
