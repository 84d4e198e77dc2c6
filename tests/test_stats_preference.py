"""What a sign test can see by brute force, and win rates at equal length with known truth."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binom

from alpaca_lab import stats
from alpaca_lab.stats import preference
from alpaca_lab.stats.resamples import resampled_counts


def power_of_sign_test(pairs, rate, *, level):
    """Chance that the side with this win rate is called better: every outcome looked at."""
    wins = np.arange(pairs + 1)
    p = 2 * np.minimum(binom.cdf(wins, pairs, 0.5), binom.sf(wins - 1, pairs, 0.5))
    called = (p <= (1 - level) * (1 + 1e-9)) & (wins > pairs / 2)
    return binom.pmf(wins, pairs, rate)[called].sum()


def judged(rng, pairs, *, intercept, slope, mean=0.5):
    """Hard preferences of a judge who likes length, and by how much our answers are longer."""
    differences = 100 * rng.normal(mean, 1, size=pairs)
    wins = expit(intercept + slope * np.tanh(differences / 100))
    return (rng.random(pairs) < wins).astype(float), differences


def test_of_six_pairs_only_all_are_significant():
    """p of six wins is 2 / 64 = .03125, of five 14 / 64: found with power rate ** 6."""
    assert stats.detectable_win_rate(6) == pytest.approx(0.8 ** (1 / 6))
    assert stats.detectable_win_rate(6, power=0.5) == pytest.approx(0.5 ** (1 / 6))


def test_of_nine_pairs_eight_are_significant():
    """p of eight wins is 2 * (9 + 1) / 512 = .039, of seven 92 / 512; w^9 + 9 w^8 (1 - w) = .8."""
    rate = stats.detectable_win_rate(9)
    assert rate**9 + 9 * rate**8 * (1 - rate) == pytest.approx(0.8)


def test_of_five_pairs_none_is_ever_significant():
    """The smallest p there is, of five wins, is 2 / 32 = .0625: a bound that it may equal."""
    assert all(math.isnan(stats.detectable_win_rate(pairs)) for pairs in range(1, 6))
    assert stats.detectable_win_rate(5, level=1 - 0.0625) == pytest.approx(0.8**0.2)
    assert math.isnan(stats.detectable_win_rate(5, level=1 - 0.0624))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_rate_is_the_smallest_that_is_found_so_often(level, power):
    for pairs in (10, 11, 37, 100, 805):
        rate = stats.detectable_win_rate(pairs, level=level, power=power)
        assert power_of_sign_test(pairs, rate, level=level) == pytest.approx(power)
        assert power_of_sign_test(pairs, rate - 1e-4, level=level) < power


def test_a_hundred_pairs_find_a_win_rate_of_64_5_percent():
    """61 wins are significant (p .0352), 60 are not (.0569)."""
    rate = stats.detectable_win_rate(100)
    assert binom.sf(60, 100, rate) == pytest.approx(0.8)
    assert round(rate, 3) == 0.645


def test_what_is_found_by_chance_needs_no_advantage():
    assert stats.detectable_win_rate(100, power=0.01) == 0.5


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (0, {}, "1 or more"),
        (10, {"level": 95}, "level"),
        (10, {"power": 1}, "power"),
    ],
)
def test_what_is_no_test_is_refused(pairs, options, message):
    with pytest.raises(ValueError, match=message):
        stats.detectable_win_rate(pairs, **options)


@pytest.mark.parametrize("intercept", [-1.5, 0.0, 0.8])
@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_a_known_win_rate_at_equal_length_is_recovered(intercept, slope):
    """200,000 pairs, our answers half a standard deviation longer: standard error .002."""
    shares, differences = judged(
        np.random.default_rng(0), 200_000, intercept=intercept, slope=slope
    )
    rate = stats.length_controlled(shares, differences)
    assert rate == pytest.approx(expit(intercept), abs=0.006)
    assert abs(shares.mean() - expit(intercept)) > 0.05 or not slope


def test_soft_labels_are_fitted_exactly_but_for_the_ridge():
    differences = np.random.default_rng(1).normal(50, 100, size=300)
    shares = expit(0.4 + 1.5 * np.tanh(differences / differences.std()))
    rate = stats.length_controlled(shares, differences)
    assert rate == pytest.approx(expit(0.4), abs=1e-3)
    assert rate == pytest.approx(stats.length_controlled(shares, differences / 7))  # any unit


def test_the_fit_is_the_one_that_an_optimiser_finds():
    rng = np.random.default_rng(2)
    for pairs in (2, 3, 10, 100):
        for shares in (rng.random(pairs), np.ones(pairs), (rng.random(pairs) < 0.9) * 1.0):
            differences = rng.normal(1, 1, size=pairs)
            lengths = np.tanh(differences / differences.std())

            def loss(fit, shares=shares, lengths=lengths):
                odds = fit[0] + fit[1] * lengths
                return (np.logaddexp(0, odds) - shares * odds).sum() + 0.005 * fit @ fit

            expected = minimize(loss, [0, 0], tol=1e-12).x[0]
            found = stats.length_controlled(shares, differences)
            assert found == pytest.approx(expit(expected), abs=1e-5)


def test_swapping_all_pairs_gives_the_rest_to_one():
    rng = np.random.default_rng(3)
    for pairs in (1, 2, 5, 60):
        shares, differences = rng.random(pairs).round(1), rng.normal(30, 50, size=pairs).round()
        ours = stats.length_controlled(shares, differences)
        theirs = stats.length_controlled(1 - shares, -differences)
        assert theirs == pytest.approx(1 - ours, abs=1e-9)
    one = stats.length_controlled_interval(shares, differences, range(60))
    other = stats.length_controlled_interval(1 - shares, -differences, range(60))
    assert [1 - other.high, 1 - other.low] == pytest.approx([one.low, one.high], abs=1e-9)


def test_a_judge_who_only_likes_length_finds_neither_better():
    """Our answers are longer in most pairs, and so win most: to whatever degree, or always."""
    differences = np.repeat([-3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9.0], 10)
    shares = expit(2 * np.tanh(differences / differences.std()))
    assert shares.mean() > 0.65
    assert stats.length_controlled(shares, differences) == pytest.approx(0.5, abs=1e-3)
    # Length separates these without exception, which has no finite fit but for the ridge.
    even = np.array([-9, -4, -2, 2, 4, 9])
    assert stats.length_controlled(even > 0, even) == pytest.approx(0.5, abs=1e-9)


def test_without_a_difference_of_length_it_is_the_plain_mean():
    for differences in ([0, 0, 0, 0], [12.3] * 4):
        assert stats.length_controlled([1, 1, 0.5, 1], differences) == 0.875
        assert stats.length_controlled([1, 1, 1, 1], differences) == 1
    assert stats.length_controlled([0.3], [5]) == 0.3


def test_neither_a_separated_nor_a_won_study_runs_away():
    differences = np.random.default_rng(4).normal(size=2_000)
    for shares in (differences > 0.3, differences < -1, np.ones(2_000), np.zeros(2_000)):
        assert 0 < stats.length_controlled(shares, differences) < 1


def test_the_interval_resamples_clusters():
    """Against the definition: each resample's pairs put together and fitted anew."""
    rng = np.random.default_rng(5)
    shares, differences = judged(rng, 60, intercept=0.5, slope=1.0)
    labels = np.sort(rng.integers(0, 20, size=60))  # clusters of unlike size
    index = np.unique(labels, return_inverse=True)[1]
    counts = resampled_counts(int(index.max()) + 1, resamples=100, seed=6).astype(int)
    drawn = [np.repeat(np.arange(60), row[index]) for row in counts]
    draws = [stats.length_controlled(shares[rows], differences[rows]) for rows in drawn]
    found = stats.length_controlled_interval(shares, differences, labels, resamples=100, seed=6)
    rate = stats.length_controlled(shares, differences)
    half = 1.959964 * np.std(draws, ddof=1) / (rate * (1 - rate))
    assert (found.mean, found.n) == (rate, len(counts[0]))
    assert [found.low, found.high] == pytest.approx(expit(logit(rate) + [-half, half]), abs=1e-6)


