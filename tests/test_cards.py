"""A finetune's card: read back by the hub's own parser, held to the record, escaped throughout."""

import ast
import re
import shlex
from dataclasses import replace

import pandas as pd
import pytest
from huggingface_hub import EvalResult, ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

import test_report
from alpaca_lab import report
from alpaca_lab.config import DataSpec, ModelSpec, SettingError, as_dict
from alpaca_lab.files import RecordError
from alpaca_lab.model_card import advice, card, licences, study_cards
from alpaca_lab.model_card.known import FORMS, Known
from alpaca_lab.profiles import MODELS, PROFILES
from alpaca_lab.prompts import render_prompt
from alpaca_lab.store import Record
from alpaca_lab.tables import load, scores, trends
from test_report import QUESTIONS, STUDY, fabricate, moved

COMMIT = "12567cabf869d7c92e573c7c783905fc160e9639"
HOSTILE = (
    '"]\n---\n# Owned\n<script>alert(1)</script> ![x](http://evil) | `` $x$ {{ 7*7 }} \x1b[31m'
)
DATA = {
    "source": "yahma/alpaca-cleaned",
    "revision": COMMIT,
    "sha256": None,
    "contamination": {"words": 13, "shared": 2, "none_shared": 8, "too_short_to_tell": 5},
    **{
        name: {"rows": rows, "ids_sha256": str(place) * 64}
        for place, (name, rows) in enumerate((("train", 1000), ("validation", 10), ("test", 20)))
    },
}
MANIFEST = {
    "request": {"lora": {"rank": 16}, "train": {"learning_rate": 2e-4, "max_length": 1024}},
    "base": {"source": "mistralai/Mistral-7B-v0.1", "revision": "2" * 40, "sha256": None},
    "adapted_layers": 224,
    "peak_gib": None,
    "environment": {
        "gpu": {"name": "NVIDIA L4", "total_gib": 24.0},
        "packages": {"torch": "2.13.0", "scipy": "1.0"},
        "commit": "3" * 40,
    },
}
LOSSES = pd.DataFrame(
    [(1, "train", 4.0), (2, "train", 3.0), (2, "validation", 3.5), (3, "validation", 3.75)],
    columns=["step", "kind", "loss"],
)


def known(*, data=DATA, manifest=MANIFEST, license="apache-2.0", rows="cc-by-nc-4.0", **changes):
    model = replace(MODELS["mistral-7b"], license=license, **changes)
    study = replace(PROFILES["full"], models=(model,), data=DataSpec(license=rows))
    return Known(study=study, model=model, data=data, manifest=manifest, losses=LOSSES)


def readme(facts, scores=None, *, form="adapter"):
    return card.texts(facts, scores, form=form)["README.md"]


def front(text):
    return ModelCard(text).data.to_dict()


@pytest.fixture(autouse=True, scope="module")
def sketched():
    """Figures take most of a build's seconds; test_figures draws them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("axis", "main", "contrasts", "cost", "loss"):
            patch.setattr(report.figures, name, lambda *_, **__: b"\x89PNG")
        for name in ("scores", "metrics"):
            patch.setattr(report.human_figures, name, lambda *_, **__: b"\x89PNG")
        yield


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Alpha is 4, 2 or 3 points better at temperature 1, and else the same; only read."""
    return described(
        tmp_path_factory.mktemp("cards"), overrides={("alpha", "temperature=1"): moved(4, 2, 3)}
    )


def described(folder, *, study=STUDY, data=DATA, **options):
    """A made-up record whose index and manifests say what a real one's do."""
    record = fabricate(folder, study=study, **options)
    record.write_index(record.index() | {"data": data})
    for model in study.models:
        manifest, losses = record.training(model.key)
        facts = {
            "base": {"source": model.source, "revision": model.revision, "sha256": None},
            "adapter": {"folder": "outputs/000000000000/adapter", "sha256": "a" * 64},
        }
        record.write_training(model.key, manifest | facts, losses)
    return record


@pytest.fixture(scope="module")
def texts(record):
    """README.md of `record`'s cards: of Alpha by form, and of Beta's adapter."""
    built = {form: study_cards.build(record, "alpha", form=form) for form in FORMS}
    built["beta"] = study_cards.build(record, "beta")
    return {name: files["README.md"].decode() for name, files in built.items()}


# The hub's format


