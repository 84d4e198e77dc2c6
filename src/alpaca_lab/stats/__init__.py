"""Uncertainty of what is measured over questions: arrays in, numbers out.

The unit is the question (or its cluster of near-duplicates), never the row: the repeats of one
question are not independent, and counting them as such turns a nominal .05 into .17-.41. Every
function refuses NaN: a missing score is left out by name, before it gets here. How often each is
wrong was measured by simulation: results/calibration.

    intervals      means and shares with what they may be
    significance   whether a mean difference can be chance, or is as good as none
    corpus         the same for scores of all answers together, such as corpus BLEU
    families       many tests read together
    design         contrasts, A/A, and how many questions see an effect
    agreement      how far raters agree
    association    how far two measures rank answers alike
    preference     pairs that a judge decided: what can be seen, and the win rate at equal length
"""

from .agreement import krippendorff_alpha, krippendorff_interval
from .association import spearman, spearman_interval
from .corpus import Statistic, approximate_randomisation_p, bootstrap_ci, bootstrap_difference
from .design import (
    PlanRow,
    linear_contrast,
    minimum_detectable_effect,
    plan,
    split_half,
    variance_components,
)
from .exchanges import EXACT_UP_TO
from .families import benjamini_hochberg, holm
from .intervals import Interval, cluster_means, paired_difference, t_interval, wilson
from .preference import detectable_win_rate, length_controlled, length_controlled_interval
from .significance import bootstrap_t_p, equivalence_p, sign_flip_p

__all__ = [
    "EXACT_UP_TO",
    "Interval",
    "PlanRow",
    "Statistic",
    "approximate_randomisation_p",
    "benjamini_hochberg",
    "bootstrap_ci",
    "bootstrap_difference",
    "bootstrap_t_p",
    "cluster_means",
    "detectable_win_rate",
    "equivalence_p",
    "holm",
    "krippendorff_alpha",
    "krippendorff_interval",
    "length_controlled",
    "length_controlled_interval",
    "linear_contrast",
    "minimum_detectable_effect",
    "paired_difference",
    "plan",
    "sign_flip_p",
    "spearman",
    "spearman_interval",
    "split_half",
    "t_interval",
    "variance_components",
    "wilson",
]
