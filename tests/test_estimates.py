"""Estimates of one made-up run: what counts, what is paired with what, and by which unit."""

import pandas as pd
import pytest

from alpaca_lab.estimates import Scored, correct, differences, estimates
from alpaca_lab.metrics.bleu_chrf import BLEU_STATISTICS, CHRF_STATISTICS, corpus_bleu
from alpaca_lab.tables.likelihoods import likelihoods


def scored(*rows):
    """A run of (question, cluster, score) rows; each matches as many words as its score says."""
    columns = []
    for repeat, (question, cluster, score) in enumerate(rows):
        sums = [score, score / 2, score / 4, score / 8, 100.0, 99.0, 98.0, 97.0, 100.0, 110.0]
        means = ("rougeL", "rouge1", "rouge2", "rougeLsum", "bertscore_f1")
        own_words = ("distinct_1", "distinct_2", "repeated_4grams")
        columns.append(
            {
                "id": question,
                "cluster": cluster,
                "repeat": repeat,
                "status": "ok",
                "finish_reason": "eos" if repeat else "length",
                "text_sha256": f"{score}",
                **dict.fromkeys(means, score),
                **dict.fromkeys(own_words, 0.5),
                "n_words": 10.0 * (repeat + 1),
                "n_ref_words": 10.0,
                **dict(zip(BLEU_STATISTICS, sums, strict=True)),
                **dict(zip(CHRF_STATISTICS, 6 * [100.0, 110.0, score], strict=True)),
            }
        )
    return Scored(run="r", scores=pd.DataFrame(columns), manifest={})


def of(rows, metric):
    [row] = [row for row in rows if row["metric"] == metric]
    return row


def test_mean_weighs_questions_not_answers():
    """Question a has two answers of mean 20, question b one of 50: 35, where the rows give 30."""
    row = of(estimates(scored(("a", "a", 10.0), ("a", "a", 30.0), ("b", "b", 50.0))), "rougeL")
    assert row["mean"] == 35
    assert (row["n"], row["answers"]) == (2, 3)


def test_near_duplicate_questions_count_once():
    """Cluster x has questions of 10 and 30, cluster y one of 50: the mean of 20 and 50."""
    row = of(estimates(scored(("a", "x", 10.0), ("b", "x", 30.0), ("c", "y", 50.0))), "rougeL")
    assert row["mean"] == 35
    assert row["n"] == 2


def test_duplicated_rows_leave_estimate_and_interval_unchanged():
    once = [("a", "a", 10.0), ("b", "b", 30.0), ("c", "c", 35.0)]
    for metric in ("rougeL", "corpus_bleu"):
        single, double = (of(estimates(scored(*rows)), metric) for rows in (once, once + once))
        for name in ("mean", "ci_low", "ci_high"):
            assert double[name] == pytest.approx(single[name], abs=1e-9)


def test_order_of_rows_changes_nothing():
    rows = [("a", "a", 10.0), ("b", "b", 30.0), ("a", "a", 20.0), ("c", "c", 35.0)]
    ordered, reversed_ = scored(*rows), scored(*rows[::-1])
    for metric in ("rougeL", "corpus_bleu"):
        ours, theirs = (of(estimates(run), metric) for run in (ordered, reversed_))
        assert ours["mean"] == pytest.approx(theirs["mean"], abs=1e-12)
        assert ours["ci_high"] == pytest.approx(theirs["ci_high"], abs=1e-12)


def test_differences_pair_questions_and_leave_out_those_scored_on_one_side_only():
    """b is blank for the setting, e for greedy, and d is new: a moves by 5, c by -1."""
    blank = float("nan")
    setting = scored(
        ("c", "c", 34.0), ("a", "a", 15.0), ("b", "b", blank), ("d", "d", 9.0), ("e", "e", 8.0)
    )
    greedy = scored(("a", "a", 10.0), ("b", "b", 20.0), ("c", "c", 35.0), ("e", "e", blank))
    assert differences(setting, greedy).tolist() == [5, -1]


