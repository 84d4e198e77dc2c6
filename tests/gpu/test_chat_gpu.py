"""A chat on a GPU, where a step is asked for before the tokens of the last one are read."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from alpaca_lab import adapters
from alpaca_lab.chat.choices import Choices
from alpaca_lab.chat.session import Question, open_session
from alpaca_lab.profiles import MODELS

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

QUESTION = Question(instruction="Tell me a story about a monkey.")
CHOICES = {
    "greedy": Choices(max_new_tokens=60),
    "sampled": Choices(max_new_tokens=60, temperature=0.7),
    "top_k": Choices(max_new_tokens=60, top_k=4),
}


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-mistral", "tiny-phi"])
def session(request):
    return open_session(adapters.Found(spec=MODELS[request.param], folder=None))


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_pieces_are_the_text_and_a_stopped_answer_is_its_beginning(session, choices):
    session._asked.clear()
    pieces = []
    whole = session.ask(QUESTION, choices, hear=pieces.append)
    assert "".join(pieces) == whole.text and len(pieces) > 3
    session._asked.clear()
    said = []
    cut = session.ask(QUESTION, choices, hear=said.append, stopped=lambda: len(said) >= 3)
    assert cut.text == "".join(said) and whole.text.startswith(cut.text)
    session._asked.clear()
    assert session.ask(QUESTION, choices).text == whole.text  # what still flew did no harm


def test_a_search_is_searched_and_stopped(session):
    choices = Choices(num_beams=4, max_new_tokens=30)
    whole = session.ask(QUESTION, choices).text
    assert session.ask(QUESTION, choices, stopped=lambda: True).text == ""
    assert session.ask(QUESTION, choices).text == whole != ""


def test_a_thread_is_answered_as_the_main_one_is(session):
    expected = session.ask(QUESTION, CHOICES["greedy"]).text
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(session.ask, QUESTION, CHOICES["greedy"]).result().text == expected
