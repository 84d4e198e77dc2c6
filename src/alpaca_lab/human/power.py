"""What a plan can see, told before anyone starts: a study too small should not cost an evening."""

import math
from collections import Counter

from .. import stats
from .plan import Plan
from .rubric import PAIRWISE, TOP

LEVEL = 0.95


def sentences(plan: Plan) -> tuple[str, ...]:
    """Return what is to be rated, by whom, and the smallest effect found in 4 of 5 cases."""
    sees = _pairs if plan.mode == PAIRWISE else _answers
    return (_work(plan), *_nothing(plan), *sees(plan), _overlap(plan))


def _work(plan: Plan) -> str:
    things = _count(len(plan.items), "pair" if plan.mode == PAIRWISE else "answer")
    strata = _count(len(plan.strata), "stratum", "strata")
    parts = ", ".join(f"{rater} rates {len(ids)}" for rater, ids in plan.order.items())
    return f"{things} from {strata} (model and setting): {parts}."


def _nothing(plan: Plan) -> tuple[str, ...]:
    empty = len(plan.strata) - len(_planned(plan))
    why = " or is the same as greedy's" if plan.mode == PAIRWISE else ""
    every = f"Nothing is rated in {empty} of {len(plan.strata)} strata: each answer failed{why}."
    return (every,) if empty else ()


def _pairs(plan: Plan) -> tuple[str, ...]:
    """By the exact sign test, as the table will use; a pair called equal decides nothing."""
    planned = _planned(plan)
    tests = len(planned)
    found = []
    for pairs, strata in sorted(Counter(planned).items()):
        alone = stats.detectable_win_rate(pairs, level=LEVEL)
        family = stats.detectable_win_rate(pairs, level=1 - (1 - LEVEL) / tests)
        where = "" if strata == tests else f" (in {strata} of {tests} strata)"
        each = f"{_count(pairs, 'pair')} per stratum{where}"
        if math.isnan(alone):
            found.append(f"{each} can see nothing: ask more questions.")
            continue
        corrected = (
            ""
            if tests == 1
            else f", or {family:.1%} once {tests} strata are corrected for"
            if not math.isnan(family)
            else f", and none once {tests} strata are corrected for"
        )
        found.append(
            f"{each} can see a win rate of {alone:.1%} or more{corrected}; a pair "
            "called equal does not count."
        )
    return tuple(found)


def _answers(plan: Plan) -> tuple[str, ...]:
    """No pilot knows how far ratings lie apart, so two suppositions stand side by side."""
    fewest = min(_planned(plan))
    if 0.5 ** (fewest - 1) > 1 - LEVEL:  # the p of the table's test when all point one way
        return (f"{_count(fewest, 'answer')} per stratum can see nothing: ask more questions.",)
    near, far = (
        stats.minimum_detectable_effect(levels / TOP, fewest, level=LEVEL) for levels in (1, 2)
    )
    return (
        f"{fewest} answers per stratum can see a difference of {near:.2f} between two of them (on "
        f"0-1, the same questions) if the ratings of two answers to a question differ by one "
        f"level or so, and of {far:.2f} if by two. Afterwards the table says what could be seen.",
    )


def _overlap(plan: Plan) -> str:
    first, *others = (set(ids) for ids in plan.order.values())
    shared = first.intersection(*others)
    if not others:
        return "One rater: nobody can say how far others would agree. Two or more are better."
    if len(shared) < 2:
        return "Hardly anything is rated twice: raise the overlap, or agreement stays unknown."
    things = "pairs" if plan.mode == PAIRWISE else "answers"
    return f"Agreement will be measured on the {len(shared)} {things} that every rater rates."


def _planned(plan: Plan) -> list[int]:
    """Items of each stratum that has any; the others are never tested."""
    return [one.planned for one in plan.strata if one.planned]


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or f'{one}s'}"
