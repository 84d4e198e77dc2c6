"""Means and shares with their intervals, and what every statistic refuses."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from alpaca_lab import stats


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


def test_wilson_matches_the_published_value():
    found = stats.wilson(8, 10)
    assert (found.mean, found.n) == (0.8, 10)
    assert [found.low, found.high] == pytest.approx([0.49016, 0.94332], abs=5e-6)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 3), (250, 1000)])
def test_wilson_agrees_with_scipy(successes, n):
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    ours = stats.wilson(successes, n)
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=1e-12)
    assert 0 <= ours.low <= ours.mean <= ours.high <= 1


def test_wilson_refuses_what_is_no_share():
    for successes, n in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="successes <= n"):
            stats.wilson(successes, n)


def total(sums):
    """The simplest corpus statistic: the sum of the first column."""
    return sums[..., 0]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("values", lambda bad: stats.cluster_means(bad, ["a"] * len(bad))),
        ("values", stats.t_interval),
        ("values", lambda bad: stats.paired_difference(bad, np.ones(len(bad)))),
        ("baseline", lambda bad: stats.paired_difference(np.ones(3), bad)),
        ("differences", stats.sign_flip_p),
        ("differences", stats.bootstrap_t_p),
        ("differences", lambda bad: stats.equivalence_p(bad, margin=1)),
        ("p_values", stats.holm),
        ("p_values", stats.benjamini_hochberg),
        ("sums", lambda bad: stats.bootstrap_ci(np.asarray(bad)[:, None], statistic=total)),
        (
            "baseline",
            lambda bad: stats.bootstrap_difference(
                np.ones((3, 1)), np.asarray(bad)[:, None], statistic=total
            ),
        ),
        (
            "baseline",
            lambda bad: stats.approximate_randomisation_p(
                np.ones((3, 1)), np.asarray(bad)[:, None], statistic=total
            ),
        ),
        ("values", lambda bad: stats.linear_contrast(np.outer(bad, [1, 1]), [0, 1])),
        ("positions", lambda bad: stats.linear_contrast(np.ones((2, 3)), bad)),
        ("values", lambda bad: stats.split_half(np.outer(bad, [1, 1]))),
        ("differences", lambda bad: stats.variance_components(np.outer(bad, [1, 1]))),
        ("pilot", lambda bad: stats.plan(np.outer(bad, [1, 1]), effect=1)),
    ],
)
@pytest.mark.parametrize("bad", [[], [1.0, math.nan, 0.5], [1.0, math.inf, 0.5]])
def test_nothing_nan_and_infinity_are_refused_by_name(name, call, bad):
    with pytest.raises(
        ValueError, match=f"^{name}: need at least . value.*{'[12]' if bad else 0} NaN"
    ):
        call(bad)


@pytest.mark.parametrize(
    "call",
    [
        stats.t_interval,
        stats.sign_flip_p,
        stats.bootstrap_t_p,
        stats.holm,
        lambda table: stats.equivalence_p(table, margin=1),
        lambda table: stats.paired_difference(table, table),
    ],
)
def test_repeats_are_never_taken_for_questions(call):
    """A table of repeats given where one value per question belongs: the classic mistake."""
    with pytest.raises(ValueError, match=r"\(4, 3\).*average its repeats first"):
        call(np.ones((4, 3)))


def test_one_column_is_no_table():
    for call in (
        lambda row: stats.bootstrap_ci(row, statistic=total),
        stats.split_half,
        lambda row: stats.linear_contrast(row, [0, 1]),
    ):
        with pytest.raises(ValueError, match="one row per question"):
            call([1.0, 2.0, 3.0])


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match="cannot pair"):
        stats.paired_difference([1, 2, 3], [1, 2])
    for compare in (stats.bootstrap_difference, stats.approximate_randomisation_p):
        with pytest.raises(ValueError, match="cannot pair"):
            compare(np.ones((3, 2)), np.ones((4, 2)), statistic=total)
    with pytest.raises(ValueError, match="labels"):
        stats.cluster_means([1, 2], ["a"])


def test_a_level_is_a_share():
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="level"):
            stats.t_interval([1, 2, 3], level=level)
