"""Which questions exchange their two sides: every way, or a draw of them.

If two settings are exchangeable within a question, each way is as likely as the one observed. A
permutation test of either kind, of means or of corpus scores, asks how many of them look as
different.
"""

from functools import lru_cache
from itertools import product

import numpy as np

EXACT_UP_TO = 12
"""With so few questions all exchanges are enumerated (4,096) rather than drawn."""


@lru_cache(maxsize=4)
def exchanges(n: int, *, draws: int, seed: int) -> tuple[np.ndarray, bool]:
    """Return ways to exchange the sides of n questions, and whether they are all there are.

    A study asks hundreds of times for the same ones, so the last few are kept.

    Returns:
        A matrix of 0 and 1, read-only, shape (2 ** n, n) for n <= `EXACT_UP_TO`, else (draws, n).
    """
    exact = n <= EXACT_UP_TO
    if exact:
        chosen = np.array(list(product((0.0, 1.0), repeat=n)))
    else:
        generator = np.random.default_rng(seed)
        chosen = generator.integers(0, 2, size=(draws, n), dtype=np.int8).astype(float)
    chosen.setflags(write=False)
    return chosen, exact


def p_of(as_far: np.ndarray, *, of: int, exact: bool) -> np.ndarray:
    """Return p from how many exchanges lie as far out as what was observed.

    What was observed is one of all ways. Among drawn ones it is counted in, so p is never 0.

    Source:
        Phipson & Smyth (2010), https://doi.org/10.2202/1544-6115.1585.
    """
    return as_far / of if exact else (as_far + 1) / (of + 1)
