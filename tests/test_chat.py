"""The chat around its model: what is set, a conversation in a terminal, and a pipe."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alpaca_lab.chat import comparison, terminal
from alpaca_lab.chat.choices import Choices, defaults
from alpaca_lab.chat.session import Question
from alpaca_lab.config import DecodeSetting, SettingError
from alpaca_lab.profiles import PROFILES
from chats import FakeSession

SET = [
    ("temperature=0.5", DecodeSetting(do_sample=True, temperature=0.5)),
    ("temperature=0", DecodeSetting()),
    ("top_k=4", DecodeSetting(do_sample=True, top_k=4)),
    ("top_k=4 temperature=2", DecodeSetting(do_sample=True, top_k=4, temperature=2.0)),
    ("num_beams=4", DecodeSetting(num_beams=4)),
    ("temperature=0 num_beams=4", DecodeSetting(num_beams=4)),
    ("max_new_tokens=64", DecodeSetting(max_new_tokens=64)),
    ("seed=1", DecodeSetting()),
]


@pytest.mark.parametrize(("text", "setting"), SET)
def test_a_temperature_or_top_k_samples_and_temperature_0_is_greedy(text, setting):
    assert Choices().changed(text).setting() == setting


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature=0.5 num_beams=4", "sampled beams mix two factors: set do_sample=False, or "
         "num_beams=1 (do_sample=False is temperature=0 here)"),
        ("temperature=0 top_k=4", "temperature and top_k do nothing unless do_sample=True"),
        ("temperature=-1", "temperature must be > 0, not -1.0"),
        ("temperature=nan", "temperature must be a number or None, not nan"),
        ("temperature=hot", "temperature must be a number, 0 for greedy, not 'hot'"),
        ("top_k=1.5", "top_k must be a whole number, not '1.5'"),
        ("num_beams=0", "num_beams must be >= 1"),
        ("max_new_tokens=0", "max_new_tokens must be >= 1"),
        ("seed=" + "9" * 5000, "seed must be a whole number"),
        ("colour=red", "there is no colour: choose from temperature, top_k, num_beams"),
        ("seed", "seed: write NAME=VALUE without spaces"),
        ("", "set what?"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_is_one_sentence(text, message):
    with pytest.raises(SettingError) as caught:
        Choices().changed(text)
    assert message in str(caught.value)


def test_every_choice_that_decides_an_answer_is_described():
    described = Choices(temperature=0.25, top_k=8, max_new_tokens=9, seed=3).describe()
    assert described == "sampled at temperature 0.25, top_k 8, at most 9 tokens, seed 3"


def test_budget_and_seed_are_the_study_s_where_there_is_one():
    assert defaults(PROFILES["smoke"]) == Choices(max_new_tokens=256, seed=0)
    assert defaults(None) == Choices(max_new_tokens=512)
    assert defaults(PROFILES["smoke"], "top_k=4") == Choices(max_new_tokens=256, top_k=4)


@pytest.mark.parametrize("text", ["", "  \n", "\udcff"])
def test_a_question_without_text_is_refused(text):
    with pytest.raises(SettingError, match="instruction"):
        Question(instruction=text)


class Terminal(io.StringIO):
    """Standard input or output of somebody at a keyboard."""

    def isatty(self):
        return True


def talk(*lines, session=None, choices=None, out=None):
    """Return (what the session was asked, standard output, standard error, status)."""
    session, out, err = session or FakeSession(), out or Terminal(), io.StringIO()
    typed = Terminal("".join(f"{line}\n" for line in lines))
    status = terminal.talk(session, choices or Choices(), lines=typed, out=out, err=err)
    return session.asked, out.getvalue(), err.getvalue(), status


def test_a_line_is_asked_and_answered_with_what_it_took():
    asked, out, err, status = talk("What is an owl?")
    assert asked == [(Question(instruction="What is an owl?"), Choices())]
    assert out == "An owl.\n" and status == 0
    assert "[2 tokens, 2.0 s, 1 tokens/s, ended by itself (eos); greedy, at most 512 tok" in err


def test_the_banner_says_that_nothing_is_remembered_and_how_is_decoded():
    _, _, err, _ = talk()
    assert err.startswith("Tiny LLaMA, finetuned (cpu, float32), decoded as in a study.\n")
    assert "each stands alone" in err and "settings: greedy, at most 512 tokens" in err


def test_settings_are_changed_for_the_questions_after():
    asked, _, err, _ = talk("/set temperature=0.5 seed=1", "a", "/set temperature=0", "b")
    assert [choices for _, choices in asked] == [
        Choices(temperature=0.5, seed=1),
        Choices(temperature=0.0, seed=1),
    ]
    assert "settings: sampled at temperature 0.5, at most 512 tokens, seed 1" in err


def test_a_contradiction_is_told_and_changes_nothing():
    asked, _, err, _ = talk("/set num_beams=2", "/set temperature=1", "a")
    assert "sampled beams mix two factors" in err
    assert asked[0][1] == Choices(num_beams=2)


def test_a_search_is_announced():
    assert terminal.BEAMS in talk("a", choices=Choices(num_beams=2))[2]
    assert terminal.BEAMS not in talk("a")[2]


@pytest.mark.parametrize("end", ["", "/end"])
def test_an_input_of_lines_goes_with_the_next_instruction_alone(end):
    asked, *_ = talk("/input", "one", "/set is text here", end, "Sort it.", "And now?")
    assert asked[0][0] == Question(instruction="Sort it.", input="one\n/set is text here")
    assert asked[1][0].input == ""


def test_an_input_may_stand_on_its_line():
    assert talk("/input 3, 1, 2", "Sort it.")[0][0][0].input == "3, 1, 2"


def test_the_prompt_of_the_last_question_is_shown():
    _, _, err, _ = talk("/prompt", "Say a.", "/prompt")
    assert "nothing was asked yet" in err and "### Instruction:\nSay a.\n\n### Response:" in err


def test_an_unknown_command_is_not_asked_and_a_space_asks_it():
    asked, _, err, _ = talk("/hlep", " /hlep", "/help", "/quit", "never")
    assert [question.instruction for question, _ in asked] == ["/hlep"]
    assert "there is no /hlep" in err and "/settings" in err


def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on():
    pressed = []

    def press():
        pressed.append(1)
        if len(pressed) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    asked, out, err, status = talk("a", "b", session=FakeSession(before=press))
    assert out == "An \nAn owl.\n" and len(asked) == 2
    assert err.count("stopped") == 1 and status == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_leaves():
    def press():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        talk("a", session=FakeSession(before=press))


EVIL = ("\x1b]0;owned\x07", "\x1b[31mred\r", "line\nnext \u202e")


def test_a_terminal_shows_escape_sequences_and_obeys_none():
    out = talk("a", session=FakeSession(EVIL))[1]
    assert not set(out) & set("\x1b\x07\r\u202e")
    assert out == "␛]0;owned␇␛[31mred␍line\nnext <U+202E>\n"


def pipe(text, session=None, out=None):
    session, out, err = session or FakeSession(), out or io.StringIO(), io.StringIO()
    status = terminal.talk(session, Choices(), lines=io.StringIO(text), out=out, err=err)
    return session.asked, out.getvalue(), err.getvalue(), status


def test_a_pipe_gets_the_answers_alone():
    asked, out, err, status = pipe("one\n/quit\ntwo")
    assert [question.instruction for question, _ in asked] == ["one", "/quit", "two"]
    assert out == "An owl.\n" * 3 and status == 0
    assert err.count("tokens/s") == 3 and "/help" not in err


def test_a_file_gets_the_text_as_it_is_and_a_terminal_behind_a_pipe_does_not():
    assert pipe("a\n", FakeSession(EVIL))[1] == "".join(EVIL) + "\n"
    assert "\x1b" not in pipe("a\n", FakeSession(EVIL), out=Terminal())[1]


def test_a_line_that_cannot_be_asked_is_named_and_the_next_is_answered():
    _, out, err, status = pipe("one\n\nthree\n")
    assert out == "An owl.\n" * 2 and status == 1
    assert "line 2 is not answered: there is no instruction" in err


def test_questions_under_several_settings_stand_side_by_side():
    session, choices = FakeSession(), Choices(max_new_tokens=9)
    table = comparison.table(session, ["a", "b"], ["temperature=0", "top_k=4"], choices)
    assert table["instruction"].tolist() == ["a", "a", "b", "b"]
    assert table["setting"].tolist() == ["temperature=0", "top_k=4"] * 2
    assert table["answer"].unique() == ["An owl."] and table["tokens/s"].unique() == [1.0]
    assert session.asked[1] == (Question(instruction="a"), Choices(top_k=4, max_new_tokens=9))


def test_a_setting_that_cannot_be_is_refused_before_anything_is_asked():
    session = FakeSession()
    with pytest.raises(SettingError, match="num_beams must be >= 1"):
        comparison.table(session, ["a"], ["top_k=4", "num_beams=0"], Choices())
    assert session.asked == []


BROKEN = """\
import sys
from types import SimpleNamespace

from alpaca_lab.chat import terminal
from alpaca_lab.chat.choices import Choices
from chats import FakeSession

terminal.open_session = lambda found: FakeSession(["word " * 20000])
sys.exit(terminal.run(SimpleNamespace(spec=SimpleNamespace(title="Tiny")), Choices()))"""


def test_a_reader_that_has_enough_ends_a_pipe_in_silence():
    command = [sys.executable, "-c", BROKEN]
    place = {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | place,
    ) as process:  # fmt: skip
        process.stdout.close()
        _, err = process.communicate(b"one\ntwo\nthree\n")
    assert process.returncode == 0
    assert b"Broken" not in err and b"Traceback" not in err