def test_the_hubs_own_parser_reads_the_metadata_back_and_writes_the_same_card(texts, tmp_path):
    path = tmp_path / "README.md"
    path.write_text(texts["adapter"], encoding="utf-8")
    loaded = ModelCard.load(path)
    assert str(loaded) == path.read_text(encoding="utf-8")
    assert loaded.data.model_name == "Alpha|7B, finetuned on yahma/alpaca-cleaned"
    assert loaded.data.to_dict() == metadata_load(path)
    name, results = model_index_to_eval_results(metadata_load(path)["model-index"])
    assert name == loaded.data.model_name
    assert results == loaded.data.eval_results
    assert all(isinstance(result, EvalResult) for result in results)


def test_model_index_has_the_main_tables_numbers(texts):
    """Greedy scores are 10 to 21: mean 15.5, s**2 = 13, half-width 2.200985 (13/12)**.5."""
    [rouge] = [
        result
        for result in ModelCard(texts["beta"]).data.eval_results
        if result.metric_type == "rouge"
    ]
    assert rouge.metric_value == 15.5
    assert rouge.metric_args == {"confidence_interval_95": [13.21, 17.79], "n": QUESTIONS}
    assert rouge.metric_config.startswith("rougeL|f1|")
    assert (rouge.dataset_type, rouge.dataset_revision) == ("yahma/alpaca-cleaned", COMMIT)
    assert (rouge.task_type, rouge.dataset_args) == ("text-generation", {"ids_sha256": "2" * 64})


@pytest.mark.parametrize(
    ("form", "library", "relation"),
    [
        ("adapter", "peft", "adapter"),
        ("merged", "transformers", "finetune"),
        ("gguf", None, "finetune"),
    ],
)
def test_each_form_has_its_library_and_its_relation_to_the_base(form, library, relation):
    data = front(readme(known(), form=form))
    assert data.get("library_name") == library
    assert data["base_model"] == "mistralai/Mistral-7B-v0.1"
    assert data["base_model_relation"] == relation
    assert data["pipeline_tag"] == "text-generation"
    assert ("gguf" in data["tags"]) == (form == "gguf")


def test_local_base_and_rows_are_not_given_as_the_hubs():
    base = {"source": "my-weights", "revision": None, "sha256": "a" * 64}
    rows = DATA | {"source": "rows.jsonl", "revision": None, "sha256": "b" * 64}
    text = readme(known(manifest=MANIFEST | {"base": base}, data=rows))
    data = front(text)
    assert not {"base_model", "base_model_relation", "datasets", "language"} & set(data)
    assert f"| Base | `my-weights` | sha256 `{'a' * 64}` |" in text
    assert f"| Rows | `rows.jsonl` | sha256 `{'b' * 64}` |" in text
    assert "which languages the rows are in is not recorded" in text


def test_name_without_its_commit_is_no_hub_id():
    base = {"source": "mistralai/Mistral-7B-v0.1", "revision": "main", "sha256": None}
    assert "base_model" not in front(readme(known(manifest=MANIFEST | {"base": base})))


# Licences


def test_one_licence_for_base_and_rows_is_the_cards():
    facts = known(license="mit", rows="mit")
    assert licences.metadata(facts) == {"license": "mit"}
    assert set(card.texts(facts, None, form="adapter")) == {"README.md"}


def test_two_licences_are_other_with_both_names_and_a_file_that_says_both():
    files = card.texts(known(license="llama2"), None, form="adapter")
    data = front(files["README.md"])
    assert data["license"] == "other"
    assert data["license_name"] == "llama2-and-cc-by-nc-4.0"
    assert data["license_link"] == "LICENSE.md"
    for text in (files["README.md"], files["LICENSE.md"]):
        assert "[LLAMA 2 Community License](https://ai.meta.com/llama/license/)" in text
        assert "https://creativecommons.org/licenses/by-nc/4.0/" in text
        assert "and so to no commercial use" in text
    assert files["NOTICE"].startswith("Llama 2 is licensed under the LLAMA 2 Community License")


def test_unknown_licence_is_said_and_never_guessed():
    text = readme(known(rows=None))
    assert front(text)["license"] == "unknown"
    assert "The rows, yahma/alpaca-cleaned: licence not known" in text
    assert "neither is what may be done with it" in text


def test_licence_of_another_id_is_named_by_it():
    text = readme(known(license="gemma", rows="gemma"))
    assert front(text)["license"] == "gemma"
    assert "The base, mistralai/Mistral-7B-v0.1: `gemma`, by [the hub's identifier]" in text


