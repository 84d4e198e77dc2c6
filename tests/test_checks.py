"""The checks find nothing where nothing is wrong, and what is wrong where it was planted."""

import hashlib
import weakref
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest

from alpaca_lab import models, store
from alpaca_lab.config import DecodeSetting, LoraSpec, StudySpec, TrainSpec, as_dict
from alpaca_lab.decoding import checks, generate
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.decoding.slots import decode
from alpaca_lab.profiles import MODELS
from alpaca_lab.store import Record
from random_models import ARCHITECTURES, EOS, fill_adapters, random_model, random_prompts

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_thread")]

QUESTIONS = [
    {"id": f"q{n}", "cluster": f"q{n}", "instruction": text, "input": "", "reference": answer}
    for n, (text, answer) in enumerate(
        [
            ("Name a colour.", "Red is a colour."),
            ("Describe an ant.", "An ant is tiny."),
            ("Say when.", "When the ant is here, gold and cake are there too."),
        ]
    )
]


def greedy_jobs():
    setting = DecodeSetting(max_new_tokens=24)
    return [
        Job(question=f"q{n}", prompt_ids=prompt, cell="greedy", setting=setting, repeat=0)
        for n, prompt in enumerate(random_prompts(5, 9, 33, 60, 2, 17, 8, 40, 12, 7))
    ]


def decoded(model, width):
    return decode(model, greedy_jobs(), slots=width, eos_token_id=EOS, seed=0)


