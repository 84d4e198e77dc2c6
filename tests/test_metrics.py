"""Scores worked by hand, or equal to the library's on texts of every kind; see test_vectors too."""

import gzip
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import sacrebleu
from sacrebleu.metrics import CHRF

from alpaca_lab.metrics import bleu_chrf, rouge, text_scores

DATA = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
SCORES = (*rouge.ROUGE_TYPES, "bleu", "chrf")
TEXTS = [
    "Paris",
    "42",
    "a",
    "?!",
    "Two lines.\r\nThe second\tends here. \n",
    "zero\u200bwidth \u200d\ufeff and \x00 control \x07 \x1b[0m",
    "😀 👨‍👩‍👧 naïve café — “quoted” … 3.14%",
    "مرحبا بالعالم، كيف حالك؟",
    "你好，世界。今天天气很好！",
    "Привет, мир! Как дела?",
    "def f(x):\n    return x ** 2  # <b>&quot;html&quot;</b>\n",
    "word " * 3000,
    "-\n- item one\n- item two",
    "\ud800 half a pair",
]


def sums_of(answers, references, score, names):
    rows = [score(a, reference=r) for a, r in zip(answers, references, strict=True)]
    return [sum(row[name] for row in rows) for name in names]


def test_bleu_of_the_reference_itself_is_100_even_when_it_is_one_word():
    assert bleu_chrf.bleu("Paris", reference="Paris")["bleu"] == pytest.approx(100)


def test_bleu_counts_are_those_worked_by_hand():
    found = bleu_chrf.bleu("a b a b a b", reference="a b c")
    # "a" and "b" match once each, "a b" once; the reference has no more of them.
    assert [found[name] for name in bleu_chrf.BLEU_STATISTICS] == [2, 1, 0, 0, 6, 5, 4, 3, 6, 3]


def test_chrf_counts_and_score_are_those_worked_by_hand():
    """Letters "abab" against "abc": 2 of 4 and 2 of 3; "ab" 1 of 3 and 1 of 2; nothing further.

    Means over the orders that both have, 1 to 3: P (1/2 + 1/3) / 3, R (2/3 + 1/2) / 3.
    """
    found = bleu_chrf.chrf("ab ab", reference="a b c")
    counts = [found[name] for name in bleu_chrf.CHRF_STATISTICS]
    assert counts == [4, 3, 2, 3, 2, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    precision, recall = (1 / 2 + 1 / 3) / 3, (2 / 3 + 1 / 2) / 3
    by_hand = 100 * 5 * precision * recall / (4 * precision + recall)
    assert found["chrf"] == pytest.approx(by_hand)


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
    (["a", "bb", ""], ["a", "b", "c"]),  # orders that only one side has
    (["abcdefgh", "a"], ["a", "abcdefgh"]),
    (TEXTS, TEXTS[1:] + TEXTS[:1]),
]


@pytest.mark.parametrize(("answers", "references"), CORPORA)
def test_corpus_scores_of_summed_statistics_are_those_of_the_texts(answers, references):
    sums = sums_of(answers, references, bleu_chrf.bleu, bleu_chrf.BLEU_STATISTICS)
    expected = sacrebleu.corpus_bleu(answers, [references]).score
    assert bleu_chrf.corpus_bleu(sums) == pytest.approx(expected, abs=1e-9)
    sums = sums_of(answers, references, bleu_chrf.chrf, bleu_chrf.CHRF_STATISTICS)
    expected = CHRF().corpus_score(answers, [references]).score
    assert bleu_chrf.corpus_chrf(sums) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_corpus_chrf_of_random_short_texts_is_sacrebleus(seed):
    """Short ones, so that some orders are empty on one side or on both."""
    draw = random.Random(seed)

    def texts():
        return ["".join(draw.choices("ab é\n", k=draw.randrange(9))) for _ in range(3)]

    answers, references = texts(), texts()
    sums = sums_of(answers, references, bleu_chrf.chrf, bleu_chrf.CHRF_STATISTICS)
    expected = CHRF().corpus_score(answers, [references]).score
    assert bleu_chrf.corpus_chrf(sums) == pytest.approx(expected, abs=1e-9)


@pytest.mark.skipif(not DATA, reason="ALPACA_LAB_REFERENCE_DATA is not set")
def test_corpus_scores_of_a_public_models_answers_are_sacrebleus():
    path = Path(DATA) / "heldout" / "selfinstruct_252_refs_and_outputs.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    references = [row["reference"] for row in rows]
    answers = [row["outputs"]["alpaca-7b"] for row in rows]
    sums = sums_of(answers, references, bleu_chrf.chrf, bleu_chrf.CHRF_STATISTICS)
    expected = CHRF().corpus_score(answers, [references]).score
    assert bleu_chrf.corpus_chrf(sums) == pytest.approx(expected, abs=1e-9)
    for answer, reference in zip(answers[:50], references[:50], strict=True):
        expected = CHRF().sentence_score(answer, [reference]).score
        assert bleu_chrf.chrf(answer, reference=reference)["chrf"] == pytest.approx(expected)


STATISTICS = [
    (bleu_chrf.corpus_bleu, bleu_chrf.BLEU_STATISTICS),
    (bleu_chrf.corpus_chrf, bleu_chrf.CHRF_STATISTICS),
]


