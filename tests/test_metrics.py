"""Scores against published vectors and values worked by hand."""

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

from alpaca_lab import metrics

DATA = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="ALPACA_LAB_REFERENCE_DATA is not set")

# reference, answer, name, F1. google-research rouge/rouge_scorer_test.py (Apache-2.0).
ROUGE_VECTORS = [
    ("testing one two", "testing", "rouge1", 1 / 2),
    ("testing one two", "testing one", "rouge2", 2 / 3),
    ("testing one two", "testing one", "rougeL", 4 / 5),
    ("testing one two", "testing two", "rougeL", 4 / 5),
    ("testing one two", "", "rougeL", 0.0),
    ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "rougeLsum", 8 / 15),
    # Worked by hand: the longest common subsequence is 5 of 6 and 5 of 5 words, or 1 of 3.
    ("the cat sat on the mat", "The cat on the mat.", "rougeL", 10 / 11),
    ("a b c", "c b a", "rougeL", 1 / 3),
]


@pytest.mark.parametrize(("reference", "answer", "name", "expected"), ROUGE_VECTORS)
def test_rouge_matches_its_published_vectors(reference, answer, name, expected):
    assert metrics.rouge(answer, reference=reference)[name] == pytest.approx(100 * expected)


def test_swapping_answer_and_reference_keeps_the_f1_of_rouge():
    one, two = "testing one two", "testing two and more"
    assert metrics.rouge(one, reference=two) == pytest.approx(metrics.rouge(two, reference=one))


@pytest.mark.parametrize("reference", ["Привет", "你好。", "?!", ""])
def test_a_reference_that_rouge_cannot_see_is_undefined_rather_than_zero(reference):
    assert not metrics.rouge_defined(reference)
    scores = metrics.rouge(reference, reference=reference)
    assert all(math.isnan(value) for value in scores.values())


def test_sentence_bleu_matches_the_vector_of_sacrebleu_issue_98():
    reference = "producţia de zahăr brut se exprimă în zahăr alb;"
    answer = "Producția de zahăr primă va fi exprimată în ceea ce privește zahărul alb;"
    assert metrics.bleu(answer, reference=reference)["bleu"] == pytest.approx(8.493, abs=5e-4)


def test_bleu_of_the_reference_itself_is_100_even_when_it_is_one_word():
    assert metrics.bleu("Paris", reference="Paris")["bleu"] == pytest.approx(100)


def test_bleu_counts_are_those_worked_by_hand():
    found = metrics.bleu("a b a b a b", reference="a b c")
    # "a" and "b" match once each, "a b" once; the reference has no more of them.
    assert [found[name] for name in metrics.BLEU_STATISTICS] == [2, 1, 0, 0, 6, 5, 4, 3, 6, 3]


CORPORA = [
    # The sentences of sacreBLEU's own test against one reference each.
    (
        ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."],
        ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
    ),
    (["", ""], ["one answer", "another"]),  # nothing said
    (["one", "two"], ["one answer", "another"]),  # no bigram proposed: BLEU is 0
    (["x y z w v u"], ["a b c d e f"]),  # nothing matches
    (["a x b y c z"], ["a b c d e f"]),  # three orders without a match are smoothed
    (["a b c d e f g h"], ["a b c d"]),  # longer than its reference: no penalty
    (["Line one\nline two  ", ""], ["Line one. Line two.", "words"]),
]


@pytest.mark.parametrize(("answers", "references"), CORPORA)
def test_corpus_bleu_of_summed_statistics_is_that_of_the_texts(answers, references):
    rows = [
        metrics.bleu(answer, reference=reference)
        for answer, reference in zip(answers, references, strict=True)
    ]
    sums = [sum(row[name] for row in rows) for name in metrics.BLEU_STATISTICS]
    expected = sacrebleu.corpus_bleu(answers, [references]).score
    assert metrics.corpus_bleu(sums) == pytest.approx(expected, abs=1e-9)


def test_corpus_bleu_matches_the_vector_of_the_sacrebleu_readme():
    """48.530827, from its counts over two references: matches, proposals, lengths."""
    answers, references = (
        CORPORA[0][0],
        [
            ["The dog bit the man.", "It was not unexpected.", "The man bit him first."],
            ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."],
        ],
    )
    published = sacrebleu.corpus_bleu(answers, references)
    counts = [*published.counts, *published.totals, published.sys_len, published.ref_len]
    assert metrics.corpus_bleu(counts) == pytest.approx(48.530827, abs=5e-7)


