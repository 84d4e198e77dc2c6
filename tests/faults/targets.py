"""Everything that reads what somebody else wrote, and what must hold of it for any input at all.

Allowed is a value that keeps its promises, or a `SettingError` or `RecordError` in one short
printable sentence. Any other exception is a finding, and so is a file that a refusal leaves behind.
"""

import json
import math
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hostile
from hypothesis import strategies as st

from alpaca_lab import answers_file, answers_page, config, data, jsonl, metrics, profiles
from alpaca_lab.config import DataSpec, SettingError
from alpaca_lab.original import protocol, whole_text
from alpaca_lab.pages import latex, markdown, webpage
from alpaca_lab.printable import plain, visible
from alpaca_lab.rows import sources, validation
from alpaca_lab.store import RecordError

LONGEST = 1200
"""Characters of a sentence, the path of the file that it names included."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One reader, what it is given, and the check of what it makes of it."""

    name: str
    inputs: st.SearchStrategy
    check: Callable[[Any], None]
    weight: float = 1.0
    """Inputs it gets, as a share of `inputs.INPUTS`: fewer where each takes long."""


@contextmanager
def refusing() -> Iterator[None]:
    """Let a refusal pass if a user can read it; every other exception goes through."""
    try:
        yield
    except (SettingError, RecordError) as error:
        sentence = str(error)
        assert sentence == plain(sentence), f"not one printable line: {sentence[:200]!r}"
        assert sentence and len(sentence) <= LONGEST, f"{len(sentence)} characters"


def on_file(folder: Path, name: str, check: Callable[[Path], None]) -> Callable[[bytes], None]:
    """Return a check of bytes: they are written to a file, and the file is checked."""

    def checked(content: bytes) -> None:
        path = folder / name
        path.write_bytes(content)
        with refusing():
            check(path)

    return checked


def _rows_of(path: Path) -> None:
    examples, findings = validation.validate(sources.read_file(path), place=str(path))
    assert len(examples) + len(findings.rejected) == findings.rows
    for example in examples:
        f"{example.instruction}{example.input}{example.output}{example.key}".encode()
    for item in findings.rejected:
        assert item.reason and item.excerpt == visible(item.excerpt) and len(item.excerpt) < 200


def _split_of(path: Path) -> None:
    spec = DataSpec(source=str(path), revision=None, test_share=0.3, validation_share=0.2)
    found = data.load(spec)
    json.dumps(found.manifest(), allow_nan=False).encode()
    kept = sum(map(len, found.splits().values()))
    assert kept <= found.findings.rows - len(found.findings.rejected)


def _scored(path: Path) -> None:
    answers = answers_file.read(path)
    groups = list(answers.rows["group"])
    table = answers_file.table(answers, baseline=groups[0] if len(groups) % 2 else None)
    for name in ("mean", "ci_low", "ci_high"):
        assert not table[name].isin((math.inf, -math.inf)).any()
    json.loads(answers_file.to_json(table, answers))
    answers_page.to_text(table, answers, baseline=groups[0]).encode()


def _scored_whole(path: Path) -> None:
    for row in protocol.read_file(path):
        parts = whole_text.split(row["reference_text"], row["candidate_text"])
        assert parts.prompt.endswith(whole_text.MARKER)
        found = whole_text.scores(row["candidate_text"], reference_text=row["reference_text"])
        assert all(0 <= value <= 1 + 1e-9 for value in found.values()), found


def _study(values: Any) -> None:
    with refusing():
        study = config.study_from_dict(values)
        assert config.study_from_dict(config.as_dict(study)) == study
        json.dumps(config.as_dict(study), allow_nan=False)


def _configured(choice: tuple[str, Any]) -> None:
    with refusing():
        study = profiles.configure("smoke", changes=dict([choice]))
        json.dumps(config.as_dict(study), allow_nan=False)


def _chosen(choice: dict[str, str]) -> None:
    with refusing():
        profiles.configure(**choice)


BOUNDS = {"bleu": 100, "chrf": 100, "rouge1": 100, "rouge2": 100, "rougeL": 100, "rougeLsum": 100,
          "distinct_1": 1, "distinct_2": 1, "repeated_4grams": 1}  # fmt: skip


def _metrics(pair: tuple[str, str]) -> None:
    answer, reference = pair
    if not reference.strip():
        return
    found = metrics.text_scores(answer, reference=reference)
    for name, top in BOUNDS.items():
        value = found[name]
        assert math.isnan(value) or -1e-9 <= value <= top + 1e-9, (name, value)
    for name in ("rouge1", "rougeL", "rougeLsum"):
        assert math.isnan(found[name]) != found["rouge_defined"]
    same = metrics.text_scores(reference, reference=reference)
    for name in ("rougeL", "chrf", "bleu"):
        assert math.isnan(same[name]) or same[name] > 99.9, (name, same[name])