@pytest.mark.parametrize(("statistic", "names"), STATISTICS)
def test_many_corpora_at_once_are_the_corpora_one_by_one(statistic, names):
    sums = np.random.default_rng(0).integers(0, 40, size=(2, 25, len(names))).astype(float)
    if statistic is bleu_chrf.corpus_bleu:
        sums[..., 4:8] += sums[..., :4]
    else:
        sums[..., 0::3] += sums[..., 2::3]
        sums[..., 1::3] += sums[..., 2::3]
    sums[0, 0] = 0
    together = statistic(sums)
    assert together.shape == (2, 25)
    one_by_one = [statistic(row) for row in sums.reshape(50, -1)]
    assert together.ravel().tolist() == pytest.approx(one_by_one)
    assert together[0, 0] == 0


@pytest.mark.parametrize(("statistic", "names"), STATISTICS)
def test_a_failed_answer_is_not_summed_into_a_corpus_in_silence(statistic, names):
    with pytest.raises(ValueError, match="NaN"):
        statistic([math.nan] * len(names))
    with pytest.raises(ValueError, match=f"{len(names)} sums"):
        statistic([1, 2, 3])


def test_repetition_is_that_worked_by_hand():
    """'a b a b a b': 2 words of 6, 2 bigrams of 5; of abab, baba, abab one is a repeat."""
    found = text_scores.text_scores("a b a b a b", reference="c")
    names = ("distinct_1", "distinct_2", "repeated_4grams")
    assert [found[name] for name in names] == pytest.approx([2 / 6, 2 / 5, 1 / 3])


def test_length_is_counted_in_words():
    found = text_scores.text_scores("one two\nthree\t four ", reference="five\r\nsix")
    assert (found["n_words"], found["n_ref_words"]) == (4, 2)


def test_an_empty_answer_scores_zero_and_has_no_repetition_to_measure():
    found = text_scores.text_scores(" \n", reference="Paris, France")
    zero = (*SCORES, "n_words")
    assert [found[name] for name in zero] == [0] * len(zero)
    undefined = ("distinct_1", "distinct_2", "repeated_4grams")
    assert all(math.isnan(found[name]) for name in undefined)


@pytest.mark.parametrize("text", TEXTS)
def test_the_reference_itself_scores_100_or_is_undefined_and_never_zero(text):
    found = text_scores.text_scores(text, reference=text)
    for name in SCORES:
        assert math.isnan(found[name]) or found[name] == pytest.approx(100), name
    assert (found["bleu"], found["chrf"]) == pytest.approx((100, 100))
    assert math.isnan(found["rougeL"]) is not found["rouge_defined"]
    assert math.isnan(found["rouge2"]) is not found["rouge2_defined"]


@pytest.mark.parametrize("text", TEXTS)
def test_scores_of_any_two_texts_are_in_their_range_or_undefined(text):
    for other in (*TEXTS, ""):
        found = text_scores.text_scores(other, reference=text)
        for name in SCORES:
            assert math.isnan(found[name]) or 0 <= found[name] <= 100 + 1e-9, name


def test_what_a_reference_lacks_is_flagged():
    flags, texts = ("rouge_defined", "rouge2_defined"), ("你好", "one", "one two")
    seen = {text: text_scores.text_scores("x", reference=text) for text in texts}
    assert [tuple(scores[name] for name in flags) for scores in seen.values()] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_a_reference_that_bleus_tokenizer_deletes_is_undefined():
    """13a drops the marker of the shared tasks it comes from: nothing is left to match."""
    assert math.isnan(bleu_chrf.bleu("<skipped>", reference="<skipped>")["bleu"])
    assert math.isnan(bleu_chrf.chrf("", reference="")["chrf"])


def test_line_ends_of_either_kind_score_alike():
    unix, windows = "One.\nTwo three.\n", "One.\r\nTwo three.\r\n"
    gold = "One two.\nThree."
    found, expected = (text_scores.text_scores(text, reference=gold) for text in (windows, unix))
    assert found == pytest.approx(expected, nan_ok=True)


def test_an_empty_reference_is_refused():
    with pytest.raises(ValueError, match="reference is empty"):
        text_scores.text_scores("anything", reference=" ")


def test_the_prompt_inflates_rouge():
    """Why the docstring says to pass the answer alone."""
    prompt = "Name the capital of France in one word."
    assert rouge.rouge("Berlin", reference="Paris")["rougeL"] == 0
    assert rouge.rouge(f"{prompt} Berlin", reference=f"{prompt} Paris")["rougeL"] > 80


def test_every_number_of_a_table_has_its_own_signature():
    libraries = {*SCORES, "corpus_bleu", "corpus_chrf"}
    counted = {"length_ratio", "finish_rate", "empty_rate", "distinct_1", "distinct_2"}
    counted |= {"repeated_4grams", "unique_answers", "nll", "bits_per_character"}
    assert set(text_scores.SIGNATURES) == libraries | counted
    assert len(set(text_scores.SIGNATURES.values())) == len(text_scores.SIGNATURES)
    for name in ("corpus_bleu", "bleu", "corpus_chrf", "chrf"):
        assert f"version:{sacrebleu.__version__}" in text_scores.SIGNATURES[name]
    assert "eff:no" in text_scores.SIGNATURES["corpus_bleu"]
    assert "eff:yes" in text_scores.SIGNATURES["bleu"]
    assert all("lib:rouge_score-" in text_scores.SIGNATURES[name] for name in rouge.ROUGE_TYPES)
