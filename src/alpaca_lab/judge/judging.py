"""From pairs to judgements on disk: asked in both orders, appended one by one, resumed, sealed.

What is on disk is not asked again; `record` says what that is.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.special import expit

from .. import environment
from ..config import fingerprint
from ..files import RecordError, append_line, read_lines
from ..locks import held
from ..progress import Bar, say
from ..runs import Run
from .model import Judge, OpenJudge
from .pairs import Key, Pair
from .prompt import TEMPLATE_SHA256, render
from .record import COLUMNS, FAILED, IDENTICAL, JUDGED, LINES, MISSING

TEXTS_AT_ONCE = 16
"""Pairs of texts that are asked together, each in both orders: what a kill may cost."""


def judge(
    pairs: Iterable[Pair], *, root: Path, identity: Mapping[str, Any], open_judge: OpenJudge
) -> Run:
    """Judge every pair in both orders, and seal what was judged.

    The same judge, wording and texts lead to the same folder, and a finished judging asks nothing.
    After an interrupt the same call goes on: what has its line is not asked again.

    Args:
        pairs: What is judged. The same texts, as of two models, are asked about once.
        root: Folder of all judgings of a study; this one's is below it.
        identity: Who judges, JSON-able, as `model.identity` returns.
        open_judge: Loads the judge; not called where nothing is left to ask.

    Returns:
        The sealed folder.

    Raises:
        RecordError: If two pairs have one key.
    """
    pairs = list(pairs)
    asked = request(pairs, identity=identity)
    run = Run(root / fingerprint(asked))
    with held(root / f".judging-{run.id}.lock", "judging"):
        run.ask(asked)
        for sentence in run.mend():
            say(sentence)
        if not run.is_sealed:
            _add_missing(run, pairs, open_judge=open_judge)
            _seal(run)
    return run


def request(pairs: Sequence[Pair], *, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that decides a judging.

    Returns:
        `judge` and `template`; `cells`, [opponent, model, cell] in the order given; `runs` judged;
        how many `questions` and `pairs`; `texts`, a sha256 over all of them.

    Raises:
        RecordError: If there is no pair, or two have the same key.
    """
    if not pairs:
        raise RecordError("there is no pair to judge")
    key, times = Counter(pair.key for pair in pairs).most_common(1)[0]
    if times > 1:
        raise RecordError(f"{times} pairs to judge have one key: {', '.join(map(str, key))}")
    texts = sorted(
        json.dumps([*pair.key, pair.cluster, *_texts(pair)], ensure_ascii=False) for pair in pairs
    )
    cells = dict.fromkeys((pair.opponent, pair.model, pair.cell) for pair in pairs)
    return {
        "judge": dict(identity),
        "template": TEMPLATE_SHA256,
        "cells": [list(cell) for cell in cells],
        "runs": sorted({run for pair in pairs for run in pair.runs}),
        "questions": len({pair.id for pair in pairs}),
        "pairs": len(pairs),
        "texts": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
    }


def _add_missing(run: Run, pairs: Sequence[Pair], *, open_judge: OpenJudge) -> None:
    """Append a line for each pair that has none, and what this process took for them."""
    done = {_key(row) for row in read_lines(run.folder / LINES)}
    left = [pair for pair in pairs if pair.key not in done]
    started, began, added, judge = environment.now(), perf_counter(), 0, None
    with Bar(
        total=len(pairs), initial=len(pairs) - len(left), desc="Judge (a model)", unit="pair"
    ) as bar:
        try:
            for pair in left:
                if pair.is_missing or pair.is_identical:
                    status = MISSING if pair.is_missing else IDENTICAL
                    append_line(run.folder / LINES, _line(pair, status))
                    added += 1
                    bar.update()
            if any(not (pair.is_missing or pair.is_identical) for pair in left):
                judge = open_judge()
                for line in _asked(pairs, judge=judge, done=done):
                    append_line(run.folder / LINES, line)
                    added += 1
                    bar.update()
        finally:  # also after an interrupt: what is judged is kept, and so is what it took
            if added:
                run.append_session(
                    {
                        "judgements": added,
                        "wall_s": round(perf_counter() - began, 3),
                        "judge": judge.facts() if judge is not None else None,
                        "started": started,
                    }
                )


