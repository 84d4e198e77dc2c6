"""A study of any size whose texts are made up: what the section "load" puts through the stages.

Lengths are those of Alpaca answers: 63 tokens in the mean, a tail past 500. A model's cell often
says what another cell said, short answers more often than long ones, as in a real sweep.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import pandas as pd

from alpaca_lab.config import ModelSpec, StudySpec, as_dict, fingerprint
from alpaca_lab.decoding.jobs import Finished, Job
from alpaca_lab.store import Record

MODELS = ("alpha", "beta", "gamma")
TOKENS_PER_WORD = 1.3
MEDIAN_WORDS, SPREAD, MOST_WORDS = 29.5, 1.0, 512 / TOKENS_PER_WORD
"""Of a log-normal: its mean is 48.6 words, which are 63 tokens; 1 answer of 200 fills 512."""
KEPT = 0.6
"""Share of a reference's words that an answer to it has."""
ENDS = ("",) * 8 + (",", ".", ".", ".\n")


def study_of(questions: int) -> StudySpec:
    """Return the protocol's study: three models, thirteen cells, 30 answers per question each."""
    models = tuple(
        ModelSpec(key=key, title=key.title(), source=f"someone/{key}", revision="0" * 40)
        for key in MODELS
    )
    return StudySpec(name="load", models=models, questions=questions)


@cache
def vocabulary() -> tuple[list[str], list[float]]:
    """Return made-up words, some with what ends a clause, and how often each is drawn (Zipf)."""
    draw = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = [
        "".join(draw.choices(letters, range(26, 0, -1), k=draw.randint(1, 9))) + draw.choice(ENDS)
        for _ in range(5000)
    ]
    return words, list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))


def made_up(draw: random.Random) -> list[int]:
    """Return a text as the places of its words in the vocabulary."""
    words, weights = vocabulary()
    n = int(min(MOST_WORDS, max(1.0, draw.lognormvariate(math.log(MEDIAN_WORDS), SPREAD))))
    return draw.choices(range(len(words)), cum_weights=weights, k=n)


def text_of(ids: Sequence[int]) -> str:
    """Return the text of such places."""
    words, _ = vocabulary()
    return " ".join(words[i] for i in ids)


def make(record: Record, study: StudySpec, *, seed: int) -> None:
    """Write what comes before decoding: questions, index, and three finetunes by hand."""
    draw = random.Random(seed)
    record.write_questions(
        {
            "id": f"q{number:05}",
            "cluster": f"q{number - (number % 50 == 1):05}",  # 1 in 50 has a near-duplicate
            "instruction": text_of(made_up(draw)[:20]),
            "input": "",
            "reference": text_of(made_up(draw)),
        }
        for number in range(study.questions)
    )
    record.write_index({"spec": as_dict(study), "data": {"sha256": "0" * 64}, "runs": {}})
    losses = pd.DataFrame(
        [(step, kind, 3.0 / step) for step in (1, 2, 3) for kind in ("train", "validation")],
        columns=["step", "kind", "loss"],
    )
    for model in study.models:
        folder = f"outputs/{fingerprint({'model': model.key})}/adapter"
        manifest = {
            "base": {"source": model.source, "sha256": "0" * 64},
            "adapter": {"folder": folder, "sha256": model.key},
            "adapted_layers": 224,
            "trainable_parameters": 39_976_960,
            "train_rows": 9_000,
            "steps": 3,
            "best_validation_loss": 1.0,
            "wall_s": 9.0,
            "peak_gib": None,
        }
        record.write_training(model.key, manifest, losses)


class FakeDecoder:
    """Answers with words of the reference among others; in no time, so the record is measured."""

    dtype, device = "bfloat16", "cpu"

    def __init__(self, spec: ModelSpec, adapter: object, study: StudySpec) -> None:
        """Take what every decoder is made of; nothing is loaded."""
        self._who = f"{study.seed} {spec.key} {adapter is not None}"

    def encode(self, question: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the reference in place of the prompt: what answers are made from."""
        return _ids(question["reference"])

    def answers(self, jobs: Sequence[Job]) -> Iterator[Finished]:
        """Yield one answer per job, a pure function of model, setting, question and repeat."""
        for job in jobs:
            ids = self._answer(job)
            yield Finished(job=job, ids=ids, n_new_tokens=len(ids) + 1, finish_reason="eos")

    def _answer(self, job: Job) -> tuple[int, ...]:
        mark = f"{self._who} {job.question}"
        noise = job.setting.temperature if job.setting.do_sample else 0.1 * job.setting.num_beams
        draw = random.Random(f"{mark} {job.cell} {job.repeat}")
        if draw.random() < (1 - min(0.05 * noise, 1)) ** len(job.prompt_ids):
            draw = random.Random(mark)  # the answer that greedy gives
        other = made_up(draw)
        kept = [i for i in job.prompt_ids if draw.random() < KEPT]
        return tuple(kept + other)[: max(len(other), 1)]

    def text(self, ids: Sequence[int]) -> str:
        """Return the words."""
        return text_of(ids)

    def likelihood(self, questions: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """Return 2.5 nats for every word of every reference."""
        words = [len(question["reference"].split()) for question in questions]
        return pd.DataFrame(
            {
                "id": [question["id"] for question in questions],
                "nats": [2.5 * n for n in words],
                "tokens": words,
                "characters": [len(question["reference"]) for question in questions],
            }
        )

    def agreement(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return a dense model that reads as the one that was trained."""
        return {"agreement": 1.0, "tokens": 99, "max_difference": 0.0, "mean_difference": 0.0}

    def unmerge(self) -> None:
        """Do nothing: there is no model."""

    def identity(self, questions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return that nothing was compared."""
        return {"slots": 1, "pairs": [], "partings": []}

    def facts(self) -> dict[str, Any]:
        """Return what a session records of its decoder."""
        return {"peak_gib": None, "slots": 1}


@lru_cache(maxsize=1)  # the jobs of a question come together
def _ids(reference: str) -> tuple[int, ...]:
    return tuple(map(_places().__getitem__, reference.split(" ")))


@cache
def _places() -> dict[str, int]:
    return {word: place for place, word in enumerate(vocabulary()[0])}


def shared_words(answers: list[str], references: list[str]) -> list[float]:
    """Stand in for BERTScore: the F1 of the words that two texts share, on 0-100."""
    return [_overlap(*pair) for pair in zip(answers, references, strict=True)]


def _overlap(answer: str, reference: str) -> float:
    ours, theirs = Counter(answer.split()), Counter(reference.split())
    total = ours.total() + theirs.total()
    return 200.0 * (ours & theirs).total() / total if total else 0.0
