"""Which settings a study visits. Pure: yields settings, runs nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

from .config import DecodeSetting, StudySpec

GREEDY = "greedy"
BASE = "base"
"""Name of the cell of the untuned base, decoded greedily: what finetuning is compared with."""
AXES = ("temperature", "num_beams", "top_k")
NEARLY_GREEDY_REPEATS = 2


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of the sweep under the name that tables, figures and folders use."""

    name: str
    """ "greedy", or the one knob that differs from it: "temperature=0.25", "num_beams=4"."""
    axis: str | None
    """The knob, one of `AXES`; None for greedy, which belongs to every axis."""
    value: float | None
    """The knob's value; None for greedy."""
    setting: DecodeSetting
    repeats: int
    """Answers per question."""


def cells(study: StudySpec) -> Iterator[Cell]:
    """Yield the cells of a study: greedy, then one knob at a time with the others neutral.

    Greedy is the baseline of all three axes and is decoded once. Temperatures sample with
    top_k 0, top-k at temperature 1, beams do not sample. Collect the cells before running
    anything: a bad value in the last axis then raises in milliseconds, not after hours.

    Yields:
        One `Cell` per setting, 13 for the standard axes.

    Raises:
        SettingError: If a value is out of range.

    Example:
        >>> from alpaca_lab.profiles import PROFILES
        >>> [cell.name for cell in cells(PROFILES["smoke"])][:3]
        ['greedy', 'temperature=0.001', 'temperature=0.25']
    """
    budget = study.max_new_tokens
    greedy = DecodeSetting(max_new_tokens=budget)
    yield Cell(name=GREEDY, axis=None, value=None, setting=greedy, repeats=1)
    for temperature in study.temperatures:
        setting = DecodeSetting(do_sample=True, temperature=temperature, max_new_tokens=budget)
        # Almost every draw at .001 is the greedy token: a third answer would tell nothing.
        most = NEARLY_GREEDY_REPEATS if temperature <= 0.01 else study.repeats
        yield _cell("temperature", temperature, setting, min(study.repeats, most))
    for num_beams in study.beams:
        setting = DecodeSetting(num_beams=num_beams, max_new_tokens=budget)
        yield _cell("num_beams", num_beams, setting, 1)
    for top_k in study.top_ks:
        setting = DecodeSetting(do_sample=True, top_k=top_k, max_new_tokens=budget)
        yield _cell("top_k", top_k, setting, study.repeats)


def untuned(study: StudySpec) -> Cell:
    """Return the cell of the untuned base, decoded greedily; it belongs to no axis."""
    setting = DecodeSetting(max_new_tokens=study.max_new_tokens)
    return Cell(name=BASE, axis=None, value=None, setting=setting, repeats=1)


def _cell(axis: str, value: float, setting: DecodeSetting, repeats: int) -> Cell:
    return Cell(name=f"{axis}={value:g}", axis=axis, value=value, setting=setting, repeats=repeats)
