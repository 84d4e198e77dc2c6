"""A finetuned model that is asked question by question, and answers as its study does.

One model, one engine, for as long as it is asked: the study's own, with its template and its
sampler. Each question stands alone, as every row did that the model was trained on: no answer
knows of the one before it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from .. import hardware, models
from ..adapters import Found
from ..config import DecodeSetting, SettingError, require, require_types
from ..decoding import beams, slots
from ..decoding.jobs import Finished, Job
from ..encoding import encode_prompt
from ..fitting import MARGIN
from ..memory import Shape, decode_gib
from ..prompts import render_prompt
from ..quiet import quiet_loading
from ..rows.validation import Example
from ..weights.checkpoints import locate, read_shape
from .choices import Choices
from .streaming import Stream

if TYPE_CHECKING:
    from ..engine.engine import Engine

ROWS = {"cpu": 8, "cuda": 16}
"""Rows of a step: one answers, and all read the prompt. Fewer than 16 save a GPU no time; on a CPU
each costs its own, used or not."""
Ended = Literal["eos", "length", "stopped"]
ENDED = {
    "eos": "ended by itself (eos)",
    "length": "cut by max_new_tokens (length)",
    "stopped": "stopped",
}


class Stopped(Exception):
    """Raised between two steps of an answer that is not wanted any more."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a user asks: an instruction and, if it needs one, an input."""

    instruction: str
    input: str = ""

    def __post_init__(self) -> None:
        require_types(self)
        require(bool(self.instruction.strip()), "there is no instruction: write what is to be done")

    @property
    def prompt(self) -> str:
        """What the model reads: the study's template, filled in."""
        return render_prompt(self.instruction, self.input)

    @property
    def id(self) -> str:
        """Its name in a study's results, which its noise depends on."""
        return Example(instruction=self.instruction, input=self.input, output="").id


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, and what it took."""

    question: Question
    choices: Choices
    repeat: int
    """How often this question had been asked before with these choices: the noise is another."""
    text: str
    n_new_tokens: int
    """Tokens decoded, EOS included."""
    wall_s: float
    """From the question to the answer's end, the engine's warm-up left out."""
    ended: Ended

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens decoded per second, the prompt's reading included; None where there are none."""
        return self.n_new_tokens / self.wall_s if self.n_new_tokens else None

    def describe(self) -> str:
        """Return what it took, why it ended and how it was decoded, in one line."""
        rate = f"{self.tokens_per_s:.0f} tokens/s" if self.n_new_tokens else ""
        parts = [f"{self.n_new_tokens} tokens", f"{self.wall_s:.1f} s", rate, ENDED[self.ended]]
        again = f", asked again ({self.repeat + 1})" if self.repeat else ""
        return f"{', '.join(filter(None, parts))}; {self.choices.describe()}{again}"


