"""Shared n-grams as integers against the libraries' counts of tuples."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from alpaca_lab.metrics import bleu_chrf
from alpaca_lab.metrics.overlap import shared_ngrams

LETTERS = st.text(alphabet="ab -\nÀ你\u2028😀.,1&", max_size=60)
ITEMS = st.lists(st.sampled_from("abc"), max_size=20)


def counted(answer, reference, order):
    """The definition: n-grams as tuples, each as often as in both."""
    grams = [
        Counter(tuple(side[i : i + order]) for i in range(len(side) - order + 1))
        for side in (answer, reference)
    ]
    return (grams[0] & grams[1]).total()


@given(ITEMS, ITEMS)
def test_each_n_gram_is_shared_as_often_as_both_have_it(answer, reference):
    wanted = [counted(answer, reference, order) for order in range(1, 7)]
    assert shared_ngrams(answer, reference, orders=6) == wanted


@pytest.mark.parametrize("different", [1073, 1074, 1075, 3000])
def test_more_different_items_than_an_integer_has_room_for_are_counted_too(different):
    """1,074 letters to the power of 6, times 6, is just below 2**63."""
    draw = random.Random(different)
    text = [chr(0x4E00 + i) for i in range(different)]
    other = draw.choices(text, k=200) + text[100:300]
    wanted = [counted(text, other, order) for order in range(1, 7)]
    assert wanted[5] > 0
    assert shared_ngrams(text, other, orders=6) == wanted


@given(LETTERS, LETTERS)
def test_sentence_bleu_and_its_counts_are_sacrebleus(answer, reference):
    library = BLEU(tokenize="13a", smooth_method="exp", effective_order=True)
    wanted = library.sentence_score(answer, [reference])
    found = bleu_chrf.bleu(answer, reference=reference)
    counts = [*wanted.counts, *wanted.totals, wanted.sys_len, wanted.ref_len]
    assert [found[name] for name in bleu_chrf.BLEU_STATISTICS] == counts
    if wanted.ref_len:
        assert found["bleu"] == wanted.score


@given(LETTERS, LETTERS)
def test_chrf_counts_are_sacrebleus(answer, reference):
    [wanted] = CHRF()._extract_corpus_statistics([answer], [[reference]])
    found = bleu_chrf.chrf(answer, reference=reference)
    assert [found[name] for name in bleu_chrf.CHRF_STATISTICS] == wanted
