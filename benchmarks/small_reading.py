"""What the bases read: the corpus, and instructions that ask nothing the study's rows ask."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpaca_lab.files import sha256_file, write_atomically
from alpaca_lab.rows.cache import remember
from alpaca_lab.rows.clusters import assign, near_pairs, parameters
from alpaca_lab.rows.sources import read_file
from alpaca_lab.rows.validation import Example, validate

COPIES = 3
"""How often an instruction stands in the reading: a pass meets it so often."""


def write_instructions(file: Path, *, instructions: Path, rows: Path) -> dict[str, Any]:
    """Write instructions as texts to be read, without those that a row of the study asks too.

    A question is another's where both, or a chain of questions between them, are near-duplicates:
    the study's own rule (`rows.clusters`). The texts have none of the study's template.

    Args:
        file: JSON lines with a "text" each.
        instructions: Rows of instruction, input, output.
        rows: The study's rows, all splits.

    Returns:
        How many were given, dropped and kept, and the sha256 of what was given.
    """
    given = _examples(instructions)
    asked = {"instructions": sha256_file(instructions), "rows": sha256_file(rows)}
    request = {**asked, "parameters": parameters()}
    taken = set(remember("asked", request, lambda: _asked(given, _examples(rows))))
    kept = [example for example in given if example.key not in taken]
    lines = [json.dumps({"text": text_of(example)}, ensure_ascii=False) for example in kept]
    write_atomically(file, "".join(f"{line}\n" for line in lines * COPIES))
    return {
        "rows": len(given),
        "left_out": len(given) - len(kept),
        "kept": len(kept),
        "copies": COPIES,
        "sha256": asked["instructions"],
    }


def text_of(example: Example) -> str:
    """Return a row as plain text.

    Example:
        >>> print(text_of(Example(instruction="Add.", input="1 2", output="3")))
        Instruction: Add.
        Input: 1 2
        Answer: 3
    """
    given = f"Input: {example.input}\n" if example.input else ""
    return f"Instruction: {example.instruction}\n{given}Answer: {example.output}"


def _examples(file: Path) -> list[Example]:
    return validate(read_file(file), place=str(file))[0]


def _asked(given: Sequence[Example], rows: Sequence[Example]) -> list[str]:
    """Return the keys of `given` that share a cluster with one of `rows`."""
    questions = {example.key: example.question for example in (*given, *rows)}
    cluster = assign(questions, near_pairs(questions))
    taken = {cluster[row.key] for row in rows}
    return sorted({example.key for example in given if cluster[example.key] in taken})
