"""A made-up scored study with something to rate: what tests of the human score share.

No person rated any of this. Ratings that a test makes up are called synthetic where they are made.
"""

import hashlib
import shutil

import pandas as pd

from alpaca_lab.config import ModelSpec, StudySpec, as_dict
from alpaca_lab.human import draw
from alpaca_lab.metrics.text_scores import SIGNATURES, text_scores
from alpaca_lab.store import CONTROL, Record
from alpaca_lab.sweep import cells

QUESTIONS = 12
HOSTILE = (
    "<script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=1">',
    r"$\int x\,dx$ and \(y^2\)",
    "**bold** _it_ [x](javascript:window.hacked=1)",
    "\x1b[31mred\x1b[0m",
    "left \u202eright",
)
MODELS = ("secretalpha", "secretbeta")
STUDY = StudySpec(
    name="made-up",
    models=tuple(
        ModelSpec(key=key, title=f"Hidden {key}", source=f"someone/{key}", revision="0" * 40)
        for key in MODELS
    ),
    temperatures=(0.75, 1.0),
    beams=(2,),
    top_ks=(4,),
    questions=QUESTIONS,
    repeats=2,
)
CONTROLS = ("empty", "copy", "other", "reference")


def text_of(model, cell, question, repeat):
    """What a model says under a setting: hostile in part, the same as greedy for a few."""
    if cell == "empty":
        return ""
    if question in (3, 7) and cell.startswith("temperature"):
        cell, repeat = "greedy", 0  # the sampled answer is the greedy one
    mark = hashlib.sha256(f"{model}{cell}{repeat}{question}".encode()).hexdigest()[:6]
    return f"Answer {question} {mark} {HOSTILE[question % len(HOSTILE)]}"


def fabricate(folder, *, study=STUDY, failed=(), text_of=text_of, cluster_of=lambda number: number):
    """Write a scored record.

    `failed` names (model, cell, question) whose answers failed; `text_of` and `cluster_of` say what
    is answered, and which questions are near-duplicates, in another way.
    """
    record = Record(folder)
    questions = [
        {
            "id": f"q{number:02}",
            "cluster": f"c{cluster_of(number):02}",
            "instruction": f"Say {number} <b>twice</b> & $stop$",
            "input": "an <i>input</i>" if number % 3 == 0 else "",
            "reference": f"It is {number}, said once and then again.",
        }
        for number in range(study.questions)
    ]
    record.write_questions(questions)
    repeats = {cell.name: cell.repeats for cell in cells(study)} | {"base": 1}
    wanted = [(model.key, cell) for model in study.models for cell in repeats]
    wanted += [(CONTROL, cell) for cell in CONTROLS]
    index = {"spec": as_dict(study), "runs": {}}
    for model, cell in wanted:
        run = record.open_run({"model": model, "cell": cell})
        rows = []
        for number, question in enumerate(questions):
            for repeat in range(repeats.get(cell, 1)):
                text = text_of(model, cell, number, repeat)
                status = "ok" if text.strip() else "empty"
                if (model, cell, number) in failed:
                    status = "failed"
                line = {"id": question["id"], "repeat": repeat, "status": status}
                run.append(line | {"text": text})
                scores = text_scores(text, reference=question["reference"])
                if status == "failed":
                    scores = dict.fromkeys(scores)
                rows.append(
                    line
                    | scores
                    | {
                        "cluster": question["cluster"],
                        "finish_reason": "eos",
                        "n_new_tokens": 9,
                        "text_sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
                        "bertscore_f1": None if status == "failed" else 50.0 + number,
                    }
                )
        run.write_scores(pd.DataFrame(rows))
        run.seal(
            {
                "counts": {},
                "signatures": SIGNATURES | {"bertscore_f1": "bertscore|some-encoder"},
                "encoder": {"name": "some", "layer": 6, "sha256": "0" * 64, "rescaled": False},
                "wall_s": 2.5,
                "new_tokens": 1000,
                "tokens_per_s": 400.0,
                "peak_gib": None,
            }
        )
        index["runs"].setdefault(model, {})[cell] = run.id
    record.write_index(index)
    return record


def borrow(record, folder):
    """A record of its own over the runs of another, which a test may read and never change."""
    folder.mkdir()
    for name in ("study.json", "questions.jsonl"):
        shutil.copy(record.folder / name, folder)
    (folder / "runs").symlink_to(record.folder / "runs", target_is_directory=True)
    return Record(folder)


def planned(record, folder):
    """A record borrowed from another, with a plan in which anna and ben rate the same answers."""
    found = borrow(record, folder)
    draw.write(found, settings="reference", raters="anna, ben", overlap=1.0)
    return found


def secrets_of(record):
    """Every string that would give an item away: models, titles, settings, runs."""
    index = record.index()
    words = {word for model in STUDY.models for word in (model.key, model.title, model.source)}
    for by_cell in index["runs"].values():
        words |= set(by_cell.values())
        words |= {cell for cell in by_cell if "=" in cell} | {"greedy", "untuned", "finetuned"}
    return words