def test_blocks_of_draws_change_nothing(monkeypatch):
    shares, differences = judged(np.random.default_rng(7), 45, intercept=0.5, slope=1.0)
    labels = np.repeat(np.arange(15), 3)
    whole = stats.length_controlled_interval(shares, differences, labels, resamples=200)
    monkeypatch.setattr(preference, "BLOCK", 45 * 7)
    parts = stats.length_controlled_interval(shares, differences, labels, resamples=200)
    assert [parts.low, parts.high] == pytest.approx([whole.low, whole.high], abs=1e-9)


def test_duplicating_every_pair_of_a_question_hardly_narrows_the_interval():
    shares, differences = judged(np.random.default_rng(8), 80, intercept=0.5, slope=1.0)
    once, twice = (
        stats.length_controlled_interval(
            *(np.tile(side, times) for side in (shares, differences, np.arange(80)))
        )
        for times in (1, 2)
    )
    assert once.n == twice.n == 80
    assert [twice.low, twice.high] == pytest.approx([once.low, once.high], abs=2e-3)


def test_a_study_won_without_exception_has_an_interval_within_one():
    found = stats.length_controlled_interval([1, 1, 1], [4, 4, 4], range(3))
    assert (found.low, found.mean, found.high) == (1, 1, 1)
    found = stats.length_controlled_interval([1, 1, 1], [4, 5, 6], range(3))
    assert 0.8 < found.low <= found.mean <= found.high <= 1


REFUSED = [
    ([1, math.nan], [1, 2], "preferences: .* 1 NaN"),
    ([1, 0], [1, math.inf], "differences: .* 1 NaN or infinite"),
    ([1, 0], [1, 2, 3], "cannot pair preferences"),
    ([], [], "at least 1"),
    ([1, 2], [1, 2], r"\[0, 1\], got 1 to 2"),
    ([-1, 0], [1, 2], r"\[0, 1\], got -1 to 0"),
]


@pytest.mark.parametrize(("shares", "differences", "message"), REFUSED)
def test_what_is_no_preference_is_refused(shares, differences, message):
    with pytest.raises(ValueError, match=message):
        stats.length_controlled(shares, differences)
    with pytest.raises(ValueError, match=message):
        stats.length_controlled_interval(shares, differences, range(len(shares)))


def test_labels_that_do_not_fit_are_refused():
    for labels, message in ((["a"], "one label per row"), (["a", "a"], "all 2 rows are of one")):
        with pytest.raises(ValueError, match=message):
            stats.length_controlled_interval([1, 0], [1, 2], labels)
    with pytest.raises(ValueError, match="level"):
        stats.length_controlled_interval([1, 0], [1, 2], "ab", level=95)
