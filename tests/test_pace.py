"""What a bar says of the pace: a clock that the test sets, and numbers worked by hand."""

import pytest

from alpaca_lab.config import DecodeSetting
from alpaca_lab.decoding.pace import Pace
from alpaca_lab.sweep import Cell

GREEDY, COLD, WIDE = (
    Cell(name=name, axis=None, value=None, setting=DecodeSetting(num_beams=beams), repeats=1)
    for name, beams in (("greedy", 1), ("temperature=0.25", 1), ("num_beams=8", 8))
)


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def decode(pace, cell, *, answers, seconds, tokens):
    """Finish so many answers of a pass, one after the other."""
    for _ in range(answers):
        pace.clock.seconds += seconds
        pace.add(cell, new_tokens=tokens)


def test_nothing_is_told_before_there_is_a_rate(clock):
    pace = Pace({GREEDY: 5, COLD: 0}, clock)
    assert str(pace) == "1 of 2 cells"
    pace.begin([GREEDY, COLD])
    decode(pace, GREEDY, answers=1, seconds=300, tokens=40)
    assert str(pace) == "1 of 2 cells", "loading is not decoding"


def test_an_answer_counts_as_many_times_as_it_has_beams(clock):
    pace = Pace({GREEDY: 12, COLD: 9, WIDE: 5}, clock)
    pace.begin([GREEDY, COLD])
    decode(pace, GREEDY, answers=11, seconds=0.5, tokens=60)
    # 1 greedy and 9 sampled answers of one row, 5 of eight: 50 rows at 2 rows per second.
    assert str(pace) == "00:25 left, 120 tokens/s, 0 of 3 cells"
    decode(pace, GREEDY, answers=1, seconds=0.5, tokens=60)
    assert "1 of 3 cells" in str(pace)


def test_the_rate_is_that_of_the_last_seconds(clock):
    pace = Pace({GREEDY: 1000}, clock)
    pace.begin([GREEDY, COLD])
    decode(pace, GREEDY, answers=101, seconds=1, tokens=10)
    decode(pace, GREEDY, answers=99, seconds=0.25, tokens=10)
    assert str(pace) == "03:20 left, 40 tokens/s, 0 of 1 cells"


def test_slow_answers_are_told_from_the_last_few(clock):
    pace = Pace({WIDE: 20}, clock)
    pace.begin([WIDE])
    decode(pace, WIDE, answers=12, seconds=60, tokens=120)
    assert str(pace) == "08:00 left, 2 tokens/s, 0 of 1 cells, num_beams=8"


def test_what_lies_between_two_passes_is_not_decoding(clock):
    pace = Pace({GREEDY: 11, WIDE: 10}, clock)
    pace.begin([GREEDY])
    decode(pace, GREEDY, answers=11, seconds=1, tokens=50)
    clock.seconds += 600
    pace.begin([WIDE])
    assert str(pace) == "01:20 left, 50 tokens/s, 1 of 2 cells, num_beams=8"
    decode(pace, WIDE, answers=1, seconds=30, tokens=50)
    assert str(pace) == "01:12 left, 50 tokens/s, 1 of 2 cells, num_beams=8"
    decode(pace, WIDE, answers=9, seconds=16, tokens=48)
    assert str(pace) == "00:00 left, 3 tokens/s, 2 of 2 cells, num_beams=8"


def test_at_the_end_the_whole_process_is_told(clock):
    pace = Pace({GREEDY: 0, WIDE: 0}, clock)
    assert pace.ended(1234.5) == "1,234 tokens/s, 2 of 2 cells"
    assert pace.ended(None) == "2 of 2 cells", "nothing was decoded"
