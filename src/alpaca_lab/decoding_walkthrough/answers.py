"""Answers side by side: in every cell, under the same noise and another, in every beam width.

Where an answer leaves the one that it is compared with is marked: see `Parted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..decoding.jobs import Finished, Step
from ..decoding.likelihood import response_logits
from ..encoding import IGNORED
from ..metrics.rouge import rouge
from ..pages import wording
from ..store import RESULTS
from ..sweep import GREEDY, cells
from ..tables.common_noise import shared_start
from .opened import Opened, Question

ENDS = {"eos": "ended itself", "length": "cut by the budget", None: "memory ran out"}
LONGEST = 60
"""Characters of an instruction that a table shows."""


@dataclass(frozen=True, kw_only=True)
class Parted:
    """A text in three parts: as another answer, the token that differs, and what follows it."""

    same: str
    token: str | None
    """Empty where the text ends and the other goes on; None where the two never part."""
    rest: str = ""


def parting(one: Finished, other: Finished) -> int | None:
    """Return the index of the first token at which two answers part, None if they do not.

    The end is a token: "Yes" parts from "Yes, sir" where it ends. What would have followed an
    answer that its budget cut is not known, so nothing parts there.

    Args:
        one: An answer.
        other: Another answer to the same question.
    """
    pairs = zip(_with_end(one), _with_end(other), strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), None)


def _with_end(finished: Finished) -> tuple[int | None, ...]:
    return (*finished.ids, None) if finished.finish_reason == "eos" else finished.ids


def parted(tokenizer: Any, finished: Finished, other: Finished) -> Parted:
    """Return an answer's text with its parting from another marked.

    Args:
        tokenizer: A Transformers tokenizer.
        finished: The answer that is shown.
        other: What it is compared with.
    """

    def begins(n: int) -> str:
        ids = list(finished.ids[:n])
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        # The bytes of an unfinished character are not shown, but with the token that ends it.
        return text if n >= len(finished.ids) else text.rstrip("\ufffd")

    at, whole = parting(finished, other), begins(len(finished.ids))
    if at is None:
        return Parted(same=whole, token=None)
    same, end = begins(at), at + 1
    while end < len(finished.ids) and begins(end) == same:
        end += 1
    through = begins(end)
    return Parted(same=same, token=through[len(same) :], rest=whole[len(through) :])


def in_every_cell(opened: Opened, question: Question) -> dict[str, Finished]:
    """Return the first answer to a question in every cell of the study, by the cell's name."""
    slotted = opened.decode(opened.jobs([question], opened.one_pass()))
    found = {finished.job.cell: finished for finished in slotted}
    jobs = opened.jobs([question], cells(opened.study))
    return {job.cell: found.get(job.cell) or opened.search(job) for job in jobs}


def cell_table(opened: Opened, question: Question, found: Mapping[str, Finished]) -> pd.DataFrame:
    """Return the answers of `in_every_cell` with what they came to.

    Returns:
        Columns cell, answer (`Parted` from the greedy one), tokens (EOS included), why it ended,
        ROUGE-L (0-100, blank where the reference leaves it undefined).
    """
    rows = [
        (
            wording.cell(name),
            parted(opened.tokenizer, finished, found[GREEDY]),
            finished.n_new_tokens,
            ENDS[finished.finish_reason],
            _rouge_l(opened, finished, question),
        )
        for name, finished in found.items()
    ]
    return pd.DataFrame(rows, columns=["cell", "answer", "tokens", "why it ended", "ROUGE-L"])


def _rouge_l(opened: Opened, finished: Finished, question: Question) -> float:
    return rouge(opened.text(finished.ids), reference=question["reference"])["rougeL"]


def same_again(found: Mapping[str, Finished], others: Iterable[Finished]) -> str:
    """Return how many answers to a question, decoded beside others, are those of `in_every_cell`.

    Args:
        found: Answers to one question.
        others: Answers to any questions; those to this one in these cells are compared.
    """
    [question] = {finished.job.question for finished in found.values()}
    pairs = [
        (found[other.job.cell], other)
        for other in others
        if other.job.question == question and other.job.cell in found
    ]
    same = sum(one.ids == other.ids for one, other in pairs)
    return f"{same} of {len(pairs)} answers are the same, token for token"


