"""Corrections for many tests against published vectors and SciPy."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from alpaca_lab import stats


def test_holm_matches_the_published_vector():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_leaves_a_single_test_alone():
    assert stats.holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert stats.holm([0.04]).tolist() == [0.04]


def test_holm_is_bonferroni_for_the_smallest_p():
    p_values = np.random.default_rng(0).uniform(0, 0.01, size=36)
    assert stats.holm(p_values).min() == pytest.approx(36 * p_values.min())


def test_benjamini_hochberg_matches_the_published_vector():
    found = stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx([0.02, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("size", [1, 2, 7, 36])
def test_benjamini_hochberg_agrees_with_scipy(size):
    p_values = np.random.default_rng(size).uniform(size=size) ** 2
    assert stats.benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values))


def test_no_correction_makes_a_p_smaller_and_the_order_does_not_matter():
    p_values = np.random.default_rng(1).uniform(size=20) ** 3
    order = np.random.default_rng(2).permutation(20)
    for correct in (stats.holm, stats.benjamini_hochberg):
        adjusted = correct(p_values)
        assert (adjusted >= p_values).all()
        assert correct(p_values[order]) == pytest.approx(adjusted[order])
    assert (stats.holm(p_values) >= stats.benjamini_hochberg(p_values)).all()


def test_equal_p_values_stay_equal():
    assert stats.holm([0.02, 0.02, 0.5]).tolist() == pytest.approx([0.06, 0.06, 0.5])
    assert stats.benjamini_hochberg([0.02, 0.02, 0.5]).tolist() == pytest.approx([0.03, 0.03, 0.5])


def test_what_is_no_p_is_refused():
    for correct in (stats.holm, stats.benjamini_hochberg):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            correct([0.5, 1.5])
