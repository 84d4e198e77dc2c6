"""How numbers and names look on a page, and what the sentences under a table say."""

import pandas as pd
import pytest

from alpaca_lab.characters import plain
from alpaca_lab.pages import verdicts
from alpaca_lab.pages.markdown import escape, grid, page
from alpaca_lab.pages.page import Page, interval, number, p_equals, p_value
from alpaca_lab.store import CONTROL

TITLES = {"alpha": "Alpha", "beta": "Beta|2"}


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


def test_p_value_reads_as_prose_in_a_sentence():
    assert (p_equals(0.0004), p_equals(0.5)) == ("p < 0.001", "p = 0.500")


def test_name_cannot_break_a_table_or_become_markup():
    table = grid(("Model",), [("a|b <i>*x*</i> $y$ [z](http://w)",)])
    assert table.splitlines()[2] == (
        "| a\\|b\u00a0\\<i\\>\\*x\\*\\</i\\>\u00a0\\$y\\$\u00a0\\[z\\](http://w) |"
    )


def test_interval_needs_no_backslash_but_a_link_that_looks_like_one_does():
    assert escape("+1.00 [0.50, +1.50].") == "+1.00 [0.50, +1.50]."
    assert escape("[0.50, 1.50](http://w)") == r"\[0.50, 1.50\](http://w)"


def test_escape_sequences_and_direction_marks_are_shown_and_not_obeyed():
    assert plain("a\x1b[31m\x00\u202eb\x9b") == "a␛[31m␀<U+202E>b<U+009B>"


def test_cell_breaks_where_it_says_and_nowhere_else():
    table = grid(("Model", "ROUGE-L"), [("Tiny Phi", "50.00\n[40.00, 60.00]")])
    assert table.splitlines()[2] == "| Tiny\u00a0Phi | 50.00<br>[40.00,\u00a060.00] |"


def test_page_as_markdown_has_its_parts_in_order():
    content = Page(
        title="A title",
        header=("Model", "cell", "n"),
        rows=(("Alpha", "greedy", "3"),),
        words=2,
        warnings=("Beware.",),
        reading=("It reads.", ("one", "two"), ""),
        notes=((), "A note."),
        signatures=(("BLEU", "bleu|tok:13a"),),
        runs=("0123456789ab", "ba9876543210"),
    )
    assert page(content) == (
        "**A title**\n\n**Beware.**\n\n"
        "| Model | cell | n |\n| --- | --- | ---: |\n| Alpha | greedy | 3 |\n\n"
        "It reads.\n\n- one\n- two\n\nA note.\n\n- BLEU: `bleu|tok:13a`\n\n"
        "Runs: `0123456789ab`, `ba9876543210`.\n"
    )


def test_row_that_does_not_fit_its_header_is_refused():
    with pytest.raises(ValueError, match='"A title": a row of 1 cells under 2 headings'):
        Page(title="A title", header=("a", "b"), rows=(("1",),))


def axis_frame(*rows):
    """Tested rows of one axis: model, value, delta and its interval, corrected p."""
    names = ("model", "value", "delta", "delta_low", "delta_high", "p_holm")
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(axis="temperature", metric="rougeL", mde=1.25, p_bh=None)


def survivors(*rows):
    return verdicts.survivors(axis_frame(*rows), TITLES, comparisons=36)


def test_verdict_names_the_largest_move_whatever_its_sign():
    text = survivors(
        ("alpha", "0.5", 2.0, 1.0, 3.0, 0.02),
        ("beta", "1", -4.0, -5.0, -3.0, 0.001),
        ("beta", "2", -1.0, -5.0, -3.0, 0.001),
    )
    assert "-4.00 points [-5.00, -3.00] of ROUGE-L, Beta|2 at temperature 1" in text
    assert "3 of 3 differences survive Holm's correction over the study's 36 comparisons" in text
    assert "Alpha at 0.5; Beta|2 at 1 and 2." in text


def test_verdict_is_inconclusive_where_nothing_survives_and_says_what_would_have():
    text = survivors(("alpha", "0.5", 2.0, 1.0, 3.0, 0.05), ("alpha", "1", 1.0, 0.0, 2.0, 1.0))
    assert "inconclusive: no difference from greedy survives Holm's correction" in text
    assert "finds a move of 1.25 points in 4 of 5 cases" in text
    assert "no effect" not in text


def test_verdict_of_a_table_without_any_difference_is_inconclusive():
    none = (None, None, None, None)
    text = survivors(("alpha", "greedy", *none), ("alpha", "1", *none))
    assert text.startswith("Inconclusive: no question is scored both")
    assert survivors(("alpha", "greedy", *none)) == "No other value of this knob was decoded."


def contrast(verdict, **changes):
    """One row of the contrast table; by default a change from greedy to temperature 1."""
    row = {
        "model": "alpha",
        "axis": "temperature",
        "from": "greedy",
        "to": "1",
        "n": 500,
        "mean": -1.3,
        "ci_low": -2.0,
        "ci_high": -0.6,
        "mde": 1.4,
        "p_holm": 0.002,
        "margin": 1.0,
        "p_equivalence_holm": 0.9,
        "verdict": verdict,
        "note": "",
    }
    return pd.DataFrame([row | changes])


def sentence(verdict, **changes):
    frame = contrast(verdict, **changes)
    [text] = verdicts.changes(frame, TITLES, axis=frame["axis"].iloc[0])
    return text


def test_a_change_is_said_with_its_size_interval_and_corrected_p():
    assert sentence("changes") == (
        "Raising the temperature from 0 (greedy) to 1 changes Alpha's ROUGE-L by -1.30 points "
        "[-2.00, -0.60], p = 0.002 after Holm."
    )


