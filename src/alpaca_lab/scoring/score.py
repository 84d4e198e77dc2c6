"""Answers to scores: every run of a study that is not sealed is checked, scored and sealed.

Redrawing a table never rescores, and rescoring never regenerates: what is read here are the
answers on disk and questions.jsonl, what is written are scores.parquet and the manifest.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .. import environment
from ..config import EncoderSpec, StudySpec
from ..files import RecordError
from ..metrics import bertscore, rescaling
from ..metrics.closeness import Similarity
from ..metrics.text_scores import SIGNATURES, text_scores
from ..progress import Bar, say
from ..store import CONTROL, Record, Run
from . import controls
from .controls import EMPTY

ANSWERED = ("ok", EMPTY)
"""Statuses with an answer to score."""
STATUSES = (*ANSWERED, "failed", "oom")
"""All statuses; the last two have no answer, and blank scores."""
FLAGS = ("rouge_defined", "rouge2_defined")
TEXT_FREE = ("n_ref_words", *FLAGS)
"""Columns that describe the reference alone: known even where the answer is missing."""
SCORES = (*text_scores("a", reference="a"), "bertscore_f1")
"""Columns that a pair of answer and reference decides."""

Known = dict[tuple[str, str], np.ndarray]
"""`SCORES` by answer and reference: what several settings and repeats give is scored once."""


def score(study: StudySpec, *, record: Record, similarity: Similarity | None = None) -> None:
    """Score every run of the study's index that is not sealed, and seal it.

    The controls are answered here too: silence, the question copied, and so on. A sealed run is
    compared with its manifest and left alone; if it is damaged, it is mended and scored again. One
    process at a time scores a study. Nothing is scored before every run is found whole;
    then they are sealed one by one, and an interrupt costs the run in hand. An answer that several
    settings give is scored once.

    Args:
        study: The study, for its encoder.
        record: Where its questions, index and runs are.
        similarity: Stands in for BERTScore by `study.encoder`; the manifest then names it instead.

    Raises:
        RecordError: If answers are missing, double, damaged or unknown, a reference is empty, or a
            sealed run was scored by another encoder.
        SettingError: If the encoder cannot be loaded.
    """
    with record.working("scoring", "answers"):
        _score(study, record, similarity)


def _score(study: StudySpec, record: Record, similarity: Similarity | None) -> None:
    if not any(model != CONTROL for model in record.index()["runs"]):
        raise RecordError(f"no answers in {record.folder}; run `python -m alpaca_lab generate`")
    questions = {question["id"]: question for question in record.questions()}
    blank = [key for key, question in questions.items() if not question["reference"].strip()]
    if blank:
        raise RecordError(f"question {blank[0]} has an empty reference; prepare the study again")
    controls.answer(record)
    encoder = _encoder_facts(study.encoder, similarity)
    pending, total = {}, 0
    for model, cell, run in record.runs():
        if run.is_sealed:  # of others a decoding may be at work on, only it may mend what it wrote
            for sentence in run.mend():
                say(sentence)
        if run.is_sealed:
            _refuse_other_encoder(run, encoder)
        elif run.id not in pending:
            pending[run.id] = run
            total += len(_checked_answers(run, questions, name=f"{model}, {cell}"))
    if not pending:
        return
    known: Known = {}
    with Bar(total=total, desc="Score", unit="text") as bar:
        if similarity is None:
            loaded = bertscore.load_encoder(study.encoder)
            encoder["sha256"] = loaded.sha256
            similarity = partial(loaded.score, advance=bar.update)
        done = 0
        for run in pending.values():
            answers = run.answers()
            rows = score_rows(answers, questions.values(), similarity, known=known)
            run.write_scores(_with_rescaled(rows, encoder))
            run.seal(_facts(run, answers, encoder=encoder))
            done += len(answers)
            bar.update(done - bar.n)


def score_rows(
    answers: Iterable[Mapping[str, Any]],
    questions: Iterable[Mapping[str, Any]],
    similarity: Similarity,
    *,
    known: Known | None = None,
) -> pd.DataFrame:
    """Return one row of scores per answer: the columns of scores.parquet.

    Args:
        answers: Lines of answers.jsonl.
        questions: Lines of questions.jsonl, one for each id that `answers` has.
        similarity: Gives the column bertscore_f1.
        known: Scores that need not be computed again; those of these answers are added.

    Returns:
        Rows in the order of the answers. Every score of a failed answer is NaN: it is missing,
        not bad. An empty answer is an answer, and scores 0.
    """
    asked = {question["id"]: question for question in questions}
    answers, known = list(answers), {} if known is None else known
    _add_scores([*dict.fromkeys(_pairs(answers, asked))], similarity, known)
    facts, scores = [], []
    for answer in answers:
        question = asked[answer["id"]]
        identity = {"id": answer["id"], "cluster": question["cluster"]}
        names = ("repeat", "status", "finish_reason", "n_new_tokens")
        # So that different answers to a question can be counted without reading their texts.
        text = hashlib.sha256(answer["text"].encode()).hexdigest()[:16]
        facts.append(identity | {name: answer[name] for name in names} | {"text_sha256": text})
        if answer["status"] in ANSWERED:
            scores.append(known[answer["text"], question["reference"]])
        else:
            blank = text_scores("", reference=question["reference"])
            scores.append([blank[name] if name in TEXT_FREE else math.nan for name in SCORES])
    columns = pd.DataFrame(np.array(scores), columns=list(SCORES))
    return pd.DataFrame(facts).join(columns.astype(dict.fromkeys(FLAGS, bool)))


def _add_scores(pairs: Sequence[tuple[str, str]], similarity: Similarity, known: Known) -> None:
    """Score the pairs that are not known."""
    new = [pair for pair in pairs if pair not in known]
    if not new:
        return
    values = similarity([text for text, _ in new], [reference for _, reference in new])
    for (text, reference), value in zip(new, values, strict=True):
        scores = [*text_scores(text, reference=reference).values(), float(value)]
        known[text, reference] = np.array(scores, dtype=float)


def _pairs(
    answers: Iterable[Mapping[str, Any]], questions: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield (answer, reference) for every answer there is."""
    for answer in answers:
        if answer["status"] in ANSWERED:
            yield answer["text"], questions[answer["id"]]["reference"]


