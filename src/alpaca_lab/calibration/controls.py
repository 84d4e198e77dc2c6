"""Negative controls: methods in use that must not be, on data with known truth.

If one of them passed, the simulations could not tell a good method from a bad one.
"""

import numpy as np
from numpy.random import Generator
from scipy import stats as distributions

from .. import stats
from ..metrics.bleu_chrf import corpus_bleu
from ..stats.resamples import resampled_counts
from . import populations
from .methods import ALPHA, RESAMPLES, families


def row_wise_t(
    rng: Generator, simulations: int, *, n: int, repeats: int, between: float
) -> np.ndarray:
    """Nested nulls, the repeats of a question taken for questions."""
    rows = populations.nested(rng, simulations, n, repeats, between=between)
    found = [stats.t_interval(values.ravel()) for values in rows]
    return np.array([not it.low <= 0 <= it.high for it in found])


def percentile_bootstrap(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Mean differences of two settings shaped like ROUGE-L, claimed where the interval is off 0."""
    scores = populations.rouge_scores(rng, (simulations, n, 2))
    means = resampled_counts(n, resamples=RESAMPLES, seed=0) @ (scores[..., 1] - scores[..., 0]).T
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return (low > 0) | (high < 0)


def wilcoxon(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Differences with mean 0 but median below it; the test answers another question."""
    samples = populations.exponential_differences(rng, simulations, n)
    return distributions.wilcoxon(samples, axis=1, method="asymptotic").pvalue <= ALPHA


def bca(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Mean differences of two settings shaped like ROUGE-L, covered by the interval."""
    scores = populations.rouge_scores(rng, (simulations, n, 2))
    found = distributions.bootstrap(
        (scores[..., 1] - scores[..., 0],),
        np.mean,
        axis=-1,
        n_resamples=RESAMPLES,
        batch=100,
        method="BCa",
        rng=rng,
    ).confidence_interval
    return (found.low <= 0) & (found.high >= 0)


def paired_bootstrap(rng: Generator, simulations: int, *, n: int) -> np.ndarray:
    """Two systems of one quality in corpus BLEU; p as `sacrebleu --paired-bs` computes it.

    The resampled absolute differences, less their mean, are compared with the observed absolute
    difference: Koehn's test, which Moses and sacreBLEU have. It was meant one-sided.
    """
    counts = resampled_counts(n, resamples=RESAMPLES, seed=0)
    claims = []
    for sums in populations.bleu_sums(rng, simulations, n, quality=(1.0, 1.0)):
        ours, theirs = (corpus_bleu(counts @ sums[:, side]) for side in (0, 1))
        ours_seen, theirs_seen = corpus_bleu(sums.sum(axis=0))
        apart = np.abs(ours - theirs)
        above = (apart - apart.mean() > abs(ours_seen - theirs_seen)).sum()
        claims.append((above + 1) / (RESAMPLES + 1) <= ALPHA)
    return np.array(claims)


def uncorrected_families(rng: Generator, simulations: int, **sizes: int) -> np.ndarray:
    """Any false claim in a family of tests read one by one."""
    return (families(rng, simulations, **sizes) <= ALPHA).any(axis=1)