def test_mirror_of_a_gated_model_keeps_its_licence():
    llama = MODELS["llama-2-7b"]
    base = {"source": llama.mirror, "revision": llama.mirror_revision, "sha256": None}
    study = replace(PROFILES["full"], models=(llama,))
    manifest = MANIFEST | {"base": base}
    facts = Known(study=study, model=llama, data=DATA, manifest=manifest, losses=LOSSES)
    text = readme(facts)
    assert "a mirror of the gated meta-llama/Llama-2-7b-hf, which keeps the licence" in text
    assert front(text)["base_model"] == "NousResearch/Llama-2-7b-hf"


# What a card says


def test_card_without_scores_says_what_to_run_and_has_no_model_index():
    text = readme(known())
    assert "Not decoded yet" in text and "`python -m alpaca_lab generate`" in text
    assert "model-index" not in front(text) and "metrics" not in front(text)


def test_study_that_is_not_scored_has_a_card_without_scores(tmp_path):
    record = described(tmp_path)
    record.write_index(record.index() | {"runs": {}})
    files = study_cards.build(record, "alpha")
    assert set(files) == {"README.md", "loss.png"}
    assert b"Not decoded yet" in files["README.md"]
    assert b"| adapted layers | 14 |" in files["README.md"]


def test_damaged_run_is_refused_rather_than_left_out(tmp_path):
    record = described(tmp_path)
    run = record.run(record.index()["runs"]["beta"]["greedy"])
    run.write_scores(run.scores().assign(rougeL=99.0))
    with pytest.raises(RecordError, match="does not match its manifest"):
        study_cards.build(record, "alpha")


def test_unknown_model_and_form_are_refused_by_name(record):
    with pytest.raises(SettingError, match='no model "gamma": choose from alpha, beta'):
        study_cards.build(record, "gamma")
    with pytest.raises(SettingError, match='no form "onnx".*adapter, merged, gguf'):
        study_cards.build(record, "alpha", form="onnx")


def test_recipe_origin_and_losses_are_the_manifests():
    text = readme(known())
    assert "| `lora.rank` | `16` |" in text and "| `train.learning_rate` | `0.0002` |" in text
    assert f"| `{'2' * 40}` |" in text and f"sha256 of its rows `{'2' * 64}` |" in text
    assert "with a training row: 2 of the 10 long enough to tell." in text
    assert "| adapted layers | 224 |" in text and "| peak GiB of the GPU | not measured |" in text
    assert "| hardware | NVIDIA L4, 24.0 GiB |" in text and "torch 2.13.0 |" in text
    assert "seconds of training" not in text  # not told yet
    assert "Train loss: first 4.00 at step 1, last 3.00 at step 2." in text
    assert "last 3.75 at step 3; best 3.50 at step 2." in text
    assert re.search(r"!\[Loss of Mistral-7B over its optimiser steps\. .*\]\(loss\.png\)", text)


def test_scores_are_those_of_the_model_and_the_controls_alone(record, texts):
    text = test_report.plain(texts["adapter"])
    section = text.split("## Scores")[1].split("## ")[0]
    assert "| Alpha\\|7B finetuned |" in section and "| Alpha\\|7B untuned |" in section
    assert "| floor: copied instruction |" in section and "Beta" not in section
    assert "One finetune per model: a claim is about that checkpoint." in section
    assert "some-encoder, layer 6, not rescaled" in section
    runs = record.index()["runs"]
    assert runs["alpha"]["greedy"] in section and runs["beta"]["greedy"] not in section
    assert "Human ratings: not collected." in section
    assert "the 4-bit base dequantised, with the adapter merged" in section


def test_card_says_where_the_adapter_was_decoded_unmerged(tmp_path):
    """The request of the greedy run says which weights decoded; a merged one says nothing."""
    other = described(tmp_path)
    index = other.index()
    merged = other.run(index["runs"]["alpha"]["greedy"])
    unmerged = other.open_run(merged.request() | {"weights": "unmerged"})
    unmerged.write_scores(merged.scores())
    unmerged.seal({k: v for k, v in merged.manifest().items() if k not in ("sha256", "request")})
    index["runs"]["alpha"]["greedy"] = unmerged.id
    other.write_index(index)
    assert (
        "the 4-bit base with the adapter beside it"
        in study_cards.build(other, "alpha")["README.md"].decode()
    )


