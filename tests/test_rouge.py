"""ROUGE's faster subsequence against rouge_score's table: the same numbers, to the last bit."""

import gzip
import json
import math
import os
import random
import tracemalloc
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from alpaca_lab.metrics import rouge as rouge_module
from alpaca_lab.metrics.rouge import ROUGE_TYPES, lcs_length, lcs_positions, rouge, rouge_defined

DATA = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
LIBRARY = RougeScorer(list(ROUGE_TYPES), use_stemmer=False)
SEPARATORS = (" ", " ", " ", "\n", "\r\n", "\t", ", ", "\n\n", "\u200b", "\u2028", "\x0b")
WORDS = ("a", "b", "B", "c7", "İstanbul", "naïve", "Straße", "你好", "Привет", "😀", "_", "")


def library(answer, reference):
    scores = LIBRARY.score(target=reference, prediction=answer)
    return {name: 100 * scores[name].fmeasure for name in ROUGE_TYPES}


def expected(answer, reference):
    """What the library says, blank where its 0 says nothing of the answer."""
    found = library(answer, reference)
    if not rouge_defined(reference):
        found = dict.fromkeys(found, math.nan)
    if not rouge_defined(reference, order=2):
        found["rouge2"] = math.nan
    return found


@pytest.mark.parametrize("seed", range(10))
def test_random_texts_score_what_rouge_score_gives_them(seed):
    draw = random.Random(seed)

    def text():
        vocabulary = draw.sample(WORDS, draw.randint(1, len(WORDS)))
        parts = (
            draw.choice(vocabulary) + draw.choice(SEPARATORS) for _ in range(draw.randrange(30))
        )
        return "".join(parts)

    for _ in range(200):
        answer, reference = text(), text()
        found = rouge(answer, reference=reference)
        assert found == pytest.approx(expected(answer, reference), abs=0, rel=0, nan_ok=True)


@pytest.mark.skipif(not DATA, reason="ALPACA_LAB_REFERENCE_DATA is not set")
def test_answers_of_public_models_score_what_rouge_score_gives_them():
    path = Path(DATA) / "heldout" / "selfinstruct_252_refs_and_outputs.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    compared = 0
    for row in rows:
        for answer in row["outputs"].values():
            if len(answer) * len(row["reference"]) > 400_000:  # the library needs a second for each
                continue
            found = rouge(answer, reference=row["reference"])
            want = expected(answer, row["reference"])
            assert found == pytest.approx(want, abs=0, rel=0, nan_ok=True), row["id"]
            compared += 1
    assert compared > 2000


def table_length(gold, words):
    """The textbook's table, a row at a time."""
    row = [0] * (len(words) + 1)
    for mine in gold:
        diagonal = 0
        for j, word in enumerate(words, start=1):
            longer = diagonal + 1 if mine == word else max(row[j], row[j - 1])
            diagonal, row[j] = row[j], longer
    return row[-1]


def test_the_length_is_that_of_the_textbooks_table():
    draw = random.Random(0)
    for _ in range(300):
        gold, words = (draw.choices("abcd", k=draw.randrange(90)) for _ in range(2))
        assert lcs_length(gold, words) == table_length(gold, words)


@pytest.mark.parametrize(
    ("gold", "words", "positions"),
    [
        ("abcb", "bcab", {1, 2, 3}),  # "bcb"; "ab" would be shorter
        ("aba", "aca", {0, 2}),
        ("abc", "xyz", set()),
        ("", "abc", set()),
        ("abc", "", set()),
        ("ab", "ba", {0}),  # "a" or "b": either keeps the length, so `gold` is shortened
    ],
)
def test_the_positions_are_those_worked_by_hand(gold, words, positions):
    assert lcs_positions(gold, words) == positions
    assert lcs_length(gold, words) == len(positions)


@pytest.mark.parametrize("words", ["ab", "abcdefgh"])
def test_a_long_text_is_walked_in_blocks_to_the_same_positions(words, monkeypatch):
    draw = random.Random(0)
    for _ in range(200):
        gold, said = (draw.choices(words, k=draw.randrange(60)) for _ in range(2))
        monkeypatch.setattr(rouge_module, "SHORT", 1000)
        at_once = lcs_positions(gold, said)
        monkeypatch.setattr(rouge_module, "SHORT", 3)
        assert lcs_positions(gold, said) == at_once
        assert lcs_length(gold, said) == len(at_once)


def test_memory_does_not_grow_with_the_square_of_the_length():
    """All columns of two texts of 20,000 words would be 50 MB; here it is a few."""
    words = random.Random(0).choices([f"w{n}" for n in range(5000)], k=20_000)
    tracemalloc.start()
    assert lcs_positions(words, words) == set(range(20_000))
    assert lcs_length(words, words) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 25e6


def test_a_reference_of_one_word_has_no_bigram():
    """rouge_score gives 0 even to the reference itself."""
    assert library("Paris", "Paris")["rouge2"] == 0
    found = rouge("Paris", reference="Paris")
    assert math.isnan(found.pop("rouge2"))
    assert set(found.values()) == {100}
    assert rouge("Paris", reference="Paris, France")["rouge2"] == 0  # defined, and missed


@pytest.mark.parametrize("reference", ["Привет", "你好。", "?!", "", "😀"])
def test_a_reference_that_rouge_cannot_see_is_undefined_rather_than_zero(reference):
    assert not rouge_defined(reference)
    scores = rouge(reference, reference=reference)
    assert all(math.isnan(value) for value in scores.values())


def test_a_sentence_is_a_line():
    """Two words swap lines: as sentences all is found, as one text half of it is."""
    found = rouge("c d\na b", reference="a b\nc d")
    assert (found["rougeL"], found["rougeLsum"]) == (50, 100)
    assert rouge("c d. a b.", reference="a b. c d.")["rougeLsum"] == 50


def test_no_word_of_an_answer_counts_twice():
    """Worked by hand: "a b" of the answer serves one line of the two; P 2/2, R 2/4."""
    assert rouge("a b", reference="a b\na b")["rougeLsum"] == pytest.approx(200 / 3)


def test_answers_of_ten_thousand_words_are_scored_at_once():
    """The library's table for them has 10**8 cells, of 8 bytes each."""
    words = [f"w{i % 997}" for i in range(10_000)]
    text = " ".join(words)
    assert set(rouge(text, reference=text).values()) == {100}
    loop = rouge("again\n" * 10_000, reference="again\n" * 10_000)
    assert loop["rougeLsum"] == 100
    halved = rouge(" ".join(words[::2]), reference=text)
    assert halved["rougeL"] == pytest.approx(200 / 3)  # P 1, R 1/2