class Session:
    """A loaded model, and the engine that it answers in. One question at a time."""

    def __init__(
        self, model: Any, tokenizer: Any, *, title: str = "", gpu_gib: float | None = None
    ) -> None:
        """Take a dense model as `models.load_decoder` returns it.

        Args:
            model: A Transformers causal language model in eval mode.
            tokenizer: Its tokenizer.
            title: What the model is called.
            gpu_gib: The most that may be taken of the GPU; None: all.
        """
        self.model, self.tokenizer, self.title, self._gpu_gib = model, tokenizer, title, gpu_gib
        self._engine: Engine | None = None
        self._turn = Lock()
        self._asked: Counter[tuple[str, Choices]] = Counter()

    @property
    def place(self) -> str:
        """Where and in what precision it computes, such as "cuda, bfloat16"."""
        return f"{self.model.device.type}, {str(self.model.dtype).removeprefix('torch.')}"

    def ask(
        self,
        question: Question,
        choices: Choices,
        *,
        hear: Callable[[str], object] = lambda _: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Return the answer to a question; a second caller, in another thread, waits.

        Args:
            question: What is asked; it is rendered by the study's template.
            choices: How it is decoded.
            hear: Called with each piece of the text as it comes; together they are the text. With
                beams there is one piece, when the search has ended: until then none is certain.
            stopped: Asked before each token; True ends the answer with what there is. Of a beam
                search there is nothing.

        Raises:
            SettingError: If prompt and budget do not fit the model's context or the memory.
            FloatingPointError: If the model's logits hold NaN or infinity.
        """
        with self._turn:
            return self._ask(question, choices, hear=hear, stopped=stopped)

    def _ask(
        self,
        question: Question,
        choices: Choices,
        *,
        hear: Callable[[str], object],
        stopped: Callable[[], bool],
    ) -> Answer:
        prompt = tuple(encode_prompt(self.tokenizer, question.instruction, question.input))
        setting = choices.setting()
        engine = self._engine_for(len(prompt), setting)
        repeat = self._asked[question.id, choices]
        self._asked[question.id, choices] += 1
        job = Job(
            question=question.id, prompt_ids=prompt, cell="chat", setting=setting, repeat=repeat
        )
        stream, began, warmed = Stream(self.tokenizer), perf_counter(), engine.warm_up_s

        def heard(_: Job, token: int) -> None:
            _hear(hear, stream.add(token))

        def watch(_: Any) -> None:
            if stopped():
                raise Stopped

        try:
            done = self._decode(engine, job, seed=choices.seed, watch=watch, heard=heard)
            stream.ids, n, ended = list(done.ids), done.n_new_tokens, done.finish_reason
        except Stopped:
            n, ended = len(stream.ids), "stopped"
        _hear(hear, stream.end())
        return Answer(
            question=question,
            choices=choices,
            repeat=repeat,
            text=stream.text,
            n_new_tokens=n,
            wall_s=perf_counter() - began - (engine.warm_up_s - warmed),
            ended=ended,
        )

    def _decode(self, engine: Engine, job: Job, *, seed: int, watch: Any, heard: Any) -> Finished:
        eos = self.tokenizer.eos_token_id
        if job.setting.num_beams > 1:
            [done] = beams.run(engine, [job], eos_token_id=eos, watch=watch)
        else:
            [done] = slots.run(
                engine, [job], eos_token_id=eos, seed=seed, slots=1, watch=watch, heard=heard
            )
        return done

    def _engine_for(self, prompt: int, setting: DecodeSetting) -> Engine:
        """Return the engine, made anew where a question wants more rows or columns than it has."""
        from ..engine.engine import Engine, context_of

        limit, budget = context_of(self.model.config), setting.max_new_tokens
        require(
            prompt < limit,
            f"the prompt has {prompt:,} tokens, and this model attends to {limit:,}: shorten it",
        )
        require(
            prompt + budget <= limit,
            f"the prompt has {prompt:,} of the {limit:,} tokens that this model attends to: set "
            f"max_new_tokens={limit - prompt} or less, not {budget}",
        )
        rows, needs = (
            max(ROWS[hardware.device()], setting.num_beams),
            prompt + setting.num_beams * budget + 1,
        )
        engine = self._engine
        if engine is None or engine.rows < rows or engine.columns.count < needs:
            engine = self._engine = None
            hardware.release()
            columns = self._columns(rows, needs=needs, wished=limit + 1)
            self._engine = Engine(self.model, rows=rows, columns=columns)
        return self._engine

    def _columns(self, rows: int, *, needs: int, wished: int) -> int:
        """Return the columns of a pool: as wished, so that it serves on, else what is needed."""
        memory_gib = hardware.memory_gib(self._gpu_gib)
        if memory_gib is None:
            return max(needs, wished)
        shape = Shape.from_config(self.model.config.to_dict())
        for columns in (max(needs, wished), needs):
            gib = decode_gib(shape, slots=rows, columns=columns)
            if gib <= memory_gib * (1 - MARGIN):
                return columns
        raise SettingError(
            f"{needs - 1:,} tokens of prompt and answer need {gib:.1f} GiB, here are "
            f"{memory_gib:.1f}: set max_new_tokens or num_beams lower"
        )


def open_session(found: Found) -> Session:
    """Load a model as its study decodes it, on the GPU if there is one.

    Raises:
        SettingError: If base or adapter cannot be had, hold anything but weights, or do not fit.
    """
    gpu_gib = found.study.gpu_gib if found.study else None
    hardware.claim_device(gpu_gib)
    folder = locate(found.spec, instead="name a local folder with --base FOLDER")
    try:
        read_shape(folder)
    except KeyError as error:
        raise SettingError(
            f"{folder}: config.json has no {error}: LLaMA, Mistral and Phi are known here"
        ) from None
    # It remarks on kernels that a CPU has no need of.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with quiet_loading():
        model, tokenizer = models.load_decoder(found.spec, found.folder, merged=found.merged)
    title = f"{found.spec.title}, {'finetuned' if found.folder else 'untuned'}"
    return Session(model, tokenizer, title=title, gpu_gib=gpu_gib)


def _hear(hear: Callable[[str], object], text: str) -> None:
    if text:
        hear(text)