def test_many_corpora_at_once_are_the_corpora_one_by_one():
    sums = np.random.default_rng(0).integers(0, 40, size=(50, 10)).astype(float)
    sums[:, 4:8] += sums[:, :4]
    together = metrics.corpus_bleu(sums)
    assert together.tolist() == pytest.approx([metrics.corpus_bleu(row) for row in sums])


def test_a_failed_answer_is_not_summed_into_corpus_bleu_in_silence():
    with pytest.raises(ValueError, match="NaN"):
        metrics.corpus_bleu([math.nan] * 10)
    with pytest.raises(ValueError, match="10 sums"):
        metrics.corpus_bleu([1, 2, 3])


def test_chrf_is_that_of_sacrebleu_and_100_for_the_reference_itself():
    answer, reference = "The dog bit the man.", "The dog had bit the man."
    assert metrics.chrf(reference, reference=reference) == pytest.approx(100)
    expected = sacrebleu.sentence_chrf(answer, [reference]).score
    assert metrics.chrf(answer, reference=reference) == pytest.approx(expected, abs=1e-9)


def test_repetition_is_that_worked_by_hand():
    """'a b a b a b': 2 words of 6, 2 bigrams of 5; of abab, baba, abab one is a repeat."""
    found = metrics.text_scores("a b a b a b", reference="c")
    names = ("distinct_1", "distinct_2", "repeated_4grams")
    assert [found[name] for name in names] == pytest.approx([2 / 6, 2 / 5, 1 / 3])


def test_an_empty_answer_scores_zero_and_has_no_repetition_to_measure():
    found = metrics.text_scores(" \n", reference="Paris")
    zero = (*metrics.ROUGE_TYPES, "bleu", "chrf", "n_words")
    assert [found[name] for name in zero] == [0] * len(zero)
    undefined = ("distinct_1", "distinct_2", "repeated_4grams")
    assert all(math.isnan(found[name]) for name in undefined)


def test_an_empty_reference_is_refused():
    with pytest.raises(ValueError, match="reference is empty"):
        metrics.text_scores("anything", reference=" ")


def test_the_prompt_inflates_rouge():
    """Why the docstring says to pass the answer alone."""
    prompt = "Name the capital of France in one word."
    assert metrics.rouge("Berlin", reference="Paris")["rougeL"] == 0
    assert metrics.rouge(f"{prompt} Berlin", reference=f"{prompt} Paris")["rougeL"] > 80


def test_every_signature_names_the_library_version_or_is_our_own_counting():
    libraries = {name: text for name, text in metrics.SIGNATURES.items() if "words:" not in text}
    assert set(libraries) == {*metrics.ROUGE_TYPES, "bleu", "corpus_bleu", "chrf"}
    assert f"version:{sacrebleu.__version__}" in libraries["corpus_bleu"]
    assert "eff:no" in libraries["corpus_bleu"] and "eff:yes" in libraries["bleu"]
    assert len(set(metrics.SIGNATURES.values())) == len(metrics.SIGNATURES)


@needs_data
def test_rouge_matches_the_cases_of_google_research():
    path = Path(DATA) / "metric_vectors" / "rouge_google.json"
    cases = [
        case
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]
        if not case["use_stemmer"] and metrics.rouge_defined(case["target"])
    ]
    assert len(cases) >= 10
    for case in cases:
        found = metrics.rouge(case["prediction"], reference=case["target"])[case["rouge_type"]]
        assert found / 100 == pytest.approx(case["fmeasure"], abs=0.6 * 10 ** -case["places"])


@needs_data
def test_rouge_matches_the_original_perl_script():
    """ROUGE-1.5.5.pl on answers of public models; it prints five decimals."""
    outputs = Path(DATA) / "heldout" / "selfinstruct_252_refs_and_outputs.jsonl.gz"
    printed = Path(DATA) / "metric_vectors" / "rouge155_perl_selfinstruct252.jsonl.gz"
    with gzip.open(outputs, "rt", encoding="utf-8") as file:
        tasks = {row["id"]: row for row in map(json.loads, file)}
    compared = 0
    with gzip.open(printed, "rt", encoding="utf-8") as file:
        for perl in map(json.loads, file):
            reference = tasks[perl["id"]]["reference"]
            answer = tasks[perl["id"]]["outputs"][perl["model"]]
            if len(answer) + len(reference) > 500 or not metrics.rouge_defined(reference):
                continue
            found = metrics.rouge(answer, reference=reference)
            for name in metrics.ROUGE_TYPES:
                assert found[name] / 100 == pytest.approx(perl[name][2], abs=2e-5), perl["id"]
            compared += 1
    assert compared > 300
