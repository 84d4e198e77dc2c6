"""The slot loop against Transformers' `generate`, and against itself under every disturbance."""

import random

import pytest

from alpaca_lab.config import TINY, DecodeSetting, SettingError
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.decoding.slots import decode
from random_models import ARCHITECTURES, EOS, OTHERS, PAD, random_model, random_prompts

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_thread")]

LENGTHS = (1, 5, 9, 33, 60, 70, 2, 17)
SETTINGS = {
    "greedy": DecodeSetting(max_new_tokens=40),
    "warm": DecodeSetting(do_sample=True, temperature=0.7, max_new_tokens=50),
    "top 4": DecodeSetting(do_sample=True, top_k=4, max_new_tokens=30),
    "cold": DecodeSetting(do_sample=True, temperature=0.001, max_new_tokens=40),
}


@pytest.fixture(params=ARCHITECTURES, scope="module")
def model(request):
    return random_model(request.param)


@pytest.fixture(scope="module")
def llama():
    return random_model("llama")


def jobs_for(prompts, *, settings=SETTINGS, repeats=2):
    return [
        Job(question=f"q{n}", prompt_ids=prompt, cell=cell, setting=setting, repeat=repeat)
        for n, prompt in enumerate(prompts)
        for cell, setting in settings.items()
        for repeat in range(repeats if setting.do_sample else 1)
    ]


def answers(model, jobs, *, slots, seed=0):
    """Return {(question, cell, repeat): (ids, n_new_tokens, finish_reason)}; each job just once."""
    done = list(decode(model, jobs, slots=slots, eos_token_id=EOS, seed=seed))
    assert len(done) == len(jobs) == len({id(finished.job) for finished in done})
    return {
        (finished.job.question, finished.job.cell, finished.job.repeat): (
            finished.ids,
            finished.n_new_tokens,
            finished.finish_reason,
        )
        for finished in done
    }


def generated(model, prompt, *, budget, eos=EOS, pad=PAD):
    """Return Transformers' own greedy answer, EOS excluded."""
    ids = torch.tensor([prompt])
    tokens = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=budget,
        eos_token_id=eos,
        pad_token_id=pad,
    )[0, len(prompt) :].tolist()
    return tuple(tokens[: tokens.index(eos)] if eos in tokens else tokens)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_greedy_answers_are_those_of_generate(model, slots):
    prompts = random_prompts(*LENGTHS)
    greedy = jobs_for(prompts, settings={"greedy": SETTINGS["greedy"]})
    ours = answers(model, greedy, slots=slots)
    for n, prompt in enumerate(prompts):
        assert ours[f"q{n}", "greedy", 0][0] == generated(model, prompt, budget=40)


@pytest.mark.parametrize("name", ("llama", "mistral", "phi"))
def test_greedy_answers_of_the_trained_models_are_those_of_generate(name):
    folder = TINY / name
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    texts = ("Name a colour.", "### Instruction:\nList three animals.\n\n### Response:\n", "Why?")
    prompts = [tuple(tokenizer(text).input_ids) for text in texts]
    greedy = jobs_for(prompts, settings={"greedy": SETTINGS["greedy"]})
    for finished in decode(model, greedy, slots=2, eos_token_id=eos, seed=0):
        assert finished.ids == generated(
            model, finished.job.prompt_ids, budget=40, eos=eos, pad=pad
        )


FAR = {"rope_theta": 10_000.0, "rope_type": "linear", "factor": 2.0}
LLAMA3 = {
    "rope_theta": 10_000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
WINDOWS = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}


def assert_answers_are_those_of_generate(model):
    prompts = random_prompts(*LENGTHS)
    ours = answers(model, jobs_for(prompts, settings={"greedy": SETTINGS["greedy"]}), slots=3)
    for n, prompt in enumerate(prompts):
        assert ours[f"q{n}", "greedy", 0][0] == generated(model, prompt, budget=40)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [*((name, {}) for name in OTHERS), ("llama", {"rope_parameters": FAR}), ("qwen2", WINDOWS)],
)
def test_a_model_of_other_blocks_goes_its_own_way_to_the_answers_of_generate(architecture, changes):
    from alpaca_lab.engine.forward import PlainForward, forward_of

    model = random_model(architecture, **changes)
    assert isinstance(forward_of(model), PlainForward)
    assert_answers_are_those_of_generate(model)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"attention_bias": True, "head_dim": 32}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen2", {"num_attention_heads": 7, "num_key_value_heads": 1, "hidden_size": 56}),
    ],
)
def test_variants_of_known_blocks_are_joined_and_give_the_answers_of_generate(
    architecture, changes
):
    from alpaca_lab.engine.forward import JoinedForward, forward_of

    model = random_model(architecture, **changes)
    assert isinstance(forward_of(model), JoinedForward)
    assert_answers_are_those_of_generate(model)


