"""Krippendorff's alpha against the published examples, and its interval."""

import math

import numpy as np
import pytest

from alpaca_lab import stats
from alpaca_lab.stats.resamples import resampled_counts

LEVELS = ("nominal", "ordinal", "interval", "ratio")


def table(*raters):
    """Ratings as (items, raters) from one string per rater; a dot is a missing one."""
    rows = [[math.nan if mark == "." else float(mark) for mark in rater] for rater in raters]
    return np.array(rows).T


README = table(".....34121133.3", "1.213343.......", "..21344.21133.4")
"""The example of the PyPI package krippendorff (and Wikipedia): three coders, 15 units."""
FOUR_OBSERVERS = table("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
"""Krippendorff (2011), section C: four observers, 12 units, missing values."""
PUBLISHED = [
    (README, "nominal", 0.691358, 6),
    (README, "ordinal", 0.806721, 6),
    (README, "interval", 0.810845, 6),
    (FOUR_OBSERVERS, "nominal", 0.743, 3),
    (FOUR_OBSERVERS, "ordinal", 0.815, 3),
    (FOUR_OBSERVERS, "interval", 0.849, 3),
    (FOUR_OBSERVERS, "ratio", 0.797, 3),
    # Sections A and B: two observers, binary and five names (a-e as 0-4).
    (table("0100000010", "1110010000"), "nominal", 0.095, 3),
    (table("001132224330", "101112224333"), "nominal", 0.692, 3),
]


@pytest.mark.parametrize(("ratings", "level", "expected", "digits"), PUBLISHED)
def test_alpha_matches_the_published_value(ratings, level, expected, digits):
    assert round(stats.krippendorff_alpha(ratings, level=level), digits) == expected


def test_alpha_matches_the_value_worked_by_hand():
    """Two raters, items 1-1, 1-2, 2-2: n 6, three 1s, three 2s; observed 2 of 6 pairs differ.

    Expected 18 / (6 * 5) = 3 / 5, so alpha = 1 - (1 / 3) / (3 / 5) = 4 / 9.
    """
    ratings = [[1, 1], [1, 2], [2, 2]]
    assert stats.krippendorff_alpha(ratings, level="nominal") == pytest.approx(4 / 9)


@pytest.mark.parametrize("level", LEVELS)
def test_neither_the_order_of_raters_nor_of_items_matters(level):
    alpha = stats.krippendorff_alpha(README, level=level)
    assert stats.krippendorff_alpha(README[:, ::-1], level=level) == pytest.approx(alpha)
    assert stats.krippendorff_alpha(README[::-1], level=level) == pytest.approx(alpha)


@pytest.mark.parametrize("level", LEVELS)
def test_an_item_with_one_rating_says_nothing(level):
    alone = np.vstack([README, [[4, math.nan, math.nan]], [[math.nan] * 3]])
    assert stats.krippendorff_alpha(alone, level=level) == stats.krippendorff_alpha(
        README, level=level
    )


@pytest.mark.parametrize("level", LEVELS)
def test_perfect_agreement_is_one_and_systematic_disagreement_below_zero(level):
    assert stats.krippendorff_alpha([[0, 0], [1, 1], [4, 4]], level=level) == 1
    assert stats.krippendorff_alpha([[0, 4], [4, 0], [0, 4]], level=level) < 0


def test_ranks_know_order_only_and_intervals_distances_too():
    ranks, stretched = [[1, 2], [2, 3], [3, 3], [1, 1]], [[1, 2], [2, 30], [30, 30], [1, 1]]
    for level, same in (("nominal", True), ("ordinal", True), ("interval", False)):
        one, other = (stats.krippendorff_alpha(data, level=level) for data in (ranks, stretched))
        assert (one == pytest.approx(other)) == same


@pytest.mark.parametrize("level", LEVELS)
def test_the_interval_resamples_items(level):
    """Against the definition: each resample's items put together and rated anew."""
    rng = np.random.default_rng(3)
    ratings = np.rint(rng.normal(3, 1.5, size=(20, 1)) + rng.normal(size=(20, 3))).clip(1, 5)
    ratings[rng.random((20, 3)) < 0.1] = math.nan
    counts = resampled_counts(20, resamples=200, seed=4).astype(int)
    draws = [
        stats.krippendorff_alpha(np.repeat(ratings, row, axis=0), level=level) for row in counts
    ]
    found = stats.krippendorff_interval(ratings, level=level, resamples=200, seed=4)
    assert (found.mean, found.n) == (stats.krippendorff_alpha(ratings, level=level), 20)
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]))
    assert found.low < found.mean < found.high


def test_the_interval_counts_items_with_two_ratings():
    assert stats.krippendorff_interval(README, level="nominal").n == 12


def test_a_resample_without_variation_has_no_alpha_and_is_left_out():
    """One item of five differs: a third of the resamples, .8 ** 5, miss it."""
    ratings = [[1, 1], [1, 1], [1, 1], [1, 1], [2, 2]]
    found = stats.krippendorff_interval(ratings, level="nominal")
    assert (found.low, found.mean, found.high) == (1, 1, 1)


REFUSED = [
    ([[1, 2, 3]], {"level": "median"}, "choose nominal, ordinal, interval or ratio"),
    ([1, 2, 3], {"level": "nominal"}, "two raters or more"),
    ([[1], [2]], {"level": "nominal"}, "two raters or more"),
    ([[1, math.nan], [math.nan, 2]], {"level": "nominal"}, "no item has two ratings"),
    ([[2, 2], [2, 2]], {"level": "nominal"}, "all 4 are 2; alpha is undefined"),
    ([[1, math.inf], [1, 2]], {"level": "nominal"}, "infinity"),
    ([[-1, 1], [2, 2]], {"level": "ratio"}, "values >= 0"),
]


@pytest.mark.parametrize(("ratings", "options", "message"), REFUSED)
def test_ratings_without_an_alpha_are_refused(ratings, options, message):
    for agreement in (stats.krippendorff_alpha, stats.krippendorff_interval):
        with pytest.raises(ValueError, match=message):
            agreement(ratings, **options)


def test_one_item_has_an_alpha_but_no_interval():
    with pytest.raises(ValueError, match="one item"):
        stats.krippendorff_interval([[1, 2]], level="nominal")