def test_conversion_that_was_not_scored_says_so(texts):
    said = "This file is a conversion, and was not scored itself."
    assert [form for form in FORMS if said in texts[form]] == ["gguf"]


# Decoding advice


def test_setting_shown_to_be_better_is_advised_with_its_interval(texts):
    """Twelve differences of mean 3: the interval of test_report, 8 settings in the family."""
    text = test_report.plain(texts["adapter"])
    assert "**Use temperature 1: of the settings shown to score above greedy in ROUGE-L" in text
    assert (
        "Temperature 1: better than greedy in ROUGE-L (+3.00 points [+2.46, +3.54], p = 0.004)"
        in text
    )
    assert "Temperature 0.25: equivalent to greedy within 1 point" in text
    assert "over the study's 8 settings" in text


def settings(*rows):
    columns = ("axis", "value", "verdict", "mean", "ci_low", "ci_high", "p_equivalence_holm")
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=0.01, mde=2.5, margin=1.0, n=500, note="")


def test_equivalence_is_said_up_to_where_the_test_says_it_and_no_further():
    found = settings(
        ("temperature", "0.75", "inconclusive", -0.8, -2.1, 0.5, 0.4),
        ("temperature", "0.25", "equivalent", 0.0, -0.3, 0.3, 0.01),
        ("temperature", "0.5", "equivalent", -0.1, -0.5, 0.3, 0.02),
        ("num_beams", "8", "inconclusive", -0.6, -2.1, 0.9, 0.3),
        ("top_k", "16", "changes", -3.1, -4.4, -1.8, 1.0),
    )
    assert advice.lead(found).startswith("Use greedy decoding: no setting of the sweep is shown")
    assert advice.points(found) == (
        "Temperature up to 0.5: equivalent to greedy within 1 point of ROUGE-L (0.25: +0.00 "
        "points [-0.30, +0.30], p = 0.010; 0.5: -0.10 points [-0.50, +0.30], p = 0.020).",
        "Temperature 0.75: inconclusive (-0.80 points [-2.10, +0.50], visible from 2.50).",
        "Beams 8: inconclusive (-0.60 points [-2.10, +0.90], visible from 2.50).",
        "Top-k 16: worse than greedy in ROUGE-L (-3.10 points [-4.40, -1.80], p = 0.010).",
    )


def test_equivalence_behind_an_inconclusive_value_does_not_reach_back_to_it():
    found = settings(
        ("temperature", "0.25", "inconclusive", -0.8, -2.1, 0.5, 0.4),
        ("temperature", "0.5", "equivalent", 0.0, -0.3, 0.3, 0.01),
        ("temperature", "0.75", "equivalent", 0.0, -0.3, 0.3, 0.01),
    )
    assert [point.split(":")[0] for point in advice.points(found)] == [
        "Temperature 0.25",
        "Temperature 0.5 and 0.75",
    ]


def test_small_change_is_a_change_and_said_to_be_small():
    found = settings(("num_beams", "4", "changes", 0.5, 0.3, 0.7, 0.001))
    assert "less than 1 point all the same" in advice.points(found)[0]
    assert advice.lead(found).startswith("Use 4 beams: of the settings shown to score above")


def test_setting_without_a_comparison_is_neither_good_nor_bad():
    found = settings(("top_k", "4", "inconclusive", None, None, None, None))
    found = found.assign(note="one question has no interval")
    assert advice.points(found) == ("Top-k 4: nothing can be said, one question has no interval.",)


def test_study_without_a_sweep_advises_greedy_for_want_of_anything_else(tmp_path):
    study = replace(STUDY, temperatures=(), beams=(), top_ks=())
    text = study_cards.build(described(tmp_path, study=study), "alpha")["README.md"].decode()
    assert "no other setting was decoded, so nothing is known of others" in text


# Programs


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_program_parses_and_asks_with_the_training_template_greedily(form):
    [code] = re.findall(r"```python\n(.*?)```", readme(known(), form=form), re.DOTALL)
    names = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
    }
    asked = names["PROMPT"].format(instruction="Say {hello}.")
    assert asked == render_prompt("Say {hello}.")
    assert "do_sample=False, num_beams=1, max_new_tokens=512" in code
    if form == "adapter":
        assert f'"mistralai/Mistral-7B-v0.1", "{"2" * 40}"' in code
        assert 'bnb_4bit_quant_type="nf4"' in code


