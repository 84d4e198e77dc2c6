"""A chat's answers: the study's own, token by token, whatever was asked before."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from alpaca_lab import adapters
from alpaca_lab.chat.choices import Choices
from alpaca_lab.chat.session import Question, Session, open_session
from alpaca_lab.config import SettingError
from alpaca_lab.decoding.decoders import ModelDecoder
from alpaca_lab.decoding.jobs import Job
from alpaca_lab.profiles import MODELS

pytestmark = pytest.mark.model

BUDGET = 24
CHOICES = {
    "greedy": Choices(max_new_tokens=BUDGET),
    "sampled": Choices(max_new_tokens=BUDGET, temperature=1.0, seed=7),
    "top_k": Choices(max_new_tokens=BUDGET, top_k=4, seed=7),
    "beams": Choices(max_new_tokens=BUDGET, num_beams=3),
}
ASKED = [
    Question(instruction="What is a monkey?"),
    Question(instruction="Name the mood.", input="Hugo lay ill in bed during the party."),
    Question(instruction="Say naïve € \U0001f600 again, and again."),
]


@pytest.fixture(scope="module", params=["tiny-llama", "tiny-mistral", "tiny-phi"])
def found(request):
    return adapters.Found(spec=MODELS[request.param], folder=None)


@pytest.fixture(scope="module")
def session(found):
    return open_session(found)


@pytest.fixture(autouse=True)
def nothing_asked(request):
    if "session" in request.fixturenames:
        request.getfixturevalue("session")._asked.clear()


def of_the_study(small_study, spec, folder, choices, *, repeat=0):
    """Return the answers' texts as the study's decoder gives them, many side by side."""
    study = replace(small_study, models=(spec,), seed=choices.seed)
    decoder = ModelDecoder(spec, folder, study)
    jobs = [
        Job(
            question=question.id,
            prompt_ids=decoder.encode({"instruction": question.instruction,
                                       "input": question.input}),
            cell="any",
            setting=choices.setting(),
            repeat=repeat,
        )
        for question in ASKED
    ]  # fmt: skip
    by_question = {done.job.question: done for done in decoder.answers(jobs)}
    return [decoder.text(by_question[question.id].ids) for question in ASKED]


@pytest.mark.parametrize("choices", CHOICES.values(), ids=CHOICES)
def test_an_answer_is_the_study_s_answer_and_its_pieces_are_its_text(
    session, found, small_study, choices
):
    expected = of_the_study(small_study, found.spec, None, choices)
    for question, text in zip(ASKED, expected, strict=True):
        pieces = []
        answer = session.ask(question, choices, hear=pieces.append)
        assert answer.text == text
        assert "".join(pieces) == text
        assert len(pieces) > 3 or choices.num_beams > 1


def test_a_finetuned_model_answers_as_its_study_does(adapter, finetuned, small_study):
    spec, choices = finetuned[0].models[0], CHOICES["greedy"]
    session = open_session(adapters.Found(spec=spec, folder=adapter))
    expected = of_the_study(small_study, spec, adapter, choices)
    assert [session.ask(question, choices).text for question in ASKED] == expected
    assert session.title == "Tiny LLaMA, finetuned"


def test_asking_again_draws_anew_and_a_new_session_repeats_the_old(session):
    choices = CHOICES["sampled"]
    first = [session.ask(ASKED[0], choices) for _ in range(3)]
    assert len({answer.text for answer in first}) == 3
    assert [answer.repeat for answer in first] == [0, 1, 2]
    another = Session(session.model, session.tokenizer)
    assert [another.ask(ASKED[0], choices).text for _ in range(3)] == [a.text for a in first]


def test_asking_again_is_another_repeat_of_the_study(session, found, small_study):
    choices = CHOICES["sampled"]
    session.ask(ASKED[0], choices)
    again = session.ask(ASKED[0], choices).text
    assert again == of_the_study(small_study, found.spec, None, choices, repeat=1)[0]


def test_another_setting_meets_the_question_with_the_same_noise(session):
    session.ask(ASKED[0], CHOICES["sampled"])
    assert session.ask(ASKED[0], replace(CHOICES["sampled"], max_new_tokens=4)).repeat == 0


def test_an_answer_that_is_stopped_keeps_what_was_said_and_the_session_goes_on(session):
    choices, pieces = CHOICES["greedy"], []
    whole = session.ask(ASKED[1], choices).text
    answer = session.ask(ASKED[1], choices, hear=pieces.append, stopped=lambda: len(pieces) >= 3)
    assert answer.ended == "stopped"
    assert answer.text == "".join(pieces) and whole.startswith(answer.text)
    assert 0 < len(answer.text) < len(whole) and answer.n_new_tokens < BUDGET
    assert session.ask(ASKED[1], choices).text == whole


def test_threads_are_answered_one_after_the_other_and_as_the_main_one_is(session):
    """A notebook's page asks in threads."""
    expected = [session.ask(question, CHOICES["top_k"]).text for question in ASKED]
    session._asked.clear()
    with ThreadPoolExecutor(3) as threads:
        answers = threads.map(lambda question: session.ask(question, CHOICES["top_k"]), ASKED)
        assert [answer.text for answer in answers] == expected


