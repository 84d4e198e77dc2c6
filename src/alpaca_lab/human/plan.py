"""A plan on disk: what is rated, by whom, in which order; and, apart from it, the blinding key.

    plan.json          mode, seed, rubric, raters, each rater's items in order, the key's sha256
    key-<12 hex>.json  whose answer each item is: never shown to a rater, never in a sheet

An item's name is a hash with the key's secret salt, so that a sheet alone gives nothing away.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ..config import SettingError
from ..files import RecordError, read_json, sha256_file, write_json
from ..store import Record
from .rubric import MODES, TOP, Rubric

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One answer to be rated, or one pair of answers. Blind to the rater, known to the key."""

    id: str
    """An i and 11 hex digits, all that a rater sees of it. Without the letter a spreadsheet would
    take one in a hundred or so for a number, such as 1234e5678901, and write back another."""
    question: str
    """The question's id."""
    cluster: str
    model: str
    cell: str
    repeat: int
    run: str
    text_sha256: str
    opponent: str = ""
    """Run of the model's own greedy answer that stands beside it, in pairs."""
    opponent_sha256: str = ""
    opponent_left: bool = False
    """Whether that one stands on the left."""


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """One model under one setting, and what there is of it to rate."""

    model: str
    cell: str
    planned: int
    """Items in the plan."""
    pool: int
    """Questions that have an answer to rate, one per cluster of near-duplicates."""
    failed: int
    """Questions left out because an answer failed."""
    identical: int
    """Questions left out because both answers of a pair are the same text."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is rated, by whom, in which order."""

    mode: str
    """One of `rubric.MODES`."""
    seed: int
    questions: int
    """Questions asked about, per stratum."""
    raters: tuple[str, ...]
    overlap: float
    """Share of the questions that all raters rate, 0-1."""
    rubric: Rubric
    strata: tuple[Stratum, ...]
    order: Mapping[str, tuple[str, ...]]
    """By rater, the ids of the items in the order in which they are shown."""
    items: Mapping[str, Item]
    """By id: the key."""

    def items_of(self, rater: str) -> tuple[str, ...]:
        """Return a rater's items in their order.

        Raises:
            SettingError: If the plan does not ask that rater.
        """
        if rater not in self.order:
            raise SettingError(
                f'the plan asks {", ".join(self.raters)}, not "{rater}": take one of these names, '
                "or write the plan again with this one among its raters"
            )
        return self.order[rater]


def folder(record: Record, mode: str) -> Path:
    """Return where a mode's plan and ratings are.

    Raises:
        SettingError: If there is no such mode.
    """
    if mode not in MODES:
        raise SettingError(f'mode: choose {" or ".join(MODES)}, not "{mode}"')
    return record.human(mode)


def exists(record: Record, mode: str) -> bool:
    """Return True when a plan of this mode is written."""
    return (folder(record, mode) / "plan.json").is_file()


def write(record: Record, plan: Plan, *, salt: str) -> None:
    """Write the key under a name of its own, then the plan that names it: a kill leaves a pair."""
    place = folder(record, plan.mode)
    key = {name: asdict(item) for name, item in sorted(plan.items.items())}
    draft = place / "key.json"
    write_json(draft, {"salt": salt, "items": key})
    digest = sha256_file(draft)
    named = draft.replace(draft.with_name(f"key-{digest[:12]}.json"))
    facts = {
        "mode": plan.mode,
        "seed": plan.seed,
        "questions": plan.questions,
        "raters": list(plan.raters),
        "overlap": plan.overlap,
        "key": named.name,
        "key_sha256": digest,
        "rubric": plan.rubric.as_dict(),
        "strata": [asdict(stratum) for stratum in plan.strata],
        "order": {rater: list(items) for rater, items in plan.order.items()},
    }
    write_json(place / "plan.json", facts)
    for old in set(place.glob("key-*.json")) - {named}:
        old.unlink()


def read(record: Record, mode: str) -> Plan:
    """Return the plan of a mode, its key compared with the sha256 in the plan first.

    Raises:
        RecordError: If there is no plan, or plan and key do not belong together.
    """
    return _read(record, mode)[0]


def salt(record: Record, mode: str) -> str | None:
    """Return the secret salt of the plan that is there, or None without a plan."""
    return _read(record, mode)[1] if exists(record, mode) else None


def _read(record: Record, mode: str) -> tuple[Plan, str]:
    place = folder(record, mode)
    cure = f"restore it, or move the folder {place} away and write a new plan"
    if not exists(record, mode):
        if (place / "ratings.csv").is_file():
            raise RecordError(f"{place} has ratings, but no plan.json; {cure}")
        raise RecordError(
            f"no plan in {place}; write one with notebooks/04_human_eval.ipynb or "
            f"`python -m alpaca_lab rate --plan --mode {mode}`"
        )
    try:
        facts = read_json(place / "plan.json", cure=cure)
        file = place / Path(facts["key"]).name
        if not file.is_file() or sha256_file(file) != facts["key_sha256"]:
            raise RecordError(f"{file} is not the key that plan.json was written with; {cure}")
        key = read_json(file, cure=cure)
        return _plan(facts, key, mode), key["salt"]
    except RecordError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        named = f"{type(error).__name__}: {error}"
        raise RecordError(f"{place / 'plan.json'} is no plan ({named}); {cure}") from None


def _plan(facts: dict[str, Any], key: dict[str, Any], mode: str) -> Plan:
    """Return the plan that `write` wrote; a field that it never wrote so is an error naming it."""
    items = {name: _typed(Item, values) for name, values in key["items"].items()}
    order = {rater: tuple(ids) for rater, ids in facts["order"].items()}
    for ids in order.values():
        for name in ids:
            items[name]  # an item without a key is a KeyError that names it
    strata = tuple(_typed(Stratum, values) for values in facts["strata"])
    rubric = Rubric.from_dict(facts["rubric"])
    words = (rubric.question, *(word for pair in rubric.advice for word in pair))
    words += tuple(word for level in rubric.levels for word in (level.label, level.detail))
    right = {
        "mode": facts["mode"] == mode,
        "seed": type(facts["seed"]) is int,
        "questions": type(facts["questions"]) is int,
        "raters": bool(order) and facts["raters"] == list(order),
        "overlap": 0 <= facts["overlap"] <= 1,
        "order": all(len(set(ids)) == len(ids) for ids in order.values()),
        "rubric": len(rubric.levels) == TOP + 1 and all(type(word) is str for word in words),
        "strata": sum(stratum.planned for stratum in strata) == len(items),
        "salt": type(key["salt"]) is str,
    }
    for name, is_right in right.items():
        if not is_right:
            raise ValueError(name)
    return Plan(
        mode=facts["mode"],
        seed=facts["seed"],
        questions=facts["questions"],
        raters=tuple(facts["raters"]),
        overlap=facts["overlap"],
        rubric=rubric,
        strata=strata,
        order=order,
        items=items,
    )


def _typed(kind: type[T], values: dict[str, Any]) -> T:
    """Return a dataclass of these values, each of the type that its field has."""
    made = kind(**values)
    for field in fields(made):
        if type(getattr(made, field.name)) is not field.type:
            raise TypeError(f"{field.name} is {getattr(made, field.name)!r}")
    return made
