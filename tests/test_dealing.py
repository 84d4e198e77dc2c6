"""Questions dealt to the processes of a launch: each answer once, the longest questions first."""

import pytest

from alpaca_lab import ranks
from alpaca_lab.config import DecodeSetting
from alpaca_lab.decoding import dealing
from alpaca_lab.runs import Run
from alpaca_lab.sweep import Cell

QUESTIONS = [
    {"id": f"q{n}", "instruction": "", "input": "", "reference": "x" * (length - 1)}
    for n, length in enumerate((2, 7, 9, 4, 8))
]
GREEDY = Cell(name="greedy", axis=None, value=None, setting=DecodeSetting(), repeats=1)
THRICE = Cell(name="t", axis="top_k", value=1, setting=DecodeSetting(), repeats=3)
BEAMS = Cell(
    name="num_beams=2", axis="num_beams", value=2, setting=DecodeSetting(num_beams=2), repeats=1
)


@pytest.fixture
def of_two(monkeypatch):
    """Deal as one of two processes does, whose first says what is lacking."""

    def shares(rank, passes):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setattr(ranks, "agree", lambda make: make())
        return dealing.deal(passes, QUESTIONS)

    return shares


def test_one_process_answers_all_in_their_order(tmp_path):
    [share] = dealing.deal([{GREEDY: Run(tmp_path)}], QUESTIONS)
    assert share == [(n, [(GREEDY, 0)]) for n in range(5)]


def test_the_longest_question_goes_first_and_each_goes_to_one_process(of_two, tmp_path):
    """Sizes 2, 7, 9, 4, 8: 9 to the one, 8 to the other, 7 to it, 4 and 2 to the first: 15, 15."""
    passes = [{GREEDY: Run(tmp_path / "a"), THRICE: Run(tmp_path / "b")}]
    numbers = [[asked.number for asked in of_two(rank, passes)[0]] for rank in (0, 1)]
    assert numbers == [[0, 2, 3], [1, 4]]
    asked = of_two(1, passes)[0][0]
    assert asked.answers == [(GREEDY, 0), (THRICE, 0), (THRICE, 1), (THRICE, 2)]


def test_what_is_answered_is_not_dealt_again(of_two, tmp_path):
    run = Run(tmp_path)
    for repeat in (0, 2):
        run.append({"id": "q1", "repeat": repeat})
    run.append({"id": "q1", "repeat": 1})
    run.append({"id": "q4", "repeat": 1})
    dealt = of_two(0, [{THRICE: run}])[0] + of_two(1, [{THRICE: run}])[0]
    assert sorted(asked.number for asked in dealt) == [0, 2, 3, 4]
    assert dict(dealt)[4] == [(THRICE, 0), (THRICE, 2)]


def test_a_question_takes_as_long_as_it_has_rows(tmp_path):
    """A beam search over two beams weighs twice, three answers thrice."""
    asked = dealing.Asked(1, [(BEAMS, 0), *((THRICE, n) for n in range(3))])
    assert dealing._size(asked, QUESTIONS[1]) == 7 * (2 + 3)
