"""The decode loop: many answers side by side, each in a slot that is refilled as it finishes.

Alpaca answers have a mean of 63 tokens and a tail past 500. A batch that starts and stops together
pays the tail for every row; here a row that ends makes room at once, so the cost follows tokens.

**Slots.** There are S slots, and every step of the model has exactly S rows of one token. A slot
owns one row of a static cache, per layer (S, H_kv, C, D), and the token at index i of prompt +
answer always lies in column i. A step writes its S keys and values with one scatter at (slot,
column), and a slot attends to the columns up to its own. Refilling a slot is therefore overwriting
it from column 0: what the last answer left behind lies beyond the mask until it is overwritten. A
slot without a job computes along and is not read.

**Why not a ring.** A shared write column (step mod C) makes the write a copy instead of a scatter,
but an answer's columns then depend on when it was seated, and so does the order in which attention
sums them. With own columns a row's arithmetic depends on neither its neighbours nor the time, and
there is no wrap-around to get wrong. On one CPU thread the logits are the same bits whatever shares
the batch (tested). Where a matrix product treats rows unequally, by the number of slots or by
splitting them among threads, the place of a row can change a float32 logit by 1e-5, and with it
a token only where two are that close.

**Prompts.** A sweep asks one question dozens of times. Its prompt is prefilled once, alone, so that
its values depend on nothing else, and copied into each slot that takes a job of it. Only the
latest prompt is held: callers give the jobs question by question. A seated slot is handed the
prompt's last token again, and its first step gives the logits of the first new token: so seating
needs no logits of its own, and a refilled slot does not sit out a step.

**Steps.** `_Slots.step` is a function of fixed-shape tensors: tokens, columns and the settings in;
next tokens out, all settings at once (see `sampling`). The host reads the S tokens, hands out what
ended, seats what waits. Only `_Slots.seat` makes tensors from host values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .config import DecodeSetting, require
from .sampling import UNDEFINED, next_tokens, row_key

if TYPE_CHECKING:
    import torch

COLUMNS = 64
"""The cache's columns, and those that a step attends to, are a multiple of this."""

Prefix = list[tuple["torch.Tensor", "torch.Tensor"]]
"""Keys and values of one prompt, per layer, each (1, H_kv, length, D)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One answer to decode."""

    question: str
    """Id of the question."""
    prompt_ids: tuple[int, ...]
    """The rendered prompt in tokens, BOS included where the model has one."""
    cell: str
    """Name of the cell that asks, handed through."""
    setting: DecodeSetting
    repeat: int
    """Which answer to this question in this cell, from 0."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One decoded answer."""

    job: Job
    ids: tuple[int, ...]
    """The answer in tokens, EOS excluded."""
    n_new_tokens: int
    """Tokens decoded, EOS included."""
    finish_reason: Literal["eos", "length"] | None
    """"eos": the model ended the answer. "length": the budget cut it. None: the GPU's memory did
    not hold it, and there is no answer."""


def finish(job: Job, ids: Sequence[int], *, eos_token_id: int) -> Finished | None:
    """Return the answer if it has ended, by EOS or by its budget, else None.

    Args:
        job: Whose answer it is.
        ids: Tokens so far, in which EOS can only be the last.
        eos_token_id: The token that ends an answer.
    """
    if ids[-1] == eos_token_id:
        return Finished(job=job, ids=tuple(ids[:-1]), n_new_tokens=len(ids), finish_reason="eos")
    if len(ids) == job.setting.max_new_tokens:
        return Finished(job=job, ids=tuple(ids), n_new_tokens=len(ids), finish_reason="length")
    return None


def decode(
    model: Any, jobs: Sequence[Job], *, slots: int, eos_token_id: int, seed: int
) -> Iterator[Finished]:
    """Decode every job, greedy and sampled ones mixed, and yield each answer as it finishes.

    Args:
        model: A Transformers causal language model in eval mode, on any device, in any dtype.
        jobs: In any order; jobs of one prompt next to each other share its prefill.
        slots: S >= 1, answers decoded side by side.
        eos_token_id: The token that ends an answer.
        seed: Seeds the noise; see `sampling.row_key`.

    Yields:
        One `Finished` per job, in the order in which they end.

    Raises:
        SettingError: Before anything runs, if a job searches beams, has an empty prompt, or does
            not fit the model's context.
        FloatingPointError: If the model's logits hold NaN or infinity.
    """
    require(slots >= 1, "slots must be at least 1")
    if not jobs:
        return
    _refuse_misfits(model, jobs)
    longest = max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs)
    state = _Slots(model, slots=slots, capacity=_round_up(longest))
    waiting = iter(jobs)
    held: tuple[tuple[int, ...], Prefix] | None = None
    seats: list[_Seat | None] = [None] * slots
    while True:
        for slot in (slot for slot, seat in enumerate(seats) if seat is None):
            job = next(waiting, None)
            if job is None:
                break
            if held is None or held[0] != job.prompt_ids:
                held = None  # frees the last prompt before the next one is computed
                held = job.prompt_ids, _prefill(model, job.prompt_ids)
            state.seat(slot, job, held[1], key=row_key(seed, job.question, job.repeat))
            seats[slot] = _Seat(job)
        busy = [(slot, seat) for slot, seat in enumerate(seats) if seat is not None]
        if not busy:
            return
        tokens = state.step(columns=max(seat.length for _, seat in busy))
        for slot, seat in busy:
            if tokens[slot] == UNDEFINED:
                raise FloatingPointError(_undefined(seat))
            seat.ids.append(tokens[slot])
            finished = finish(seat.job, seat.ids, eos_token_id=eos_token_id)
            if finished is not None:
                seats[slot] = None
                yield finished


