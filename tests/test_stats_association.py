"""Rank correlation against a textbook value and scipy, and its interval against its definition."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from alpaca_lab import stats
from alpaca_lab.stats import association
from alpaca_lab.stats.resamples import resampled_counts

IQ = (106, 100, 86, 101, 99, 103, 97, 113, 112, 110)
HOURS_OF_TV = (7, 27, 2, 50, 28, 29, 20, 12, 6, 17)


def graded(rng, clusters, rows):
    """A measure, a grade 0-3 that follows it, and the cluster of each row."""
    labels = np.repeat(np.arange(clusters), rows)
    measure = rng.normal(size=clusters)[labels] + rng.normal(size=len(labels))
    grade = np.rint(measure / 2 + rng.normal(size=len(labels))).clip(-1, 2) + 1
    return measure, grade, labels


def test_rho_matches_the_textbook_value():
    """Squared rank differences sum to 194: 1 - 6 * 194 / (10 * 99) = -29 / 165."""
    assert stats.spearman(IQ, HOURS_OF_TV) == pytest.approx(-29 / 165, abs=1e-12)


def test_ties_share_the_middle_of_their_ranks():
    """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5) = sqrt(.9)."""
    assert stats.spearman([1, 2, 2, 9], [1, 2, 3, 4]) == pytest.approx(math.sqrt(0.9))


@pytest.mark.parametrize("levels", [2, 5, 40])
def test_rho_agrees_with_scipy_on_ties(levels):
    rng = np.random.default_rng(levels)
    for n in (3, 10, 200):
        values = np.append(rng.integers(0, levels, size=n), [0, 1])
        others = np.append(rng.integers(0, 4, size=n), [0, 3])
        expected = spearmanr(values, others).statistic
        assert stats.spearman(values, others) == pytest.approx(expected, abs=1e-12)


def test_only_the_order_of_values_counts():
    measure, grade, _ = graded(np.random.default_rng(0), 20, 1)
    rho = stats.spearman(measure, grade)
    assert stats.spearman(np.exp(measure), grade**3) == rho
    assert stats.spearman(-measure, grade) == pytest.approx(-rho)
    assert stats.spearman(grade, measure) == pytest.approx(rho)
    assert stats.spearman(measure, measure) == 1 and stats.spearman(measure, -measure) == -1


def test_the_interval_resamples_clusters():
    """Against the definition: each resample's rows put together and ranked anew by scipy."""
    rng = np.random.default_rng(1)
    measure, grade, labels = graded(rng, 15, 4)
    kept = rng.random(60) < 0.7  # clusters of unlike size
    measure, grade, labels = measure[kept], grade[kept], labels[kept]
    counts = resampled_counts(len(np.unique(labels)), resamples=200, seed=4).astype(int)
    index = np.unique(labels, return_inverse=True)[1]
    drawn = [np.repeat(np.arange(len(labels)), row[index]) for row in counts]
    draws = [spearmanr(measure[rows], grade[rows]).statistic for rows in drawn]
    found = stats.spearman_interval(measure, grade, labels, resamples=200, seed=4)
    assert (found.mean, found.n) == (stats.spearman(measure, grade), len(counts[0]))
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]))
    assert -1 <= found.low < found.mean < found.high <= 1


def test_blocks_of_draws_change_nothing(monkeypatch):
    data = graded(np.random.default_rng(2), 12, 3)
    whole = stats.spearman_interval(*data, resamples=300)
    monkeypatch.setattr(association, "BLOCK", 36 * 7)
    assert stats.spearman_interval(*data, resamples=300) == whole


def test_duplicating_every_row_of_a_question_changes_nothing():
    measure, grade, labels = graded(np.random.default_rng(3), 30, 1)
    once = stats.spearman_interval(measure, grade, labels)
    twice = stats.spearman_interval(*(np.tile(side, 2) for side in (measure, grade, labels)))
    assert (once.n, twice.n) == (30, 30)
    ends = [once.mean, once.low, once.high]
    assert [twice.mean, twice.low, twice.high] == pytest.approx(ends)


def test_neither_the_order_of_rows_nor_the_names_of_clusters_matter():
    measure, grade, labels = graded(np.random.default_rng(4), 20, 3)
    order = np.random.default_rng(5).permutation(60)
    names = np.array([f"question {label:02d}" for label in labels])
    found = stats.spearman_interval(measure[order], grade[order], names[order])
    expected = stats.spearman_interval(measure, grade, labels)
    ends = [expected.mean, expected.low, expected.high]
    assert [found.mean, found.low, found.high] == pytest.approx(ends)


def test_a_resample_without_variation_has_no_rho_and_is_left_out():
    """One answer of five differs, on both sides: a third of the resamples, .8 ** 5, miss it."""
    found = stats.spearman_interval([1, 1, 1, 1, 2], [3, 3, 3, 3, 5], range(5))
    assert (found.low, found.mean, found.high) == (1, 1, 1)


def test_a_wider_level_is_a_wider_interval():
    data = graded(np.random.default_rng(6), 40, 2)
    narrow, wide = (stats.spearman_interval(*data, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


REFUSED = [
    ([1, 2, math.nan], [1, 2, 3], "values: .* 1 NaN"),
    ([1, 2, 3], [1, math.inf, 3], "others: .* 1 NaN or infinite"),
    ([1, 2, 3], [1, 2, 3, 4], "cannot pair values"),
    ([1, 2], [1, 2], "at least 3"),
    ([4, 4, 4], [1, 2, 3], "values: all 3 are 4"),
    ([1, 2, 3], [0, 0, 0], "others: all 3 are 0"),
    ([[1, 2, 3]], [[1, 2, 3]], "need shape"),
]


@pytest.mark.parametrize(("values", "others", "message"), REFUSED)
def test_what_has_no_rank_correlation_is_refused(values, others, message):
    with pytest.raises(ValueError, match=message):
        stats.spearman(values, others)
    with pytest.raises(ValueError, match=message):
        stats.spearman_interval(values, others, range(len(values)))


def test_labels_that_do_not_fit_are_refused():
    for labels, message in (
        (["a", "b"], "one label per row"),
        (["a"] * 3, "all 3 rows are of one"),
    ):
        with pytest.raises(ValueError, match=message):
            stats.spearman_interval([1, 2, 3], [1, 3, 2], labels)
    with pytest.raises(ValueError, match="level"):
        stats.spearman_interval([1, 2, 3], [1, 3, 2], range(3), level=95)
