"""Settings, specs and texts as values: what a form, a shell or a model hands over."""

import json
import math
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hostile
from hypothesis import strategies as st
from targets import Target, refusing

from alpaca_lab import config, profiles
from alpaca_lab.characters import plain
from alpaca_lab.metrics import text_scores
from alpaca_lab.pages import latex, markdown, webpage


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
    found = text_scores.text_scores(answer, reference=reference)
    for name, top in BOUNDS.items():
        value = found[name]
        assert math.isnan(value) or -1e-9 <= value <= top + 1e-9, (name, value)
    for name in ("rouge1", "rougeL", "rougeLsum"):
        assert math.isnan(found[name]) != found["rouge_defined"]
    same = text_scores.text_scores(reference, reference=reference)
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
    commit = "@" + "0" * 40
    places = hostile.texts | st.sampled_from((str(config.TINY / "phi"), "a/b", f"a/b{commit}", "/"))
    given = st.tuples(hostile.texts | st.sampled_from(("mine", "tiny-phi")), places).map("=".join)
    part = st.sampled_from(("instruction", "input", "output")) | hostile.texts
    columns = st.lists(st.tuples(part, hostile.texts).map("=".join), max_size=4).map(",".join)
    yield Target(
        name="profile, models, data and name",
        inputs=st.fixed_dictionaries(
            {"profile": st.sampled_from(("smoke", "full")) | hostile.texts},
            optional={"models": names | given, "data": names, "columns": columns, "name": names},
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
