"""One model, every cell of the sweep: from questions to answers in results/.

Two passes over each model. Greedy and sampled cells share one pass through the slots, question by
question, so that a prompt is read once for all of them; each beam width is a pass of its own.
The untuned base, decoded greedily, is one more cell. Each of the two models also reads the
references: how likely it finds them, and whether the dense model that decodes reads them as the
NF4 model that was trained does; where it does not, the latter decodes. An answer is on disk the
moment it is finished, and what is on disk is never decoded again: interrupting costs the answers in
flight.

Processes that were launched together deal the questions among themselves. The first of them reads
and tidies the record, measures, and at the end brings all answers together; each writes what it
answers to a file of its own. Between dealing and bringing together none waits for another.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from .. import environment, ranks
from ..config import StudySpec, as_dict
from ..progress import Bar, say
from ..prompts import TEMPLATE_HASH
from ..store import Record, Run
from ..sweep import Cell, cells, untuned
from .dealing import Asked, deal, jobs
from .decoders import Decoder, ModelDecoder, OpenDecoder
from .jobs import Finished, ids_sha256
from .pace import BAR, Pace


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
        What this call added, by all processes: model, answers, new_tokens, wall_s of the slowest,
        tokens_per_s (None where nothing was decoded), and of all answers their counts by status.

    Raises:
        SettingError: If the study has no such model, a question does not fit its context, or the
            processes do not share a drive.
        RecordError: If the questions, the finetune or the index are missing.
    """
    spec = study.model(model_key)
    ranks.require_shared(record.folder)
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
    tuned_request = shared | {"adapter": training["adapter"]["sha256"]}
    base_request = shared | {"adapter": None}
    greedy, *others = cells(study)
    asked = sum(cell.repeats for cell in (greedy, *others, untuned(study))) * len(questions)
    pace, title = Pace(), f"Decode {spec.title}"
    if ranks.count() > 1:
        title += f" (rank 0 of {ranks.count()})"
    with (
        _at_work(record, model_key),
        Bar(total=asked // ranks.count(), desc=title, unit="answer", bar_format=BAR) as bar,
    ):
        measuring = {"questions": questions, "study": study, "record": record, "bar": bar}
        first = _agreed(_checked, greedy, tuned_request, decoder=tuned, **measuring)
        if not first.merged:
            tuned.unmerge()
        request = ranks.agree(lambda: first.run.request())
        tasks = [first, *(_agreed(_task, cell, request, record=record) for cell in others)]
        base = _agreed(_task, untuned(study), base_request, record=record)
        one_pass = [task for task in tasks if task.cell.setting.num_beams == 1]
        passes = [one_pass, *([task] for task in tasks if task not in one_pass)]
        pace.missing = {task.cell: 0 for task in (*tasks, base)}
        bar.n = sum(len(task.run.done()) for task in (*tasks, base)) if ranks.is_main() else 0
        *shares, of_base = _deal([*passes, [base]], questions)
        _expect([*shares, of_base], pace=pace, bar=bar)
        for group, share in zip(passes, shares, strict=True):
            _answer(group, share, questions, decoder=tuned, pace=pace, bar=bar)
        _measure(first.run, questions, decoder=tuned, bar=bar)
        del tuned  # so that one model at a time is in memory
        plain = open_decoder(spec, None, study)
        base = _agreed(_checked, untuned(study), base_request, decoder=plain, **measuring)
        if not base.merged:
            plain.unmerge()
        [of_base] = _deal([[base]], questions)
        _expect([of_base], pace=pace, bar=bar)
        _answer([base], of_base, questions, decoder=plain, pace=pace, bar=bar)
        _measure(base.run, questions, decoder=plain, bar=bar)
        everything = [*tasks, base]
        ranks.wait()
        ranks.once(lambda: _enter(everything, model_key, record=record, study=study))
        summary = _summary(model_key, everything)
        bar.set_postfix_str(pace.ended(summary["tokens_per_s"]))
    return summary


@contextmanager
def _at_work(record: Record, model_key: str) -> Iterator[None]:
    """Let one launch at a time decode a model in a record, each process of it under its own lock.

    The processes of a launch that was killed may outlive it for a while, and still write.
    """
    with ExitStack() as locks:
        if ranks.is_main():
            locks.enter_context(record.working("decoding", model_key))
            record.wait_for("decoding", f"{model_key}+*")
        ranks.wait()
        if not ranks.is_main():
            locks.enter_context(record.working("decoding", f"{model_key}+{ranks.rank()}"))
        yield


@dataclass
class _Task:
    """A cell, its run, and what this process added to it."""

    cell: Cell
    run: Run
    merged: bool = True
    answers: int = 0
    new_tokens: int = 0
    wall_s: float = 0.0


def _agreed(make: Callable[..., _Task], *asked: Any, **choices: Any) -> _Task:
    """Return the task that the first process makes, with a file for the answers of this one."""
    task = ranks.agree(lambda: make(*asked, **choices))
    return replace(task, run=replace(task.run, part=ranks.rank()))


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
    cell: Cell,
    request: Mapping[str, Any],
    *,
    questions: Sequence[Mapping[str, Any]],
    decoder: Decoder,
    study: StudySpec,
    record: Record,
    bar: Bar,
) -> _Task:
    """Return a task, or, where its dense model is too far from what was trained, the unmerged one.

    Only then does the request say which weights decode: the run of a merged adapter keeps its id.
    """
    task = _task(cell, request, record=record)
    if not task.run.is_sealed and "dense" not in task.run.checks():
        bar.set_postfix_str("the dense model against NF4")
        task.run.add_check("dense", decoder.agreement(questions))
    found = task.run.checks().get("dense")
    if found is None or found["agreement"] >= study.min_agreement:
        return task
    unmerged = _task(cell, task.run.request() | {"weights": "unmerged"}, record=record)
    if not unmerged.run.is_sealed:
        unmerged.run.add_check("dense", found)
    return replace(unmerged, merged=False)