def _with_rescaled(rows: pd.DataFrame, encoder: Mapping[str, Any]) -> pd.DataFrame:
    """Add BERTScore on its rescaled scale, where the encoder has a published baseline."""
    if encoder["layer"] is None:
        return rows
    baseline = rescaling.baseline_f1(encoder["name"], layer=encoder["layer"])
    if baseline is None:
        return rows
    return rows.assign(
        bertscore_f1_rescaled=rescaling.rescaled(rows["bertscore_f1"], baseline=baseline)
    )


def _checked_answers(
    run: Run, questions: Mapping[str, Mapping[str, Any]], *, name: str
) -> list[dict[str, Any]]:
    """Return the answers of a run, once each (question, repeat) that was asked has exactly one."""
    answers = run.answers()
    repeats = run.request()["repeats"]
    expected = {(key, repeat) for key in questions for repeat in range(repeats)}
    counted = Counter((row["id"], row["repeat"]) for row in answers)
    again = f"delete the folder {run.folder} and run `python -m alpaca_lab generate`"
    for row in answers:
        if row["status"] not in STATUSES:
            raise RecordError(f'run {run.id} ({name}): unknown status "{row["status"]}"; {again}')
    wrong = [pair for pair, times in counted.items() if times > 1 or pair not in expected]
    if wrong:
        (question, repeat), times = wrong[0], counted[wrong[0]]
        what = f"is answered {times} times" if times > 1 else "was not asked"
        raise RecordError(f"run {run.id} ({name}): {question}, repeat {repeat} {what}; {again}")
    missing = sorted(expected - counted.keys())
    if missing:
        raise RecordError(
            f"run {run.id} ({name}) lacks {len(missing)} of {len(expected)} answers, the first of "
            f"them {missing[0][0]}, repeat {missing[0][1]}; run `python -m alpaca_lab generate`"
        )
    return answers


def _encoder_facts(spec: EncoderSpec, similarity: Similarity | None) -> dict[str, Any]:
    facts = {"name": spec.name, "layer": spec.layer, "sha256": spec.sha256, "rescaled": False}
    if similarity is not None:
        name = getattr(similarity, "__name__", type(similarity).__name__)
        facts |= {"name": name, "layer": None, "sha256": None}
    return facts


def _refuse_other_encoder(run: Run, encoder: Mapping[str, Any]) -> None:
    used = run.manifest()["encoder"]
    if (used["name"], used["layer"]) != (encoder["name"], encoder["layer"]):
        raise RecordError(
            f"run {run.id} was scored with {used['name']}, not {encoder['name']}; to score it "
            f"again delete manifest.json in {run.folder}"
        )


def _facts(
    run: Run, answers: Sequence[Mapping[str, Any]], *, encoder: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the manifest says beside the request. What no session recorded is None."""
    sessions = run.sessions()
    timed_s = sum(session["wall_s"] for session in sessions)
    timed_tokens = sum(session["new_tokens"] for session in sessions)
    # A process that was killed leaves answers without a session: their seconds are unknown.
    all_timed = bool(sessions) and sum(part["answers"] for part in sessions) == len(answers)
    peaks = [session["peak_gib"] for session in sessions if session["peak_gib"] is not None]
    name, layer = encoder["name"], encoder["layer"]
    recipes = {"bertscore_f1": f"bertscore_f1|{name}"}
    if layer is not None:
        recipes = {
            "bertscore_f1": bertscore.signature(name, layer=layer),
            "bertscore_f1_rescaled": bertscore.signature(name, layer=layer, rescaled=True),
        }
    return {
        "counts": dict(Counter(answer["status"] for answer in answers)),
        "expected_answers": len(answers),
        "signatures": SIGNATURES | recipes,
        "encoder": dict(encoder),
        "wall_s": timed_s if all_timed else None,
        "new_tokens": sum(answer["n_new_tokens"] or 0 for answer in answers),
        "tokens_per_s": timed_tokens / timed_s if timed_s else None,
        "peak_gib": max(peaks, default=None),
        # Memory that ran out on the way shows as fewer slots than the study's, and as halvings.
        "slots": sorted({part["slots"] for part in sessions if part.get("slots")}),
        "halvings": sum(part.get("halvings") or 0 for part in sessions),
        "environment": environment.snapshot(),
    }