@dataclass
class _Seat:
    """What the host knows of a busy slot."""

    job: Job
    ids: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Columns in use once the token at hand is written."""
        return len(self.job.prompt_ids) + len(self.ids)


class _Slots:
    """The device's side: the cache and what a step reads, one entry per slot."""

    def __init__(self, model: Any, *, slots: int, capacity: int) -> None:
        import torch

        def column(value: int | float | bool) -> torch.Tensor:
            return torch.full((slots,), value, device=model.device)

        self.model = model
        self.cache = _Cache(slots=slots, capacity=capacity)
        self.columns = torch.arange(capacity, device=model.device)
        self.rows = torch.arange(slots, device=model.device)
        self.tokens, self.position, self.prompt_length = column(0), column(0), column(1)
        self.keys, self.top_k = column(0), column(0)
        self.temperature, self.greedy = column(1.0), column(True)
        self.max_top_k = 0

    def seat(self, slot: int, job: Job, prefix: Prefix, *, key: int) -> None:
        """Give a slot to a job: its prompt's columns, its last prompt token, its setting."""
        self.cache.write_prefix(slot, prefix)
        length, setting = len(job.prompt_ids), job.setting
        self.tokens[slot] = job.prompt_ids[-1]
        self.position[slot] = length - 1
        self.prompt_length[slot] = length
        self.keys[slot] = key
        self.temperature[slot] = setting.temperature
        self.top_k[slot] = setting.top_k
        self.greedy[slot] = not setting.do_sample
        self.max_top_k = max(self.max_top_k, setting.top_k)

    def step(self, *, columns: int) -> list[int]:
        """Advance every slot by one token and return the tokens.

        Args:
            columns: No busy slot has more columns in use; the rest of the cache is not read.
        """
        import torch

        with torch.no_grad():
            visible = self.columns[: _round_up(columns)]
            hidden = visible > self.position[:, None]
            # An additive mask, made once here: a boolean one would be converted in every layer.
            mask = torch.zeros(hidden.shape, dtype=self.model.dtype, device=hidden.device)
            mask = mask.masked_fill_(hidden, float("-inf"))[:, None, None]
            output = self.model(
                input_ids=self.tokens[:, None],
                position_ids=self.position[:, None],
                attention_mask=mask,
                past_key_values=self.cache.at(self.rows, self.position, visible=len(visible)),
                use_cache=True,
            )
            # A slot without a job would otherwise run past the last column.
            self.position.add_(1).clamp_(max=len(self.columns) - 1)
            drawn = next_tokens(
                output.logits[:, -1],
                temperature=self.temperature,
                top_k=self.top_k,
                greedy=self.greedy,
                keys=self.keys,
                positions=self.position - self.prompt_length,
                max_top_k=self.max_top_k,
            )
            self.tokens.copy_(drawn)
        return self.tokens.tolist()


class _Cache:
    """Static keys and values of all slots: the part of `transformers.Cache` that a model calls."""

    def __init__(self, *, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self.layers: Prefix = []

    def write_prefix(self, slot: int, prefix: Prefix) -> None:
        """Copy a prompt's keys and values into the first columns of a slot."""
        if not self.layers:
            self.layers = [(self._empty(keys), self._empty(values)) for keys, values in prefix]
        for stored, new in zip(self.layers, prefix, strict=True):
            for target, source in zip(stored, new, strict=True):
                target[slot, :, : source.shape[2]] = source[0]

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not whatever the memory held: a hidden column weighs 0, but 0 times NaN is NaN.
        return like.new_zeros(self.slots, like.shape[1], self.capacity, like.shape[3])

    def at(self, rows: torch.Tensor, position: torch.Tensor, *, visible: int) -> _Cache:
        """Set where the next step writes, one column per slot, and how many columns it reads."""
        self.rows, self.position, self.visible = rows, position, visible
        return self

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token per slot, (S, H_kv, 1, D) each; return what may be attended to."""
        stored_keys, stored_values = self.layers[layer]
        stored_keys[self.rows, :, self.position] = keys[:, :, 0]
        stored_values[self.rows, :, self.position] = values[:, :, 0]
        return stored_keys[:, :, : self.visible], stored_values[:, :, : self.visible]


def _prefill(model: Any, prompt_ids: Sequence[int]) -> Prefix:
    import torch

    with torch.no_grad():
        ids = torch.tensor([list(prompt_ids)], device=model.device)
        cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
    return [(layer.keys, layer.values) for layer in cache.layers]


def _round_up(columns: int) -> int:
    return -(-columns // COLUMNS) * COLUMNS


def _refuse_misfits(model: Any, jobs: Sequence[Job]) -> None:
    context = model.config.max_position_embeddings
    window = getattr(model.config, "sliding_window", None) or context
    limit = min(context, window)
    for job in jobs:
        prompt, budget = len(job.prompt_ids), job.setting.max_new_tokens
        name = f"question {job.question}, cell {job.cell}"
        require(prompt > 0, f"{name}: the prompt is empty; render it with prompts.render_prompt")
        require(
            job.setting.num_beams == 1, f"{name}: slots do not search beams; use model.generate"
        )
        require(
            prompt + budget <= limit,
            f"{name}: {prompt} prompt tokens and a budget of {budget} exceed the {limit} tokens "
            "that this model attends to; lower max_new_tokens or leave the question out",
        )


def _undefined(seat: _Seat) -> str:
    job = seat.job
    return (
        f"question {job.question}, cell {job.cell}, token {len(seat.ids)}: the logits hold NaN or "
        "infinity; the weights are damaged, or the dtype overflows: check the adapter's sha256, "
        "then finetune again"
    )