def test_a_search_that_is_stopped_has_no_answer(session):
    answer = session.ask(ASKED[0], CHOICES["beams"], stopped=lambda: True)
    assert (answer.ended, answer.text, answer.n_new_tokens) == ("stopped", "", 0)


def test_one_engine_serves_all_settings(session):
    for choices in CHOICES.values():
        session.ask(ASKED[0], choices)
    engine = session._engine
    session.ask(ASKED[2], CHOICES["greedy"])
    assert session._engine is engine
    assert session.ask(ASKED[0], Choices(num_beams=20, max_new_tokens=3)).n_new_tokens <= 3
    assert session._engine.rows == 20


def test_what_does_not_fit_the_context_is_refused_with_what_does(session):
    long = Question(instruction="word " * 900)
    with pytest.raises(SettingError, match=r"set max_new_tokens=(\d+) or less, not 2048") as caught:
        session.ask(long, Choices(max_new_tokens=2048))
    most = int(str(caught.value).split("max_new_tokens=")[1].split()[0])
    assert session.ask(long, Choices(max_new_tokens=most), stopped=lambda: True).text == ""
    with pytest.raises(SettingError, match=r"this model attends to 2,048: shorten it"):
        session.ask(Question(instruction="word " * 3000), CHOICES["greedy"])


def test_how_an_answer_ended_is_told(session):
    answer = session.ask(ASKED[0], Choices(max_new_tokens=2))
    assert (answer.ended, answer.n_new_tokens) == ("length", 2)
    assert answer.wall_s > 0
    assert answer.describe().startswith("2 tokens, ")
    assert answer.describe().endswith("cut by max_new_tokens (length); greedy, at most 2 tokens")


def test_tokens_are_heard_once_and_in_order_also_when_an_answer_had_to_leave_its_slot(session):
    """Few columns: answers give theirs back, wait, and read their tokens again."""
    from alpaca_lab.decoding import slots
    from alpaca_lab.engine.engine import Engine

    prompts = [session.tokenizer(f"Say {n} words.").input_ids for n in range(6)]
    jobs = [
        Job(question=str(n), prompt_ids=tuple(ids), cell="", setting=CHOICES["sampled"].setting(),
            repeat=0)
        for n, ids in enumerate(prompts)
    ]  # fmt: skip
    longest = max(map(len, prompts)) + BUDGET
    heard = {job: [] for job in jobs}
    engine = Engine(session.model, rows=6, columns=2 * longest)
    eos = session.tokenizer.eos_token_id
    done = list(
        slots.run(engine, jobs, eos_token_id=eos, seed=0,
                  heard=lambda job, token: heard[job].append(token))
    )  # fmt: skip
    assert len(done) == 6
    for one in done:
        end = [eos] if one.finish_reason == "eos" else []
        assert heard[one.job] == [*one.ids, *end]


def test_what_a_listener_raises_ends_the_answer_alone(session):
    answer = session.ask(ASKED[0], CHOICES["greedy"])
    with pytest.raises(ZeroDivisionError):
        session.ask(ASKED[0], CHOICES["greedy"], hear=lambda _: 1 / 0)
    assert session.ask(ASKED[0], CHOICES["greedy"]).text == answer.text


def test_a_checkpoint_of_another_kind_is_one_sentence(copied):
    spec, folder = copied
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(SettingError, match="the matrices of its blocks are .* needed are"):
        open_session(adapters.Found(spec=spec, folder=None))


def test_the_command_asks_an_adapter_s_folder_and_prints_its_answers_alone(adapter):
    command = [sys.executable, "-m", "alpaca_lab", "chat", str(adapter), "--max-new-tokens", "5"]
    done = subprocess.run(
        command, input="What is a monkey?\nName a fruit.\n", capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    session = open_session(adapters.find(str(adapter)))
    questions = [Question(instruction=text) for text in ("What is a monkey?", "Name a fruit.")]
    answers = [session.ask(question, Choices(max_new_tokens=5)).text for question in questions]
    assert done.stdout == "".join(f"{text}\n" for text in answers)
    assert done.stderr.count("cut by max_new_tokens (length); greedy, at most 5 tokens]") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere is no adapter: give a finetuned model's key"),
        (("tiny-phi", "--untuned", "--num-beams", "2", "--temperature", "1"), "mix two factors"),
        (("tiny-phi", "--untuned", "--top-k", "-1"), "top_k must be >= 0"),
        (("tiny-phi", "--untuned", "--name", "../x"), "may hold letters"),
    ],
)
def test_a_wrong_choice_of_the_command_is_one_sentence(arguments, message):
    command = [sys.executable, "-m", "alpaca_lab", "chat", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    [sentence] = done.stderr.strip().splitlines()
    assert sentence.startswith("error: ") and message in sentence