class _Reader(HTMLParser):
    """What a browser would make of a fragment: the tags, and the text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    handle_decl = handle_pi = unknown_decl = handle_comment


def _escaped(text: str) -> None:
    reader = _Reader()
    reader.feed(f"<p>{webpage.escape(text)}</p>")
    reader.close()
    assert reader.tags == ["p"] and reader.text == plain(text)
    assert '"' not in webpage.escape(text)
    for written in (markdown.escape(text), latex.escape(text), webpage.escape(text)):
        assert "\n" not in written and written == written.encode().decode()
        assert not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in written)
    assert _unbraced(latex.escape(text))
    [line] = markdown.grid(["head"], [[text.replace("\n", " ")]]).splitlines()[2:]
    assert len(line.replace("\\\\", "").replace("\\|", "").split("|")) == 3, line


def _unbraced(written: str) -> bool:
    """Whether every brace of a LaTeX text is closed again."""
    depth, skip = 0, False
    for sign in written:
        if skip:
            skip = False
        elif sign == "\\":
            skip = True
        else:
            depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


def of_files(folder: Path) -> Iterator[Target]:
    """Yield the targets that read a file of rows, of answers or of whole texts."""
    row = dict.fromkeys(("instruction", "input", "output"), hostile.texts)
    whole = hostile.alpaca_files()
    for ending, content in whole.items():
        yield Target(
            name=f"rows as {ending}",
            inputs=hostile.files(content, fields=row),
            check=on_file(folder, f"rows{ending}", _rows_of),
        )
    yield Target(
        name="rows to splits",
        inputs=hostile.mutated(whole[".jsonl"]),
        check=on_file(folder, "split.jsonl", _split_of),
        weight=0.03,
    )
    names = hostile.texts | st.integers()
    answer = {"id": names, "reference": hostile.valid_texts, "answer": hostile.texts | st.none(),
              "group": names, "repeat": st.integers(), "cluster": names}  # fmt: skip
    right = [{"id": n % 3, "group": n // 3, "reference": f"a b {n % 3}", "answer": f"a {n}"}
             for n in range(6)]  # fmt: skip
    yield Target(
        name="JSON lines",
        inputs=hostile.files(whole[".jsonl"], fields=row),
        check=on_file(folder, "lines.jsonl", lambda path: list(jsonl.read(path))),
    )
    yield Target(
        name="answers, read and scored",
        inputs=hostile.files(hostile.as_lines(right), fields=answer),
        check=on_file(folder, "answers.jsonl", _scored),
        weight=0.1,
    )
    marked = st.builds(lambda one, two: f"{one}### Response:{two}", *[hostile.texts] * 2)
    text = {"id": names, "group": names, "reference_text": marked, "candidate_text": marked}
    texts = [{"id": n, "reference_text": f"Say {n}.\n### Response:\n{n}",
              "candidate_text": f"Say {n}.\n### Response:\nno"} for n in range(3)]  # fmt: skip
    yield Target(
        name="whole texts, read and scored",
        inputs=hostile.files(hostile.as_lines(texts), fields=text),
        check=on_file(folder, "texts.jsonl", _scored_whole),
        weight=0.5,
    )


def of_values(_: Path) -> Iterator[Target]:
    """Yield the targets that are given values: settings, specs, texts."""
    spec = config.as_dict(profiles.PROFILES["smoke"])
    parts = [name for name, value in spec.items() if isinstance(value, dict)]
    places = [(name,) for name in spec]
    places += [(part, name) for part in parts for name in spec[part]]
    yield Target(
        name="study.json's spec",
        inputs=st.one_of(
            hostile.values,
            st.lists(
                st.tuples(st.sampled_from(places), hostile.values | st.just(_deep(400))),
                min_size=1, max_size=3,
            ).map(lambda changes: _changed(spec, changes)),
        ),
        check=_study,
    )  # fmt: skip
    fields = [".".join(place) for place in places if place != ("models",)]
    typed = hostile.scalars.map(repr) | hostile.values.map(repr) | hostile.texts
    yield Target(
        name="--set FIELD=VALUE",
        inputs=st.tuples(st.sampled_from(fields) | hostile.texts, typed | hostile.values),
        check=_configured,
    )
    names = hostile.texts | st.sampled_from(("tiny-llama", "tiny-llama=", "~nobody/x", "/", "."))
    yield Target(
        name="profile, models, data and name",
        inputs=st.fixed_dictionaries(
            {"profile": st.sampled_from(("smoke", "full")) | hostile.texts},
            optional={"models": names, "data": names, "name": names},
        ),
        check=_chosen,
    )
    yield Target(
        name="metrics of two texts",
        inputs=st.tuples(hostile.valid_texts, hostile.valid_texts),
        check=_metrics,
        weight=0.2,
    )
    yield Target(name="text in pages", inputs=hostile.texts, check=_escaped)


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def _changed(spec: dict[str, Any], changes: list) -> dict[str, Any]:
    spec = json.loads(json.dumps(spec))
    for place, value in changes:
        inner = spec
        for name in place[:-1]:
            inner = inner[name] if isinstance(inner, dict) and name in inner else {}
        if isinstance(inner, dict):
            inner[place[-1]] = value
    return spec
