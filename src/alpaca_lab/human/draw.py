"""Which answers are rated, by whom and in which order: all of it follows from a seed.

A question is the unit: whoever is asked about it rates the answers of all models and settings to
it, so that models are compared within one question and one rater. A share of the questions goes to
every rater, which is where agreement is measured. All of it is fixed before anyone starts.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import SettingError, study_from_dict
from ..files import RecordError
from ..scoring.controls import ANSWERS as CONTROLS
from ..scoring.controls import EMPTY
from ..store import CONTROL, Record
from ..sweep import BASE, GREEDY, cells
from . import plan as plans
from . import ratings
from .plan import Item, Plan, Stratum
from .rubric import ACCEPTABILITY, PAIRWISE, RUBRICS

Row = dict[str, Any]
FACTS = ("id", "cluster", "repeat", "status", "text_sha256")
"""What is read of a row of scores."""
ANSWERED = ("ok", EMPTY)
RATER = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""A rater's name: a pseudonym will do, and it is all that is recorded of a person. It begins with a
letter, or a spreadsheet would make 007 a number."""
QUESTIONS = 20
OVERLAP = 0.25
CELLS = {ACCEPTABILITY: (GREEDY, BASE, "reference"), PAIRWISE: (BASE,)}
"""Settings rated where none are named: what the main table holds and can be read from."""


def write(
    record: Record,
    *,
    mode: str = ACCEPTABILITY,
    questions: int = QUESTIONS,
    settings: str = "",
    raters: str,
    overlap: float = OVERLAP,
    seed: int = 0,
) -> Plan:
    """Draw a plan and write it; where there is one, only if it keeps all that is rated.

    So a plan can grow: more questions keep those that are there, and their order among themselves.

    Args:
        record: A scored study.
        mode: "acceptability" rates one answer, "pairwise" one beside the model's greedy answer.
        questions: Questions to ask about in each stratum (model and setting), >= 1; fewer where
            there are fewer.
        settings: Cell names such as "greedy, base, temperature=1", comma-separated; for
            acceptability also the controls reference, other, copy and empty. None named: `CELLS`.
        raters: Who rates, comma-separated, each name as `RATER` has it.
        overlap: Share of the questions that every rater rates, 0-1.
        seed: Decides questions, repeats, sides and order.

    Raises:
        SettingError: If an argument is out of range or a setting is not in the study.
        RecordError: If a run is not scored, was changed, or the new plan would lose a rating.
    """
    names, people = _listed(settings) or CELLS.get(mode, ()), _listed(raters)
    _refuse(mode, questions, names, people, overlap)
    salt = plans.salt(record, mode) or _salt(record)
    drawn = _Draw(record=record, mode=mode, seed=seed, salt=salt)
    chosen = drawn.strata(names, questions)
    items = {item.id: item for stratum in chosen.values() for item in stratum}
    plan = Plan(
        mode=mode,
        seed=seed,
        questions=questions,
        raters=people,
        overlap=overlap,
        rubric=RUBRICS[mode],
        strata=tuple(chosen),
        order={rater: drawn.order(items, rater, people, overlap) for rater in people},
        items=items,
    )
    if not items:
        raise SettingError(
            f"nothing to rate: {', '.join(names)} have no answers"
            + (" that differ from greedy's" if mode == PAIRWISE else "")
        )
    with ratings.locked(record, mode):
        _refuse_loss(record, plan)
        plans.write(record, plan, salt=salt)
    return plan


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.split(","))))


def _refuse(
    mode: str, questions: int, names: Sequence[str], raters: Sequence[str], overlap: float
) -> None:
    if mode not in RUBRICS:
        raise SettingError(f'mode: choose {" or ".join(RUBRICS)}, not "{mode}"')
    if questions < 1:
        raise SettingError(f"questions: need at least 1, got {questions}")
    if not 0 <= overlap <= 1:
        raise SettingError(f"overlap: need a share from 0 to 1, got {overlap}")
    if mode == PAIRWISE and GREEDY in names:
        raise SettingError("settings: greedy is what the others are compared with; leave it out")
    if not raters:
        raise SettingError("raters: name who rates, such as anna,ben")
    for kind, values in (("raters", raters), ("settings", names)):
        if len(set(values)) != len(values):
            raise SettingError(f"{kind}: name each once, got {', '.join(values)}")
    for rater in raters:
        if not RATER.fullmatch(rater):
            raise SettingError(
                f'raters: "{rater}" is no name for a rater; use 1 to 32 of a-z, 0-9, - and _, '
                "a letter first"
            )


def _refuse_loss(record: Record, new: Plan) -> None:
    # An undone rating counts too: its row stays in the log, and must be one that was asked for.
    rated = dict.fromkeys((row.rater, row.item) for row in ratings.read(record, new.mode))
    if not rated:
        return
    place = plans.folder(record, new.mode)
    if plans.read(record, new.mode).rubric != new.rubric:
        raise RecordError(
            f"{place / 'plan.json'} was written with another rubric than this version has, and "
            f"its ratings cannot be joined by new ones: move the folder {place} away first"
        )
    lost = [(rater, item) for rater, item in rated if item not in new.order.get(rater, ())]
    if lost:
        raise RecordError(
            f"the new plan would drop {len(lost)} of the ratings in {place / 'ratings.csv'}, the "
            f"first by {lost[0][0]}: keep seed, raters and overlap and ask about at least as many "
            f"questions and settings, or move the folder {place} away first"
        )


