"""Which records are usable rows, and what was wrong with each of the others."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from ..characters import plain, shown
from ..config import SettingError
from .ngrams import normalise

FIELDS = ("instruction", "input", "output")
"""What a row is made of, and the columns of Alpaca that hold it."""
LISTED = 12
"""Columns of a source that a message names."""
_WHY = r"(\s+(is\s+)?(required|needed|necessary|provided|given|possible))?"
NO_INPUT = re.compile(
    rf"[\W_]*(no[\s_-]*input[se]?{_WHY}|n\s*/\s*a|none|not applicable)[\W_]*", re.IGNORECASE
)
"""Matches an input that says only that there is none. Alpaca spells it in two dozen ways:
"<noinput>", "No input.", "No input required", "`<noinput>`", "N/A", "<none>", "<noinputs>"."""
NO_OUTPUT = re.compile(
    rf"[\W_]*no[\s_-]*(in|out)puts?{_WHY}[\W_]*|\s*<\s*no\s*output\b.*", re.I | re.S
)
"""Matches an answer that was never written: "<nooutput>", "No output required", "<noinput>", also
with its reason: "<No output. The task requires a poster, not text.>"."""
SHOWN = 60
"""Characters of a text in an excerpt."""
LONGEST_LOOK = 10_000
"""Characters of a text that are looked at for an excerpt."""
LONGEST = 1_000_000
"""Characters of a row: a thousand times what a model is trained on, and more than a mistake."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One Alpaca record; `input` is empty for most of them."""

    instruction: str
    input: str
    output: str
    cluster: str = field(default="", compare=False)
    """Smallest key among the near-duplicates of its question, 64 hex digits; "" until split."""

    @cached_property
    def key(self) -> str:
        """Content address of the question, 64 hex digits; rows that ask the same thing share it."""
        parts = (normalise(text) for text in (self.instruction, self.input))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    @property
    def id(self) -> str:
        """The first 16 digits of `key`: the name of the question in results/."""
        return self.key[:16]

    @property
    def question(self) -> str:
        """Instruction and input in one text."""
        return f"{self.instruction}\n{self.input}".strip()


class Rejected(NamedTuple):
    """A row that was left out."""

    row: int
    """Its number in the source, from 1."""
    reason: str
    excerpt: str
    """The beginning of its instruction and output, on one line."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What validation found in a source."""

    rows: int
    """Records read."""
    rejected: tuple[Rejected, ...] = ()
    """Every record left out."""
    fillers: Mapping[str, int] = field(default_factory=dict)
    """Inputs that said only that there is none, as spelled: how many rows, most frequent first."""


def validate(
    records: Sequence[Any], *, place: str, columns: tuple[str, str, str] = FIELDS
) -> tuple[list[Example], Findings]:
    """Turn records into examples, and name every row that is left out.

    An input that only says that there is none becomes an empty input, and is counted.

    Args:
        records: Mappings with `instruction`, `output` and optionally `input`, or what `columns`
            calls them.
        place: The file or dataset, for error messages.
        columns: The columns of instruction, input and output; "" for an input that no row has.

    Returns:
        The examples, and what was found.

    Raises:
        SettingError: If a row is not a mapping or lacks a column: then the file is not Alpaca data,
            or its columns have other names. A row may lack the input, but where a name was given
            for it, not every row.

    Example:
        >>> rows = [{"instruction": "Hi", "input": "No input.", "output": "Hello."}]
        >>> rows += [{"instruction": "Draw a cat.", "output": "<nooutput>"}]
        >>> examples, findings = validate(rows, place="rows")
        >>> examples[0].input, dict(findings.fillers), findings.rejected[0].reason
        ('', {'No input.': 1}, 'placeholder output')
    """
    examples, rejected, fillers = [], [], Counter()
    asked = columns[1] if columns[1] != FIELDS[1] else ""
    if asked and records and not any(isinstance(row, Mapping) and asked in row for row in records):
        raise SettingError(f"{place}: no row has the column {shown(asked)}; {_cure(records[0])}")
    for number, record in enumerate(records, start=1):
        values = _fields(record, f"{place}, row {number}", columns)
        reason = _fault(values)
        if reason:
            rejected.append(Rejected(number, reason, _excerpt(values)))
            continue
        if NO_INPUT.fullmatch(values["input"]):
            fillers[values["input"].strip()] += 1
            values["input"] = ""
        examples.append(Example(**values))
    counted = dict(sorted(fillers.items(), key=lambda item: (-item[1], item[0])))
    return examples, Findings(rows=len(records), rejected=tuple(rejected), fillers=counted)


def shorten(text: str, length: int = SHOWN) -> str:
    r"""Return the beginning of a text on one line, its control characters made visible.

    A terminal would obey an escape sequence that stands in the data.

    Example:
        >>> shorten("Name the\ncapital of France.", 16)
        'Name the capital...'
    """
    line = plain(text[:LONGEST_LOOK])
    whole = len(line) <= length and len(text) <= LONGEST_LOOK
    return line if whole else line[:length].rstrip() + "..."


def _fields(record: Any, where: str, columns: tuple[str, str, str]) -> dict[str, Any]:
    """Return what a record holds of instruction, input and output."""
    instruction, _, output = columns
    if not isinstance(record, Mapping):
        raise SettingError(f"{where}: expected an object with instruction, input and output")
    for name in (instruction, output):
        if name not in record:
            raise SettingError(f"{where} has no column {shown(name)}; {_cure(record)}")
    values = {name: record.get(column) for name, column in zip(FIELDS, columns, strict=True)}
    return values | {"input": "" if values["input"] is None else values["input"]}


def _cure(record: Any) -> str:
    """Return which columns a record has, and how to say which is which."""
    names = list(record) if isinstance(record, Mapping) else []
    there = ", ".join(shown(name) for name in names[:LISTED]) or "none"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return (
        f"its columns are {there}{more}: say which hold instruction and output (and input, where "
        'there is one), as --columns "instruction=question, output=answer"'
    )


def _fault(values: Mapping[str, Any]) -> str:
    """Return why a row cannot be used, "" when it can."""
    for name, value in values.items():
        if not isinstance(value, str):
            return f"{name} is not text"
    if sum(map(len, values.values())) > LONGEST:
        return f"longer than {LONGEST:,} characters"
    if any(_has_lone_surrogate(text) for text in values.values()):
        return "not valid Unicode"
    for name in ("instruction", "output"):
        if not values[name].strip():
            return f"empty {name}"
    return "placeholder output" if NO_OUTPUT.fullmatch(values["output"]) else ""


def _has_lone_surrogate(text: str) -> bool:
    """Return True for text that no file and no tokenizer can hold; JSON lets it through."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _excerpt(values: Mapping[str, Any]) -> str:
    texts = {
        name: value if isinstance(value, str) else shown(value) for name, value in values.items()
    }
    return " | ".join(shorten(texts[name]) for name in ("instruction", "output"))
