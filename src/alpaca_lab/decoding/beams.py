"""Beam search over the rows of the engine: the search of Transformers, many questions side by side.

The beams of a question are a group of slots. A step gives each group its 2 K best continuations, K
being the width, and the search decides as Transformers does with length_penalty 1 and
early_stopping False: which K go on, which have ended, and whether one that goes on can still beat
those that have. A group that is done makes room for the next question at once.

Beams share no noise, and all but their last tokens: a beam is a row of the table of columns, and to
go on from another beam is to copy that row. Keys and values never move. Columns that no beam of a
group remembers any more are given back now and then; where the pool still runs dry, the youngest
group gives up its columns and is searched anew later, which finds the same.

The checkpoint's generation_config takes no part: nothing here has a default to inherit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import require
from .hypotheses import Hypotheses
from .jobs import Finished, Job, Step, Watch, finish, refuse_misfits, undefined
from .texts import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engine.engine import Engine

SWEEP = 16
"""After so many steps, columns that no beam remembers are given back."""
RESERVE = 16
"""A group is seated where so many columns are free for each beam."""


def search(
    model: Any,
    jobs: Sequence[Job],
    *,
    rows: int,
    eos_token_id: int,
    columns: int | None = None,
    watch: Watch | None = None,
) -> Iterator[Finished]:
    """Search every job and yield the best beam of each.

    Args:
        model: A Transformers causal language model in eval mode.
        jobs: Jobs of one width.
        rows: Beams side by side, all prompts together; at least one prompt is taken.
        eos_token_id: The token that ends an answer.
        columns: Columns of the pool; None: as many as all rows can ever need.
        watch: Called after each step.

    Yields:
        One `Finished` per job, in the order in which they end.

    Raises:
        SettingError: Before anything runs, if the jobs differ in their width, or one does not
            fit the model's context or the pool.
        FloatingPointError: If the model's logits hold NaN or infinity.
    """
    from ..engine.engine import Engine

    if not jobs:
        return
    rows = max(rows, jobs[0].setting.num_beams)
    if columns is None:
        columns = rows * max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs) + 1
    engine = Engine(model, rows=rows, columns=columns)
    yield from run(engine, jobs, eos_token_id=eos_token_id, watch=watch)


def run(
    engine: Engine, jobs: Sequence[Job], *, eos_token_id: int, watch: Watch | None = None
) -> Iterator[Finished]:
    """Search every job as `search` does, in an engine that outlives the call."""
    if not jobs:
        return
    num_beams = jobs[0].setting.num_beams
    require(
        all(job.setting.num_beams == num_beams for job in jobs),
        "beam search takes one width at a time; call it once per cell",
    )
    require(
        num_beams <= engine.rows,
        f"{num_beams} beams do not fit {engine.rows} rows; raise slots",
    )
    # Beams that part at their first token share nothing but the prompt.
    refuse_misfits(jobs, limit=engine.limit, columns=engine.columns.count - 1, answers=num_beams)
    engine.reset()
    yield from _Loop(engine, jobs, eos_token_id=eos_token_id).answers(watch)


@dataclass(eq=False)  # one question is another than its like
class _Group:
    """A question, its prompt and its beams."""

    job: Job
    text: Text | None = None
    """What holds the prompt's columns, while it has any."""
    seats: NDArray[np.int32] | None = None
    """The slots of its beams, while it has any."""
    beams: Hypotheses | None = None
    owned: list[NDArray[np.int32]] = field(default_factory=list)
    """Columns of its beams, remembered or not."""
    order: int = 0
    """The how manyth to be seated: the highest is the youngest."""

    @property
    def first(self) -> int:
        """Position of the prompt's last token, which each beam reads for itself."""
        return len(self.job.prompt_ids) - 1

    @property
    def newest(self) -> NDArray[np.int32]:
        """The token that each beam reads next."""
        if self.beams.length:
            return self.beams.tokens[:, self.beams.length - 1]
        return np.full(len(self.seats), self.job.prompt_ids[-1], np.int32)


