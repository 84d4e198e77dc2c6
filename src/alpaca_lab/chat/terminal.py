"""The chat of a terminal, and of a pipe: one line is one instruction.

Standard output gets answers and nothing else; what the program says itself goes to standard error.
A model's text reaches a terminal with its control characters shown, never obeyed.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from ..adapters import Found
from ..characters import visible
from ..config import SettingError
from .choices import Choices
from .session import Answer, Question, open_session

INCOMPLETE = 1
"""The exit status of a pipe in which a question was refused."""
BANNER = """\
{title} ({place}), decoded as in a study.
A line is an instruction, and each stands alone: the model was trained on single questions, and
remembers none."""
COMMANDS = "/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves."
HELP = """\
  /input [TEXT]     give the next instruction an input: this text, or lines up to an empty one or
                    /end
  /set NAME=VALUE   change how answers are decoded; several at once with a space between. Names:
                    temperature (0: greedy), top_k, num_beams, max_new_tokens, seed
  /settings         show how answers are decoded
  /prompt           show what the model read last, template and all
  /quit             leave; so does Ctrl-D. Ctrl-C stops an answer
  An instruction that begins with / is asked with a space before it."""
BEAMS = "searching: with beams the answer appears when the search has ended"


class Asks(Protocol):
    """What answers; `Session` is the real one, a fake serves in tests."""

    title: str
    place: str

    def ask(
        self,
        question: Question,
        choices: Choices,
        *,
        hear: Callable[[str], object] = ...,
        stopped: Callable[[], bool] = ...,
    ) -> Answer:
        """Return the answer to a question, and let it be heard as it comes."""


def run(found: Found, choices: Choices) -> int:
    """Load a model, and answer what standard input asks; return the exit status."""
    print(f"loading {found.spec.title} ...", file=sys.stderr, flush=True)
    session = open_session(found)
    sys.stdin.reconfigure(errors="surrogateescape")  # what is not UTF-8 is refused by its line
    try:
        return talk(session, choices, lines=sys.stdin, out=sys.stdout, err=sys.stderr)
    except BrokenPipeError:  # whoever read the answers has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def talk(session: Asks, choices: Choices, *, lines: TextIO, out: TextIO, err: TextIO) -> int:
    """Answer each line, until there is none.

    Args:
        session: What answers.
        choices: How, until a line sets it otherwise.
        lines: Where questions come from. If that is no terminal, each line is an instruction as
            it stands, and none a command.
        out: Gets the answers, each with an end of line.
        err: Gets all else.

    Returns:
        The exit status: 0, or `INCOMPLETE` if a question of a pipe was refused.
    """
    print(BANNER.format(title=session.title, place=session.place), file=err)
    if lines.isatty():
        print(COMMANDS, file=err)
    print(f"settings: {choices.describe()}", file=err, flush=True)
    if lines.isatty():
        return _Talk(session, choices, lines=lines, out=out, err=err).converse()
    return _pipe(session, choices, lines=lines, out=out, err=err)


def _pipe(session: Asks, choices: Choices, *, lines: TextIO, out: TextIO, err: TextIO) -> int:
    """Answer each line of a file; a line that cannot be answered is named, and the next taken."""
    status = 0
    for number, line in enumerate(lines, start=1):
        try:
            answer = session.ask(
                Question(instruction=line.strip()),
                choices,
                hear=_writer(out),
                stopped=lambda: False,
            )
        except SettingError as error:
            print(f"line {number} is not answered: {error}", file=err, flush=True)
            status = INCOMPLETE
            continue
        print(file=out, flush=True)
        print(f"[{answer.describe()}]", file=err, flush=True)
    return status


class _Talk:
    """The state of a conversation in a terminal."""

    def __init__(
        self, session: Asks, choices: Choices, *, lines: TextIO, out: TextIO, err: TextIO
    ) -> None:
        self.session, self.choices = session, choices
        self.lines, self.out, self.err = lines, out, err
        self.input = ""
        """Of the next instruction."""
        self.last: Question | None = None

    def converse(self) -> int:
        """Take one line after the other, until the last."""
        while (line := self._read("> ")) is not None:
            name, _, rest = line.strip().partition(" ")
            try:
                if line.startswith("/") and name in ("/quit", "/exit"):
                    break
                if line.startswith("/"):
                    self._obey(name, rest.strip())
                elif line.strip():
                    self._ask(line.strip())
            except SettingError as error:
                self._say(str(error))
        return 0

    def _obey(self, name: str, rest: str) -> None:
        match name:
            case "/input":
                self.input = rest or self._read_input()
                self._say("the next instruction gets this input" if self.input else "no input")
            case "/set":
                self.choices = self.choices.changed(rest)
                self._say(f"settings: {self.choices.describe()}")
            case "/settings":
                self._say(f"settings: {self.choices.describe()}")
            case "/prompt":
                self._say(visible(self.last.prompt) if self.last else "nothing was asked yet")
            case "/help":
                self._say(HELP)
            case _:
                self._say(
                    f"there is no {visible(name)}: /help lists the commands; to ask it as it "
                    "stands, begin with a space"
                )

    def _ask(self, instruction: str) -> None:
        question, self.input = Question(instruction=instruction, input=self.input), ""
        self.last = question
        if self.choices.num_beams > 1:
            self._say(BEAMS)
        with _one_interrupt() as stopped:
            answer = self.session.ask(
                question, self.choices, hear=_writer(self.out), stopped=stopped
            )
        print(file=self.out, flush=True)
        self._say(f"[{answer.describe()}]")

    def _read_input(self) -> str:
        """Return the lines of an input, up to an empty one, /end, or the end of all."""
        self._say("the input's lines; an empty one or /end ends it")
        lines = []
        while (line := self._read("| ")) is not None and line.strip() not in ("", "/end"):
            lines.append(line)
        return "\n".join(lines)

    def _read(self, sign: str) -> str | None:
        """Return the next line, without its end; None where there is none, also after Ctrl-D."""
        while True:
            try:
                if self.lines is sys.stdin and self.out.isatty():
                    return input(sign)  # with readline, where Python has it
                print(sign, end="", file=self.err, flush=True)
                line = self.lines.readline()
                return line.removesuffix("\n") if line else None
            except EOFError:
                print(file=self.err)
                return None
            except KeyboardInterrupt:
                self._say("\nCtrl-D or /quit leaves")

    def _say(self, text: str) -> None:
        print(text, file=self.err, flush=True)


def _writer(out: TextIO) -> Callable[[str], None]:
    """Return what writes a model's text as it comes: as it is to a file, shown to a terminal."""
    shown = visible if out.isatty() else str

    def write(text: str) -> None:
        out.write(shown(text))
        out.flush()

    return write


@contextmanager
def _one_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield what says whether Ctrl-C was pressed; a second one is obeyed at once."""
    pressed = False

    def hear(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