def test_known_blocks_are_joined_in_place_and_the_model_stays_what_it_was(model):
    """Two engines one after the other: the second finds the weights joined."""
    from alpaca_lab.engine.forward import JoinedForward, forward_of

    ids = torch.tensor([random_prompts(9)[0]])
    before = model(ids).logits
    weights = sum(weight.untyped_storage().nbytes() for weight in model.parameters())
    first, second = forward_of(model), forward_of(model)
    assert isinstance(first, JoinedForward)
    joined = [
        part.weight.untyped_storage().data_ptr()
        for forward in (first, second)
        for block in forward.blocks
        for part in vars(block).values()
        if hasattr(part, "weight") and part.weight.dim() == 2
    ]
    assert len(set(joined)) * 2 == len(joined)
    assert torch.allclose(model(ids).logits, before, atol=1e-5)
    held = {
        weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes()
        for weight in model.parameters()
    }
    assert sum(held.values()) <= weights


def test_answers_do_not_depend_on_slots_order_or_company(model):
    jobs = jobs_for(random_prompts(*LENGTHS))
    expected = answers(model, jobs, slots=7)
    assert len({ids for ids, _, _ in expected.values()}) > len(jobs) // 2  # not all the same
    assert answers(model, jobs, slots=1) == expected
    shuffled = random.Random(3).sample(jobs, k=len(jobs))
    assert answers(model, shuffled, slots=7) == expected
    for job in jobs[::9]:
        alone = answers(model, [job], slots=7)
        assert alone.items() <= expected.items()


def test_logits_are_the_same_bits_whatever_shares_the_batch(model, monkeypatch):
    """Stronger than equal tokens: with S fixed, not one bit of a busy row's logits differs."""
    import alpaca_lab.engine.engine as module
    from alpaca_lab.engine.sampling import row_key

    sample = module.next_tokens

    def logits_of(jobs, watched):
        key, seen = row_key(0, watched.question, watched.repeat), []

        def spy(logits, **settings):
            rows = (settings["keys"] == key) & ~settings["greedy"]
            seen.extend(logits[rows].clone())
            return sample(logits, **settings)

        monkeypatch.setattr(module, "next_tokens", spy)
        [answer] = [
            finished
            for finished in decode(model, jobs, slots=5, eos_token_id=EOS, seed=0)
            if finished.job is watched
        ]
        return torch.stack(seen[: answer.n_new_tokens])

    jobs = jobs_for(random_prompts(*LENGTHS), settings={"warm": SETTINGS["warm"]})
    watched = jobs[7]
    alone = logits_of([watched], watched)
    assert torch.equal(logits_of(jobs, watched), alone)
    assert torch.equal(logits_of(jobs[::-1], watched), alone)


def test_another_seed_gives_other_samples_and_the_same_greedy_answer(llama):
    jobs = jobs_for(random_prompts(9, 33))
    first, second = (answers(llama, jobs, slots=4, seed=seed) for seed in (0, 1))
    assert all(first[key] == second[key] for key in first if key[1] == "greedy")
    assert any(first[key] != second[key] for key in first if key[1] == "warm")


def test_settings_share_the_noise_and_repeats_do_not(llama):
    """T = 1 and T = .999 meet the same noise, so they start alike; two repeats do not."""
    near = {
        str(t): DecodeSetting(do_sample=True, temperature=t, max_new_tokens=12)
        for t in (1.0, 0.999)
    }
    found = answers(llama, jobs_for(random_prompts(9), settings=near, repeats=8), slots=4)
    assert sum(found["q0", "1.0", r] == found["q0", "0.999", r] for r in range(8)) >= 7
    assert len({found["q0", "1.0", r] for r in range(8)}) == 8


def test_noise_counts_positions_from_the_first_new_token(llama, monkeypatch):
    """So that a change to the prompt's wording leaves an answer's noise as it is."""
    import alpaca_lab.engine.engine as module
    from alpaca_lab.engine.sampling import row_key

    sample, seen = module.next_tokens, []

    def spy(logits, **settings):
        seen.append((settings["keys"].tolist(), settings["positions"].tolist()))
        return sample(logits, **settings)

    monkeypatch.setattr(module, "next_tokens", spy)
    three = {"three": DecodeSetting(do_sample=True, max_new_tokens=3)}
    jobs = jobs_for(random_prompts(9), settings=three, repeats=1)
    list(decode(llama, jobs, slots=1, eos_token_id=-5, seed=6))
    assert seen[8:] == [([row_key(6, "q0", 0)], [n]) for n in range(3)]  # 8 rows read the prompt


