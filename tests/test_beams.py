"""Beam search in padded batches against the library's own, one prompt at a time."""

import pytest

from alpaca_lab import beams
from alpaca_lab.config import DecodeSetting, SettingError
from alpaca_lab.slots import Job
from random_models import ARCHITECTURES, EOS, PAD, random_model, random_prompts

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.model

LENGTHS = (9, 1, 33, 5, 17)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def jobs_for(prompts, *, num_beams, budget=24):
    setting = DecodeSetting(num_beams=num_beams, max_new_tokens=budget)
    return [
        Job(question=f"q{n}", prompt_ids=prompt, cell="beams", setting=setting, repeat=0)
        for n, prompt in enumerate(prompts)
    ]


def search(model, jobs, *, rows=8, eos=EOS):
    found = beams.search(model, jobs, rows=rows, eos_token_id=eos, pad_token_id=PAD)
    return {finished.job.question: finished for finished in found}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("num_beams", [2, 4])
def test_batched_search_finds_what_the_library_finds_one_prompt_at_a_time(architecture, num_beams):
    model = random_model(architecture)
    prompts = random_prompts(*LENGTHS)
    jobs = jobs_for(prompts, num_beams=num_beams)
    eos = search(model, jobs)["q0"].ids[5]  # a token that such a model does say, to end answers
    found = search(model, jobs, eos=eos)
    assert "eos" in {answer.finish_reason for answer in found.values()}
    for n, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        tokens = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=num_beams,
            length_penalty=1.0,
            early_stopping=False,
            max_new_tokens=24,
            eos_token_id=eos,
            pad_token_id=PAD,
        )[0, len(prompt) :].tolist()
        answer = found[f"q{n}"]
        assert [*answer.ids, *[eos] * (answer.finish_reason == "eos")] == tokens
        assert answer.n_new_tokens == len(tokens)


def test_one_beam_is_greedy():
    """The beam axis of a table starts at greedy; the search at width 1 says the same."""
    from alpaca_lab.slots import decode

    model = random_model("llama")
    jobs = jobs_for(random_prompts(*LENGTHS), num_beams=1)
    greedy = {f.job.question: f for f in decode(model, jobs, slots=2, eos_token_id=EOS, seed=0)}
    assert search(model, jobs) == greedy


def test_answers_that_end_and_answers_that_are_cut_are_told_apart():
    model = random_model("llama")
    jobs = jobs_for(random_prompts(*range(2, 14)), num_beams=2)
    eos = search(model, jobs)["q0"].ids[5]
    found = search(model, jobs, rows=24, eos=eos)
    assert {answer.finish_reason for answer in found.values()} == {"eos", "length"}
    for answer in found.values():
        assert eos not in answer.ids
        assert answer.n_new_tokens == len(answer.ids) + (answer.finish_reason == "eos")


def checkpoint_with(**fields):
    from transformers import GenerationConfig

    model = random_model("llama")
    model.generation_config = GenerationConfig(**fields)
    return model


def test_sampling_defaults_of_a_checkpoint_do_not_leak():
    """LLaMA-2 ships these; the original study inherited them."""
    shipped = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_length": 4096}
    shipped |= {"bos_token_id": 1, "eos_token_id": 9, "pad_token_id": 9, "top_k": 3}
    model = checkpoint_with(**shipped, num_beams=3, length_penalty=2.0, repetition_penalty=1.3)
    setting = DecodeSetting(num_beams=2, max_new_tokens=24)
    config = beams.explicit_config(model, setting, eos_token_id=EOS, pad_token_id=PAD)
    resolved, _ = model._prepare_generation_config(config)
    wanted = setting.generation_fields() | {"eos_token_id": EOS, "pad_token_id": PAD}
    assert {name: getattr(resolved, name) for name in wanted} == wanted
    jobs = jobs_for(random_prompts(*LENGTHS), num_beams=2)
    assert search(model, jobs) == search(random_model("llama"), jobs)


@pytest.mark.parametrize(
    "field",
    [
        {"suppress_tokens": [5]},
        {"min_p": 0.1},
        {"forced_eos_token_id": 2},
        {"exponential_decay_length_penalty": [5, 1.1]},
        {"min_new_tokens": 4},
        {"renormalize_logits": True},
    ],
)
def test_a_default_that_would_take_part_is_refused_by_name(field):
    jobs = jobs_for(random_prompts(5), num_beams=2)
    with pytest.raises(SettingError, match=next(iter(field))):
        search(checkpoint_with(**field), jobs)


def test_two_settings_in_one_search_are_refused():
    jobs = jobs_for(random_prompts(5), num_beams=2) + jobs_for(random_prompts(5), num_beams=4)
    with pytest.raises(SettingError, match="one setting at a time"):
        search(random_model("llama"), jobs)


def test_a_batch_too_large_for_the_memory_is_halved_and_a_single_prompt_reported(monkeypatch):
    model = random_model("llama")
    jobs = jobs_for(random_prompts(*LENGTHS), num_beams=2)
    expected = search(model, jobs)
    generate, batches = model.generate, []

    def little_memory(ids, **arguments):
        batches.append(len(ids))
        if len(ids) > 1 or ids.shape[1] == 33:
            raise torch.OutOfMemoryError("no room")
        return generate(ids, **arguments)

    monkeypatch.setattr(model, "generate", little_memory)
    found = search(model, jobs)
    assert batches == [4, 2, 1, 1, 2, 1, 1, 1]
    failed = found.pop("q2")  # the prompt of 33 tokens
    assert (failed.ids, failed.n_new_tokens, failed.finish_reason) == ((), 0, None)
    assert found == {name: answer for name, answer in expected.items() if name != "q2"}


def test_no_jobs_give_no_answers():
    assert search(random_model("llama"), []) == {}
