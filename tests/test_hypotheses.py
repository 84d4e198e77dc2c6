"""A beam search's decisions, worked by hand."""

import numpy as np
import pytest

from alpaca_lab.decoding.hypotheses import Hypotheses

EOS = 2


def choose(search, *continuations):
    """Offer (score, beam, token) triples, best first."""
    scores, beams, tokens = zip(*continuations, strict=True)
    search.choose(np.float32(scores), np.array(beams), np.array(tokens))


def begun():
    """Two beams after one step, "5" at -1 and "6" at -2."""
    search = Hypotheses(2, budget=4, eos_token_id=EOS)
    assert search.scores[0] == 0 and search.scores[1] < -1e8  # two beams would begin alike
    choose(search, (-1, 0, 5), (-2, 0, 6), (-3, 0, 7), (-4, 0, 8))
    return search


def test_the_best_continuations_go_on_from_their_beams():
    search = begun()
    choose(search, (-1.5, 1, 9), (-1.75, 0, 9), (-3, 0, 4), (-4, 1, 4))
    assert search.parents.tolist() == [1, 0]
    assert search.tokens[:, :2].tolist() == [[6, 9], [5, 9]]
    assert search.scores.tolist() == [-1.5, -1.75]
    assert search.is_open and not search.ended


def test_a_beam_that_ends_makes_room_for_the_next_best():
    search = begun()
    choose(search, (-1.5, 0, EOS), (-2.5, 0, 4), (-2.75, 1, 4), (-4, 1, 5))
    assert search.ended == [(-0.75, [5, EOS])]  # the mean over its two tokens
    assert search.tokens[:, :2].tolist() == [[5, 4], [6, 4]]
    assert search.is_open  # one of two has ended


def test_only_the_first_num_beams_continuations_may_end():
    search = begun()
    choose(search, (-1.5, 0, 4), (-2.5, 1, 4), (-2.75, 0, EOS), (-4, 1, EOS))
    assert not search.ended


@pytest.mark.parametrize(("best", "is_open"), [(-2.0, False), (-1.0, True)])
def test_it_is_over_when_no_beam_can_still_beat_the_worst_that_ended(best, is_open):
    """Ended at -0.75 and -2.25 / 3 = -0.75; a beam of three tokens beats that above -2.25."""
    search = begun()
    choose(search, (-1.5, 0, EOS), (-1.6, 0, 4), (-1.7, 1, 4), (-4, 1, 5))
    choose(search, (-1.9, 0, EOS), (best - 0.26, 0, 4), (-3, 1, 4), (-4, 1, 5))
    worst = search.ended[-1][0]
    assert worst == np.float32(-1.5) / np.float32(2)
    assert search.is_open == ((best - 0.26) / 3 > worst) == is_open


def test_the_budget_ends_all_and_the_best_mean_wins():
    search = Hypotheses(2, budget=2, eos_token_id=EOS)
    choose(search, (-1, 0, 5), (-2, 0, 6), (-3, 0, 7), (-4, 0, 8))
    choose(search, (-1.2, 1, 9), (-1.4, 0, EOS), (-3, 0, 4), (-4, 1, 4))
    assert not search.is_open
    assert search.best == [6, 9]
    assert [tokens for _, tokens in search.ended] == [[6, 9], [5, EOS]]


def test_of_equals_the_earlier_stays_ahead():
    search = begun()
    choose(search, (-2, 0, EOS), (-2, 1, EOS), (-3, 0, 4), (-3, 1, 4))
    assert [tokens[0] for _, tokens in search.ended] == [5, 6]
