"""What is in a dataset and what is wrong with it: tables, files and one page. No torch.

Every text shown is data: it is shortened, its control characters are made visible, it is escaped
where HTML or Markdown would read it, and nothing interprets it.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..data import Dataset
from ..files import write_atomically, write_json, write_sums
from ..pages.markdown import grid
from ..rows.clusters import LISTED
from ..rows.validation import shorten

FILES = ("rejected.csv", "duplicates.csv", "contamination.csv", "report.md", "manifest.json")
TEXT = 200
"""Characters of a text in a file."""
QUOTED = 120
"""Characters of a text on the page."""
NAMED = 5
"""Rows of a kind that the page names; the files have them all."""


def rejected(dataset: Dataset) -> pd.DataFrame:
    """Return the rows left out: row (from 1, in the source), reason, excerpt."""
    return pd.DataFrame(dataset.findings.rejected, columns=["row", "reason", "excerpt"])


def fillers(dataset: Dataset) -> pd.DataFrame:
    """Return the inputs that only said that there is none: filler as spelled, rows."""
    counted = [(shorten(text), rows) for text, rows in dataset.findings.fillers.items()]
    return pd.DataFrame(counted, columns=["filler", "rows"])


def duplicates(dataset: Dataset) -> pd.DataFrame:
    """Return the near-duplicates, a pair a row, the most alike first.

    Returns:
        Columns one, two (ids), jaccard in [0.7, 1], cluster (id), text_one, text_two.
    """
    rows = [
        (
            pair.one.id,
            pair.two.id,
            round(pair.jaccard, 4),
            pair.one.cluster[:16],
            shorten(pair.one.question, TEXT),
            shorten(pair.two.question, TEXT),
        )
        for pair in sorted(dataset.near_pairs, key=lambda pair: -pair.jaccard)
    ]
    columns = ["one", "two", "jaccard", "cluster", "text_one", "text_two"]
    return pd.DataFrame(rows, columns=columns)


def contamination(dataset: Dataset) -> pd.DataFrame:
    """Return what each test answer shares with the training rows, the largest share first.

    Returns:
        Columns id, verdict, grams (different 13-grams of the answer), shared (how many of them
        stand in train), share (in [0, 1]; blank when the answer is too short to tell), train_id
        (the first training row that shares one), words (what it shares) and answer.
    """
    rows = [
        (
            row.id,
            overlap.verdict,
            overlap.grams,
            overlap.shared,
            overlap.share,
            "" if overlap.text is None else dataset.train[overlap.text].id,
            shorten(overlap.words, TEXT),
            shorten(row.output, TEXT),
        )
        for row, overlap in zip(dataset.test, dataset.overlaps, strict=True)
    ]
    columns = ["id", "verdict", "grams", "shared", "share", "train_id", "words", "answer"]
    frame = pd.DataFrame(rows, columns=columns).astype({"share": float})
    # Stable, so that equal shares keep the test order.
    return frame.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def splits(dataset: Dataset) -> pd.DataFrame:
    """Return one row per split: rows, questions, clusters, and what its rows look like."""
    table = []
    for name, rows in dataset.splits().items():
        words = pd.Series([len(row.output.split()) for row in rows])
        table.append(
            {
                "split": name,
                "rows": len(rows),
                "questions": len({row.key for row in rows}),
                "clusters": len({row.cluster for row in rows}),
                "with input, %": 100 * sum(bool(row.input) for row in rows) / len(rows),
                "words per answer, mean": words.mean(),
                "median": words.median(),
                "most": words.max(),
            }
        )
    return pd.DataFrame(table)


def first_words(dataset: Dataset, n: int = 12) -> pd.DataFrame:
    """Return the commonest first words of instructions, a rough answer to what is asked for.

    Args:
        dataset: Its rows of all splits are counted.
        n: How many words, >= 1.

    Returns:
        Columns first word, rows, share (%), example.
    """
    examples, counts = {}, Counter()
    for row in (row for rows in dataset.splits().values() for row in rows):
        whole = row.instruction.split()[0].casefold()
        word = whole.strip(".,:;!?\"'") or whole
        counts[word] += 1
        examples.setdefault(word, shorten(row.instruction))
    rows = [
        (shorten(word), count, 100 * count / counts.total(), examples[word])
        for word, count in counts.most_common(n)
    ]
    return pd.DataFrame(rows, columns=["first word", "rows", "share, %", "example"])


def report(dataset: Dataset) -> pd.DataFrame:
    """Return what was found, a count a row: columns what, count."""
    facts = dataset.manifest()
    alike, told = facts["duplicates"], facts["contamination"]
    n = facts["contamination"]["words"]
    rows = [
        ("rows read", facts["rows"]),
        ("rows rejected", len(dataset.findings.rejected)),
        *((f"rejected: {reason}", count) for reason, count in sorted(facts["rejected"].items())),
        ("inputs that said there is none, read as empty", sum(facts["fillers"].values())),
        ("usable rows", alike["questions"] + alike["exact"]),
        ("rows whose question stood before (exact duplicates)", alike["exact"]),
        ("different questions", alike["questions"]),
        ("pairs of near-duplicate questions", alike["near_pairs"]),
        ("clusters", alike["clusters"]),
        ("clusters of two questions or more", alike["clusters_of_several"]),
        ("rows in those", alike["rows_in_them"]),
        ("questions in the largest cluster", alike["largest"]),
        (f"test answers that share {n} words in a row with train", told["shared"]),
        ("test answers that share none", told["none_shared"]),
        (f"test answers of fewer than {n} words, too short to tell", told["too_short_to_tell"]),
    ]
    return pd.DataFrame(rows, columns=["what", "count"])


def describe(dataset: Dataset) -> str:
    """Return the whole report as a page of Markdown that a terminal can show as it is."""
    facts = dataset.manifest()
    alike = facts["clusters"]
    large = facts["duplicates"]["largest"] > LISTED
    identity = facts["revision"] or facts["sha256"] or "not a file"
    parts = [
        f"# Data: {shorten(facts['source'])}",
        f"Revision or sha256: `{identity}`.",
        _table(report(dataset)),
        "## Splits",
        "Whole clusters of near-duplicates are placed by a hash, so that none is on two sides.",
        _table(splits(dataset)),
        _list(f"{name}: ids sha256 `{facts[name]['ids_sha256']}`" for name in dataset.splits()),
        "## Rejected rows",
        _named(
            [
                f"row {row.row}: {row.reason}: {_quote(row.excerpt)}"
                for row in dataset.findings.rejected
            ],
            "Each is in rejected.csv.",
        ),
        "## Fillers read as an empty input",
        _named([f"{_quote(text)}: {rows} rows" for text, rows in dataset.findings.fillers.items()]),
        "## Near-duplicate questions",
        f"Word {alike['shingle_words']}-grams, MinHash of {alike['permutations']} permutations in "
        f"{alike['bands']} bands, exact Jaccard similarity at least {alike['jaccard']}."
        + (f" Of a cluster above {LISTED} questions only the pairs that link it count." * large),
        _named(
            [
                f"{row.jaccard:.2f}: {_quote(row.text_one)} and {_quote(row.text_two)}"
                for row in duplicates(dataset).itertuples()
            ],
            "Each pair is in duplicates.csv.",
        ),
        "## Test answers that stand in train",
        "Reported, not dropped: a proverb or a list of months is shared by right.",
        _named(
            [
                f"{row.share:.0%} of `{row.id}`, first in `{row.train_id}`: {_quote(row.words)}"
                for row in contamination(dataset).itertuples()
                if row.shared
            ],
            "Each test answer is in contamination.csv.",
        ),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def write(dataset: Dataset, folder: Path) -> None:
    """Write `FILES` to a folder, each atomically, then their checksums.

    Args:
        dataset: The rows, as `data.load` returns them.
        folder: Usually results/<study>/data; made when it does not exist.
    """
    frames = {"rejected": rejected, "duplicates": duplicates, "contamination": contamination}
    for name, table in frames.items():
        text = table(dataset).to_csv(index=False, lineterminator="\n")
        write_atomically(folder / f"{name}.csv", text)
    write_atomically(folder / "report.md", describe(dataset))
    write_json(folder / "manifest.json", dataset.manifest())
    write_sums(folder, FILES)


def _table(frame: pd.DataFrame) -> str:
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return grid(list(frame.columns), rows).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _named(lines: list[str], rest: str = "") -> str:
    """Return the first of many lines, and say how many more there are."""
    if not lines:
        return "None."
    more = len(lines) - NAMED
    return _list(lines[:NAMED] + ([f"and {more:,} more. {rest}".rstrip()] if more > 0 else []))


def _quote(text: str) -> str:
    # Inside a code span nothing is read as Markdown; only a backtick would end it.
    return f"`{shorten(text, QUOTED).replace('`', chr(0x2035))}`"
