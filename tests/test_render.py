"""How numbers and names look on a page, and what the sentence under a table says."""

import pandas as pd
import pytest

from alpaca_lab.markdown import escape, grid, interval, number, p_value
from alpaca_lab.render import Provenance, verdict

PROVENANCE = Provenance(
    titles={"alpha": "Alpha", "beta": "Beta|2"}, signatures={}, encoder={}, comparisons=36
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.005001, "1.01"), (-0.004, "0.00"), (0, "0.00"), (None, "-"), (float("nan"), "-")],
)
def test_number_has_two_decimals_or_is_a_dash(value, shown):
    assert number(value) == shown


def test_interval_without_bounds_is_the_mean_alone():
    assert interval(1, 0.5, 1.5) == "1.00 [0.50, 1.50]"
    assert interval(1, None, None) == "1.00"
    assert interval(None, None, None) == "-"
    assert interval(1, -2, 4, sign=True) == "+1.00 [-2.00, +4.00]"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0004, "<0.001"), (0.03912, "0.039"), (1.0, "1.000"), (None, "-")]
)
def test_p_value_is_never_shown_as_zero(value, shown):
    assert p_value(value) == shown


def test_name_cannot_break_a_table_or_become_markup():
    table = grid(("Model",), [(escape("a|b\n<i>*x*</i> $y$"),)])
    assert table.splitlines()[2] == "| a\\|b\u00a0\\<i\\>\\*x\\*\\</i\\>\u00a0\\$y\\$ |"


def axis_frame(*rows):
    """Tested rows of one axis: model, value, delta and its interval, corrected p."""
    names = ("model", "value", "delta", "delta_low", "delta_high", "p_holm")
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(axis="temperature", metric="rougeL", mde=1.25)


def test_verdict_names_the_largest_move_whatever_its_sign():
    text = verdict(
        axis_frame(("alpha", "0.5", 2.0, 1.0, 3.0, 0.02), ("beta", "1", -4.0, -5.0, -3.0, 0.001)),
        PROVENANCE,
    )
    assert r"-4.00 [-5.00, -3.00] ROUGE-L points, Beta\|2 at temperature 1" in text
    assert "2 of 2 differences survive Holm's correction over the study's 36 comparisons" in text


def test_verdict_is_inconclusive_where_nothing_survives_and_says_what_would_have():
    text = verdict(axis_frame(("alpha", "0.5", 2.0, 1.0, 3.0, 0.05)), PROVENANCE)
    assert "inconclusive: no difference from greedy survives Holm's correction" in text
    assert "finds a move of 1.25 points in 4 of 5 cases" in text
    assert "no effect" not in text


def test_verdict_of_a_table_without_any_difference_is_inconclusive():
    text = verdict(axis_frame(("alpha", "greedy", None, None, None, None)), PROVENANCE)
    assert text.startswith("Inconclusive: no question is scored both")


def test_cell_breaks_before_its_interval_alone():
    table = grid(("Model", "ROUGE-L"), [("Tiny Phi", interval(50, 40, 60))])
    assert table.splitlines()[2] == "| Tiny\u00a0Phi | 50.00<br>[40.00,\u00a060.00] |"
