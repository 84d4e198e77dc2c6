"""Contrasts and the A/A check on made-up scores that can be worked by hand."""

import pandas as pd
import pytest

from alpaca_lab.config import ModelSpec, StudySpec
from alpaca_lab.estimates import MEANS, OWN_WORDS, Scored
from alpaca_lab.tables.evidence import Evidence
from alpaca_lab.tables.trends import MARGIN, aa_table, contrast_table, setting_table

MODEL = ModelSpec(key="alpha", title="Alpha", source="someone/alpha", revision="0" * 40)
SPEC = StudySpec(
    name="made-up", models=(MODEL,), temperatures=(0.5, 1.0), beams=(2, 4, 8), top_ks=(), repeats=2
)


def run(name, *by_repeat):
    """A run whose ROUGE-L is one list per repeat, a value per question."""
    rows = [
        {"id": f"q{n}", "cluster": f"c{n}", "repeat": repeat, "status": "ok", "rougeL": value}
        for repeat, values in enumerate(by_repeat)
        for n, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows)
    others = {metric: frame["rougeL"] for metric in (*MEANS, *OWN_WORDS) if metric != "rougeL"}
    return Scored(run=name, scores=frame.assign(**others), manifest={})


def evidence(**cells):
    runs = {("alpha", "greedy"): run("g", [10.0, 20.0, 30.0])}
    for cell in ("temperature=0.5", "temperature=1", "num_beams=2", "num_beams=4", "num_beams=8"):
        runs["alpha", cell] = run(cell, [10.0, 20.0, 30.0])
    runs |= {("alpha", name.replace("__", "=")): made for name, made in cells.items()}
    return Evidence(spec=SPEC, runs=runs, human={})


def row(frame, **labels):
    for name, value in labels.items():
        frame = frame[frame[name] == value]
    [(_, found)] = frame.iterrows()
    return found


def test_contrast_is_the_fitted_change_over_the_whole_knob():
    """At 0, .5, 1 the questions score 10 12 14, 20 20 26, 30 30 30: slopes 4, 6 and 0."""
    moved = {
        "temperature__0.5": run("a", [12.0, 20.0, 30.0], [12.0, 20.0, 30.0]),
        "temperature__1": run("b", [13.0, 27.0, 30.0], [15.0, 25.0, 30.0]),
    }
    found = row(contrast_table(evidence(**moved)), axis="temperature")
    assert (found["from"], found["to"], found["n"]) == ("greedy", "1", 3)
    assert found["mean"] == pytest.approx(10 / 3, abs=1e-6)
    assert found["run"] == "g a b"
    assert found["p"] == 0.5  # 2 of 2**3 flips of (4, 6, 0), each twice for the zero
    assert found["margin"] == MARGIN


def test_beams_are_spaced_by_their_logarithm():
    """Beams 1 2 4 8 at 0 1 2 3: a rise by 1 a doubling is a change of 3."""
    rising = {
        f"num_beams__{2**step}": run(str(step), [10.0 + step, 20.0 + step, 30.0 + step])
        for step in (1, 2, 3)
    }
    found = row(contrast_table(evidence(**rising)), axis="num_beams")
    assert (found["from"], found["to"]) == ("1", "8")
    assert found["mean"] == pytest.approx(3)


def test_an_axis_without_values_has_no_row():
    assert set(contrast_table(evidence())["axis"]) == {"temperature", "num_beams"}


def many(values):
    return {
        ("alpha", "greedy"): run("g", [0.0] * len(values)),
        ("alpha", "temperature=0.5"): run("a", [v / 2 for v in values]),
        ("alpha", "temperature=1"): run("b", values),
    } | {("alpha", f"num_beams={b}"): run(str(b), [0.0] * len(values)) for b in (2, 4, 8)}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([5.0, 6.0] * 20, "changes"),
        ([-0.3, 0.3] * 20, "equivalent"),
        ([-9.0, 10.0] * 20, "inconclusive"),
    ],
)
def test_verdict_follows_the_corrected_tests(values, verdict):
    table = contrast_table(Evidence(spec=SPEC, runs=many(values), human={}))
    assert row(table, axis="temperature")["verdict"] == verdict


def test_no_change_at_all_is_equivalent_and_not_an_error():
    table = contrast_table(Evidence(spec=SPEC, runs=many([0.0] * 30), human={}))
    assert row(table, axis="temperature")["verdict"] == "equivalent"


def test_question_missing_at_one_value_is_left_out_of_the_contrast():
    cut = {"temperature__1": run("b", [13.0, float("nan"), 30.0])}
    assert row(contrast_table(evidence(**cut)), axis="temperature")["n"] == 2


def test_aa_compares_the_hottest_cell_with_itself():
    """First repeat minus second: -2, +2, 0, which no test can call a difference."""
    halves = {"temperature__1": run("b", [13.0, 27.0, 30.0], [15.0, 25.0, 30.0])}
    [(_, found)] = aa_table(evidence(**halves)).iterrows()
    assert (found["cell"], found["run"], found["repeats"]) == ("temperature=1", "b", 2)
    assert found["mean"] == 0
    assert found["p"] == found["p_holm"] == 1


def test_aa_without_repeats_says_why_it_is_blank():
    spec = StudySpec(name="x", models=(MODEL,), temperatures=(), beams=(2,), top_ks=())
    [(_, found)] = aa_table(Evidence(spec=spec, runs=evidence().runs, human={})).iterrows()
    assert found["note"] == "no sampled setting has two repeats"
    assert pd.isna(found["p"])


def test_each_setting_is_compared_with_greedy_and_corrected_with_all_the_others():
    """Differences 2, 3, 4: mean 3, t(.975, 2) = 4.302653, half-width 4.302653 / 3**.5 = 2.484138.

    All positive: p = 2 / 2**3, times 5 settings is above 1. The other four do not move at all.
    """
    found = setting_table(evidence(temperature__1=run("b", [12.0, 23.0, 34.0])))
    assert list(zip(found["axis"], found["value"], strict=True)) == [
        ("temperature", "0.5"),
        ("temperature", "1"),
        ("num_beams", "2"),
        ("num_beams", "4"),
        ("num_beams", "8"),
    ]
    moved = row(found, axis="temperature", value="1")
    assert (moved["n"], moved["mean"], moved["p"], moved["p_holm"]) == (3, 3.0, 0.25, 1.0)
    assert moved["ci_low"] == pytest.approx(3 - 2.484138, abs=1e-6)
    assert (moved["verdict"], moved["run"]) == ("inconclusive", "b")
    assert set(found[found["value"] != "1"]["verdict"]) == {"equivalent"}
