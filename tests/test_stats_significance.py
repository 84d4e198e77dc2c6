"""Tests of mean differences against hand-worked values, other libraries, and each other."""

import math

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from alpaca_lab import stats
from alpaca_lab.stats.significance import bootstrap_t_many, sign_flip_many


def test_sign_flip_of_one_to_five_is_two_of_32():
    assert stats.sign_flip_p([1, 2, 3, 4, 5]) == 2 / 32
    assert stats.sign_flip_p([-1, -2, -3, -4, -5]) == 2 / 32


def test_sign_flip_of_no_difference_at_all_is_one():
    assert stats.sign_flip_p([0.0] * 5) == 1
    assert stats.sign_flip_p([0.0] * 50) == 1


def test_drawn_sign_flips_agree_with_all_of_them(monkeypatch):
    values = np.random.default_rng(3).normal(0.4, 1, size=12)
    exact = stats.sign_flip_p(values)
    monkeypatch.setattr(stats.exchanges, "EXACT_UP_TO", 0)
    assert stats.sign_flip_p(values) == pytest.approx(exact, abs=0.015)
    assert 0.05 < exact < 0.95  # or the comparison would tell nothing


def test_a_drawn_sign_flip_p_is_repeatable_and_never_zero():
    values = np.full(60, 1.0)
    assert stats.sign_flip_p(values) == 1 / 10_001
    shifted = np.random.default_rng(5).normal(0.2, 1, size=60)
    np.random.seed(1)
    first = stats.sign_flip_p(shifted)
    np.random.seed(2)
    assert stats.sign_flip_p(shifted) == first


def test_sign_flips_agree_with_scipy():
    rng = np.random.default_rng(29)
    values, baseline = rng.exponential(size=10) + 0.3, rng.exponential(size=10)
    theirs = permutation_test(
        (values, baseline),
        lambda one, other: np.mean(one) - np.mean(other),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert stats.sign_flip_p(values - baseline) == pytest.approx(theirs.pvalue)
    assert 0.02 < theirs.pvalue < 0.98


def test_the_order_of_questions_hardly_moves_a_drawn_p_and_leaves_an_exact_one():
    values = np.random.default_rng(31).normal(0.3, 1, size=40)
    assert stats.sign_flip_p(values[:10]) == stats.sign_flip_p(values[:10][::-1])
    assert stats.sign_flip_p(values) == pytest.approx(stats.sign_flip_p(values[::-1]), abs=0.01)


def test_many_samples_at_once_are_tested_as_one_by_one():
    for n in (8, 30):
        samples = np.random.default_rng(n).normal(0.2, 1, size=(20, n))
        together = sign_flip_many(samples, flips=500)
        assert together.tolist() == [stats.sign_flip_p(row, flips=500) for row in samples]
        together = bootstrap_t_many(samples, resamples=500)
        assert together.tolist() == [stats.bootstrap_t_p(row, resamples=500) for row in samples]


def test_a_bootstrapped_t_compares_each_resample_in_its_own_standard_errors():
    """Against the definition, resample by resample."""
    values = np.random.default_rng(37).exponential(size=15) - 0.6
    observed = abs(ttest_1samp(values, 0).statistic)
    counts = stats.resamples.resampled_counts(15, resamples=999, seed=0)
    far = 0
    for row in counts.astype(int):
        drawn = np.repeat(values - values.mean(), row)
        far += abs(ttest_1samp(drawn, 0).statistic) >= observed
    p = stats.bootstrap_t_p(values, resamples=999)
    assert p == (far + 1) / 1000
    assert 0.01 < p < 0.5


def test_a_bootstrapped_t_of_no_difference_is_one_and_of_a_constant_one_the_smallest():
    assert stats.bootstrap_t_p([0.0] * 20) == 1
    assert stats.bootstrap_t_p([0.1] * 20, resamples=999) == 1 / 1000


def test_equivalence_matches_the_value_worked_by_hand():
    """-1, 0, 1 within 2: t = 2 / sqrt(1 / 3) = 2 sqrt(3) on 2 degrees of freedom."""
    t = 2 * math.sqrt(3)
    expected = 0.5 - t / (2 * math.sqrt(2 + t**2))  # the t distribution with 2 degrees
    assert stats.equivalence_p([-1, 0, 1], margin=2) == pytest.approx(expected)


@pytest.mark.parametrize("side", [-1, 1])
def test_equivalence_is_the_larger_of_two_one_sided_t_tests(side):
    moves = side * np.random.default_rng(41).normal(0.2, 1, size=30)
    for margin in (0.1, 0.5, 1.0):
        lower = ttest_1samp(moves, -margin, alternative="greater").pvalue
        upper = ttest_1samp(moves, margin, alternative="less").pvalue
        assert stats.equivalence_p(moves, margin=margin) == pytest.approx(max(lower, upper))
        within = stats.t_interval(moves, level=0.9)
        inside = -margin < within.low and within.high < margin
        assert (stats.equivalence_p(moves, margin=margin) < 0.05) == inside


def test_a_difference_that_never_varies_is_equivalent_or_not_for_certain():
    assert stats.equivalence_p([0.5, 0.5], margin=1) == 0
    assert stats.equivalence_p([1.5, 1.5], margin=1) == 1


def test_a_margin_must_be_positive():
    for margin in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin: need a positive number"):
            stats.equivalence_p([1, 2, 3], margin=margin)
