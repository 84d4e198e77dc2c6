"""Intervals and tests against hand-worked and published values, and their promised error rates."""

import math

import numpy as np
import pytest

from alpaca_lab import stats


def ratio(sums):
    """Statistic of (numerator, denominator) sums."""
    return sums[..., 0] / sums[..., 1]


def test_repeats_of_a_question_become_one_mean():
    means, names = stats.cluster_means([1, 2, 6, 10], ["b", "a", "a", "b"])
    assert names.tolist() == ["a", "b"]
    assert means.tolist() == [4.0, 5.5]


def test_t_interval_matches_the_value_worked_by_hand():
    """1..5: mean 3, sd sqrt(2.5), t(.975, 4) = 2.776445: half-width 1.963243, 3/se = 4.242641."""
    found = stats.t_interval([1, 2, 3, 4, 5])
    assert (found.mean, found.n) == (3, 5)
    assert found.high - found.mean == pytest.approx(1.963243, abs=1e-6)
    assert found.mean - found.low == pytest.approx(1.963243, abs=1e-6)
    assert found.mean / (found.sd / math.sqrt(5)) == pytest.approx(4.242641, abs=1e-6)
    assert found.effect_size == pytest.approx(3 / math.sqrt(2.5))


def test_duplicating_every_row_of_a_question_changes_nothing():
    rng = np.random.default_rng(0)
    values, questions = rng.normal(size=40), np.repeat(np.arange(20), 2)
    once, _ = stats.cluster_means(values, questions)
    twice, _ = stats.cluster_means(np.tile(values, 2), np.tile(questions, 2))
    one, two = stats.t_interval(once), stats.t_interval(twice)
    assert (one.n, two.n) == (20, 20)
    assert [two.mean, two.low, two.high] == pytest.approx([one.mean, one.low, one.high])


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(1)
    values, questions = rng.normal(size=60), np.repeat(np.arange(20), 3)
    order = rng.permutation(60)
    means, names = stats.cluster_means(values, questions)
    shuffled, same_names = stats.cluster_means(values[order], questions[order])
    assert shuffled == pytest.approx(means) and (names == same_names).all()


def test_a_paired_difference_is_the_interval_of_the_differences():
    found = stats.paired_difference([3, 5, 8], [2, 3, 5])  # 1, 2, 3
    assert (found.mean, found.sd, found.n) == (2, 1, 3)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)  # t(.975, 2)


def test_an_identical_pair_has_no_effect_size():
    assert stats.paired_difference([1, 2], [1, 2]).effect_size is None


def test_sign_flip_of_one_to_five_is_two_of_32():
    assert stats.sign_flip_p([1, 2, 3, 4, 5]) == 2 / 32
    assert stats.sign_flip_p([-1, -2, -3, -4, -5]) == 2 / 32


def test_sign_flip_of_no_difference_at_all_is_one():
    assert stats.sign_flip_p([0.0] * 5) == 1
    assert stats.sign_flip_p([0.0] * 50) == 1


def test_drawn_sign_flips_agree_with_all_of_them(monkeypatch):
    values = np.random.default_rng(3).normal(0.4, 1, size=12)
    exact = stats.sign_flip_p(values)
    monkeypatch.setattr(stats, "EXACT_UP_TO", 0)
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


def test_sign_flip_keeps_its_error_rate_on_skewed_scores():
    """2,000 nulls of 50 questions, both settings from one skewed distribution; nominal .05."""
    rng = np.random.default_rng(7)
    nulls = rng.exponential(size=(2000, 50)) - rng.exponential(size=(2000, 50))
    false = sum(stats.sign_flip_p(null, flips=1000) <= 0.05 for null in nulls) / 2000
    assert 0.0375 <= false <= 0.0625


def test_intervals_over_questions_cover_while_intervals_over_rows_do_not():
    """100 questions, 5 repeats each; the questions differ as much as the repeats of one do."""
    rng = np.random.default_rng(11)
    questions = np.repeat(np.arange(100), 5)
    missed = np.zeros(2)
    for _ in range(2000):
        rows = rng.normal(size=100)[questions] + rng.normal(size=500)
        means, _ = stats.cluster_means(rows, questions)
        for kind, values in enumerate((means, rows)):
            found = stats.t_interval(values)
            missed[kind] += not found.low <= 0 <= found.high
    by_question, by_row = missed / 2000
    assert 0.035 <= by_question <= 0.065
    assert by_row > 0.15


def test_holm_matches_the_published_vector():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_leaves_a_single_test_alone():
    assert stats.holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert stats.holm([0.04]).tolist() == [0.04]


def test_minimum_detectable_effect_matches_the_published_value():
    assert stats.minimum_detectable_effect(0.10, 300) == pytest.approx(0.016175, abs=5e-7)


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(13).gamma(2.0, size=400)
    found = stats.bootstrap_ci(np.column_stack([values, np.ones(400)]), statistic=ratio)
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std(ddof=1) / 20
    assert [found.mean - found.low, found.high - found.mean] == pytest.approx([half, half], rel=0.1)


def test_a_question_is_drawn_with_all_its_repeats():
    """Answering each question twice over says nothing new, so the interval stays as wide."""
    sums = np.random.default_rng(17).uniform(1, 5, size=(30, 2))
    once = stats.bootstrap_ci(sums, statistic=ratio)
    twice = stats.bootstrap_ci(2 * sums, statistic=ratio)
    assert [twice.mean, twice.low, twice.high] == pytest.approx([once.mean, once.low, once.high])


def test_bootstrap_is_repeatable_and_its_seed_matters():
    sums = np.random.default_rng(19).uniform(1, 5, size=(30, 2))
    first = stats.bootstrap_ci(sums, statistic=ratio)
    assert stats.bootstrap_ci(sums, statistic=ratio) == first
    assert stats.bootstrap_ci(sums, statistic=ratio, seed=1).low != first.low


def test_a_bootstrapped_difference_uses_the_same_draw_for_both_sides():
    rng = np.random.default_rng(23)
    hard = np.column_stack([rng.uniform(0, 100, size=50), np.ones(50)])
    one_more = hard + [1, 0]
    found = stats.bootstrap_difference(one_more, hard, statistic=ratio)
    # Every question gains exactly 1, however hard it is: no draw can say anything else.
    assert [found.mean, found.low, found.high] == pytest.approx([1, 1, 1])
    assert stats.bootstrap_ci(hard, statistic=ratio).high - hard[:, 0].mean() > 5


@pytest.mark.parametrize(
    "call",
    [
        lambda bad: stats.cluster_means(bad, ["a"] * len(bad)),
        stats.t_interval,
        lambda bad: stats.paired_difference(bad, bad),
        stats.sign_flip_p,
        stats.holm,
        lambda bad: stats.bootstrap_ci(np.asarray(bad)[:, None], statistic=ratio),
    ],
)
@pytest.mark.parametrize("bad", [[], [1.0, math.nan, 2.0]])
def test_nothing_and_nan_are_refused(call, bad):
    with pytest.raises(ValueError, match="NaN"):
        call(bad)


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="cannot pair"):
        stats.paired_difference([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="cannot pair"):
        stats.bootstrap_difference(np.ones((3, 2)), np.ones((4, 2)), statistic=ratio)
    with pytest.raises(ValueError, match="labels"):
        stats.cluster_means([1, 2], ["a"])
    with pytest.raises(ValueError, match="n >= 1"):
        stats.minimum_detectable_effect(0.1, 0)