def test_llama_cpp_gets_the_same_prompt_and_temperature_0():
    [code] = re.findall(r"```sh\n(.*?)```", readme(known(), form="gguf"), re.DOTALL)
    words = shlex.split(code)
    prompt = words[words.index("-p") + 1].replace("\\n", "\n")
    assert prompt == render_prompt("Name three primary colours.")
    assert words[words.index("--temp") + 1] == "0" and "-no-cnv" in words


def test_settings_have_the_corrected_p_of_the_axis_tables(record):
    evidence = load(record)
    axes = pd.concat(scores.axis_tables(evidence).values())
    axes = axes[(axes["metric"] == "rougeL") & axes["delta"].notna()]
    labels = ["model", "axis", "value"]
    ours = trends.setting_table(evidence).set_index(labels)["p_holm"]
    assert axes.set_index(labels)["p_holm"].to_dict() == ours.to_dict()


# What strangers wrote


@pytest.mark.parametrize("form", ["adapter", "merged", "gguf"])
def test_names_of_strangers_are_shown_and_never_obeyed(tmp_path, form):
    model = ModelSpec(key="alpha", title=HOSTILE, source="/somewhere", license=None)
    data = DATA | {"source": HOSTILE, "revision": None, "sha256": None}
    record = described(tmp_path, study=replace(STUDY, models=(model,)), data=data)
    manifest, losses = record.training("alpha")
    environment = {"cpu": HOSTILE, "commit": HOSTILE, "packages": {"torch": HOSTILE}}
    base = {"source": HOSTILE, "revision": None, "sha256": HOSTILE}
    request = {"lora": {HOSTILE: HOSTILE}, "train": {"seed": HOSTILE}}
    changed = {"environment": environment, "base": base, "request": request}
    record.write_training("alpha", manifest | changed, losses)
    for text in (
        study_cards.build(record, "alpha", form=form)["README.md"].decode(),
        card.texts(
            Known(study=STUDY, model=model, data=data, manifest=changed, losses=LOSSES),
            None,
            form=form,
        )["README.md"],
    ):
        loaded = ModelCard(text)
        assert str(loaded) == text and "\x1b" not in text
        assert set(loaded.data.to_dict()) <= {
            "license", "library_name", "metrics", "model-index", "pipeline_tag", "tags"
        }  # fmt: skip
        body = html(loaded.text)
        assert "<script" not in body and 'src="http' not in body and 'href="http://evil' not in body
        assert body.count("<h1>") == 1 and "<h1>Owned" not in body
        assert "&lt;script&gt;" in body


def html(text):
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


# The record


def test_report_writes_every_card_and_check_holds_it(tmp_path):
    record = described(tmp_path)
    report.build(record)
    assert report.check(record) == []
    for key in ("alpha", "beta"):
        folder = record.card(key)
        assert {path.name for path in folder.iterdir()} == {"README.md", "loss.png"}
        assert (folder / "README.md").read_bytes() == study_cards.build(record, key)["README.md"]
    page = record.card("beta") / "README.md"
    page.write_text(page.read_text().replace("15.50", "95.50"))
    assert report.check(record) == ["cards/beta/README.md"]
    (record.card("alpha") / "loss.png").unlink()
    assert report.check(record) == ["cards/beta/README.md", "cards/alpha/loss.png"]


def test_verify_knows_the_cards(tmp_path):
    from alpaca_lab.verification import verify

    record = described(tmp_path)
    report.build(record)
    page = record.card("beta") / "README.md"
    page.write_text("mine is better")
    assert [damage.path for damage in verify(record)[1] if "cards" in damage.path.parts] == [page]


def test_same_record_gives_the_same_card(record, texts):
    assert (
        study_cards.build(Record(record.folder), "alpha")["README.md"].decode() == texts["adapter"]
    )


def test_older_record_without_licences_is_read_and_its_card_says_unknown(tmp_path):
    record = described(tmp_path)
    index = record.index()
    for spec in (*index["spec"]["models"], index["spec"]["data"]):
        del spec["license"]
    record.write_index(index)
    assert front(study_cards.build(record, "alpha")["README.md"].decode())["license"] == "unknown"
    record.add_runs("alpha", index["runs"]["alpha"], spec=as_dict(STUDY))  # still this study