def _salt(record: Record) -> str:
    """A secret of whoever has the record: two copies of a study name an item alike, and can merge.

    Who has a sheet alone cannot compute it, so the names of items give nothing away.
    """
    sealed = (run.manifest() for _, _, run in record.runs() if run.is_sealed)
    answers = sorted(manifest["sha256"]["answers.jsonl"] for manifest in sealed)
    return hashlib.sha256("\n".join(answers).encode()).hexdigest()


def _number(*parts: object) -> int:
    """A number that looks drawn at random and is the same for the same parts, everywhere."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What every choice depends on."""

    record: Record
    mode: str
    seed: int
    salt: str

    def strata(self, names: Sequence[str], questions: int) -> dict[Stratum, list[Item]]:
        """Return every model under every setting, with the items drawn from it."""
        index = self.record.index()
        spec = study_from_dict(index["spec"])
        known = [cell.name for cell in cells(spec)] + [BASE]
        controls = list(CONTROLS) if self.mode == ACCEPTABILITY else []
        for name in names:
            if name not in (*known, *controls):
                choices = [*known, *controls]
                if self.mode == PAIRWISE:
                    choices.remove(GREEDY)
                raise SettingError(f'settings: no "{name}"; choose from {", ".join(choices)}')
        wanted = [(model.key, name) for model in spec.models for name in names if name in known]
        wanted += [(CONTROL, name) for name in names if name in controls]
        return dict(self._stratum(model, name, questions) for model, name in wanted)

    def order(
        self, items: Mapping[str, Item], rater: str, raters: Sequence[str], overlap: float
    ) -> tuple[str, ...]:
        """Return a rater's items, shuffled: all that are shared, and the rater's part of the rest.

        A question's part is decided by its rank among all questions of the study, so that it stays
        when the plan grows.
        """
        ranks = {question: rank for rank, question in enumerate(self._ranked())}
        mine = []
        for item in items.values():
            rank = ranks[item.question]
            # A little more, or rounding would make .29 of 100 questions 28.
            before, after = (math.floor(place * overlap + 1e-9) for place in (rank, rank + 1))
            shared = after > before
            if shared or raters[(rank - before) % len(raters)] == rater:
                mine.append(item)
        labels = ("question", "model", "cell", "repeat")
        mine.sort(key=lambda item: _number(self.seed, rater, *(getattr(item, x) for x in labels)))
        return tuple(item.id for item in mine)

    def _ranked(self) -> list[str]:
        """The questions in drawn order, one per cluster of near-duplicates."""
        first: dict[str, str] = {}
        rows = self.record.questions()
        for row in sorted(rows, key=lambda row: _number(self.seed, "question", row["id"])):
            first.setdefault(row["cluster"], row["id"])
        return list(first.values())

    def _stratum(self, model: str, cell: str, questions: int) -> tuple[Stratum, list[Item]]:
        ours = self._answers(model, cell)
        theirs = self._answers(model, GREEDY) if self.mode == PAIRWISE else None
        items, pool, failed, identical = [], 0, 0, 0
        for question in self._ranked():
            rows = ours[question]
            row = rows[_number(self.seed, "repeat", question, model, cell) % len(rows)]
            opponent = theirs[question][0] if theirs is not None else None
            both = [side for side in (row, opponent) if side is not None]
            if any(side["status"] not in ANSWERED for side in both):
                failed += 1
            elif opponent is not None and _alike(row, opponent):
                identical += 1
            else:
                pool += 1
                if len(items) < questions:
                    items.append(self._item(row, opponent, model, cell, len(items)))
        stratum = Stratum(
            model=model, cell=cell, planned=len(items), pool=pool, failed=failed,
            identical=identical,
        )  # fmt: skip
        return stratum, items

    def _answers(self, model: str, cell: str) -> dict[str, list[Row]]:
        """What a run's scores say of its answers, by question."""
        run_id = self.record.index()["runs"].get(model, {}).get(cell)
        run = self.record.run(run_id) if run_id else None
        if run is None or not run.is_sealed:
            raise RecordError(
                f"{cell} of {model} is not scored in {self.record.folder}; run the study first"
            )
        run.verify()
        answers: dict[str, list[Row]] = {}
        for row in run.scores()[list(FACTS)].assign(run=run_id).to_dict("records"):
            answers.setdefault(row["id"], []).append(row)
        if set(self._ranked()) - set(answers):
            raise RecordError(
                f"{cell} of {model} does not answer every question in {self.record.folder}; run "
                "the study again"
            )
        return answers

    def _item(self, row: Row, opponent: Row | None, model: str, cell: str, place: int) -> Item:
        facts = {
            "question": row["id"],
            "cluster": row["cluster"],
            "model": model,
            "cell": cell,
            "repeat": row["repeat"],
            "run": row["run"],
            "text_sha256": row["text_sha256"],
        }
        if opponent is not None:
            # Of every two pairs one has the opponent on the left, whichever of them it is.
            first_left = _number(self.seed, "side", model, cell, place // 2) % 2 == 0
            facts |= {
                "opponent": opponent["run"],
                "opponent_sha256": opponent["text_sha256"],
                "opponent_left": first_left == (place % 2 == 0),
            }
        name = hashlib.sha256("\x1f".join((self.salt, *map(str, facts.values()))).encode())
        return Item(id=f"i{name.hexdigest()[:11]}", **facts)


def _alike(one: Row, other: Row) -> bool:
    """Return True when two answers are the same text to a reader: blank is blank."""
    blank = one["status"] == other["status"] == EMPTY
    return blank or one["text_sha256"] == other["text_sha256"]


def shared(plan: Plan) -> Iterator[str]:
    """Yield the items that every rater of a plan is asked about."""
    first, *others = (set(ids) for ids in plan.order.values())
    yield from sorted(first.intersection(*others))
