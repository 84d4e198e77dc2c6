"""Every simulated check by name, and how often each may, or must, be wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from . import controls, methods

Kind = Literal["method", "limit", "negative control"]
Simulate = Callable[[np.random.Generator, int], np.ndarray]

EXACT = (0.0375, 0.0625)
"""A nominal 5%, give or take what 2,000 simulations leave uncertain (2.6 standard errors)."""
AT_MOST = (0.0, 0.0625)
COVERAGE = (0.935, 0.965)
"""A nominal 95%, give or take three standard errors of 2,000 simulations."""
POWER = (0.775, 0.825)
GRID = {"n": 50, "models": 3, "settings": 12}
"""The primary family of a study: twelve settings of three models, each against its greedy."""
NESTED = {"n": 100, "repeats": 5}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise, counted."""

    name: str
    """What is counted: method, data, questions."""
    kind: Kind
    """"method": keeps its promise. "limit": where one of ours does not quite, and by how much.
    "negative control": what we do not use, and must be seen to fail."""
    wanted: tuple[float, float]
    """The rate lies between these."""
    simulations: int
    simulate: Simulate
    """(source of draws, simulations) to one truth value, or share, per simulation."""


def _check(
    name: str,
    simulate: Callable[..., np.ndarray],
    wanted: tuple[float, float],
    *,
    kind: Kind = "method",
    simulations: int = 2_000,
    **sizes: object,
) -> Check:
    simulate = partial(simulate, **sizes)
    return Check(name=name, kind=kind, wanted=wanted, simulations=simulations, simulate=simulate)


def _control(
    name: str,
    simulate: Callable[..., np.ndarray],
    wanted: tuple[float, float],
    **sizes: object,
) -> Check:
    return _check(name, simulate, wanted, kind="negative control", **sizes)


CHECKS = (
    _check("false positives: sign-flip, skewed scores, n 50",
           methods.sign_flip_on_skewed_scores, EXACT, simulations=20_000, n=50),
    _check("false positives: sign-flip, ROUGE-L-shaped scores, n 50",
           methods.sign_flip_on_rouge, EXACT, simulations=10_000, n=50),
    _check("false positives: sign-flip, ROUGE-L-shaped scores, n 500",
           methods.sign_flip_on_rouge, EXACT, n=500),
    _check("false positives: sign-flip, skewed differences, n 50",
           methods.sign_flip_on_skewed_differences, (0.06, 0.07), kind="limit",
           simulations=20_000, n=50),
    _check("false positives: sign-flip, skewed differences, n 500",
           methods.sign_flip_on_skewed_differences, EXACT, simulations=10_000, n=500),
    _check("false positives: bootstrap t, skewed scores, n 50",
           methods.bootstrap_t_on_skewed_scores, EXACT, simulations=20_000, n=50),
    _check("false positives: bootstrap t, skewed differences, n 50",
           methods.bootstrap_t_on_skewed_differences, EXACT, simulations=20_000, n=50),
    _check("false positives: clustered t, nested repeats, n 100 x 5",
           methods.clustered_t, EXACT, simulations=5_000, between=0.5, **NESTED),
    _check("false positives: linear contrast over 5 settings, ROUGE-L-shaped scores, n 100",
           methods.contrast, EXACT, simulations=10_000, n=100, positions=(0, 0.25, 0.5, 0.75, 1)),
    _check("false positives: A/A halves of 4 repeats, ROUGE-L-shaped scores, n 100",
           methods.one_setting_in_halves, EXACT, simulations=10_000, n=100, repeats=4),
    _check("false positives: approximate randomisation, corpus BLEU, n 100",
           methods.randomisation, EXACT, n=100),
    _check("false positives: equivalence test, difference at the margin, n 500",
           methods.equivalence_at_the_margin, AT_MOST, simulations=4_000, n=500),
    _check("family-wise errors: Holm, 36 nulls, n 50",
           methods.holm_families, AT_MOST, **GRID),
    _check("false discoveries: Benjamini-Hochberg, 36 tests of which 6 are real, n 50",
           methods.false_discoveries, AT_MOST, n=50, tests=36, effects=6),
    _check("coverage: t interval, normal scores, n 20",
           methods.t_on_normal, COVERAGE, simulations=5_000, n=20),
    _check("coverage: t interval, skewed scores, n 50",
           methods.t_on_skewed, (0.93, 0.94), kind="limit", simulations=20_000, n=50),
    _check("coverage: t interval, skewed scores, n 100",
           methods.t_on_skewed, COVERAGE, simulations=5_000, n=100),
    _check("coverage: t interval, ROUGE-L-shaped scores, n 100",
           methods.t_on_rouge, COVERAGE, simulations=5_000, n=100),
    _check("coverage: t interval of paired differences, ROUGE-L-shaped scores, n 100",
           methods.paired_on_rouge, COVERAGE, simulations=5_000, n=100),
    _check("coverage: bootstrap over questions, corpus BLEU, n 100",
           methods.bootstrap_of_bleu, (0.91, 0.935), kind="limit", simulations=8_000, n=100),
    _check("coverage: bootstrap over questions, corpus BLEU, n 500",
           methods.bootstrap_of_bleu, COVERAGE, n=500),
    _check("coverage: bootstrap over questions, corpus BLEU difference, n 100",
           methods.bootstrap_of_bleu_difference, COVERAGE, n=100),
    _check("coverage: bootstrap over questions, corpus BLEU difference, n 500",
           methods.bootstrap_of_bleu_difference, COVERAGE, n=500),
    _check("coverage: Wilson, shares from .05 to .95, n 30",
           methods.wilson_shares, COVERAGE, simulations=10_000, n=30),
    _check("coverage: bootstrap over items, Krippendorff's alpha, 100 items x 3 raters",
           methods.alpha_of_raters, COVERAGE, items=100, raters=3),
    _check("coverage: bootstrap over questions, Spearman's rho with grades 1-5, n 60 x 3",
           methods.rank_correlation, COVERAGE, n=60, repeats=3),
    _check("power: a study planned for 80%, 3 repeats",
           methods.planned_study, POWER, simulations=10_000, effect=1.0, repeats=3),
    _control("false positives: t over rows, a quarter of the variance between questions, n 100 x 5",
             controls.row_wise_t, (0.15, 1.0), between=0.25, **NESTED),
    _control("false positives: t over rows, nine tenths of it between questions, n 100 x 5",
             controls.row_wise_t, (0.3, 1.0), between=0.9, **NESTED),
    _control("false positives: percentile bootstrap, ROUGE-L-shaped scores, n 20",
             controls.percentile_bootstrap, (0.07, 1.0), n=20),
    _control("false positives: Wilcoxon for a claim about means, skewed differences, n 50",
             controls.wilcoxon, (0.15, 1.0), n=50),
    _control("false positives: sacreBLEU --paired-bs read as two-sided, corpus BLEU, n 100",
             controls.paired_bootstrap, (0.08, 1.0), n=100),
    _control("family-wise errors: no correction, 36 nulls, n 50",
             controls.uncorrected_families, (0.5, 1.0), **GRID),
    _control("coverage: BCa bootstrap, ROUGE-L-shaped differences, n 20",
             controls.bca, (0.0, 0.92), n=20),
)  # fmt: skip