def test_eos_ends_an_answer_and_the_budget_cuts_it(llama):
    found = answers(llama, jobs_for(random_prompts(*LENGTHS)), slots=3)
    budgets = {name: setting.max_new_tokens for name, setting in SETTINGS.items()}
    reasons = set()
    for (_, cell, _), (ids, n_new_tokens, reason) in found.items():
        assert EOS not in ids
        assert n_new_tokens == len(ids) + (reason == "eos") <= budgets[cell]
        assert reason == "eos" or len(ids) == budgets[cell]
        reasons.add(reason)
    assert reasons == {"eos", "length"}


def test_eos_as_first_token_is_an_answer_of_no_ids(llama):
    prompt = random_prompts(9)[0]
    [first] = answers(
        llama, jobs_for([prompt], settings={"one": DecodeSetting(max_new_tokens=1)}), slots=1
    ).values()
    eos = first[0][0]
    job = jobs_for([prompt], settings={"greedy": SETTINGS["greedy"]})[0]
    [finished] = decode(llama, [job], slots=1, eos_token_id=eos, seed=0)
    assert (finished.ids, finished.n_new_tokens, finished.finish_reason) == ((), 1, "eos")


def test_a_budget_of_one_gives_one_token(llama):
    one = {"one": DecodeSetting(max_new_tokens=1)}
    found = answers(llama, jobs_for(random_prompts(*LENGTHS), settings=one), slots=3)
    assert {n for _, n, _ in found.values()} == {1}


def test_each_prompt_is_read_once_for_all_its_answers(llama):
    steps, prompts = [], random_prompts(5, 9, 17)
    jobs = jobs_for(prompts)
    done = list(decode(llama, jobs, slots=2, eos_token_id=EOS, seed=0, watch=steps.append))
    assert sum(step.read for step in steps) == 4 + 8 + 16  # each answer reads the last for itself
    assert sum(step.drawn for step in steps) == sum(answer.n_new_tokens for answer in done)


def test_rows_without_an_answer_read_prompts_so_that_almost_none_is_idle(llama):
    steps = []
    jobs = jobs_for(random_prompts(*LENGTHS * 3))
    list(decode(llama, jobs, slots=8, eos_token_id=EOS, seed=0, watch=steps.append))
    busy = sum(step.drawn + step.read for step in steps)
    assert busy / sum(step.size for step in steps) > 0.95


def test_a_pool_too_small_for_all_makes_answers_wait_and_changes_none(model):
    """The youngest gives its columns back, and reads its own tokens again later."""
    jobs = jobs_for(random_prompts(*LENGTHS))
    expected = answers(model, jobs, slots=7)
    for columns in (111, 150):  # the longest text has 60 + 50 tokens
        steps = []
        done = decode(
            model, jobs, slots=7, eos_token_id=EOS, seed=0, columns=columns + 10, watch=steps.append
        )
        found = {
            (f.job.question, f.job.cell, f.job.repeat): (f.ids, f.n_new_tokens, f.finish_reason)
            for f in done
        }
        assert found == expected
        assert max(step.used for step in steps) <= columns + 9
        assert sum(step.read for step in steps) > sum(LENGTHS) - len(LENGTHS)  # some read again


@pytest.mark.parametrize("columns", [None, 121])
def test_steps_asked_for_before_the_last_ones_tokens_are_read_change_no_answer(
    model, monkeypatch, columns
):
    """As on a GPU: an answer's end is seen a step late, and the row after it is not heeded."""
    from alpaca_lab.engine.engine import Engine

    jobs = jobs_for(random_prompts(*LENGTHS))
    expected = answers(model, jobs, slots=7)
    monkeypatch.setattr(Engine, "ahead", 1)
    steps = []
    done = decode(
        model, jobs, slots=7, eos_token_id=EOS, seed=0, columns=columns, watch=steps.append
    )
    found = {
        (f.job.question, f.job.cell, f.job.repeat): (f.ids, f.n_new_tokens, f.finish_reason)
        for f in done
    }
    assert found == expected
    if columns is None:
        rows = sum(n + (reason == "eos") for _, n, reason in expected.values())
        assert sum(step.drawn for step in steps) == rows


def test_fewer_slots_than_rows_change_no_answer(llama):
    from alpaca_lab.decoding.slots import run
    from alpaca_lab.engine.engine import Engine

    jobs = jobs_for(random_prompts(*LENGTHS))
    engine, found = Engine(llama, rows=7, columns=1000), []
    for slots in (7, 2):
        steps = []
        done = run(engine, jobs, eos_token_id=EOS, seed=0, slots=slots, watch=steps.append)
        found.append({id(finished.job): finished for finished in done})
        assert max(step.drawn for step in steps) == slots
    assert found[0] == found[1]


