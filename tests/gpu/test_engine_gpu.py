"""The engine's kernels and graphs on a GPU against PyTorch on a CPU, and against Transformers."""

import pytest

from alpaca_lab.config import DecodeSetting
from alpaca_lab.decoding import beams
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.decoding.slots import decode
from random_models import ARCHITECTURES, EOS, random_model, random_prompts

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

LENGTHS = (1, 5, 9, 33, 60, 70, 2, 17)
SETTINGS = {
    "greedy": DecodeSetting(max_new_tokens=40),
    "warm": DecodeSetting(do_sample=True, temperature=0.7, max_new_tokens=50),
    "top 4": DecodeSetting(do_sample=True, top_k=4, max_new_tokens=30),
}


def jobs_for(prompts):
    return [
        Job(question=f"q{n}", prompt_ids=prompt, cell=cell, setting=setting, repeat=repeat)
        for n, prompt in enumerate(prompts)
        for cell, setting in SETTINGS.items()
        for repeat in range(2 if setting.do_sample else 1)
    ]


def answers(model, jobs, **settings):
    done = decode(model, jobs, eos_token_id=EOS, seed=0, **settings)
    return {(f.job.question, f.job.cell, f.job.repeat): f.ids for f in done}


@pytest.mark.parametrize("columns", [None, 150])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_answers_are_those_of_a_cpu(architecture, columns):
    """Also where the pool is so small that answers wait and read their own tokens again."""
    jobs = jobs_for(random_prompts(*LENGTHS))
    expected = answers(random_model(architecture), jobs, slots=40)
    found = answers(random_model(architecture).cuda(), jobs, slots=40, columns=columns)
    assert found == expected


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_beams_are_those_of_a_cpu(architecture):
    jobs = [
        Job(
            question=f"q{n}",
            prompt_ids=prompt,
            cell="beams",
            setting=DecodeSetting(num_beams=4, max_new_tokens=24),
            repeat=0,
        )
        for n, prompt in enumerate(random_prompts(*LENGTHS))
    ]
    found = []
    for model in (random_model(architecture), random_model(architecture).cuda()):
        done = beams.search(model, jobs, rows=24, eos_token_id=EOS)
        found.append({finished.job.question: finished.ids for finished in done})
    assert found[0] == found[1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_logits_are_as_near_the_truth_as_transformers_are(architecture):
    """Heads of 80 and 128 dimensions, as Phi-2's and the others'; truth is float32."""
    import numpy as np

    from alpaca_lab.decoding.texts import Text
    from alpaca_lab.engine.engine import Engine

    size = 80 if architecture == "phi" else 128
    shape = {"hidden_size": 4 * size, "intermediate_size": 1024, "num_hidden_layers": 4}
    exact = random_model(architecture, **shape, initializer_range=0.04).cuda()
    prompt = random_prompts(90)[0]
    ids = torch.tensor([prompt], device="cuda")
    with torch.inference_mode():
        truth = exact(ids).logits[0]
        model = exact.to(torch.bfloat16)
        theirs = model(ids).logits[0].float()
        engine, ours = Engine(model, rows=40, columns=200), []
        text = Text(tokens=np.array(prompt, np.int32), sequence=41)
        while not text.is_read:
            engine.batch.clear()
            count = text.read_on(engine.batch, engine.columns, room=40)
            engine.batch.send(40)
            ours.append(engine._advance(engine.batch.rows(40), engine.limit)[:count].float())
    off = [float((found - truth).norm()) for found in (torch.cat(ours), theirs)]
    assert off[0] < 1.2 * off[1]


def test_noise_of_the_kernel_is_that_of_the_formula():
    """Equal logits leave the choice to the noise; the two may differ where it ties in float32."""
    from alpaca_lab.engine.sampling import gumbel_noise, next_tokens

    rows, vocabulary = 500, 51_200
    keys = torch.randint(-(2**62), 2**62, (rows,), device="cuda")
    positions = torch.arange(rows, device="cuda") % 511
    drawn = next_tokens(
        torch.zeros(rows, vocabulary, device="cuda", dtype=torch.bfloat16),
        temperature=torch.ones(rows, device="cuda"),
        top_k=torch.zeros(rows, dtype=torch.int64, device="cuda"),
        greedy=torch.zeros(rows, dtype=torch.bool, device="cuda"),
        keys=keys,
        positions=positions,
        max_top_k=0,
    )
    noise = gumbel_noise(keys.cpu(), positions.cpu(), tokens=vocabulary)
    assert (noise.argmax(1) == drawn.cpu()).float().mean() > 0.99


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_undefined_logits_give_no_token(bad):
    from alpaca_lab.engine.sampling import UNDEFINED, next_tokens

    logits = torch.zeros(3, 2000, device="cuda", dtype=torch.bfloat16)
    logits[1, 1500] = bad
    drawn = next_tokens(
        logits,
        temperature=torch.ones(3, device="cuda"),
        top_k=torch.tensor([0, 0, 4], device="cuda"),
        greedy=torch.tensor([True, False, False], device="cuda"),
        keys=torch.arange(3, device="cuda"),
        positions=torch.zeros(3, dtype=torch.int64, device="cuda"),
        max_top_k=4,
    )
    assert drawn[0] == 0 and drawn[1] == UNDEFINED and drawn[2] >= 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_kth_largest_of_the_kernel_is_that_of_topk(dtype):
    """Rounded, so that many logits are equal."""
    from alpaca_lab.engine import sampling, sampling_kernels

    torch.manual_seed(0)
    logits = (3 * torch.randn(6, 51_200, device="cuda")).round(decimals=1).to(getattr(torch, dtype))
    top_k = torch.tensor([0, 1, 2, 16, 31, 32], device="cuda")
    found = sampling_kernels.kth_largest(logits, top_k, most=32)
    assert torch.equal(found, sampling._kth_largest(logits, top_k, most=32))


def test_memory_that_is_not_there_halves_slots_and_columns_and_all_is_answered(
    small_study, monkeypatch
):
    """The card is said to be larger than what this process may take of it.

    In 16 bits another number of rows may turn an answer whose tokens lie close together.
    """
    from dataclasses import replace

    from alpaca_lab import hardware
    from alpaca_lab.decoding import decoders
    from alpaca_lab.profiles import MODELS

    jobs = jobs_for(random_prompts(*LENGTHS))
    study = replace(small_study, slots=1024, beams=(2,))
    total = torch.cuda.get_device_properties(0).total_memory / 2**30
    monkeypatch.setattr(hardware, "memory_gib", lambda cap: 20.0)
    long = replace(SETTINGS["greedy"], max_new_tokens=1900)  # so that the pool becomes large
    jobs = [*jobs, replace(jobs[0], question="long", setting=long)]
    found = {}
    for cap in (20.0, 1.5):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap / total))
        monkeypatch.setattr(hardware, "claim_device", lambda cap: None)
        decoder = decoders.ModelDecoder(MODELS["tiny-llama"], None, study)
        done = decoder.answers(jobs)
        found[cap] = {(f.job.question, f.job.cell, f.job.repeat): f.ids for f in done}
        halvings = decoder.facts()["halvings"]
        decoder._drop_engine()
        assert (halvings > 0) == (cap < 2)
    torch.cuda.set_per_process_memory_fraction(1.0)
    same = sum(found[20.0][key] == found[1.5][key] for key in found[20.0])
    assert found[20.0].keys() == found[1.5].keys()
    assert same >= 0.9 * len(jobs)
