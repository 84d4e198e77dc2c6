"""What answers the questions of a study: a model, loaded when it is first asked, in one engine.

A model is loaded, dequantised and merged once, and its engine is warmed up once, for all passes:
the slots' and each beam width's. Where the GPU's memory runs out on the way, because something else
took of it, the engine is made again with half the slots and half the columns, and what was not
finished is decoded in it. No answer depends on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from .. import encoding, hardware, models
from ..config import ModelSpec, SettingError, StudySpec
from ..endings import is_out_of_memory
from ..fitting import decode_plan
from ..memory import DecodePlan
from ..progress import say
from ..weights import checkpoints
from ..weights.architectures import why_plain
from . import beams, checks, likelihood, slots
from .jobs import Finished, Job

if TYPE_CHECKING:
    from ..engine.engine import Engine


class Decoder(Protocol):
    """What answers: a model with its tokenizer, loaded when it is first asked."""

    dtype: str
    device: str

    def encode(self, question: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the token ids of a question's prompt."""

    def answers(self, jobs: Sequence[Job]) -> Iterator[Finished]:
        """Yield each answer as it finishes. The jobs go through slots, or are of one beam width."""

    def likelihood(self, questions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return how surprising the model finds each reference, as `likelihood.response_nll`."""

    def agreement(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far the dense model is from the unmerged one, as `checks.agreement`."""

    def unmerge(self) -> None:
        """Answer with the NF4 weights and the adapter beside them from here on."""

    def identity(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far answers depend on the number of slots, as `checks.identity`."""

    def text(self, ids: Sequence[int]) -> str:
        """Return an answer's text."""

    def facts(self) -> dict[str, Any]:
        """Return what this process paid so far: seconds to load and warm up, slots, memory."""


OpenDecoder = Callable[[ModelSpec, Path | None, StudySpec], Decoder]
"""Makes the decoder of a base model and its adapter's folder, or of the untuned base (None)."""


@dataclass
class ModelDecoder:
    """The `Decoder` of a real study: a dense Transformers model."""

    spec: ModelSpec
    adapter: Path | None
    study: StudySpec
    merged: bool = True
    halvings: int = 0
    """How often memory ran out, and slots and columns were halved."""
    load_s: float = 0.0
    plan: DecodePlan | None = None
    _engine: Engine | None = field(default=None, repr=False)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        began = perf_counter()
        loaded = self._load(merged=self.merged)
        self.load_s = perf_counter() - began
        reason = why_plain(loaded[0].config)
        if reason is not None and self.adapter is not None:
            say(
                f"{self.spec.title}: decoded by Transformers' own modules rather than in joined "
                f"products, for {reason}; slower, the same answers"
            )
        return loaded

    def _load(self, *, merged: bool) -> tuple[Any, Any]:
        hardware.release()  # of the decoder before this one
        hardware.claim_device(self.study.gpu_gib)
        return models.load_decoder(self.spec, self.adapter, merged=merged)

    @property
    def dtype(self) -> str:
        """Name of the dtype that a model is loaded in on this machine."""
        return str(hardware.compute_dtype()).removeprefix("torch.")

    @property
    def device(self) -> str:
        """Where the model is, "cuda" or "cpu"."""
        return hardware.device()

    def encode(self, question: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the token ids of a question's prompt."""
        tokenizer = self._loaded[1]
        return tuple(encoding.encode_prompt(tokenizer, question["instruction"], question["input"]))

    def answers(self, jobs: Sequence[Job]) -> Iterator[Finished]:
        """Yield each answer as it finishes, from the slots or from beam search.

        Raises:
            SettingError: If a question does not fit, or memory runs out with a single slot.
        """
        eos, left = self._loaded[1].eos_token_id, list(jobs)
        while left:
            done: set[int] = set()
            try:
                engine = self._engine_for(left)
                if left[0].setting.num_beams > 1:
                    found = beams.run(engine, left, eos_token_id=eos)
                else:
                    found = slots.run(engine, left, eos_token_id=eos, seed=self.study.seed)
                for finished in found:
                    done.add(id(finished.job))
                    yield finished
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = True
            else:
                ran_out = False
            engine = found = None
            if ran_out:  # outside the handler: there, the error would still hold the memory
                self._halve()
            left = [job for job in left if id(job) not in done]

    def _engine_for(self, jobs: Sequence[Job]) -> Engine:
        """Return an engine for these jobs, a smaller one where the memory runs out.

        Raises:
            SettingError: If a question does not fit, or memory runs out for a single slot.
        """
        model = self._loaded[0]  # a model that does not fit is no reason to halve
        while True:
            try:
                return self._planned(model, jobs)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self._halve()

    def _planned(self, model: Any, jobs: Sequence[Job]) -> Engine:
        """Return the engine, made anew where these jobs want more columns than it has."""
        from ..engine.engine import Engine

        shape = checkpoints.read_shape(checkpoints.locate(self.spec))
        plan = decode_plan(
            self.study,
            shape,
            longest=max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs),
            memory_gib=hardware.memory_gib(self.study.gpu_gib),
            halvings=self.halvings,
        )
        # What a GPU has free moves a little; a pool that is nearly as large serves as well.
        least = plan.columns if self.device == "cpu" else 0.9 * plan.columns
        if self._engine is None or self._engine.columns.count < least:
            self._drop_engine()
            self.plan = plan
            self._engine = Engine(model, rows=plan.slots, columns=plan.columns)
        return self._engine

    def _halve(self) -> None:
        """Make room on the GPU for what else runs there."""
        if self.study.slots >> (self.halvings + 1) == 0:
            raise SettingError(
                f"{self.spec.title}: the GPU's memory runs out even for one slot; free what else "
                "holds it and run again: what is answered is kept"
            )
        self.halvings += 1
        self._drop_engine()
        say(
            f"{self.spec.title}: the memory ran out; from here on up to "
            f"{self.study.slots >> self.halvings} answers side by side, in half the columns"
        )

    def _drop_engine(self) -> None:
        self._engine = None
        hardware.release()

    def likelihood(self, questions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return how surprising the model finds each reference, as `likelihood.response_nll`."""
        self._drop_engine()  # the model's own passes need room of their own
        return likelihood.response_nll(*self._loaded, questions)

    def agreement(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far the dense model is from the unmerged one, as `checks.agreement`."""
        chosen = questions[: checks.AGREEMENT_QUESTIONS]
        # One model at a time is in memory: the first is gone before the second is loaded.
        unmerged = checks.reference_logits(*self._load(merged=False), chosen)
        return checks.agreement(checks.reference_logits(*self._loaded, chosen), unmerged)

    def unmerge(self) -> None:
        """Answer with the NF4 weights and the adapter beside them from here on."""
        self.merged = False
        self._drop_engine()
        self.__dict__.pop("_loaded", None)

    def identity(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far answers depend on the number of slots, as `checks.identity`."""
        model, tokenizer = self._loaded
        most = checks.IDENTITY_QUESTIONS if self.device == "cuda" else checks.IDENTITY_QUESTIONS_CPU
        budget, eos = self.study.max_new_tokens, tokenizer.eos_token_id
        jobs = checks.greedy_jobs(tokenizer, questions[:most], max_new_tokens=budget)

        def decode(width: int) -> Iterator[Finished]:
            some = jobs[: checks.ALONE_QUESTIONS] if width == 1 else jobs
            if self.device == "cpu":  # where each step has all the rows that its engine has
                return slots.decode(
                    model, some, slots=width, eos_token_id=eos, seed=self.study.seed
                )
            engine = self._engine_for(jobs)
            return slots.run(engine, some, eos_token_id=eos, seed=self.study.seed, slots=width)

        width = self._engine_for(jobs).rows
        found = checks.answers_by_slots(decode, slots=width)
        self._drop_engine()
        return checks.identity(model, found, slots=width, eos_token_id=eos)

    def text(self, ids: Sequence[int]) -> str:
        """Return an answer's text, special tokens left out."""
        return self._loaded[1].decode(list(ids), skip_special_tokens=True)

    def facts(self) -> dict[str, Any]:
        """Return what this process paid so far: seconds to load and warm up, slots, memory."""
        plan, engine = self.plan, self._engine
        return {
            "load_s": round(self.load_s, 2),
            "warm_up_s": round(engine.warm_up_s, 2) if engine else None,
            "slots": plan.slots if plan else None,
            "columns": plan.columns if plan else None,
            "halvings": self.halvings,
            "predicted_gib": round(plan.gib, 3) if plan and self.device == "cuda" else None,
            "peak_gib": hardware.peak_gib(),
        }
