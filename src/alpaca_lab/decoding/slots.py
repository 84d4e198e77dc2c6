"""The sweep's decode loop: many answers side by side, each in a slot that is refilled as it ends.

Alpaca answers have a mean of 63 tokens and a tail past 500. A batch that starts and stops together
pays the tail for every row; here a row that ends makes room at once, so the cost follows tokens.

**Rows.** A step of the model (see `engine`) has up to S rows, each one token of some text. An
answer in a slot has one row in every step: it reads the answer's newest token and draws the next.
The rows left over read prompts. So a prompt costs no step of its own: its tokens travel beside the
answers, and the weights, which every step reads once, are read for both.

**Columns.** Keys and values lie in one pool, a column per token; a table names the columns of each
text. An answer takes a column when it reads a token and gives all of them back when it ends, so
memory follows tokens too: short answers are not charged for the longest. A sweep asks one question
dozens of times: the prompt's columns are computed once and shared by all of its answers. An answer
begins by reading the prompt's last token itself, so that its first draw is a row like any other.

**Order.** Jobs are taken as they come. A slot that falls free takes the next job whose prompt has
been read; if there is none, the row reads prompts ahead. When the pool runs dry, the youngest
answer gives its columns back and waits; its tokens are kept, and are read again, as a prompt is,
when there is room. It goes on as if nothing had happened, because a token's row is computed the
same way whether the token was given or drawn.

**Exactness.** A row sees its own text alone, at its own positions, so neither its neighbours nor
the time decide what it computes. With the rows of a step fixed, as on a CPU, not one bit of its
logits depends on them (tested). Where a matrix product treats rows unequally, by their number or by
splitting them among threads, a logit can move by a rounding, and a token where two are that close.
The noise of a sampled row is a hash of what the row is (see `sampling`), not of when it is drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import require
from ..engine.sampling import UNDEFINED, row_key
from .jobs import Finished, Heard, Job, Step, Watch, finish, name_of, refuse_misfits, undefined
from .texts import Text

if TYPE_CHECKING:
    from ..engine.engine import Engine, Read

LAST = -1
"""Stands for the token that an answer drew last, which the device knows before the host does."""
RESERVE = 8
"""A job is seated where so many columns are free for each answer in a slot."""


def decode(
    model: Any,
    jobs: Sequence[Job],
    *,
    slots: int,
    eos_token_id: int,
    seed: int,
    columns: int | None = None,
    watch: Watch | None = None,
) -> Iterator[Finished]:
    """Decode every job, greedy and sampled ones mixed, and yield each answer as it finishes.

    Args:
        model: A Transformers causal language model in eval mode, on any device, in any dtype.
        jobs: In any order; jobs of one prompt next to each other share its columns.
        slots: S >= 1, answers decoded side by side.
        eos_token_id: The token that ends an answer.
        seed: Seeds the noise; see `sampling.row_key`.
        columns: Columns of the pool; None: as many as all slots can ever need.
        watch: Called after each step.

    Yields:
        One `Finished` per job, in the order in which they end.

    Raises:
        SettingError: Before anything runs, if a job searches beams, has an empty prompt, or does
            not fit the model's context or the pool.
        FloatingPointError: If the model's logits hold NaN or infinity.
    """
    from ..engine.engine import Engine

    require(slots >= 1, "slots must be at least 1")
    if not jobs:
        return
    if columns is None:
        columns = slots * max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs) + 1
    engine = Engine(model, rows=slots, columns=columns)
    yield from run(engine, jobs, eos_token_id=eos_token_id, seed=seed, watch=watch)


def run(
    engine: Engine,
    jobs: Sequence[Job],
    *,
    eos_token_id: int,
    seed: int,
    slots: int | None = None,
    watch: Watch | None = None,
    heard: Heard | None = None,
) -> Iterator[Finished]:
    """Decode every job as `decode` does, in an engine that outlives the call.

    What `watch` or `heard` raises ends the call; the engine serves the next one.

    Args:
        engine: The engine.
        jobs: As for `decode`, and so are the rest.
        eos_token_id: The token that ends an answer.
        seed: Seeds the noise.
        slots: Answers side by side, at most the engine's rows; None: as many.
        watch: Called after each step.
        heard: Called with each token when the host has read it, before its answer is yielded.
    """
    refuse_misfits(jobs, limit=engine.limit, columns=engine.columns.count - 1)
    for job in jobs:
        beams = job.setting.num_beams
        require(beams == 1, f"{name_of(job)}: slots do not search beams; use beams.search")
    if jobs:
        engine.reset()
        slots = min(slots or engine.rows, engine.rows)
        loop = _Loop(engine, jobs, slots=slots, eos_token_id=eos_token_id, seed=seed)
        yield from loop.answers(watch, heard)


@dataclass
class _Waiting:
    """A job without a slot, with the tokens that it drew before it had to leave one."""

    job: Job
    drawn: list[int] = field(default_factory=list)


@dataclass(eq=False)  # one prompt is another than its like
class _Prompt:
    """A prompt, and the jobs that wait for it."""

    tokens: np.ndarray
    """All its tokens but the last, which each answer reads for itself."""
    waiting: deque[_Waiting]
    text: Text | None = None
    """What holds its columns, while it has any."""
    seated: int = 0
    """Its answers in slots."""


@dataclass
class _Seat:
    """An answer in a slot."""

    job: Job
    prompt: _Prompt
    order: int
    """The how manyth to be seated: the highest is the youngest."""
    again: Text
    """What it must read again before it draws."""


@dataclass(frozen=True)
class _Flight:
    """A step that was asked for, and whose tokens are not read yet."""

    slots: np.ndarray
    seats: list[_Seat]
    """Who sat there then."""
    index: np.ndarray
    """Of the token that each draws, in its answer."""
    read: Read


class _Loop:
    """The state of one call of `run`."""

    def __init__(
        self, engine: Engine, jobs: Sequence[Job], *, slots: int, eos_token_id: int, seed: int
    ) -> None:
        budget = max(job.setting.max_new_tokens for job in jobs)
        self.engine, self.columns = engine, engine.columns
        self.eos_token_id, self.seed = eos_token_id, seed
        self.max_top_k = max(job.setting.top_k for job in jobs)
        self.queue = deque(
            _Prompt(np.array(ids[:-1], np.int32), deque(map(_Waiting, group)))
            for ids, group in groupby(jobs, key=lambda job: job.prompt_ids)
        )
        """Prompts with jobs that wait, in their order."""
        self.seats: list[_Seat | None] = [None] * slots
        self.seated = 0
        # By slot, in arrays: a step changes all of them, and the GPU should not wait for the host.
        self.of = {name: np.zeros(slots, np.int32) for name in (
            "token", "position", "shared", "shared_length", "index", "top_k", "key_low", "key_high",
        )}  # fmt: skip
        self.of["temperature"] = np.zeros(slots, np.float32)
        self.budget = np.zeros(slots, np.int32)
        self.known = np.zeros(slots, np.int32)
        """How many of its tokens the host has read."""
        self.draws = np.zeros(slots, bool)
        """Which slots draw; the others are empty, or read their tokens again."""
        self.drawn = np.zeros((slots, budget), np.int32)
        self.sequences = list(range(engine.sequences - 1, engine.rows - 1, -1))
        """Rows of the table that no prompt has; the first ones are the slots' own."""

    def answers(self, watch: Watch | None, heard: Heard | None) -> Iterator[Finished]:
        """Step until every job is answered."""
        flying: deque[_Flight] = deque()
        while True:
            self._seat()
            drawing, read = self._fill()
            filled = self.engine.batch.filled > 0
            if filled:
                flying.append(self._take_off(drawing))
            if watch and filled:
                watch(self._told(drawing, read))
            if not flying:
                return
            while len(flying) > (self.engine.ahead if filled else 0):
                yield from self._land(flying.popleft(), heard)

    def _seat(self) -> None:
        """Give free slots to the first jobs whose prompts are read."""
        taken = sum(seat is not None for seat in self.seats)
        for slot, seat in enumerate(self.seats):
            prompt = self.queue[0] if self.queue else None
            if prompt is None or not self._is_read(prompt):
                return
            if taken and self.columns.free < RESERVE * (taken + 1):
                return
            if seat is None:
                self._sit(slot, prompt)
                taken += 1
                if not prompt.waiting:
                    self.queue.popleft()

    def _is_read(self, prompt: _Prompt) -> bool:
        if prompt.text is None and not len(prompt.tokens):
            self._open(prompt)  # a prompt of one token leaves nothing to read
        return prompt.text is not None and prompt.text.is_read

    def _open(self, prompt: _Prompt) -> None:
        """Give a prompt a row of the table."""
        prompt.text = Text(tokens=prompt.tokens, sequence=self.sequences.pop())

    def _sit(self, slot: int, prompt: _Prompt) -> None:
        """Seat the first waiting job of a prompt."""
        waiting = prompt.waiting.popleft()
        job, drawn, setting = waiting.job, waiting.drawn, waiting.job.setting
        first = len(job.prompt_ids) - 1
        tokens = np.array([job.prompt_ids[-1], *drawn], np.int32)
        again = Text(tokens=tokens[:-1], sequence=slot, shared=prompt.text.sequence, start=first)
        self.seated += 1
        prompt.seated += 1
        self.seats[slot] = _Seat(job, prompt, self.seated, again)
        key = np.array([row_key(self.seed, job.question, job.repeat)], np.int64).view(np.int32)
        values = {
            "token": tokens[-1], "position": first + len(drawn), "index": len(drawn),
            "shared": prompt.text.sequence, "shared_length": first, "top_k": setting.top_k,
            "temperature": setting.temperature if setting.do_sample else 0.0,
            "key_low": key[0], "key_high": key[1],
        }  # fmt: skip
        for name, value in values.items():
            self.of[name][slot] = value
        self.budget[slot], self.known[slot] = setting.max_new_tokens, len(drawn)
        self.drawn[slot, : len(drawn)] = drawn
        self.draws[slot] = again.is_read

    def _fill(self) -> tuple[np.ndarray, int]:
        """Fill the engine's batch; return the slots that draw, one row each, and the rows read."""
        while self.columns.free < max(1, self.draws.sum()) and self._make_room():
            pass
        drawing, batch = np.flatnonzero(self.draws).astype(np.int32), self.engine.batch
        # Answers to one question side by side: they attend to its prompt together.
        drawing = drawing[np.argsort(self.of["shared"][drawing], kind="stable")]
        rows = {name: part[drawing] for name, part in self.of.items()}
        batch.clear()
        column = self.columns.take(drawing, rows["position"])
        batch.add(**rows, sequence=drawing, column=column)
        for text in self._unread():
            room = min(self.engine.rows - batch.filled, self.columns.free)
            if not room:
                break
            text.read_on(batch, self.columns, room=room)
            if text.is_read and text.shared is not None:
                self.draws[text.sequence] = True  # an answer that has read its own tokens again
        return drawing, batch.filled - len(drawing)

    def _unread(self) -> Iterator[Text]:
        """Yield what is to be read: what answers must read again, then prompts for free slots."""
        for seat in self.seats:
            if seat is not None and not seat.again.is_read:
                yield seat.again
        free = sum(seat is None for seat in self.seats)
        for prompt in self.queue:
            if free <= 0 or not (prompt.text or self.sequences):
                return
            if prompt.text is None:
                self._open(prompt)
            if not prompt.text.is_read:
                yield prompt.text
            free -= len(prompt.waiting)

    def _take_off(self, drawing: np.ndarray) -> _Flight:
        """Ask for the step, and move its answers on as if their tokens were known."""
        read = self.engine.draw(max_top_k=self.max_top_k)
        index = self.of["index"][drawing]
        self.of["token"][drawing] = LAST
        self.of["index"][drawing] = index + 1
        self.of["position"][drawing] += 1
        self.draws[drawing] = index + 1 < self.budget[drawing]
        return _Flight(drawing, [self.seats[slot] for slot in drawing], index, read)

    def _land(self, flight: _Flight, heard: Heard | None) -> Iterator[Finished]:
        """Read what was drawn; free the slots of the answers that have ended."""
        [tokens] = flight.read()
        # Those that ended, or had to leave, before this step's tokens were read are not heeded.
        still = [
            n
            for n, (slot, seat) in enumerate(zip(flight.slots, flight.seats, strict=True))
            if self.seats[slot] is seat
        ]
        tokens, slots, index = tokens[still], flight.slots[still], flight.index[still]
        for n in np.flatnonzero(tokens == UNDEFINED):
            raise FloatingPointError(undefined(self.seats[slots[n]].job, index[n]))
        self.drawn[slots, index] = tokens
        self.known[slots] = index + 1
        if heard:
            for slot, token in zip(slots, tokens.tolist(), strict=True):
                heard(self.seats[slot].job, token)
        ended = (tokens == self.eos_token_id) | (index + 1 == self.budget[slots])
        for slot in slots[ended]:
            seat, ids = self._rise(slot)
            if not seat.prompt.waiting and not seat.prompt.seated:
                self._forget(seat.prompt)
            yield finish(seat.job, ids, eos_token_id=self.eos_token_id)

    def _rise(self, slot: int) -> tuple[_Seat, list[int]]:
        """Free a slot and its columns; return who sat there, and what it drew."""
        seat, first = self.seats[slot], self.of["shared_length"][slot]
        end = self.of["position"][slot] if seat.again.is_read else first + seat.again.read
        self.columns.give(self.columns.table[slot, first:end])
        self.seats[slot], self.draws[slot] = None, False
        seat.prompt.seated -= 1
        return seat, self.drawn[slot, : self.known[slot]].tolist()

    def _make_room(self) -> bool:
        """Free columns that can be had again: an idle prompt's, or the youngest answer's."""
        idle = [prompt for prompt in self.queue if prompt.text is not None and not prompt.seated]
        busy = [slot for slot, seat in enumerate(self.seats) if seat is not None]
        if idle and (busy or len(idle) > 1):
            self._forget(idle[-1])
        elif len(busy) > 1:
            seat, drawn = self._rise(max(busy, key=lambda slot: self.seats[slot].order))
            seat.prompt.waiting.appendleft(_Waiting(seat.job, drawn))
            if seat.prompt not in self.queue:
                self.queue.appendleft(seat.prompt)
        else:
            return False
        return True

    def _forget(self, prompt: _Prompt) -> None:
        """Give back a prompt's columns; it is read again if a job still waits for it."""
        self.columns.give(self.columns.table[prompt.text.sequence, : prompt.text.read])
        self.sequences.append(prompt.text.sequence)
        prompt.text = None

    def _told(self, drawing: np.ndarray, read: int) -> Step:
        return Step(
            size=self.engine.size,
            drawn=len(drawing),
            read=read,
            used=self.columns.used,
            seen=self.engine.batch.seen(),
            jobs=tuple(seat and seat.job for seat in self.seats),
        )
