"""Corpus statistics: their bootstrap and their randomisation test."""

from itertools import product

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy.stats import bootstrap

from alpaca_lab import stats
from alpaca_lab.metrics.bleu_chrf import BLEU_STATISTICS, bleu, corpus_bleu


def ratio(sums):
    """Statistic of (numerator, denominator) sums."""
    return sums[..., 0] / sums[..., 1]


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


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(43).gamma(2.0, size=60)
    ours = stats.bootstrap_ci(np.column_stack([values, np.ones(60)]), statistic=ratio)
    theirs = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    width = theirs.high - theirs.low
    assert [ours.low, ours.high] == pytest.approx([theirs.low, theirs.high], abs=0.05 * width)


def test_the_order_of_questions_does_not_matter_to_an_interval():
    sums = np.random.default_rng(47).uniform(1, 5, size=(50, 2))
    first = stats.bootstrap_ci(sums, statistic=ratio)
    again = stats.bootstrap_ci(sums[::-1], statistic=ratio)
    width = first.high - first.low
    assert again.mean == pytest.approx(first.mean)
    assert [again.low, again.high] == pytest.approx([first.low, first.high], abs=0.1 * width)


def test_randomisation_of_a_mean_is_the_sign_flip_test():
    """Means 1, 2, 3 against 0: of 8 exchanges, 2 are as far apart, as of +-1 +-2 +-3."""
    ours, theirs = np.array([[1, 1], [2, 1], [3, 1]]), np.array([[0, 1], [0, 1], [0, 1]])
    assert stats.approximate_randomisation_p(ours, theirs, statistic=ratio) == 2 / 8
    rng = np.random.default_rng(53)
    scores = rng.exponential(size=(2, 60, 1)) + [[[0.2]], [[0]]]
    ones = np.ones((60, 1))
    p = stats.approximate_randomisation_p(
        np.hstack([scores[0], ones]), np.hstack([scores[1], ones]), statistic=ratio
    )
    assert p == pytest.approx(stats.sign_flip_p((scores[0] - scores[1])[:, 0]), abs=1e-4)
    assert 0.001 < p < 0.5


def test_randomisation_tries_every_exchange_of_few_questions():
    """Against the definition, for a ratio, where an exchange moves both denominators."""
    ours, theirs = np.random.default_rng(59).uniform(1, 5, size=(2, 7, 2))
    ours[:, 0] += 0.8
    observed = abs(ratio(ours.sum(axis=0)) - ratio(theirs.sum(axis=0)))
    far = 0
    for exchange in product((False, True), repeat=7):
        one = sum(b if swap else a for a, b, swap in zip(ours, theirs, exchange, strict=True))
        other = sum(a if swap else b for a, b, swap in zip(ours, theirs, exchange, strict=True))
        far += abs(ratio(one) - ratio(other)) >= observed - 1e-12
    p = stats.approximate_randomisation_p(ours, theirs, statistic=ratio)
    assert p == far / 2**7
    assert 0.01 < p < 0.5


def test_drawn_exchanges_agree_with_all_of_them(monkeypatch):
    ours, theirs = np.random.default_rng(61).uniform(1, 5, size=(2, 12, 2))
    ours[:, 0] += 0.5
    exact = stats.approximate_randomisation_p(ours, theirs, statistic=ratio)
    monkeypatch.setattr(stats.exchanges, "EXACT_UP_TO", 0)
    drawn = stats.approximate_randomisation_p(ours, theirs, statistic=ratio)
    assert drawn == pytest.approx(exact, abs=0.015)
    assert 0.02 < exact < 0.9


def test_identical_systems_do_not_differ_and_sides_do_not_matter():
    ours, theirs = np.random.default_rng(67).uniform(1, 5, size=(2, 30, 2))
    assert stats.approximate_randomisation_p(ours, ours, statistic=ratio) == 1
    there = stats.approximate_randomisation_p(ours, theirs, statistic=ratio)
    assert stats.approximate_randomisation_p(theirs, ours, statistic=ratio) == there


def test_randomisation_is_repeatable_and_never_zero():
    ours, theirs = np.ones((40, 2)) * [9, 1], np.ones((40, 2))
    assert stats.approximate_randomisation_p(ours, theirs, statistic=ratio) == 1 / 10_001


def test_answering_each_question_twice_over_says_nothing_new():
    ours, theirs = np.random.default_rng(71).uniform(1, 5, size=(2, 30, 2))
    once = stats.approximate_randomisation_p(ours, theirs, statistic=ratio)
    assert stats.approximate_randomisation_p(2 * ours, 2 * theirs, statistic=ratio) == once


def test_randomisation_of_corpus_bleu_agrees_with_sacrebleu():
    """Its own paired test on the same texts: other draws, so equal up to their chance."""
    rng = np.random.default_rng(73)
    words = [f"w{number}" for number in range(40)]
    references = [list(rng.choice(words, size=rng.integers(8, 25))) for _ in range(40)]

    def spoil(text, share):
        return " ".join(rng.choice(words) if rng.random() < share else word for word in text)

    ours = [spoil(text, 0.25) for text in references]
    theirs = [spoil(text, 0.29) for text in references]
    gold = [" ".join(text) for text in references]
    _, scores = PairedTest(
        [("theirs", theirs), ("ours", ours)],
        metrics={"BLEU": BLEU()},
        references=[gold],
        test_type="ar",
        n_samples=4000,
    )()
    sums = [
        [
            [counts[name] for name in BLEU_STATISTICS]
            for counts in (
                bleu(text, reference=right) for text, right in zip(side, gold, strict=True)
            )
        ]
        for side in (ours, theirs)
    ]
    p = stats.approximate_randomisation_p(*sums, statistic=corpus_bleu)
    assert p == pytest.approx(scores["BLEU"][1].p_value, abs=0.03)
    assert 0.005 < p < 0.5


def test_an_undefined_statistic_is_refused():
    """Of two questions one has nothing to divide by: drawn twice, or swapped, 0 / 0."""
    sums = np.array([[0.0, 0.0], [1.0, 2.0]])
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="statistic: NaN for"):
        stats.bootstrap_ci(sums, statistic=ratio)
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="statistic: NaN for"):
        stats.approximate_randomisation_p(sums, sums[::-1], statistic=ratio)
