"""One model, every cell of the sweep: from questions to answers in results/.

Two passes over each model. Greedy and sampled cells share one pass through the slots, question by
question, so that a prompt is read once for all of them; each beam width is a pass of its own.
The untuned base, decoded greedily, is one more cell. Each of the two models also reads the
references: how likely it finds them, and whether the dense model that decodes reads them as the
NF4 model that was trained does; where it does not, the latter decodes. An answer is on disk the
moment it is finished, and what is on disk is never decoded again: interrupting costs the answers in
flight.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from . import environment
from .config import SettingError, StudySpec, as_dict
from .decoders import Decoder, ModelDecoder, OpenDecoder
from .jobs import Finished, Job
from .pace import BAR, Pace
from .progress import Bar, say
from .prompts import TEMPLATE_HASH
from .store import Record, Run
from .sweep import Cell, cells, untuned


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
    folder = record.adapter(model_key)
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
    pace = Pace()
    with (
        record.working("decoding", model_key),
        Bar(total=total, desc=f"Decode {spec.title}", unit="answer", bar_format=BAR) as bar,
    ):
        first = _task(greedy, shared | {"adapter": training["adapter"]["sha256"]}, record=record)
        first = _checked(first, questions, decoder=tuned, study=study, record=record, bar=bar)
        tasks = [first, *(_task(cell, first.run.request(), record=record) for cell in others)]
        base = _task(untuned(study), shared | {"adapter": None}, record=record)
        _count([*tasks, base], questions, pace=pace, bar=bar)
        one_pass = [task for task in tasks if task.cell.setting.num_beams == 1]
        passes = [one_pass, *([task] for task in tasks if task not in one_pass)]
        for group in passes:
            _answer(group, questions, decoder=tuned, pace=pace, bar=bar)
        _measure(first.run, questions, decoder=tuned, bar=bar)
        del tuned  # so that one model at a time is in memory
        plain = open_decoder(spec, None, study)
        base = _checked(base, questions, decoder=plain, study=study, record=record, bar=bar)
        everything = [*tasks, base]
        _count(everything, questions, pace=pace, bar=bar)
        _answer([base], questions, decoder=plain, pace=pace, bar=bar)
        _measure(base.run, questions, decoder=plain, bar=bar)
        summary = _summary(model_key, everything)
        bar.set_postfix_str(pace.ended(summary["tokens_per_s"]))
    ids = {task.cell.name: task.run.id for task in everything}
    record.add_runs(model_key, ids, spec=as_dict(study))
    return summary


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
    run = record.open_run(request)
    for sentence in run.mend():
        say(sentence)
    return _Task(cell=cell, run=run)


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


def _count(
    tasks: Sequence[_Task], questions: Sequence[Mapping[str, Any]], *, pace: Pace, bar: Bar
) -> None:
    """Let the bar show what is on disk, and the pace know what is not."""
    done = {task.cell: len(task.run.done()) for task in tasks}
    pace.missing = {cell: cell.repeats * len(questions) - n for cell, n in done.items()}
    bar.n = sum(done.values())
    bar.refresh()


def _answer(
    tasks: Sequence[_Task],
    questions: Sequence[Mapping[str, Any]],
    *,
    decoder: Decoder,
    pace: Pace,
    bar: Bar,
) -> None:
    """Decode what is missing in the runs of one pass; append each answer, then each session."""
    jobs = list(_missing(tasks, questions, decoder=decoder))
    if not jobs:
        return
    by_cell = {task.cell.name: task for task in tasks}
    pace.begin(task.cell for task in tasks)
    machine, start = environment.snapshot(), perf_counter()
    try:
        for finished in decoder.answers(jobs):
            task = by_cell[finished.job.cell]
            task.run.append(_line(finished, text=decoder.text(finished.ids)))
            task.answers += 1
            task.new_tokens += finished.n_new_tokens
            pace.add(task.cell, new_tokens=finished.n_new_tokens)
            bar.set_postfix_str(str(pace), refresh=False)
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
                    **decoder.facts(),
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
    known = run.likelihood()
    if known is None or len(known) < len(questions):
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
    return {
        "id": finished.job.question,
        "repeat": finished.job.repeat,
        "status": "ok" if text.strip() else "empty",
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