def _deal(
    passes: Sequence[Sequence[_Task]], questions: Sequence[Mapping[str, Any]]
) -> list[list[Asked]]:
    return deal([{task.cell: task.run for task in tasks} for tasks in passes], questions)


def _expect(shares: Sequence[Sequence[Asked]], *, pace: Pace, bar: Bar) -> None:
    """Let pace and bar know what this process is to answer."""
    for share in shares:
        pace.missing |= Counter(cell for asked in share for cell, _ in asked.answers)
    bar.total = bar.n + sum(pace.missing.values())
    bar.refresh()


def _answer(
    tasks: Sequence[_Task],
    share: Sequence[Asked],
    questions: Sequence[Mapping[str, Any]],
    *,
    decoder: Decoder,
    pace: Pace,
    bar: Bar,
) -> None:
    """Decode a share of one pass; append each answer to its run, then each session."""
    if not share:
        return
    asked = list(jobs(share, questions, decoder=decoder))
    by_cell = {task.cell.name: task for task in tasks}
    pace.begin(task.cell for task in tasks)
    machine, start = environment.snapshot(), perf_counter()
    try:
        for finished in decoder.answers(asked):
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
                    "rank": ranks.rank(),
                    "processes": ranks.count(),
                    "started": machine["time"],
                    "environment": machine,
                }
            )


def _measure(
    run: Run, questions: Sequence[Mapping[str, Any]], *, decoder: Decoder, bar: Bar
) -> None:
    """Record beside the greedy answers, once, what else is to be known of the same model."""
    if run.is_sealed or not ranks.is_main():
        return
    known = run.likelihood()
    if known is None or len(known) < len(questions):
        bar.set_postfix_str("likelihood of the references")
        run.write_likelihood(decoder.likelihood(questions))
    if "identity" not in run.checks():
        bar.set_postfix_str("the same answers with fewer slots")
        run.add_check("identity", decoder.identity(questions))


def _enter(tasks: Sequence[_Task], model_key: str, *, record: Record, study: StudySpec) -> None:
    """Bring together what all processes answered, and enter the runs in the record."""
    for task in tasks:
        task.run.gather()
    ids = {task.cell.name: task.run.id for task in tasks}
    record.add_runs(model_key, ids, spec=as_dict(study))


def _line(finished: Finished, *, text: str) -> dict[str, Any]:
    """Return an answer as it is recorded. White space alone is an empty answer, and an answer."""
    return {
        "id": finished.job.question,
        "repeat": finished.job.repeat,
        "status": "ok" if text.strip() else "empty",
        "text": text,
        "ids_sha256": ids_sha256(finished.ids),
        "n_new_tokens": finished.n_new_tokens,
        "finish_reason": finished.finish_reason,
    }


def _summary(model_key: str, tasks: Sequence[_Task]) -> dict[str, Any]:
    added = [(task.answers, task.new_tokens, task.wall_s) for task in tasks]
    everyones = ranks.gather([sum(part) for part in zip(*added, strict=True)])
    answers, new_tokens, wall_s = zip(*everyones, strict=True)
    tokens, slowest_s = sum(new_tokens), max(wall_s)
    return {
        "model": model_key,
        "answers": sum(answers),
        "new_tokens": tokens,
        "wall_s": round(slowest_s, 2),
        "tokens_per_s": round(tokens / slowest_s, 1) if tokens else None,
        "counts": dict(Counter(row["status"] for task in tasks for row in task.run.answers())),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
