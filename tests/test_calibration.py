"""The statistics keep their promises on simulated data, and the committed table says so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alpaca_lab import calibration, stats
from alpaca_lab.calibration import Check, populations
from alpaca_lab.calibration.registry import CHECKS, COVERAGE, EXACT
from alpaca_lab.calibration.table import page

pytestmark = pytest.mark.calibration

FOLDER = Path(__file__).parents[1] / "results" / "calibration"
COMMITTED = pd.read_csv(FOLDER / "calibration.csv")
LONG = (
    "corpus BLEU",
    "Krippendorff",
    "Spearman",
    "36",
    "n 500",
    "coverage: t interval, skewed scores, n 50",
)
"""Words of the checks that take more than two seconds each; all others are run again here."""
QUICK = [check for check in CHECKS if not any(words in check.name for words in LONG)]


@pytest.fixture(scope="module")
def rerun():
    """The quick checks run again, by name."""
    return calibration.run(QUICK).set_index("check")


def test_the_committed_table_says_what_a_rerun_gives(rerun):
    """Two simulations of a check may fall otherwise: another processor rounds otherwise."""
    committed = COMMITTED.set_index("check").loc[rerun.index]
    assert len(rerun) >= 15
    off = (rerun["rate"] - committed["rate"]).abs() * rerun["simulations"]
    assert (off <= 2.01).all(), off[off > 2.01].to_dict()


def test_every_method_keeps_its_promise_when_run_again(rerun):
    methods = rerun[rerun["kind"] == "method"]
    assert methods["passed"].all(), methods[~methods["passed"]]
    assert (methods["simulations"] >= 2_000).all()


def test_every_negative_control_fails_when_run_again(rerun):
    """Each lies outside the range that a method must keep, and not by chance."""
    controls = rerun[rerun["kind"] == "negative control"]
    assert len(controls) == 5
    covers = controls.index.str.startswith("coverage")
    assert (controls["low"][~covers] > EXACT[1]).all()
    assert (controls["high"][covers] < COVERAGE[0]).all()


def test_the_committed_table_holds_every_check_and_each_passed():
    assert tuple(COMMITTED.columns) == calibration.COLUMNS
    asked = [
        (check.name, check.kind, check.simulations, "{:g}-{:g}".format(*check.wanted))
        for check in CHECKS
    ]
    columns = ["check", "kind", "simulations", "wanted"]
    assert list(COMMITTED[columns].itertuples(index=False, name=None)) == asked
    assert COMMITTED["passed"].all()
    for row in COMMITTED.itertuples():
        least, most = map(float, row.wanted.split("-"))
        assert least <= row.rate <= most
        assert row.low < row.rate < row.high


def test_the_committed_page_follows_from_the_committed_table():
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page(COMMITTED)


def test_a_check_draws_the_same_whatever_runs_beside_it():
    one, other = QUICK[-2:]
    alone = calibration.run([other])
    together = calibration.run([one, other])
    assert together.iloc[1].equals(alone.iloc[0])


def test_a_broken_promise_is_written_as_one(tmp_path):
    """A method that is wrong one time in four, promised as one in twenty."""

    def wrong(rng, simulations):
        return np.arange(simulations) % 4 == 0

    check = Check(
        name="broken", kind="method", wanted=(0.0375, 0.0625), simulations=400, simulate=wrong
    )
    done = []
    table = calibration.write(tmp_path / "new", checks=[check], advance=lambda: done.append(1))
    [row] = table.to_dict("records")
    assert (row["rate"], row["wanted"], row["passed"]) == (0.25, "0.0375-0.0625", False)
    assert row["low"] < 0.25 < row["high"]
    written = (tmp_path / "new" / "README.md").read_text(encoding="utf-8")
    assert "0 of 1 checks" in written and "| NO |" in written
    assert pd.read_csv(tmp_path / "new" / "calibration.csv").equals(table)
    assert done == [1]


def test_names_are_unique():
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_rouge_shaped_scores_are_skewed_tied_and_alike_within_a_question():
    scores = populations.rouge_scores(np.random.default_rng(0), (1, 100_000, 2))[0]
    centred = (scores[:, 0] - scores[:, 0].mean()) / scores[:, 0].std()
    assert scores.min() == 0 and 99 < scores.max() <= 100
    assert 1.3 < (centred**3).mean() < 2
    assert 0.04 < (scores[:, 0] == 0).mean() < 0.12
    assert 0.2 < (scores[:, 0] == scores[:, 1]).mean() < 0.25
    assert 0.5 < np.corrcoef(scores.T)[0, 1] < 0.8
    assert scores.mean(axis=0) == pytest.approx([populations.rouge_mean()] * 2, rel=0.02)


def test_a_shifted_setting_has_the_mean_that_is_taken_for_its_truth():
    scores = populations.rouge_scores(np.random.default_rng(1), (1, 200_000, 2), shifts=(0, 0.2))
    expected = [populations.rouge_mean(0), populations.rouge_mean(0.2)]
    assert scores[0].mean(axis=0) == pytest.approx(expected, rel=0.01)


def test_nested_values_have_the_variance_between_that_was_asked_for():
    table = populations.nested(np.random.default_rng(2), 1, 50_000, 4, between=0.25)[0]
    within = table.var(axis=1, ddof=1).mean()
    between = table.mean(axis=1).var(ddof=1) - within / 4
    assert (between, within) == pytest.approx((0.25, 0.75), rel=0.05)


def test_bleu_sums_are_counts_that_answers_could_have():
    sums = populations.bleu_sums(np.random.default_rng(3), 2, 500, quality=(1.0, 0.9))
    assert sums.shape == (2, 500, 2, 10)
    correct, total, length = sums[..., :4], sums[..., 4:8], sums[..., 8]
    assert (correct <= total).all() and (np.diff(correct, axis=-1) <= 0).all()
    assert (total == np.maximum(length[..., None] - np.arange(4), 0)).all()
    assert (sums[:, :, 0, 9] == sums[:, :, 1, 9]).all()  # one reference for both settings
    assert correct[:, :, 1].sum() < correct[:, :, 0].sum()


def test_grades_follow_the_measure_and_repeats_are_alike_in_both():
    """Half of either's variance is the question's, less what rounding a grade takes."""
    measure, grades = populations.graded(np.random.default_rng(4), 1, 100_000, 2)
    assert set(np.unique(grades)) == {1, 2, 3, 4, 5}
    assert stats.spearman(measure[0, :, 0], grades[0, :, 0]) == pytest.approx(0.5, abs=0.06)
    assert np.corrcoef(measure[0].T)[0, 1] == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(grades[0].T)[0, 1] == pytest.approx(0.45, abs=0.05)