class _Loop:
    """The state of one call of `run`."""

    def __init__(self, engine: Engine, jobs: Sequence[Job], *, eos_token_id: int) -> None:
        self.engine, self.columns, self.eos_token_id = engine, engine.columns, eos_token_id
        self.num_beams = jobs[0].setting.num_beams
        self.queue = deque(_Group(job) for job in jobs)
        self.groups: list[_Group] = []
        """Those with slots."""
        slots = np.arange(engine.rows // self.num_beams * self.num_beams, dtype=np.int32)
        self.seats = list(slots.reshape(-1, self.num_beams)[::-1])
        self.sequences = list(range(engine.sequences - 1, engine.rows - 1, -1))
        self.seated = self.steps = 0

    def answers(self, watch: Watch | None) -> Iterator[Finished]:
        """Step until every job is answered."""
        while self.groups or self.queue:
            self._seat()
            read = self._fill()
            if not self.engine.batch.filled:
                continue  # a prompt of one token, read without a step
            scores, places = self.engine.expand(num_beams=self.num_beams)()
            if watch:
                watch(self._told(read))
            yield from self._choose(scores, places)
            self.steps += 1
            if self.steps % SWEEP == 0:
                self._sweep()

    def _seat(self) -> None:
        """Give free slots to the first questions whose prompts are read."""
        while self.seats and self.queue:
            group, needs = self.queue[0], RESERVE * self.num_beams * (len(self.groups) + 1)
            if group.text is None or not group.text.is_read:
                return
            if self.groups and self.columns.free < needs:
                return
            self.seated += 1
            group.order, group.seats = self.seated, self.seats.pop()
            group.beams = Hypotheses(
                self.num_beams,
                budget=group.job.setting.max_new_tokens,
                eos_token_id=self.eos_token_id,
            )
            self.groups.append(self.queue.popleft())

    def _fill(self) -> int:
        """Fill the engine's batch, whole groups first; return the rows that read prompts."""
        while self.columns.free < max(1, len(self.groups) * self.num_beams) and self._make_room():
            pass
        batch = self.engine.batch
        batch.clear()
        if self.groups:
            self._add_beams()
        beams, free = batch.filled, len(self.seats)
        for group in self.queue:
            room = min(self.engine.rows - batch.filled, self.columns.free)
            if not (room and free and (group.text or self.sequences)):
                break
            if group.text is None:
                prompt = np.array(group.job.prompt_ids[:-1], np.int32)
                group.text = Text(tokens=prompt, sequence=self.sequences.pop())
            if not group.text.is_read:
                group.text.read_on(batch, self.columns, room=room)
            free -= 1
        return batch.filled - beams

    def _add_beams(self) -> None:
        """Add the rows of all beams, group by group."""
        groups, each, table = self.groups, self.num_beams, self.columns.table
        seats = np.concatenate([group.seats for group in groups])
        parents = np.concatenate([group.seats[group.beams.parents] for group in groups])
        first = np.repeat(np.array([group.first for group in groups], np.int32), each)
        at = np.repeat(np.array([group.beams.length for group in groups], np.int32), each)
        position = first + at
        end = position.max()
        table[seats, :end] = table[parents, :end]
        column = self.columns.take(seats, position)
        for group, taken in zip(groups, column.reshape(-1, each), strict=True):
            group.owned.append(taken)
        self.engine.batch.add(
            token=np.concatenate([group.newest for group in groups]),
            position=position,
            column=column,
            sequence=seats,
            parent=parents,
            shared=np.repeat([group.text.sequence for group in groups], each),
            shared_length=first,
            score=np.concatenate([group.beams.scores for group in groups]),
        )

    def _choose(self, scores: NDArray, places: NDArray) -> Iterator[Finished]:
        """Take every group's step; free the slots of those that are done."""
        vocabulary, ended = self.engine.vocabulary, []
        for group, values, at in zip(self.groups, scores, places, strict=False):
            if not np.isfinite(values[0]):
                raise FloatingPointError(undefined(group.job, group.beams.length))
            group.beams.choose(values, at // vocabulary, at % vocabulary)
            if not group.beams.is_open:
                ended.append(group)
        for group in ended:
            best = group.beams.best
            self._rise(group)
            self._forget(group)
            yield finish(group.job, best, eos_token_id=self.eos_token_id)

    def _sweep(self) -> int:
        """Give back the columns that no beam remembers, and return how many they were."""
        before = self.columns.free
        for group in (group for group in self.groups if group.owned):
            end = group.first + group.beams.length
            chosen = self.columns.table[group.seats[group.beams.parents], group.first : end]
            remembered = np.unique(chosen)
            self.columns.give(np.setdiff1d(np.concatenate(group.owned), remembered))
            group.owned = [remembered]
        return self.columns.free - before

    def _make_room(self) -> bool:
        """Free columns that are not needed, or can be had again."""
        if self._sweep():
            return True
        idle = [group for group in self.queue if group.text is not None]
        if idle and (self.groups or len(idle) > 1):
            self._forget(idle[-1])
        elif len(self.groups) > 1:
            group = max(self.groups, key=lambda group: group.order)
            self._rise(group)
            self.queue.appendleft(group)
        else:
            return False
        return True

    def _rise(self, group: _Group) -> None:
        """Free a group's slots and its beams' columns."""
        for owned in group.owned:
            self.columns.give(owned)
        self.groups.remove(group)
        self.seats.append(group.seats)
        group.seats, group.beams, group.owned = None, None, []

    def _forget(self, group: _Group) -> None:
        """Give back a prompt's columns."""
        self.columns.give(self.columns.table[group.text.sequence, : group.text.read])
        self.sequences.append(group.text.sequence)
        group.text = None

    def _told(self, read: int) -> Step:
        return Step(
            size=self.engine.size,
            drawn=self.engine.batch.filled - read,
            read=read,
            used=self.columns.used,
            seen=self.engine.batch.seen(),
            jobs=tuple(group.job for group in self.groups for _ in range(self.num_beams)),
        )
