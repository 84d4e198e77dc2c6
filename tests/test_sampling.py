"""The sampler against the exact distribution, Transformers' own sampler, and itself."""

import hashlib

import pytest
from scipy import stats

from alpaca_lab.engine.sampling import UNDEFINED, _mix, _word, gumbel_noise, next_tokens, row_key

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_thread")]

VOCABULARY = 24
DRAWS = 100_000
SETTINGS = [(0.25, 0), (0.5, 0), (1.0, 0), (1.0, 2), (1.0, 4), (1.0, 16), (0.7, 5), (1.0, 999)]


def draw(logits, *, temperature=1.0, top_k=0, greedy=False, keys=None, positions=None):
    """Call the sampler with one setting for every row."""
    rows = len(logits)
    return next_tokens(
        logits,
        temperature=torch.full((rows,), temperature),
        top_k=torch.full((rows,), top_k),
        greedy=torch.full((rows,), greedy),
        keys=torch.tensor([row_key(0, "q", r) for r in range(rows)]) if keys is None else keys,
        positions=torch.zeros(rows, dtype=torch.long) if positions is None else positions,
        max_top_k=top_k,
    )


@pytest.fixture(scope="module")
def logits():
    return torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(5)) * 1.5


@pytest.fixture(scope="module")
def answers_keys():
    return torch.tensor([row_key(0, f"question {n}", 0) for n in range(DRAWS)])


def transformers_probabilities(logits, *, temperature, top_k):
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper

    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    return torch.softmax(warpers(None, logits[None]), dim=-1)[0]


@pytest.mark.parametrize(("temperature", "top_k"), SETTINGS)
def test_draws_follow_the_exact_distribution(logits, answers_keys, temperature, top_k):
    drawn = draw(logits.expand(DRAWS, -1), temperature=temperature, top_k=top_k, keys=answers_keys)
    scores = logits.double() / temperature
    if 0 < top_k < VOCABULARY:
        scores[scores < scores.sort(descending=True).values[top_k - 1]] = -torch.inf
    expected = torch.softmax(scores, dim=-1) * DRAWS
    counts = torch.bincount(drawn, minlength=VOCABULARY).double()
    assert counts[expected == 0].sum() == 0  # nothing outside the top k
    often = expected >= 5
    observed = [*counts[often].tolist(), counts[~often].sum().item()]
    wanted = [*expected[often].tolist(), expected[~often].sum().item()]
    if wanted[-1] == 0:
        observed, wanted = observed[:-1], wanted[:-1]
    assert stats.chisquare(observed, wanted).pvalue > 0.001


@pytest.mark.parametrize(("temperature", "top_k"), SETTINGS)
def test_draws_agree_with_transformers_own_sampler(logits, answers_keys, temperature, top_k):
    drawn = draw(logits.expand(DRAWS, -1), temperature=temperature, top_k=top_k, keys=answers_keys)
    probabilities = transformers_probabilities(logits, temperature=temperature, top_k=top_k)
    theirs = torch.multinomial(
        probabilities, DRAWS, replacement=True, generator=torch.Generator().manual_seed(1)
    )
    counts = [torch.bincount(tokens, minlength=VOCABULARY) for tokens in (drawn, theirs)]
    table = torch.stack(counts)
    table = table[:, table.sum(0) >= 10]
    assert stats.chi2_contingency(table.numpy()).pvalue > 0.001


def test_a_wrong_temperature_would_be_noticed(logits, answers_keys):
    """The chi-square tests above can fail: a temperature 3% off does."""
    drawn = draw(logits.expand(DRAWS, -1), temperature=1.03, keys=answers_keys)
    expected = torch.softmax(logits.double(), dim=-1) * DRAWS
    counts = torch.bincount(drawn, minlength=VOCABULARY)
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue < 1e-6


def test_top_k_keeps_ties_with_the_kth_as_transformers_does():
    tied = torch.tensor([2.0, 1.0, 1.0, 1.0, 0.0])
    probabilities = transformers_probabilities(tied, temperature=1.0, top_k=2)
    drawn = draw(tied.expand(2_000, -1), top_k=2)
    assert set(drawn.tolist()) == {0, 1, 2, 3} == set(probabilities.nonzero()[:, 0].tolist())


def test_top_k_beyond_the_vocabulary_keeps_every_token():
    flat = torch.zeros(3_000, 6)
    assert torch.equal(draw(flat, top_k=7), draw(flat))
    assert set(draw(flat, top_k=7).tolist()) == set(range(6))


def mixed_batch(rows):
    """Return arguments for rows that differ in everything."""
    generator = torch.Generator().manual_seed(7)
    return {
        "logits": torch.randn(rows, 50, generator=generator),
        "temperature": torch.rand(rows, generator=generator) + 0.1,
        "top_k": torch.randint(0, 20, (rows,), generator=generator),
        "greedy": torch.rand(rows, generator=generator) < 0.2,
        "keys": torch.tensor([row_key(0, f"q{n}", n % 3) for n in range(rows)]),
        "positions": torch.randint(0, 500, (rows,), generator=generator),
    }


def choose(batch, rows):
    picked = {name: values[rows] for name, values in batch.items()}
    return next_tokens(picked.pop("logits"), max_top_k=20, **picked)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    batch = mixed_batch(200)
    everything = choose(batch, torch.arange(200))
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.equal(choose(batch, order), everything[order])
    assert torch.equal(choose(batch, torch.arange(3, 10)), everything[3:10])
    for row in range(0, 200, 17):
        assert choose(batch, torch.tensor([row])) == everything[row]