def _asked(pairs: Sequence[Pair], *, judge: Judge, done: set[Key]) -> Iterator[dict[str, Any]]:
    """Yield a line for each pair that is not done, those of the same texts together.

    Which texts are asked together does not depend on what is done already: padding moves last
    bits, and a resumed judging should move as few as it can.
    """
    groups: dict[tuple[str | None, ...], list[Pair]] = {}
    for pair in pairs:
        if not (pair.is_missing or pair.is_identical):
            groups.setdefault(_texts(pair), []).append(pair)
    # The longest first: a lack of memory shows early. Equal lengths by text, whatever the order.
    ordered = sorted(groups, key=lambda texts: (-sum(len(text or "") for text in texts), texts))
    for start in range(0, len(ordered), TEXTS_AT_ONCE):
        some = ordered[start : start + TEXTS_AT_ONCE]
        some = [texts for texts in some if any(pair.key not in done for pair in groups[texts])]
        for texts, found in zip(some, _judged(some, judge), strict=True):
            for pair in groups[texts]:
                if pair.key not in done:
                    yield _line(pair, **found)


def _judged(some: Sequence[tuple[Any, ...]], judge: Judge) -> list[dict[str, Any]]:
    """Return status, p_first, p_second and label_mass of some (instruction, input, two texts)."""
    questions = [
        (
            render(instruction, input, first=answer, second=opponent),
            render(instruction, input, first=opponent, second=answer),
        )
        for instruction, input, answer, opponent in some
    ]
    blocked = [judge.obstacle(first) or judge.obstacle(second) for first, second in questions]
    wanted = [
        question
        for both, obstacle in zip(questions, blocked, strict=True)
        if obstacle is None
        for question in both
    ]
    chances = np.asarray(judge(wanted), dtype=float) if wanted else np.empty((0, 2))
    if chances.shape != (len(wanted), 2):
        raise ValueError(f"a judge answered {len(wanted)} questions in shape {chances.shape}")
    answered = iter(chances.reshape(-1, 2, 2))  # pair, order, label
    return [
        _preference(next(answered)) if obstacle is None else {"status": obstacle}
        for obstacle in blocked
    ]


def _preference(chances: np.ndarray) -> dict[str, Any]:
    """Return a judgement from the labels' log-probabilities, shape (order, label)."""
    (first_a, first_b), (second_a, second_b) = chances
    with np.errstate(invalid="ignore"):
        # The softmax over two labels is the logistic function of their difference.
        p_first, p_second = expit(first_a - first_b), expit(second_b - second_a)
        mass = float(np.exp(chances).sum(axis=1).mean())
    if not np.isfinite((p_first, p_second, mass)).all():
        return {"status": FAILED}
    found = {"p_first": float(p_first), "p_second": float(p_second), "label_mass": mass}
    return {"status": JUDGED} | found


def _line(
    pair: Pair,
    status: str,
    p_first: float | None = None,
    p_second: float | None = None,
    label_mass: float | None = None,
) -> dict[str, Any]:
    """Return a pair's line of judgements.jsonl: its texts by their sha256 and length alone."""
    words = [None if text is None else len(text.split()) for text in _texts(pair)[2:]]
    hashes = [_text_sha256(text) for text in _texts(pair)[2:]]
    values = (*pair.key, pair.cluster, status, p_first, p_second, label_mass, *words, *hashes)
    return dict(zip(COLUMNS, values, strict=True))


def _texts(pair: Pair) -> tuple[str | None, ...]:
    return pair.instruction, pair.input, pair.answer, pair.opponent_answer


def _text_sha256(text: str | None) -> str | None:
    """Return what scores.parquet calls text_sha256."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]


def _key(row: Mapping[str, Any]) -> Key:
    return row["opponent"], row["model"], row["cell"], row["repeat"], row["id"]


def _seal(run: Run) -> None:
    """Write the manifest, the last step. What no session recorded is None."""
    counts = Counter(row["status"] for row in read_lines(run.folder / LINES))
    sessions = run.sessions()
    # A process that was killed leaves judgements without a session: their seconds are unknown.
    all_timed = sum(part["judgements"] for part in sessions) == counts.total()
    used = [part["judge"] for part in sessions if part["judge"] is not None]
    run.seal(
        {
            "kind": "judgements of a language model, not of people",
            "counts": dict(counts),
            "wall_s": round(sum(part["wall_s"] for part in sessions), 3) if all_timed else None,
            "judge": used[-1] if used else None,
            "environment": environment.snapshot(),
        }
    )