def noise_table(
    opened: Opened, questions: Sequence[Question], pair: tuple[str, str], *, other_seed: int
) -> pd.DataFrame:
    """Return how far two settings go together under the same noise, and under another.

    Args:
        opened: The model.
        questions: Those that it is asked.
        pair: Names of two sampled cells.
        other_seed: Seeds the other noise of the second cell.

    Returns:
        A row per question: its instruction, the first cell's answer, the second's `Parted` from it
        under the study's noise and under the other, and the share of each that stands before it
        parts, in percent of the longer answer.
    """
    one, two = ([opened.cell(name)] for name in pair)
    base = opened.decode(opened.jobs(questions, one))
    same = opened.decode(opened.jobs(questions, two))
    other = opened.decode(opened.jobs(questions, two), seed=other_seed)
    first, second = (wording.cell(name) for name in pair)
    return pd.DataFrame(
        [
            {
                "instruction": _beginning(question["instruction"]),
                first: opened.text(a.ids),
                f"{second}, same noise": parted(opened.tokenizer, b, a),
                f"{second}, other noise": parted(opened.tokenizer, c, a),
                "shared, same noise (%)": 100 * shared_start(a.ids, b.ids),
                "shared, other noise (%)": 100 * shared_start(a.ids, c.ids),
            }
            for question, a, b, c in zip(questions, base, same, other, strict=True)
        ]
    )


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def recorded_noise(model_key: str) -> pd.DataFrame:
    """Return what results/performance/common_noise.csv says of a model; no rows if nothing.

    Returns:
        A row per pair of settings: compared, knob, from, to, same answers (%) under common and
        under independent noise, ratio of the intervals' widths, worth in times the questions.
    """
    rows = pd.read_csv(RESULTS / "performance" / "common_noise.csv", dtype={"from": str, "to": str})
    rows = rows[(rows["model"] == model_key) & rows["same_common"].notna()]
    shares = {
        f"same answers, {name} noise (%)": (100 * rows[f"same_{name}"]).round().astype(int)
        for name in ("common", "independent")
    }
    named = {"compared": rows["kind"], "knob": rows["axis"].map(wording.KNOBS)}
    return pd.DataFrame(
        named
        | {"from": rows["from"], "to": rows["to"]}
        | shares
        | {"width, common / independent": rows["ratio"], "worth, x questions": rows["worth"]}
    )


def beam_table(opened: Opened, question: Question) -> pd.DataFrame:
    """Return the answer of each beam width, what it cost, and how likely the model finds it.

    Returns:
        Columns beams (1 is greedy), answer (`Parted` from the greedy one), tokens, rows (of the
        model's steps, all beams of them), log p per token (EOS included), ROUGE-L (0-100).
    """
    widths = [cell for cell in cells(opened.study) if cell.axis in (None, "num_beams")]
    found = []
    for job in opened.jobs([question], widths):
        steps: list[Step] = []
        if job.setting.num_beams > 1:
            best = opened.search(job, watch=steps.append)
        else:
            [best] = opened.decode([job], width=1, watch=steps.append)
        found.append((best, sum(step.drawn for step in steps)))
    greedy = found[0][0]
    return pd.DataFrame(
        {
            "beams": [best.job.setting.num_beams for best, _ in found],
            "answer": [parted(opened.tokenizer, best, greedy) for best, _ in found],
            "tokens": [best.n_new_tokens for best, _ in found],
            "rows": [rows for _, rows in found],
            "log p per token": [mean_log_probability(opened, best) for best, _ in found],
            "ROUGE-L": [_rouge_l(opened, best, question) for best, _ in found],
        }
    )


def mean_log_probability(opened: Opened, finished: Finished) -> float:
    """Return the mean log probability of an answer's tokens, its EOS included, in nats."""
    ended = finished.finish_reason == "eos"
    targets = [*finished.ids, *([opened.tokenizer.eos_token_id] if ended else [])]
    prompt = finished.job.prompt_ids
    encoded = {
        "input_ids": [*prompt, *targets],
        "labels": [IGNORED] * len(prompt) + targets,
    }
    scores = response_logits(opened.model, encoded).float().log_softmax(-1)
    return float(scores[range(len(targets)), targets].mean())