def test_greedy_rows_are_the_first_of_the_likeliest_tokens():
    scores = torch.tensor([[0.0, 3.0, 3.0], [5.0, 1.0, 1.0]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert draw(scores.to(dtype), greedy=True).tolist() == [1, 0]


def test_temperature_and_top_k_have_no_effect_on_greedy_rows():
    scores = torch.randn(50, 40, generator=torch.Generator().manual_seed(2))
    drawn = draw(scores, greedy=True, temperature=5.0, top_k=3)
    assert torch.equal(drawn, scores.argmax(dim=1))


def test_temperature_of_a_thousandth_is_finite_and_nearly_greedy():
    scores = torch.randn(500, 40, generator=torch.Generator().manual_seed(2)) * 1e4
    assert torch.equal(draw(scores, temperature=0.001), scores.argmax(dim=1))
    # Two tokens .001 apart at T = .001: odds of e to one, exactly what the temperature says.
    close = torch.tensor([[0.001, 0.0]]).expand(20_000, 2)
    share = (draw(close, temperature=0.001) == 0).double().mean().item()
    assert share == pytest.approx(0.7310586, abs=0.01)  # 1 / (1 + exp(-1)); 3 sd = .0094


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_undefined_logits_give_no_token(bad):
    scores = torch.zeros(4, 10)
    scores[1, 3] = bad
    for greedy in (True, False):
        for top_k in (0, 2):
            drawn = draw(scores, greedy=greedy, top_k=top_k).tolist()
            assert drawn[1] == UNDEFINED
            assert UNDEFINED not in (drawn[0], drawn[2], drawn[3])


def uniform(keys, positions, tokens):
    """Undo the Gumbel transform: exp(-exp(-g)) is uniform."""
    return torch.exp(-torch.exp(-gumbel_noise(keys, positions, tokens=tokens).double()))


def test_noise_is_gumbel_over_rows_positions_and_tokens():
    keys = torch.tensor([row_key(1, "q", r) for r in range(2_000)])
    position = torch.arange(2_000)
    samples = {
        "one token, many answers": uniform(keys, torch.zeros_like(keys), 1)[:, 0],
        "one token, many positions": uniform(keys[:1].expand(2_000), position, 1)[:, 0],
        "one row, many tokens": uniform(keys[:1], position[:1], 32_000)[0],
        "all": uniform(keys, position, 50).flatten(),
    }
    for name, sample in samples.items():
        assert stats.kstest(sample.numpy(), "uniform").pvalue > 0.001, name


def test_noise_is_independent_between_rows_positions_and_tokens():
    keys = torch.tensor([row_key(2, f"q{r // 2}", r % 2) for r in range(400)])
    zero = torch.zeros_like(keys)
    noise = gumbel_noise(keys, zero, tokens=5_000)
    later = gumbel_noise(keys, zero + 1, tokens=5_000)
    pairs = {
        "neighbouring tokens": (noise[:, 1:], noise[:, :-1]),
        "tokens 256 apart": (noise[:, 256:], noise[:, :-256]),
        "repeats of a question": (noise[0::2], noise[1::2]),
        "next question": (noise[2:], noise[:-2]),
        "next position": (noise, later),
        "next position, next token": (noise[:, 1:], later[:, :-1]),
    }
    for name, (left, right) in pairs.items():
        both = torch.stack([left.flatten(), right.flatten()]).double()
        correlation = torch.corrcoef(both)[0, 1].item()
        assert abs(correlation) < 4 / both.shape[1] ** 0.5, name


def test_no_two_answers_of_a_study_share_a_row_of_noise():
    """13 cells share their noise on purpose; questions, repeats and positions must not."""
    keys = torch.tensor([row_key(0, f"q{n}", r) for n in range(500) for r in range(3)])
    keys = keys.repeat_interleave(128)
    positions = torch.arange(128).repeat(1_500)
    rows = gumbel_noise(keys, positions, tokens=3)
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_noise_is_finite_and_fine_grained_where_it_wins():
    """Small keys, too: their upper word is 0, which once let the two words of a row cancel."""
    noise = gumbel_noise(torch.arange(2_000), torch.zeros(2_000, dtype=torch.long), tokens=2_000)
    assert noise.isfinite().all()
    top = noise.flatten().topk(1_000).values
    assert len(top.unique()) > 950  # of 4 million hashes of 31 bits, few of the largest meet


def test_mixing_is_wellons_hash_with_the_published_constants():
    def mix(x):
        x ^= x >> 16
        x = x * 0x21F0AAAD & 0xFFFFFFFF
        x ^= x >> 15
        x = x * 0x735A2D97 & 0xFFFFFFFF
        return x ^ x >> 15

    words = torch.tensor([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF])
    assert (_mix(_word(words)).long() & 0xFFFFFFFF).tolist() == [mix(x) for x in words.tolist()]


def test_row_key_is_the_first_eight_bytes_of_a_sha256():
    digest = hashlib.sha256(b"3\x1fq7\x1f2").hexdigest()
    assert row_key(3, "q7", 2) % 2**64 == int(digest[:16], 16)
    keys = {row_key(s, q, r) for s in (0, 1) for q in ("a", "a1") for r in (0, 1, 11)}
    assert len(keys) == 12


def test_draws_are_pinned():
    """Recorded answers depend on the noise: changing it makes every one of them irreproducible."""
    keys = torch.tensor([row_key(0, "q", r) for r in range(12)])
    drawn = draw(torch.zeros(12, 1_000), keys=keys, positions=torch.arange(12))
    assert drawn.tolist() == [445, 843, 324, 164, 912, 859, 196, 624, 796, 420, 414, 497]
