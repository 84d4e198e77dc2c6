"""Our own methods on data with known truth: true where one claims what is not, or covers what is.

Each function takes a source of draws and a number of simulations and returns one truth value per
simulation (a share per family, for `false_discoveries`).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.random import Generator

from .. import stats
from ..metrics.bleu_chrf import corpus_bleu
from ..stats.significance import bootstrap_t_many, sign_flip_many
from . import populations

ALPHA = 0.05
FLIPS = 9_999
FAMILY_FLIPS = 4_999
"""Enough for p = .05 / 36; a family is 36 times the work."""
RESAMPLES = 1_999
MANY = 400_000
"""Questions that stand for the whole population where its statistic has no formula."""


def sign_flip_on_skewed_scores(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Two settings with exponential scores."""
    return _flipped(populations.exponential_pairs(rng, simulations, n))


def sign_flip_on_skewed_differences(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Differences that are an exponential minus 1."""
    return _flipped(populations.exponential_differences(rng, simulations, n))


def sign_flip_on_rouge(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Two settings with scores shaped like ROUGE-L."""
    scores = populations.rouge_scores(rng, (simulations, n, 2))
    return _flipped(scores[..., 1] - scores[..., 0])


def bootstrap_t_on_skewed_scores(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Two settings with exponential scores."""
    samples = populations.exponential_pairs(rng, simulations, n)
    return bootstrap_t_many(samples, resamples=RESAMPLES) <= ALPHA


def bootstrap_t_on_skewed_differences(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Differences that are an exponential minus 1."""
    samples = populations.exponential_differences(rng, simulations, n)
    return bootstrap_t_many(samples, resamples=RESAMPLES) <= ALPHA


def clustered_t(
    rng: Generator, simulations: int, *, n: int, repeats: int, between: float
) -> np.ndarray:
    """Repeats of nested nulls, averaged per question."""
    questions = np.repeat(np.arange(n), repeats)
    rows = populations.nested(rng, simulations, n, repeats, between=between)
    return _excludes(
        stats.t_interval(stats.cluster_means(values.ravel(), questions)[0]) for values in rows
    )


def contrast(rng: Generator, simulations: int, *, n: int, positions: Sequence[float]) -> np.ndarray:
    """A straight line through settings that are all the same."""
    scores = populations.rouge_scores(rng, (simulations, n, len(positions)))
    return _flipped(np.stack([stats.linear_contrast(table, positions) for table in scores]))


def one_setting_in_halves(rng: Generator, simulations: int, *, n: int, repeats: int) -> np.ndarray:
    """A/A: the repeats of one setting, split in two."""
    scores = populations.rouge_scores(rng, (simulations, n, repeats))
    return _flipped(np.stack([stats.split_half(table) for table in scores]))


def randomisation(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Two systems of one quality in corpus BLEU."""
    pairs = populations.bleu_sums(rng, simulations, n, quality=(1.0, 1.0))
    return np.array(
        [
            stats.approximate_randomisation_p(
                sums[:, 0], sums[:, 1], statistic=corpus_bleu, swaps=RESAMPLES
            )
            <= ALPHA
            for sums in pairs
        ]
    )


def families(rng: Generator, simulations: int, *, n: int, models: int, settings: int) -> np.ndarray:
    """P values of every setting against the greedy one of its model; all are the same.

    Returns:
        Shape (simulations, models * settings).
    """
    found = []
    for _ in range(models):
        scores = populations.rouge_scores(rng, (simulations, n, settings + 1))
        moves = np.moveaxis(scores[..., 1:] - scores[..., :1], -1, 1)
        p = sign_flip_many(moves.reshape(-1, n), flips=FAMILY_FLIPS)
        found.append(p.reshape(simulations, settings))
    return np.concatenate(found, axis=1)


def holm_families(rng: Generator, simulations: int, **sizes: int) -> np.ndarray:
    """Any false claim in a family, after Holm."""
    p_values = families(rng, simulations, **sizes)
    return np.array([stats.holm(family).min() <= ALPHA for family in p_values])


def false_discoveries(
    rng: Generator, simulations: int, *, n: int, tests: int, effects: int
) -> np.ndarray:
    """Share of false claims after Benjamini and Hochberg; `effects` tests have a true effect."""
    samples = rng.normal(size=(simulations * tests, n))
    real = np.tile(np.arange(tests) < effects, simulations)
    samples[real] += 0.6
    p_values = sign_flip_many(samples, flips=FAMILY_FLIPS).reshape(simulations, tests)
    claims = np.array([stats.benjamini_hochberg(family) <= ALPHA for family in p_values])
    return claims[:, effects:].sum(axis=1) / np.maximum(claims.sum(axis=1), 1)


def equivalence_at_the_margin(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """A true difference of exactly the margin, called none."""
    scores = populations.rouge_scores(rng, (simulations, n, 2), shifts=(0.0, 0.2))
    margin = populations.rouge_mean(0.2) - populations.rouge_mean(0.0)
    moves = scores[..., 1] - scores[..., 0]
    return np.array([stats.equivalence_p(row, margin=margin) <= ALPHA for row in moves])


def planned_study(rng: Generator, simulations: int, *, effect: float, repeats: int) -> np.ndarray:
    """Studies of the size that a large pilot asked for, of a setting that has the effect."""
    pilot = 3 * populations.nested(rng, 1, 20_000, repeats, between=0.5)[0]
    [row] = stats.plan(pilot, effect=effect, questions=(2,), repeats=(repeats,))
    n = row.questions_needed
    moves = 3 * populations.nested(rng, simulations, n, repeats, between=0.5) + effect
    return _flipped(moves.mean(axis=2))


def t_on_normal(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Normal scores."""
    return _covers(map(stats.t_interval, rng.normal(size=(simulations, n))), 0.0)


def t_on_skewed(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Exponential scores."""
    return _covers(map(stats.t_interval, rng.exponential(size=(simulations, n))), 1.0)


def t_on_rouge(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Scores shaped like ROUGE-L."""
    scores = populations.rouge_scores(rng, (simulations, n, 1))[..., 0]
    return _covers(map(stats.t_interval, scores), populations.rouge_mean())


def paired_on_rouge(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """A setting that is better than its baseline, scores shaped like ROUGE-L."""
    scores = populations.rouge_scores(rng, (simulations, n, 2), shifts=(0.0, 0.2))
    truth = populations.rouge_mean(0.2) - populations.rouge_mean(0.0)
    return _covers((stats.paired_difference(table[:, 1], table[:, 0]) for table in scores), truth)


def bootstrap_of_bleu(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Corpus BLEU."""
    truth = corpus_bleu(populations.bleu_sums(rng, 1, MANY)[0, :, 0].sum(axis=0))
    corpora = populations.bleu_sums(rng, simulations, n)[:, :, 0]
    return _covers((stats.bootstrap_ci(sums, statistic=corpus_bleu) for sums in corpora), truth)


def bootstrap_of_bleu_difference(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Corpus BLEU of a setting minus that of one with a tenth fewer matches."""
    quality = (1.0, 0.9)
    everything = populations.bleu_sums(rng, 1, MANY, quality=quality)[0].sum(axis=0)
    truth = corpus_bleu(everything[0]) - corpus_bleu(everything[1])
    pairs = populations.bleu_sums(rng, simulations, n, quality=quality)
    return _covers(
        (
            stats.bootstrap_difference(sums[:, 0], sums[:, 1], statistic=corpus_bleu)
            for sums in pairs
        ),
        truth,
    )


def wilson_shares(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Shares drawn evenly from .05 to .95."""
    shares = rng.uniform(0.05, 0.95, size=simulations)
    found = [stats.wilson(int(successes), n) for successes in rng.binomial(n, shares)]
    return np.array([it.low <= share <= it.high for it, share in zip(found, shares, strict=True)])


def alpha_of_raters(rng: Generator, simulations: int, *, items: int, raters: int) -> np.ndarray:
    """Krippendorff's alpha (interval) of ratings 1-5."""
    truth = stats.krippendorff_alpha(populations.ratings(rng, 1, MANY, raters)[0], level="interval")
    tables = populations.ratings(rng, simulations, items, raters)
    return _covers(
        (stats.krippendorff_interval(table, level="interval") for table in tables), truth
    )


def rank_correlation(rng: Generator, simulations: int, *, n: int, repeats: int) -> np.ndarray:
    """Spearman's rho, about .5, of a measure and the grades 1-5 of repeated answers."""
    measure, grades = populations.graded(rng, 1, MANY, 1)
    truth = stats.spearman(measure.ravel(), grades.ravel())
    questions = np.repeat(np.arange(n), repeats)
    pairs = zip(*populations.graded(rng, simulations, n, repeats), strict=True)
    return _covers(
        (stats.spearman_interval(one.ravel(), other.ravel(), questions) for one, other in pairs),
        truth,
    )


def _flipped(samples: np.ndarray) -> np.ndarray:
    return sign_flip_many(samples, flips=FLIPS) <= ALPHA


def _covers(intervals: Iterable[stats.Interval], truth: float) -> np.ndarray:
    return np.array([found.low <= truth <= found.high for found in intervals])


def _excludes(intervals: Iterable[stats.Interval]) -> np.ndarray:
    return ~_covers(intervals, 0.0)