def test_question_missing_on_one_side_does_not_bias_its_cluster():
    """Cluster x lost its easy question b: a moved by 0, so the cluster did, not by 10 - 30."""
    setting = scored(("a", "x", 10.0), ("b", "x", float("nan")), ("c", "y", 35.0))
    greedy = scored(("a", "x", 10.0), ("b", "x", 50.0), ("c", "y", 35.0))
    assert differences(setting, greedy).tolist() == [0, 0]


def test_corpus_bleu_is_that_of_the_sums_and_not_a_mean_of_rows():
    run = scored(("a", "a", 80.0), ("b", "b", 40.0))
    assert of(estimates(run), "corpus_bleu")["mean"] == pytest.approx(
        corpus_bleu([120, 60, 30, 15, 200, 198, 196, 194, 200, 220])
    )


def test_bleu_interval_draws_near_duplicate_questions_together():
    apart = scored(("a", "x", 80.0), ("b", "x", 40.0), ("c", "y", 20.0), ("d", "z", 8.0))
    one = scored(("a", "x", 80.0), ("a", "x", 40.0), ("c", "y", 20.0), ("d", "z", 8.0))
    ours, theirs = (of(estimates(run), "corpus_bleu") for run in (apart, one))
    assert (ours["ci_low"], ours["ci_high"]) == (theirs["ci_low"], theirs["ci_high"])


def test_bleu_difference_of_a_run_from_itself_is_exactly_zero():
    run = scored(("a", "a", 80.0), ("b", "b", 40.0), ("c", "c", 8.0))
    row = of(estimates(run, baseline=run), "corpus_bleu")
    assert (row["delta"], row["delta_low"], row["delta_high"]) == (0, 0, 0)


def test_length_ratio_is_of_sums_and_rates_are_shares_of_the_answers():
    """Words 10 + 20 + 30 for 3 references of 10; the first answer was cut."""
    rows = estimates(scored(("a", "a", 1.0), ("b", "b", 2.0), ("c", "c", 3.0)))
    assert of(rows, "length_ratio")["mean"] == 2
    assert of(rows, "finish_rate")["mean"] == pytest.approx(2 / 3)
    assert of(rows, "empty_rate")["mean"] == 0


def test_reference_that_rouge_cannot_see_is_explained_and_other_metrics_keep_the_answer():
    run = scored(("a", "a", 10.0), ("b", "b", 20.0), ("c", "c", 30.0))
    run.scores.loc[0, "rougeL"] = None
    rows = estimates(run)
    assert of(rows, "rougeL")["note"] == (
        "1 of 3 answers have no score (1 whose reference the metric cannot see); "
        "16.67 with 0 for them, as rouge_score has it"
    )
    assert of(rows, "rougeL")["mean"] == 25
    assert of(rows, "bertscore_f1")["mean"] == 20


def test_one_question_has_a_mean_and_no_interval():
    row = of(estimates(scored(("a", "a", 10.0))), "rougeL")
    assert (row["mean"], row["note"]) == (10, "one question has no interval")
    assert "ci_low" not in row


def test_corpus_chrf_is_that_of_the_sums():
    """Precision 60/100, recall 60/110 at every order: 5 P R / (4 P + R)."""
    row = of(estimates(scored(("a", "a", 80.0), ("b", "b", 40.0))), "corpus_chrf")
    precision, recall = 120 / 200, 120 / 220
    expected = 100 * 5 * precision * recall / (4 * precision + recall)
    assert row["mean"] == pytest.approx(expected)


def test_unique_answers_are_counted_within_a_question():
    """Two equal answers of two are a half; two different ones all: 75%, and c has only one."""
    run = scored(("a", "a", 1.0), ("a", "a", 1.0), ("b", "b", 1.0), ("b", "b", 2.0), ("c", "c", 3))
    row = of(estimates(run), "unique_answers")
    assert (row["mean"], row["n"], row["answers"]) == (0.75, 2, 4)
    single = of(estimates(scored(("a", "a", 1.0), ("b", "b", 1.0))), "unique_answers")
    assert "mean" not in single
    assert single["note"] == "one answer per question has none to differ from"