def test_a_change_that_is_small_all_the_same_is_said_to_be():
    text = sentence("changes", mean=0.3, ci_low=0.1, ci_high=0.5, p_equivalence_holm=0.0001)
    assert text.endswith(
        "by +0.30 points [+0.10, +0.50], p = 0.002 after Holm; it is a change of less than 1 point "
        "all the same (p < 0.001 after Holm)."
    )


def test_equivalence_is_said_with_its_own_p_and_margin():
    found = {"mean": 0.1, "ci_low": -0.3, "ci_high": 0.5, "p_equivalence_holm": 0.01}
    beams = {"axis": "num_beams", "from": "1", "to": "8", "margin": 2.0}
    assert sentence("equivalent", **found, **beams) == (
        "Raising the number of beams from 1 (greedy) to 8 leaves Alpha's ROUGE-L equivalent within "
        "2 points: +0.10 points [-0.30, +0.50], p = 0.010 after Holm."
    )


def test_what_is_not_shown_is_inconclusive_beside_what_the_study_could_see():
    found = {"mean": 0.6, "ci_low": -0.9, "ci_high": 2.1, "p_holm": 0.43, "axis": "top_k"}
    assert sentence("inconclusive", **found, to="16") == (
        "Raising top-k from 1 (greedy) to 16 is inconclusive for Alpha: +0.60 points "
        "[-0.90, +2.10], p = 0.430 after Holm; this study could see 1.40 points or more."
    )


def test_a_change_that_cannot_be_computed_says_why():
    text = sentence("inconclusive", mean=None, note="no question is scored at every value")
    assert text.endswith("nothing can be said of Alpha, no question is scored at every value.")


def test_exploratory_survivors_are_listed_by_metric_and_called_no_finding():
    rows = [
        ("alpha", "rouge1", "1", 0.01),
        ("alpha", "rouge1", "2", 0.02),
        ("beta", "corpus_chrf", "1", 0.04),
        ("beta", "rouge1", "1", 0.05),
        ("alpha", "rougeL", "1", 0.001),
        ("alpha", "rouge1", "greedy", None),
    ]
    frame = pd.DataFrame(rows, columns=["model", "metric", "value", "p_bh"])
    text = verdicts.exploratory(frame, TITLES, comparisons=216)
    assert text == (
        "Exploratory, a hint and no finding: of 4 differences from greedy in other metrics, "
        "3 survive Benjamini and Hochberg's correction over the study's 216 (false discovery rate "
        "5%): ROUGE-1: Alpha at 1 and 2; chrF: Beta|2 at 1."
    )
    nothing = verdicts.exploratory(frame.assign(p_bh=0.06), TITLES, comparisons=216)
    assert "none survive Benjamini and Hochberg's correction" in nothing
    assert nothing.endswith("(false discovery rate 5%).")


def noise_table(*p_holm):
    names = {"model": "alpha", "cell": "temperature=1", "mean": 2.0, "ci_low": 1.0, "ci_high": 3.0}
    return pd.DataFrame([names | {"p_holm": p} for p in p_holm])


def test_noise_that_is_not_null_is_a_loud_warning():
    [warning], text = verdicts.noise(noise_table(0.04, 0.9), TITLES)
    assert warning.startswith("The A/A comparison of Alpha, temperature 1, is not null: +2.00")
    assert "trust no interval and no p of this study" in warning
    assert text == "1 of 2 comparisons of a setting with itself differ."


def test_noise_that_is_null_is_said_with_the_smallest_p():
    warnings, text = verdicts.noise(noise_table(0.3, 0.9, None), TITLES)
    assert warnings == ()
    assert "none of 2 differs after Holm, the smallest corrected p = 0.300" in text
    assert "unchecked" in verdicts.noise(noise_table(None), TITLES)[1]


def main_frame(*rows):
    names = ("model", "value", "mean", "ci_low")
    return pd.DataFrame(rows, columns=names).assign(metric="rougeL")


def test_models_not_clearly_above_the_highest_floor_are_named():
    floors = ((CONTROL, "empty answer", 0.0, 0.0), (CONTROL, "copied instruction", 12.0, 11.0))
    ceiling = (CONTROL, "reference", 100.0, 100.0)
    high, low = ("alpha", "finetuned", 30.0, 28.0), ("beta", "untuned", 13.0, 11.5)
    floor = "The highest floor is 12.00 ROUGE-L (copied instruction)"
    text = verdicts.floors(main_frame(high, low, *floors, ceiling), TITLES)
    assert text == f"{floor}; not clearly above it: Beta|2, untuned."
    text = verdicts.floors(main_frame(high, *floors, ceiling), TITLES)
    assert text == f"{floor}; the interval of every model lies above it."


def test_reference_that_does_not_score_full_marks_is_a_warning():
    [warning] = verdicts.ceiling(main_frame((CONTROL, "reference", 99.5, 99.0)))
    assert warning.startswith("The reference scores 99.50 ROUGE-L against itself")
    assert verdicts.ceiling(main_frame((CONTROL, "reference", 100.0, 100.0))) == ()


def test_slowest_cell_is_compared_with_greedy_where_both_were_timed():
    rows = [("greedy", 10.0, 100), ("num_beams=8", 45.0, 100), ("top_k=2", 60.0, 300)]
    cost = pd.DataFrame(rows, columns=["cell", "wall_s", "answers"]).assign(model="alpha")
    assert verdicts.dearest(cost, TITLES) == (
        "Alpha: an answer takes longest with beams 8, 4.50 times what it takes with greedy.",
    )
    assert verdicts.dearest(cost.assign(wall_s=None), TITLES) == ()
