"""Runs of thirteen words that a test answer shares with the rows of training."""

from collections import Counter

import pytest

from alpaca_lab.rows.contamination import Overlap, overlaps

LETTERS = "a b c d e f g h i j k l m n o"


def test_share_counts_the_answers_different_runs():
    # 15 words have 3 runs of 13; the text holds the first 14 words, so the first two.
    [found] = overlaps([LETTERS], ["x", f"before {LETTERS[:-2]} after"])
    assert (found.grams, found.shared, found.text) == (3, 2, 1)
    assert found.share == 2 / 3 and found.verdict == "shared"
    assert found.words == LETTERS[:25]


def test_run_that_stands_twice_counts_once():
    again = " ".join(["la"] * 20)
    assert overlaps([again], [again])[0][:2] == (1, 1)


def test_case_punctuation_and_line_breaks_do_not_hide_a_copy():
    text = "1. A, B; c: d!\n\n2. E (f) G - h? \u201ci\u201d J/k L. M N\u2026"
    plain = "1 a b c d 2 e f g h i j k l m n"
    [found] = overlaps([text], [plain])
    assert (found.shared, found.grams) == (4, 4)


def test_twelve_words_are_too_short_to_tell_and_never_clean():
    twelve, thirteen = LETTERS[:23], LETTERS[:25]
    short, long = overlaps([twelve, thirteen], [LETTERS])
    assert (short.verdict, short.share, short.grams) == ("too short to tell", None, 0)
    assert (long.verdict, long.share) == ("shared", 1.0)


def test_answer_that_shares_nothing_is_said_to():
    [found] = overlaps([LETTERS], ["o n m l k j i h g f e d c b a", ""])
    assert found == Overlap(grams=3, shared=0, text=None, words="")
    assert (found.verdict, found.share) == ("none shared", 0.0)


def test_tags_and_signs_alone_are_no_words():
    tags = "<html><head></head><body><p>+ - * / = & % $</p></body></html>"
    assert overlaps([tags], [tags])[0].verdict == "too short to tell"


def test_first_text_that_shares_is_named():
    found = overlaps([LETTERS, "nothing"], ["x", LETTERS, LETTERS])
    assert [item.text for item in found] == [1, None]


def test_two_answers_may_share_the_same_run():
    assert [item.shared for item in overlaps([LETTERS, LETTERS], [LETTERS])] == [3, 3]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_runs_of_another_length_agree_with_a_plain_count(n):
    text = "the cat saw the dog and the dog saw the cat"
    answer = "a dog and the dog saw the bird"

    def runs(words):
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    own, other = runs(answer.split()), runs(text.split())
    assert overlaps([answer], [text], n=n)[0][:2] == (len(own), len(own & other))


def test_every_text_is_counted_for_the_bar():
    seen = Counter()
    overlaps([], iter(["a", "b"]), seen=lambda: seen.update(n=1))
    assert seen["n"] == 2