def identity(model, *, slots=10, decode=decoded):
    found = checks.answers_by_slots(lambda width: decode(model, width), slots=slots)
    return checks.identity(model, found, slots=slots, eos_token_id=EOS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_slots_change_no_answer_in_float32_on_a_cpu(architecture):
    found = identity(random_model(architecture))
    assert found["pairs"] == [{"slots": width, "n": 10, "identical": 10} for width in (1, 8, 10)]
    assert found["partings"] == []
    assert found["max_gap"] is found["max_noise"] is found["within_noise"] is None


@pytest.mark.parametrize(("slots", "compared"), [(1, [1]), (5, [1, 5]), (8, [1, 8])])
def test_no_number_of_slots_is_compared_twice_nor_beyond_the_studys(slots, compared):
    found = identity(random_model("llama"), slots=slots)
    assert [pair["slots"] for pair in found["pairs"]] == compared


def test_fewer_answers_with_one_slot_are_compared_with_those_to_the_same_questions():
    def fewer(model, width):
        for finished in decoded(model, width):
            if width != 1 or finished.job.question in ("q2", "q3"):
                yield finished

    found = identity(random_model("llama"), decode=fewer)
    assert [(pair["slots"], pair["n"]) for pair in found["pairs"]] == [(1, 2), (8, 10), (10, 10)]
    assert all(pair["identical"] == pair["n"] for pair in found["pairs"])


def planted(*, slots, position, token):
    """Let q3's answer be `token` at `position`, and cut there, when decoded with `slots` slots."""

    def flipped(model, width):
        for finished in decoded(model, width):
            if width == slots and finished.job.question == "q3":
                ids = (*finished.ids[:position], token)
                finished = replace(finished, ids=ids, finish_reason="length")
            yield finished

    return flipped


def answer(model, question):
    done = decode(model, greedy_jobs(), slots=10, eos_token_id=EOS, seed=0)
    return next(finished for finished in done if finished.job.question == question)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_flipped_token_is_found_with_its_place_and_its_gap(architecture):
    model = random_model(architecture)
    honest = answer(model, "q3")
    position = len(honest.ids) - 1
    context = torch.tensor([[*honest.job.prompt_ids, *honest.ids[:position]]])
    with torch.no_grad():
        logits = model(context).logits[0, -1]
    likeliest, *_, least = logits.argsort(descending=True).tolist()
    assert likeliest == honest.ids[position]
    found = identity(model, decode=planted(slots=8, position=position, token=least))
    assert [pair["identical"] for pair in found["pairs"]] == [10, 9, 10]
    [parting] = found["partings"]
    assert (parting["question"], parting["slots"], parting["position"]) == ("q3", 8, position)
    assert parting["tokens"] == [likeliest, least]
    assert parting["gap"] == pytest.approx(float(logits.max() - logits.min()), abs=1e-4)
    assert 0 < parting["noise"] < 1e-3
    assert found["max_gap"] == parting["gap"] and found["within_noise"] == 0.0


def test_an_answer_that_ends_where_another_goes_on_parts_there():
    model = random_model("llama")
    ended = next(n for n in range(10) if answer(model, f"q{n}").finish_reason == "eos")

    def prolonged(model, width):
        for finished in decoded(model, width):
            if width == 1 and finished.job.question == f"q{ended}":
                finished = replace(finished, ids=(*finished.ids, 5), finish_reason="length")
            yield finished

    [parting] = identity(model, decode=prolonged)["partings"]
    assert parting["position"] == len(answer(model, f"q{ended}").ids)
    assert parting["tokens"] == [EOS, 5]


def test_a_near_tie_of_bfloat16_lies_within_its_noise():
    """The likeliest two tokens are made equal: any rounding decides between them."""
    model = random_model("llama").to(torch.bfloat16)
    honest = answer(model, "q3")
    token = (honest.ids[0] + 1) % model.config.vocab_size
    with torch.no_grad():
        model.lm_head.weight[token] = model.lm_head.weight[honest.ids[0]]
    first = answer(model, "q3").ids[0]
    other = honest.ids[0] if first == token else token
    found = identity(model, decode=planted(slots=1, position=0, token=other))
    assert found["dtype"] == "bfloat16"
    [parting] = [entry for entry in found["partings"] if entry["question"] == "q3"]
    assert parting["position"] == 0 and parting["gap"] <= parting["noise"]


def test_the_unit_in_the_last_place_is_that_of_the_dtype():
    for value in (0.75, 1.0, 17.3, -300.0):
        step = torch.nextafter(torch.tensor(abs(value)), torch.tensor(float("inf"))) - abs(value)
        assert checks._unit(value, torch.float32) == float(step)
    assert checks._unit(17.3, torch.bfloat16) == 2.0**-3
    assert checks._unit(17.3, torch.float16) == 2.0**-6
    assert checks._unit(0.0, torch.bfloat16) > 0


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-mistral", "tiny-phi"])
def adapted(request, tmp_path_factory):
    """A tiny model and the folder of an adapter that is not zero."""
    train = TrainSpec(loader="plain")
    model, _ = models.load_trainable(MODELS[request.param], lora=LoraSpec(), train=train)
    folder = tmp_path_factory.mktemp("adapter")
    fill_adapters(model).save_pretrained(folder)
    return MODELS[request.param], folder


def study_of(spec, **changes):
    axes = dict.fromkeys(("temperatures", "beams", "top_ks"), ())
    sizes = {"questions": len(QUESTIONS), "max_new_tokens": 8, "slots": 4}
    return StudySpec(**{"name": "checks", "models": (spec,)} | axes | sizes | changes)


def agreement(spec, folder):
    return generate.ModelDecoder(spec, folder, study_of(spec)).agreement(QUESTIONS)


def test_a_merged_model_agrees_with_the_unmerged_one_and_the_base_with_itself(adapted):
    spec, folder = adapted
    found = agreement(spec, folder)
    assert found["questions"] == 3 and found["tokens"] > 15
    assert found["agreement"] == 1.0
    assert 0 < found["mean_difference"] < found["max_difference"] < 1e-3
    assert agreement(spec, None)["max_difference"] < 1e-4


def test_one_model_at_a_time_is_in_memory(adapted, monkeypatch):
    spec, folder = adapted
    load, earlier = models.load_decoder, []

    def watched(*arguments, **options):
        assert all(model() is None for model in earlier)
        model, tokenizer = load(*arguments, **options)
        earlier.append(weakref.ref(model))
        return model, tokenizer

    monkeypatch.setattr(models, "load_decoder", watched)
    agreement(spec, folder)
    assert len(earlier) == 2


@pytest.fixture
def unmerging(monkeypatch):
    """A merge that forgets the adapter."""
    from peft.tuners.lora import LoraModel

    monkeypatch.setattr(LoraModel, "merge_and_unload", LoraModel.unload)


@pytest.fixture
def record_of(tmp_path, monkeypatch):
    """Make a record of a finetune that is somewhere else."""
    monkeypatch.setattr(store, "OUTPUTS", tmp_path / "outputs")
    return partial(_record_of, tmp_path)


def _record_of(folder, spec, adapter):
    record = Record(folder)
    place = folder / "outputs" / ("a" * 12)
    place.mkdir(parents=True)
    (place / "adapter").symlink_to(adapter)
    record.write_questions(QUESTIONS)
    record.write_index({"spec": as_dict(study_of(spec)), "data": None, "runs": {}})
    weights = {"folder": f"outputs/{place.name}/adapter", "sha256": "a" * 64}
    losses = pd.DataFrame({"step": [1], "loss": [1.0]})
    record.write_training(spec.key, {"adapter": weights, "base": {"source": spec.key}}, losses)
    return record


def test_a_merge_that_forgets_the_adapter_is_caught_and_decoded_unmerged(
    adapted, unmerging, record_of
):
    spec, adapter = adapted
    record = record_of(spec, adapter)
    generate.generate(study_of(spec), spec.key, record=record)
    runs = {cell: record.run(run) for cell, run in record.index()["runs"][spec.key].items()}
    greedy, base = runs["greedy"], runs["base"]
    assert greedy.checks()["dense"]["agreement"] < 0.98
    assert greedy.checks()["dense"]["max_difference"] > 0.1
    assert greedy.request()["weights"] == "unmerged" and "weights" not in base.request()
    pairs = greedy.checks()["identity"]["pairs"]
    assert [(pair["slots"], pair["identical"]) for pair in pairs] == [(1, 3), (4, 3)]
    model, tokenizer = models.load_decoder(spec, adapter, merged=False)
    jobs = checks.greedy_jobs(tokenizer, QUESTIONS, max_new_tokens=8)
    for job, line in zip(jobs, sorted(greedy.answers(), key=lambda row: row["id"]), strict=True):
        prompt = torch.tensor([job.prompt_ids])
        ids = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=8
        )[0, prompt.shape[1] :].tolist()
        ids = ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids
        digest = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]
        assert line["ids_sha256"] == digest


def test_logits_that_are_not_numbers_are_not_recorded_as_numbers():
    whole = {"q": torch.tensor([[1.0, 2.0], [3.0, 1.0]])}
    broken = {"q": torch.tensor([[1.0, float("nan")], [3.0, 1.0]])}
    found = checks.agreement(broken, whole)
    assert found["max_difference"] is None and found["mean_difference"] is None
    found = checks.agreement({"q": whole["q"] + torch.tensor([0.5, -0.75])}, whole)
    assert (found["agreement"], found["max_difference"]) == (0.5, 0.75)
    assert found["mean_difference"] == pytest.approx(0.625)


def test_nothing_to_compare_is_said():
    with pytest.raises(ValueError, match="no reference fits"):
        checks.agreement({}, {})
