"""One model, every cell of the sweep: from questions to answers in results/.

Two passes over each model. Greedy and sampled cells share one pass through the slots, question by
question, so that a prompt is prefilled once for all of them; each beam width is a pass of its own.
The untuned base, decoded greedily, is one more cell. Each of the two models also reads the
references: how likely it finds them, and whether the dense model that decodes reads them as the
NF4 model that was trained does; where it does not, the latter decodes. An answer is on disk the
moment it is finished, and what is on disk is never decoded again: interrupting costs the answers in
flight.
"""

from __future__ import annotations

import gc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import pandas as pd

from . import beams, checkpoints, checks, encoding, environment, hardware, likelihood, models, slots
from .config import ROOT, ModelSpec, SettingError, StudySpec
from .memory import slots_that_fit
from .progress import Bar
from .prompts import TEMPLATE_HASH
from .slots import Finished, Job
from .store import Record, Run
from .sweep import Cell, cells, untuned


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

    def peak_gib(self) -> float | None:
        """Return the most GiB reserved so far; None on a CPU."""


OpenDecoder = Callable[[ModelSpec, Path | None, StudySpec], Decoder]
"""Makes the decoder of a base model and its adapter's folder, or of the untuned base (None)."""


@dataclass
class ModelDecoder:
    """The `Decoder` of a real study: a dense Transformers model."""

    spec: ModelSpec
    adapter: Path | None
    study: StudySpec
    merged: bool = True

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return self._load(merged=self.merged)

    def _load(self, *, merged: bool) -> tuple[Any, Any]:
        gc.collect()  # the decoder before this one may still hold the GPU's memory in a cycle
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
        """Yield each answer as it finishes, from the slots or from beam search."""
        model, tokenizer = self._loaded
        width, eos = self._width(jobs), tokenizer.eos_token_id
        if all(job.setting.num_beams == 1 for job in jobs):
            return slots.decode(model, jobs, slots=width, eos_token_id=eos, seed=self.study.seed)
        return beams.search(model, jobs, rows=width, eos_token_id=eos)

    def _width(self, jobs: Sequence[Job]) -> int:
        """Return the rows decoded side by side: the study's slots, as far as the GPU holds them."""
        memory = hardware.memory_gib(self.study.gpu_gib)
        if memory is None:
            return self.study.slots
        length = max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs)
        shape = checkpoints.read_shape(checkpoints.locate(self.spec))
        fitting = slots_that_fit(shape, length=length, budget_gib=memory, most=self.study.slots)
        return max(fitting, 1)

    def likelihood(self, questions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return how surprising the model finds each reference, as `likelihood.response_nll`."""
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
        self.__dict__.pop("_loaded", None)

    def identity(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return how far answers depend on the number of slots, as `checks.identity`."""
        model, tokenizer = self._loaded
        most = checks.IDENTITY_QUESTIONS if self.device == "cuda" else checks.IDENTITY_QUESTIONS_CPU
        budget = self.study.max_new_tokens
        jobs = checks.greedy_jobs(tokenizer, questions[:most], max_new_tokens=budget)
        width, eos = self._width(jobs), tokenizer.eos_token_id
        return checks.identity(model, jobs, slots=width, eos_token_id=eos, seed=self.study.seed)

    def text(self, ids: Sequence[int]) -> str:
        """Return an answer's text, special tokens left out."""
        return self._loaded[1].decode(list(ids), skip_special_tokens=True)

    def peak_gib(self) -> float | None:
        """Return the most GiB reserved so far; None on a CPU."""
        return hardware.peak_gib()


def generate(
    study: StudySpec,
    model_key: str,
    *,
    record: Record,
    open_decoder: OpenDecoder = ModelDecoder,
) -> dict[str, Any]:
    """Answer every question in every cell with one finetuned model, and with its untuned base.

    Args:
        study: The study.
        model_key: Which of its models; it must be finetuned.
        record: Holds the questions and the finetune's manifest; the answers go there, and the
            runs of this model into its index once all of them are answered.
        open_decoder: Makes what answers; a test passes a fake.

    Returns:
        What this call added: model, answers, new_tokens, wall_s, tokens_per_s (None where nothing
        was decoded), and of all answers their counts by status.

    Raises:
        SettingError: If the study has no such model, or a question does not fit its context.
        RecordError: If the questions, the finetune or the index are missing.
    """
    spec = next((model for model in study.models if model.key == model_key), None)
    if spec is None:
        known = ", ".join(model.key for model in study.models)
        raise SettingError(f'study {study.name} has no model "{model_key}": choose from {known}')
    training, _ = record.training(model_key)
    folder = ROOT / training["adapter"]["folder"]
    questions = record.questions()
    tuned = open_decoder(spec, folder, study)
    shared = {
        "model": training["base"],
        "template": TEMPLATE_HASH,
        "questions": _sha256("\n".join(question["id"] for question in questions)),
        "data": record.index().get("data"),
        "seed": study.seed,
        "dtype": tuned.dtype,
    }
    greedy, *others = cells(study)
    total = sum(cell.repeats for cell in (greedy, *others, untuned(study))) * len(questions)
    with Bar(total=total, desc=f"Decode {spec.title}", unit="answer") as bar:
        first = _task(greedy, shared | {"adapter": training["adapter"]["sha256"]}, record=record)
        first = _checked(first, questions, decoder=tuned, study=study, record=record, bar=bar)
        tasks = [first, *(_task(cell, first.run.request(), record=record) for cell in others)]
        base = _task(untuned(study), shared | {"adapter": None}, record=record)
        bar.n = bar.initial = sum(len(task.run.done()) for task in [*tasks, base])
        bar.refresh()
        one_pass = [task for task in tasks if task.cell.setting.num_beams == 1]
        passes = [one_pass, *([task] for task in tasks if task not in one_pass)]
        for group in passes:
            _answer(group, questions, decoder=tuned, bar=bar)
        _measure(first.run, questions, decoder=tuned, bar=bar)
        del tuned  # so that one model at a time is in memory
        plain = open_decoder(spec, None, study)
        base = _checked(base, questions, decoder=plain, study=study, record=record, bar=bar)
        _answer([base], questions, decoder=plain, bar=bar)
        _measure(base.run, questions, decoder=plain, bar=bar)
    everything = [*tasks, base]
    record.add_runs(model_key, {task.cell.name: task.run.id for task in everything})
    return _summary(model_key, everything)


@dataclass
class _Task:
    """A cell, its run, and what this process added to it."""

    cell: Cell
    run: Run
    answers: int = 0
    new_tokens: int = 0
    wall_s: float = 0.0


def _task(cell: Cell, shared: Mapping[str, Any], *, record: Record) -> _Task:
    request = shared | {
        "setting": cell.setting.generation_fields(),
        "repeats": cell.repeats,
        "engine": "slots" if cell.setting.num_beams == 1 else "beams",
    }
    return _Task(cell=cell, run=record.open_run(request))


def _checked(
    task: _Task,
    questions: Sequence[Mapping[str, Any]],
    *,
    decoder: Decoder,
    study: StudySpec,
    record: Record,
    bar: Bar,
) -> _Task:
    """Return a task, or, where its dense model is too far from what was trained, the unmerged one.

    Only then does the request say which weights decode: the run of a merged adapter keeps its id.
    """
    if not task.run.is_sealed and "dense" not in task.run.checks():
        bar.set_postfix_str("the dense model against NF4")
        task.run.add_check("dense", decoder.agreement(questions))
    found = task.run.checks().get("dense")
    if found is None or found["agreement"] >= study.min_agreement:
        return task
    decoder.unmerge()
    unmerged = _task(task.cell, task.run.request() | {"weights": "unmerged"}, record=record)
    if not unmerged.run.is_sealed:
        unmerged.run.add_check("dense", found)
    return unmerged


def _answer(
    tasks: Sequence[_Task], questions: Sequence[Mapping[str, Any]], *, decoder: Decoder, bar: Bar
) -> None:
    """Decode what is missing in the runs of one pass; append each answer, then each session."""
    jobs = list(_missing(tasks, questions, decoder=decoder))
    if not jobs:
        return
    by_cell = {task.cell.name: task for task in tasks}
    machine, start = environment.snapshot(), perf_counter()
    try:
        for finished in decoder.answers(jobs):
            task = by_cell[finished.job.cell]
            task.run.append(_line(finished, text=decoder.text(finished.ids)))
            task.answers += 1
            task.new_tokens += finished.n_new_tokens
            rate = sum(task.new_tokens for task in tasks) / (perf_counter() - start)
            bar.set_postfix_str(f"{finished.job.cell}, {rate:.0f} tokens/s", refresh=False)
            bar.update()
    finally:  # also after an interrupt: the answers so far are kept, and so is what they took
        seconds = perf_counter() - start
        tokens = sum(task.new_tokens for task in tasks)
        for task in (task for task in tasks if task.answers):
            # The cells of a pass share every step; a cell's part of it is its part of the tokens.
            task.wall_s = seconds * task.new_tokens / max(tokens, 1)
            task.run.append_session(
                {
                    "answers": task.answers,
                    "new_tokens": task.new_tokens,
                    "wall_s": round(task.wall_s, 3),
                    "peak_gib": decoder.peak_gib(),
                    "device": decoder.device,
                    "started": machine["time"],
                    "environment": machine,
                }
            )


def _measure(
    run: Run, questions: Sequence[Mapping[str, Any]], *, decoder: Decoder, bar: Bar
) -> None:
    """Record beside the greedy answers, once, what else is to be known of the same model."""
    if run.is_sealed:
        return
    if not run.has_likelihood:
        bar.set_postfix_str("likelihood of the references")
        run.write_likelihood(decoder.likelihood(questions))
    if "identity" not in run.checks():
        bar.set_postfix_str("the same answers with fewer slots")
        run.add_check("identity", decoder.identity(questions))


def _missing(
    tasks: Sequence[_Task], questions: Sequence[Mapping[str, Any]], *, decoder: Decoder
) -> Iterator[Job]:
    """Yield a job for each answer that the runs do not hold, question by question."""
    done = {task.cell.name: task.run.done() for task in tasks}
    for question in questions:
        wanted = [
            (task.cell, repeat)
            for task in tasks
            for repeat in range(task.cell.repeats)
            if (question["id"], repeat) not in done[task.cell.name]
        ]
        # Encoding loads the model: not where every answer is there.
        prompt_ids = decoder.encode(question) if wanted else ()
        for cell, repeat in wanted:
            yield Job(
                question=question["id"],
                prompt_ids=prompt_ids,
                cell=cell.name,
                setting=cell.setting,
                repeat=repeat,
            )


def _line(finished: Finished, *, text: str) -> dict[str, Any]:
    """Return an answer as it is recorded. White space alone is an empty answer, and an answer."""
    answered = "ok" if text.strip() else "empty"
    return {
        "id": finished.job.question,
        "repeat": finished.job.repeat,
        "status": answered if finished.finish_reason else "oom",
        "text": text,
        "ids_sha256": _sha256(",".join(map(str, finished.ids)))[:16],
        "n_new_tokens": finished.n_new_tokens,
        "finish_reason": finished.finish_reason,
    }


def _summary(model_key: str, tasks: Sequence[_Task]) -> dict[str, Any]:
    new_tokens = sum(task.new_tokens for task in tasks)
    wall_s = sum(task.wall_s for task in tasks)
    return {
        "model": model_key,
        "answers": sum(task.answers for task in tasks),
        "new_tokens": new_tokens,
        "wall_s": round(wall_s, 2),
        "tokens_per_s": round(new_tokens / wall_s, 1) if new_tokens else None,
        "counts": dict(Counter(row["status"] for task in tasks for row in task.run.answers())),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
