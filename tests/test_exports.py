"""A finetuned model taken out of the lab: read back by others' code, compared, or not kept."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from alpaca_lab import files, models, store
from alpaca_lab.config import SettingError
from alpaca_lab.decoding.jobs import Finished
from alpaca_lab.exports import about, answers, exporting, folder, llama_cpp, merged, source
from alpaca_lab.exports.bases import name_of_base
from alpaca_lab.exports.exporting import ExportSpec, export
from alpaca_lab.files import RecordError, read_json
from alpaca_lab.profiles import MODELS, parse_models
from alpaca_lab.store import Record
from alpaca_lab.weights import checkpoints, trust
from faults.hub_stub import COMMIT
from upload_hub import TOKEN

KEY = "tiny-llama"


@pytest.fixture(scope="module")
def lab(finetuned, tmp_path_factory):
    """A finetuned study of four questions with its greedy answers, in a folder of its own."""
    from alpaca_lab.decoding import generate

    study, record, _ = finetuned
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(record.folder.parent, home, dirs_exist_ok=True)
    study = replace(study, temperatures=(1.0,), beams=(), top_ks=(), repeats=1)
    record = Record(home / record.folder.name)
    record.write_index(record.index() | {"spec": generate.as_dict(study), "runs": {}})
    with pytest.MonkeyPatch.context() as patch:
        for module in (store, folder, exporting):
            patch.setattr(module, "OUTPUTS", home / "outputs")
        generate.generate(study, KEY, record=record)
        yield record


@pytest.fixture(scope="module")
def dense(lab):
    """The model that the study decodes."""
    found = source.open_source(lab, KEY)
    return models.load_decoder(found.spec, found.adapter)[0]


def exported(lab, form, tmp_path, **more):
    said = export(ExportSpec(model=KEY, form=form, folder=tmp_path / form, **more), record=lab)
    return tmp_path / form, said


# Adapter


@pytest.mark.model
def test_adapter_is_loaded_by_plain_peft_from_its_folder_alone(lab, tmp_path):
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    place, said = exported(lab, "adapter", tmp_path)
    assert "4 of 4 questions answered greedily to the same tokens, 4 of 4 as the study" in said
    assert files.damaged(place) == []
    loaded = AutoPeftModelForCausalLM.from_pretrained(place)
    models.check_loaded(loaded, source.open_source(lab, KEY).adapter)
    tokenizer = AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        assert loaded(**tokenizer("Hello", return_tensors="pt")).logits.isfinite().all()


@pytest.mark.model
def test_exported_adapter_is_what_a_stranger_would_be_let_in_with(lab, tmp_path):
    place, _ = exported(lab, "adapter", tmp_path)
    spec = MODELS[KEY]
    shape = checkpoints.read_shape(checkpoints.locate(spec))
    assert trust.check_adapter(place, shape=shape, targets=spec.lora_targets).rank == 16
    names = {path.name for path in folder.files(place)}
    assert {"tokenizer.json", "tokenizer_config.json", "README.md", "export.json"} <= names
    assert json.loads((place / "adapter_config.json").read_text())["revision"] is None


def test_base_of_the_hub_is_named_with_its_commit():
    spec = MODELS["phi-2"]
    assert name_of_base(spec, "") == (spec.source, spec.revision)
    with pytest.raises(SettingError, match="was finetuned from microsoft/phi-2@ef38"):
        name_of_base(spec, f"microsoft/phi-1_5@{COMMIT}")


def test_base_is_the_mirror_where_the_finetune_took_the_mirror():
    """Whatever token is set today."""
    spec = MODELS["llama-2-7b"]
    taken = {"source": spec.mirror, "revision": spec.mirror_revision, "sha256": None}
    found = source._finetuned(spec, taken)
    assert (found.source, found.revision) == (spec.mirror, spec.mirror_revision)
    assert checkpoints.ungated(found) == found
    assert name_of_base(found, "") == (spec.mirror, spec.mirror_revision)


def test_base_that_changed_since_its_finetune_is_refused(copied):
    spec, place = copied
    before = checkpoints.identify(spec)
    assert source._finetuned(spec, before) == spec
    weights = place / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(SettingError, match="is no more the base that was finetuned"):
        source._finetuned(spec, before)


def test_local_base_is_named_as_the_commit_that_has_its_very_weights(copied, hub):
    spec, place = copied
    weights = (place / "model.safetensors").read_bytes()
    hub.add("model", "lab/tiny", COMMIT, {"model.safetensors": weights})
    hub.add("model", "lab/other", COMMIT, {"model.safetensors": weights[:-1] + b"\x55"})
    assert name_of_base(spec, f"lab/tiny@{COMMIT}") == ("lab/tiny", COMMIT)
    with pytest.raises(SettingError, match="is another base than .* model.safetensors is not that"):
        name_of_base(spec, f"lab/other@{COMMIT}")
    with pytest.raises(SettingError, match="lab/none is not on the hub"):
        name_of_base(spec, f"lab/none@{COMMIT}")
    with pytest.raises(SettingError, match="expected owner/name@COMMIT"):
        name_of_base(spec, "lab/tiny@main")


@pytest.mark.model
def test_adapter_names_the_commit_that_its_local_base_is(lab, tmp_path, hub):
    weights = (checkpoints.locate(MODELS[KEY]) / "model.safetensors").read_bytes()
    hub.add("model", "lab/tiny", COMMIT, {"model.safetensors": weights})
    place, _ = exported(lab, "adapter", tmp_path, base=f"lab/tiny@{COMMIT}")
    config = json.loads((place / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("lab/tiny", COMMIT)
    machine = str(checkpoints.locate(MODELS[KEY]).parent).encode()
    assert not [path for path in folder.files(place) if machine in path.read_bytes()]


def test_adapter_of_a_local_base_is_not_published(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting.publish, "check", lambda name, *, public: None)
    with pytest.raises(SettingError, match="is a folder of this machine.*--base owner/name@COMMIT"):
        exported(lab, "adapter", tmp_path, push="me/tiny")
    assert not (tmp_path / "adapter").exists()


# Merged


@pytest.mark.model
def test_merged_checkpoint_is_the_decoded_model_rounded_to_bfloat16(lab, dense, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    place, said = exported(lab, "merged", tmp_path)
    assert "bfloat16" in said and "4 of 4 questions answered greedily to the same tokens" in said
    plain = AutoModelForCausalLM.from_pretrained(place, dtype="auto")
    assert plain.dtype == torch.bfloat16
    rounded = {name: weight.to(torch.bfloat16) for name, weight in dense.state_dict().items()}
    saved = plain.state_dict()
    assert saved.keys() == rounded.keys()
    assert all(torch.equal(saved[name], weight) for name, weight in rounded.items())


@pytest.mark.model
def test_merged_checkpoint_says_what_it_is_and_no_more(lab, tmp_path, monkeypatch):
    """Of a base that samples by default, as LLaMA-2, and names code of its own, as Phi-2."""
    load = models.load_decoder

    def of_its_makers(*spec, **how):
        model, tokenizer = load(*spec, **how)
        model.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9)
        model.config.auto_map = {"AutoModelForCausalLM": "modeling_phi.PhiForCausalLM"}
        return model, tokenizer

    monkeypatch.setattr(models, "load_decoder", of_its_makers)
    place, _ = exported(lab, "merged", tmp_path)
    config = json.loads((place / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and config["model_type"] == "llama"
    assert not {"quantization_config", "auto_map", "_name_or_path"} & config.keys()
    generation = json.loads((place / "generation_config.json").read_text())
    assert generation.keys() <= {
        "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config"
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.files(place))
    machine = str(lab.folder.parent).encode()
    assert not [path for path in folder.files(place) if machine in path.read_bytes()]


@pytest.mark.model
def test_merged_checkpoint_is_a_base_of_another_study(lab, tmp_path):
    place, _ = exported(lab, "merged", tmp_path)
    [spec] = parse_models(f"{KEY}={place}")
    model, tokenizer = models.load_decoder(spec, None)
    assert model.config.vocab_size >= len(tokenizer)


# Compared, or not kept


@pytest.mark.model
def test_checkpoint_that_answers_otherwise_is_not_kept(lab, tmp_path, monkeypatch):
    load = merged._load

    def damaged(place):
        model = load(place)
        model.model.layers[0].mlp.down_proj.weight.data.mul_(-3)
        return model

    before, _ = exported(lab, "merged", tmp_path)
    old = (before / "export.json").read_bytes()
    monkeypatch.setattr(merged, "_load", damaged)
    with pytest.raises(answers.DifferentAnswer, match="the merged checkpoint answers question 1"):
        exported(lab, "merged", tmp_path)
    assert (before / "export.json").read_bytes() == old and files.damaged(before) == []
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


@pytest.mark.model
def test_interrupt_leaves_nothing_that_looks_whole(lab, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(merged, "_load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exported(lab, "merged", tmp_path)
    assert list(tmp_path.iterdir()) == []


def answer(*ids, end="eos", prompt=(1, 5)):
    job = SimpleNamespace(question="q", prompt_ids=prompt)
    return Finished(job=job, ids=ids, n_new_tokens=len(ids) + 1, finish_reason=end)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (answer(7, 9), "question 2 .b. differently from token 2 on: token 8 .*, token 9 in"),
        (answer(7), "from token 2 on: token 8 in the model that was exported, the end in"),
        (answer(7, 8, end="length"), "from token 3 on: the end in .*, nothing more in"),
        (answer(7, 8, 9), "from token 3 on: the end in .*, token 9 in"),
        (answer(7, 8, prompt=(1, 6)), "reads question 2 .b. as other tokens"),
    ],
)
def test_first_difference_is_named(other, words):
    ours = {"a": answer(3), "b": answer(7, 8)}
    answers.require_same(ours, dict(ours), what="it")
    with pytest.raises(answers.DifferentAnswer, match=words):
        answers.require_same(ours, {"a": answer(3), "b": other}, what="it")


@pytest.mark.model
def test_record_tells_how_many_answers_are_its_own(lab, dense):
    """Three of four where one is another, and then why, as far as that is known."""
    found = source.open_source(lab, KEY)
    ours = answers.greedy(dense, models.load_tokenizer(checkpoints.locate(found.spec)), found)
    assert answers.agreeing(found, ours) == 4
    first, *rest = ours.values()
    changed = {
        **ours,
        first.job.question: Finished(
            job=first.job, ids=(*first.ids, 5), n_new_tokens=1, finish_reason="eos"
        ),
    }
    assert answers.agreeing(found, changed) == 3
    written = SimpleNamespace(answers=changed, dtype="bfloat16")
    assert about._why(found, written, 4) is None
    assert about._why(found, written, 3) == (
        "the study computed in float32, the export keeps bfloat16"
    )
    bare = Record(lab.folder.with_name("bare"))
    bare.write_index(lab.index() | {"runs": {}})
    assert answers.agreeing(replace(found, record=bare), ours) is None


@pytest.mark.model
def test_export_says_what_was_compared(lab, tmp_path):
    place, _ = exported(lab, "adapter", tmp_path)
    known = read_json(place / "export.json")
    found = source.open_source(lab, KEY)
    assert known["adapter_sha256"] == files.sha256_file(place / "adapter_model.safetensors")
    assert known["questions"] == [question["id"] for question in found.questions]
    assert (known["same_tokens"], known["same_as_recorded"], known["partings"]) == (4, 4, [])
    assert known["base"] == lab.training(KEY)[0]["base"]
    assert "same tokens" in (place / "README.md").read_text()


# Refused before anything is loaded


@pytest.fixture
def unloaded(monkeypatch):
    """A model that must not be loaded."""

    def load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(models, "load_decoder", load)


def test_folder_of_someone_else_is_not_replaced(lab, tmp_path, unloaded):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "thesis.tex").write_text("years")
    with pytest.raises(SettingError, match="is there and is no export"):
        exported(lab, "merged", tmp_path)
    assert (tmp_path / "merged" / "thesis.tex").read_text() == "years"


def test_disk_without_room_is_told_before(lab, tmp_path, unloaded, monkeypatch):
    """Tiny LLaMA has 1.38 million weights, in 16 bits 2.76 MB, and GGUF needs both at once."""
    monkeypatch.setattr(folder, "free_disk_gib", lambda place: 0.001)
    with pytest.raises(
        SettingError, match=r"needs 0\.0 GiB on the disk of .*, where 0\.0 are free"
    ):
        exported(lab, "merged", tmp_path)
    found = source.open_source(lab, KEY)
    assert merged.gib(found) * 2**30 == pytest.approx(2 * 1_377_408)
    assert exporting.gguf.gib(found) == 2 * merged.gib(found)


def test_model_of_no_study_is_refused(lab, tmp_path):
    with pytest.raises(SettingError, match='has no model "phi-2": choose from tiny-llama'):
        export(ExportSpec(model="phi-2", form="merged", folder=tmp_path / "x"), record=lab)


def test_model_that_is_not_finetuned_is_refused(lab, tmp_path):
    bare = Record(tmp_path / "bare")
    bare.write_index(lab.index())
    with pytest.raises(RecordError, match="no such file: .*training/tiny-llama/manifest.json"):
        source.open_source(bare, KEY)


def test_damaged_adapter_is_refused(lab, tmp_path, monkeypatch):
    shutil.copytree(lab.folder.parent / "outputs", tmp_path / "outputs")
    monkeypatch.setattr(store, "OUTPUTS", tmp_path / "outputs")
    weights = lab.adapter(KEY) / trust.ADAPTER
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(RecordError, match="is damaged or gone"):
        source.open_source(lab, KEY)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"form": "onnx"}, 'to "onnx": choose from adapter, merged, gguf'),
        ({"form": "merged", "public": True}, "say where with --push"),
        ({"form": "merged", "base": "a/b"}, "only an adapter names its base"),
        ({"form": "merged", "llama_cpp": "x"}, "only --to gguf needs it"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choice, words):
    with pytest.raises(SettingError, match=words):
        ExportSpec(model=KEY, **choice)


@pytest.mark.model
def test_export_is_published_only_if_asked_and_then_whole_private_and_without_token(
    lab, tmp_path, upload_hub, capfd
):
    place, said = exported(lab, "merged", tmp_path)
    assert upload_hub.private == {} and "://" not in said
    place, said = exported(lab, "merged", tmp_path, push="me/tiny")
    assert said.endswith(f"; private at {upload_hub.url}/me/tiny")
    assert upload_hub.private == {"me/tiny": True}
    assert upload_hub.files == {path.name: path.read_bytes() for path in folder.files(place)}
    assert files.damaged(place) == []
    for below in (tmp_path, lab.folder.parent):
        held = [path for path in below.rglob("*") if path.is_file()]
        assert held and not [path for path in held if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in said + "".join(capfd.readouterr())


# llama.cpp


def test_without_llama_cpp_it_is_said_what_is_needed(lab, tmp_path, unloaded, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (llama_cpp.VARIABLE, llama_cpp.UNSLOTH):
        monkeypatch.delenv(name, raising=False)
    words = "no convert_hf_to_gguf.py and no llama-server in LLAMA_CPP_DIR, the PATH.*git clone"
    with pytest.raises(SettingError, match=words):
        exported(lab, "gguf", tmp_path)


def test_llama_cpp_is_found_where_it_is_put(tmp_path, monkeypatch):
    built = tmp_path / "llama.cpp"
    (built / "build" / "bin").mkdir(parents=True)
    (built / llama_cpp.CONVERTER).touch()
    with pytest.raises(SettingError, match="no llama-server in .*llama.cpp: git clone"):
        llama_cpp.find(built)
    (built / "build" / "bin" / llama_cpp.SERVER).touch()
    expected = llama_cpp.LlamaCpp(
        converter=built / llama_cpp.CONVERTER, server=built / "build" / "bin" / llama_cpp.SERVER
    )
    assert llama_cpp.find(built) == expected
    monkeypatch.setenv(llama_cpp.VARIABLE, str(built))
    assert llama_cpp.find(None) == expected
    monkeypatch.delenv(llama_cpp.VARIABLE)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(llama_cpp.UNSLOTH, str(built))
    assert llama_cpp.find(None) == expected


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "raise NotImplementedError('BPE pre-tokenizer was not recognized - update it')",
            "does not know the tokenizer of Tiny: it knows those of LLaMA-2, Mistral and Phi-2",
        ),
        ("import sentencepieces", "needs the Python package sentencepieces: .* -m pip install"),
        ("raise SystemExit('no such model')", "does not convert Tiny: no such model"),
        ("", "does not convert Tiny: nothing was said"),
    ],
)
def test_converter_that_fails_is_one_sentence(script, words, tmp_path):
    (tmp_path / "convert.py").write_text(script)
    tools = llama_cpp.LlamaCpp(converter=tmp_path / "convert.py", server=tmp_path)
    with pytest.raises(SettingError, match=words):
        tools.convert(tmp_path, tmp_path / "x.gguf", name="Tiny")


def test_converter_is_off_the_hub_and_has_no_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    script = (
        "import json, os, sys; "
        "json.dump(dict(os.environ), open(sys.argv[sys.argv.index('--outfile') + 1], 'w'))"
    )
    (tmp_path / "convert.py").write_text(script)
    tools = llama_cpp.LlamaCpp(converter=tmp_path / "convert.py", server=tmp_path)
    tools.convert(tmp_path, tmp_path / "x.gguf", name="Tiny")
    seen = json.loads((tmp_path / "x.gguf").read_text())
    assert seen["HF_HUB_OFFLINE"] == "1" and "HF_TOKEN" not in seen