def test_primary_metric_is_corrected_by_holm_and_the_others_by_benjamini_and_hochberg():
    rows = [{"metric": "rougeL", "p": p} for p in (0.01, 0.04, 0.03, 0.005)]
    rows += [{"metric": "rouge1", "p": p} for p in (0.01, 0.04)]
    rows += [{"metric": "corpus_bleu", "p": p} for p in (0.03, 0.005)]
    rows += [{"metric": "length_ratio"}, {"metric": "rougeL", "p": None}]
    correct(rows)
    assert [row.get("p_holm") for row in rows[:4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [row.get("p_bh") for row in rows[4:8]] == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert all("p_bh" not in row for row in rows[:4])
    assert all("p_holm" not in row for row in rows[4:])


def test_every_tested_metric_has_its_p():
    """All three questions move up: 2 of 2**3 flips, or swaps, reach it."""
    low = scored(("a", "a", 10.0), ("b", "b", 20.0), ("c", "c", 35.0))
    high = scored(("a", "a", 20.0), ("b", "b", 40.0), ("c", "c", 55.0))
    rows = estimates(high, baseline=low)
    for metric in ("rougeL", "rouge2", "bertscore_f1", "corpus_bleu", "corpus_chrf"):
        assert of(rows, metric)["p"] == pytest.approx(0.25), metric
    assert "p" not in of(rows, "distinct_1")


def with_likelihood(run, *rows):
    table = pd.DataFrame(rows, columns=["id", "nats", "tokens", "characters"])
    return Scored(run=run.run, scores=run.scores, manifest={}, likelihood=table)


def test_nll_is_of_all_tokens_together_and_bits_are_of_characters():
    """30 nats over 12 tokens and 40 characters: not the mean of 10/2 and 20/10."""
    run = scored(("a", "a", 1.0), ("b", "b", 2.0))
    rows = likelihoods(with_likelihood(run, ("a", 10.0, 2, 10), ("b", 20.0, 10, 30)))
    assert of(rows, "nll")["mean"] == pytest.approx(2.5)
    assert of(rows, "bits_per_character")["mean"] == pytest.approx(30 / 0.693147181 / 40)
    assert of(rows, "nll")["n"] == 2


def test_reference_beyond_the_context_is_counted_and_left_out_on_both_sides():
    blank = float("nan")
    run = scored(("a", "a", 1.0), ("b", "b", 2.0), ("c", "c", 3.0))
    ours = with_likelihood(run, ("a", 4.0, 2, 9), ("b", 6.0, 2, 9), ("c", blank, blank, 9))
    base = with_likelihood(run, ("a", 8.0, 2, 9), ("b", 8.0, 2, 9), ("c", 9.0, 2, 9))
    row = of(likelihoods(ours, baseline=base), "nll")
    assert (row["mean"], row["n"], row["missing"]) == (2.5, 2, 1)
    assert row["note"] == "1 of 3 references are longer than the context"
    assert row["delta"] == pytest.approx(2.5 - 4.0)


def test_likelihood_that_was_not_measured_is_blank_and_says_so():
    row = of(likelihoods(scored(("a", "a", 1.0), ("b", "b", 2.0))), "nll")
    assert row["note"] == "not measured"
    assert "mean" not in row


def test_repeats_do_not_weigh_in_what_two_runs_exchange():
    """Three equal answers to each question against one: the p of one answer against one."""
    low = [
        (name, name, score) for name, score in zip("abcdef", (8, 10, 20, 30, 35, 44), strict=True)
    ]
    high = [(name, name, score + 9.0 + place) for place, (name, _, score) in enumerate(low)]
    once, thrice = (of(estimates(scored(*high * n), baseline=scored(*low)), m)["p"]
                    for n, m in ((1, "corpus_bleu"), (3, "corpus_bleu")))  # fmt: skip
    assert once == thrice == 2 / 2**6
