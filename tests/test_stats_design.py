"""Contrasts, A/A halves, variance components and plans, worked by hand or against SciPy."""

import math

import numpy as np
import pytest
from scipy.stats import nct, t

from alpaca_lab import stats


def test_minimum_detectable_effect_matches_the_published_value():
    assert stats.minimum_detectable_effect(0.10, 300) == pytest.approx(0.016175, abs=5e-7)


def test_a_contrast_is_the_fitted_line_from_end_to_end():
    values = np.random.default_rng(0).uniform(0, 100, size=(30, 5))
    positions = [0, 0.001, 0.25, 0.5, 1.0]
    slopes = np.polyfit(positions, values.T, 1)[0]
    assert stats.linear_contrast(values, positions) == pytest.approx(slopes)  # the range is 1
    doubled = [2 * place for place in positions]
    assert stats.linear_contrast(values, doubled) == pytest.approx(slopes)  # units do not matter


def test_a_contrast_does_not_see_a_bend():
    assert stats.linear_contrast([[1, 5, 1]], [0, 1, 2]) == pytest.approx([0])


def test_a_contrast_of_two_settings_is_their_difference():
    assert stats.linear_contrast([[3, 7], [2, 1]], [1, 4]) == pytest.approx([4, -1])
    assert stats.linear_contrast([[7, 3], [1, 2]], [4, 1]) == pytest.approx([4, -1])


def test_a_contrast_needs_two_places_and_a_setting_at_each():
    with pytest.raises(ValueError, match="3 settings for 2 positions"):
        stats.linear_contrast([[1, 2, 3]], [0, 1])
    with pytest.raises(ValueError, match="all are equal"):
        stats.linear_contrast([[1, 2]], [1, 1])


def test_halves_of_an_odd_number_of_repeats_use_them_all():
    assert stats.split_half([[6, 1, 2], [0, 4, 2]]).tolist() == [4.5, -3]
    assert stats.split_half([[1, 2]]).tolist() == [-1]


def test_one_repeat_has_no_halves_and_no_variance_within():
    for call in (stats.split_half, stats.variance_components):
        with pytest.raises(ValueError, match="two repeats or more"):
            call([[1.0], [2.0]])


def test_variance_components_match_the_values_worked_by_hand():
    """Rows 1 3 and 5 7: within each 2; the means 2 and 6 vary by 8, of which 2 / 2 is within."""
    assert stats.variance_components([[1, 3], [5, 7]]) == (7, 2)


def test_questions_that_do_not_differ_leave_nothing_between():
    assert stats.variance_components([[0, 4], [4, 0]]) == (0, 8)


def test_variance_components_find_what_was_put_in():
    rng = np.random.default_rng(5)
    table = 3 * rng.normal(size=(20_000, 1)) + 2 * rng.normal(size=(20_000, 4))
    assert stats.variance_components(table) == pytest.approx((9, 4), rel=0.05)


def test_a_plan_matches_the_values_worked_by_hand():
    """Between 7, within 2: one repeat has sd 3, four 2.738613; z(.975) + z(.8) = 2.801585.

    At n 50 they see 3 * 2.801585 / sqrt(50) = 1.188612 and 1.085049. For an effect of 1.5,
    (2.801585 * 3 / 1.5) ** 2 = 31.396, and 1.921 more for the t distribution: 34.
    """
    one, four = stats.plan([[1, 3], [5, 7]], effect=1.5, questions=[50], repeats=[1, 4])
    assert (one.questions, one.repeats, one.sd, one.questions_needed) == (50, 1, 3, 34)
    assert (four.repeats, four.questions_needed) == (4, 29)
    assert [one.mde, four.mde] == pytest.approx([1.188612, 1.085049], abs=1e-6)


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_a_planned_study_has_its_power_and_a_smaller_one_has_not(effect):
    """Power of the t test from the noncentral t distribution."""
    pilot = 3 * np.random.default_rng(7).normal(size=(40, 3))
    for row in stats.plan(pilot, effect=effect, repeats=(1, 2, 5)):

        def power(n, sd=row.sd):
            bound, shift = t.ppf(0.975, n - 1), effect / sd * n**0.5
            return nct.sf(bound, n - 1, shift) + nct.cdf(-bound, n - 1, shift)

        assert power(row.questions_needed) > 0.798
        assert power(row.questions_needed - 2) < 0.8


def test_a_plan_from_scores_and_baseline_is_that_of_their_differences():
    rng = np.random.default_rng(11)
    scores, greedy = rng.uniform(0, 100, size=(30, 3)), rng.uniform(0, 100, size=30)
    expected = stats.plan(scores - greedy[:, None], effect=2)
    assert stats.plan(scores, baseline=greedy, effect=2) == expected
    assert stats.plan(scores, baseline=np.tile(greedy[:, None], 3), effect=2) == expected
    assert len(expected) == 16


def test_a_plan_refuses_what_it_cannot_answer():
    pilot = [[1, 3], [5, 7]]
    for options in ({"effect": 0}, {"effect": 1, "repeats": [0]}, {"effect": 1, "questions": [1]}):
        with pytest.raises(ValueError, match="need effect > 0"):
            stats.plan(pilot, **options)
    with pytest.raises(ValueError, match="cannot pair pilot"):
        stats.plan(pilot, baseline=[1, 2, 3], effect=1)
    with pytest.raises(ValueError, match=r"baseline: .* 1 NaN"):
        stats.plan(pilot, baseline=[1, math.nan], effect=1)
    with pytest.raises(ValueError, match="two repeats or more"):
        stats.plan([[1.0], [2.0]], effect=1)
    with pytest.raises(ValueError, match="power"):
        stats.plan(pilot, effect=1, power=1)


def test_a_detectable_effect_needs_a_spread_and_questions():
    with pytest.raises(ValueError, match="n >= 1"):
        stats.minimum_detectable_effect(0.1, 0)
    with pytest.raises(ValueError, match="sd >= 0"):
        stats.minimum_detectable_effect(math.nan, 10)