def test_a_job_longer_than_the_pool_is_refused_by_name(llama):
    jobs = jobs_for([(5,) * 25], settings={"greedy": SETTINGS["greedy"]})  # 25 + 40 = 65
    with pytest.raises(SettingError, match="question q0, cell greedy.*64 tokens that this GPU"):
        next(decode(llama, jobs, slots=1, eos_token_id=EOS, seed=0, columns=65))
    assert list(decode(llama, jobs, slots=1, eos_token_id=EOS, seed=0, columns=66))


def test_answers_come_as_they_finish_not_at_the_end(llama):
    long, short = DecodeSetting(max_new_tokens=200), DecodeSetting(max_new_tokens=1)
    jobs = jobs_for(random_prompts(33, 33), settings={"long": long, "short": short})
    stream = decode(llama, jobs, slots=2, eos_token_id=-5, seed=0)
    assert [next(stream).job.cell for _ in range(2)] == ["short", "long"]


def test_no_jobs_give_no_answers(llama):
    assert list(decode(llama, [], slots=4, eos_token_id=EOS, seed=0)) == []


def refusal(model, **changes):
    job = {"question": "q7", "cell": "greedy", "setting": SETTINGS["greedy"], "repeat": 0}
    good = Job(**job | {"question": "q6", "prompt_ids": (5, 6)})
    bad = Job(**job | {"prompt_ids": (5, 6)} | changes)
    with pytest.raises(SettingError) as error:
        next(decode(model, [good, bad], slots=2, eos_token_id=EOS, seed=0))
    return str(error.value)


def test_a_job_that_does_not_fit_the_context_is_refused_by_name_before_anything_runs():
    model = random_model("llama", max_position_embeddings=64)
    message = refusal(model, prompt_ids=(5,) * 25)  # 25 + 40 = 65
    assert "question q7, cell greedy" in message and "64" in message
    fits = jobs_for([(5,) * 24], settings={"greedy": SETTINGS["greedy"]})
    assert len(answers(model, fits, slots=1)) == 1


def test_a_job_longer_than_the_sliding_window_is_refused():
    """Beyond the window Mistral forgets the prompt's start, which these slots would not."""
    model = random_model("mistral", sliding_window=48)
    assert "48" in refusal(model, prompt_ids=(5,) * 9)  # 9 + 40 = 49
    prompt = random_prompts(8)[0]
    job = jobs_for([prompt], settings={"greedy": SETTINGS["greedy"]})
    assert answers(model, job, slots=2)["q0", "greedy", 0][0] == generated(model, prompt, budget=40)


def test_beams_and_empty_prompts_are_refused(llama):
    assert "beams" in refusal(llama, setting=DecodeSetting(num_beams=2))
    assert "empty" in refusal(llama, prompt_ids=())


def test_slots_below_one_are_refused(llama):
    with pytest.raises(SettingError, match="at least 1"):
        next(decode(llama, jobs_for([(5,)]), slots=0, eos_token_id=EOS, seed=0))


def test_a_pool_beyond_the_kernels_counting_is_refused(llama):
    from alpaca_lab.engine.engine import Engine

    numbers = llama.config.num_key_value_heads * llama.config.head_dim
    with pytest.raises(SettingError, match="too large; lower slots"):
        Engine(llama, rows=1, columns=2**31 // numbers)


@pytest.mark.parametrize(
    ("room", "columns"),
    [(227 * 1024, 128), (99 * 1024, 128), (64 * 1024, 64), (1024, 16)],
    ids=["H200", "24 GB cards", "T4", "too little"],
)
def test_attention_reads_as_many_columns_at_a_time_as_shared_memory_holds(
    monkeypatch, room, columns
):
    """Of LLaMA-2-7B's; Triton 3.6 takes 72 KiB for 128 columns of it, 40 for 64."""
    from types import SimpleNamespace

    import torch

    from alpaca_lab.engine import steps

    known = SimpleNamespace(shared_memory_per_block_optin=room)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: known)
    steps.fitting_columns.cache_clear()
    found = steps.fitting_columns(128, column_bytes=2 * 128, device=torch.device("cuda"))
    steps.fitting_columns.cache_clear()
    assert found == columns


def test_undefined_logits_stop_the_run_and_say_where():
    model = random_model("llama")
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    with pytest.raises(FloatingPointError, match="question q0, cell greedy, token 0"):
        list(decode(model, jobs_for([(5, 6)]), slots=3, eos_token_id=EOS, seed=0))
