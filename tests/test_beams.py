"""Beam search in padded batches against the library's own, one prompt at a time."""

from itertools import product

import pytest

from alpaca_lab.config import DecodeSetting, SettingError
from alpaca_lab.decoding import beams
from alpaca_lab.decoding.jobs import Job
from random_models import ARCHITECTURES, EOS, OTHERS, PAD, random_model, random_prompts

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_thread")]

LENGTHS = (9, 1, 33, 5, 17)


def jobs_for(prompts, *, num_beams, budget=24):
    setting = DecodeSetting(num_beams=num_beams, max_new_tokens=budget)
    return [
        Job(question=f"q{n}", prompt_ids=prompt, cell="beams", setting=setting, repeat=0)
        for n, prompt in enumerate(prompts)
    ]


def search(model, jobs, *, rows=8, eos=EOS):
    found = beams.search(model, jobs, rows=rows, eos_token_id=eos)
    return {finished.job.question: finished for finished in found}


@pytest.mark.parametrize(
    ("architecture", "num_beams"),
    [*product(ARCHITECTURES, (2, 4)), *product(OTHERS, (3,))],
)
def test_batched_search_finds_what_the_library_finds_one_prompt_at_a_time(architecture, num_beams):
    model = random_model(architecture)
    prompts = random_prompts(*LENGTHS)
    jobs = jobs_for(prompts, num_beams=num_beams)
    # A token that such a model does say, to end answers.
    eos = search(model, jobs)["q0"].ids[5 if architecture in ARCHITECTURES else 0]
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
    from alpaca_lab.decoding.slots import decode

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


def test_defaults_of_a_checkpoint_do_not_leak():
    """LLaMA-2 ships some of these; the original study inherited them."""
    from transformers import GenerationConfig

    model = random_model("llama")
    jobs = jobs_for(random_prompts(*LENGTHS), num_beams=2)
    expected = search(model, jobs)
    shipped = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 9, "top_k": 3}
    shipped |= {"num_beams": 3, "length_penalty": 2.0, "repetition_penalty": 1.3}
    model.generation_config = GenerationConfig(**shipped, suppress_tokens=[5], min_new_tokens=4)
    assert search(model, jobs) == expected


def test_two_widths_in_one_search_are_refused():
    jobs = jobs_for(random_prompts(5), num_beams=2) + jobs_for(random_prompts(5), num_beams=4)
    with pytest.raises(SettingError, match="one width at a time"):
        search(random_model("llama"), jobs)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pool_too_small_for_all_makes_questions_wait_and_changes_none(architecture, monkeypatch):
    monkeypatch.setattr(beams, "RESERVE", 0)
    model = random_model(architecture)
    jobs = jobs_for(random_prompts(*LENGTHS, *LENGTHS), num_beams=4)
    eos = search(model, jobs)["q0"].ids[5]
    found, steps = {}, {}
    for columns in (None, 135):
        steps[columns] = []
        done = beams.search(
            model, jobs, rows=16, eos_token_id=eos, columns=columns, watch=steps[columns].append
        )
        found[columns] = {answer.job.question: answer for answer in done}
    assert found[135] == found[None]
    assert max(step.used for step in steps[135]) <= 134 < max(step.used for step in steps[None])
    drawn = {columns: sum(step.drawn for step in of) for columns, of in steps.items()}
    assert drawn[135] > drawn[None]  # some were searched anew


def test_beams_that_may_not_fit_the_pool_are_refused_by_name():
    jobs = jobs_for([(5,) * 9], num_beams=4)  # 9 + 4 x 24 = 105
    with pytest.raises(SettingError, match="question q0.*for 4 beams exceed the 104 tokens"):
        next(beams.search(random_model("llama"), jobs, rows=8, eos_token_id=EOS, columns=105))


def test_columns_that_no_beam_remembers_are_given_back():
    steps = []
    jobs = jobs_for(random_prompts(9), num_beams=4, budget=80)
    found = beams.search(random_model("llama"), jobs, rows=4, eos_token_id=-5, watch=steps.append)
    assert len(list(found)) == 1
    assert max(step.used for step in steps) < 8 + 4 * 80 * 0.6


def test_undefined_logits_stop_the_search_and_say_where():
    model = random_model("llama")
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    with pytest.raises(FloatingPointError, match="question q0, cell beams, token 0"):
        search(model, jobs_for(random_prompts(5), num_beams=2))


def test_no_jobs_give_no_answers():
    assert search(random_model("llama"), []) == {}
