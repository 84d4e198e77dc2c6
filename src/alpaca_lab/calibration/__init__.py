"""How often the statistics are wrong: each method run on thousands of data sets with known truth.

A nominal 5% is a promise. Here it is counted, on skewed scores, on nested repeats, on scores shaped
like ROUGE-L, beside methods in common use that break it. results/calibration holds the table.
"""

from .registry import CHECKS, Check
from .table import COLUMNS, run, write

__all__ = ["CHECKS", "COLUMNS", "Check", "run", "write"]
