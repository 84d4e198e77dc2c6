"""All that the tables of a study are made of, read from its record and compared with checksums."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..config import StudySpec, study_from_dict
from ..estimates import Scored
from ..files import RecordError
from ..human import values
from ..human.rubric import MODES
from ..human.values import Collected
from ..judge.record import Judged, shown
from ..scoring.controls import COPY, EMPTY, OTHER, REFERENCE
from ..store import CONTROL, MANIFEST, Record
from ..sweep import BASE, Cell, cells

CONTROLS = {
    EMPTY: "empty answer",
    COPY: "copied instruction",
    OTHER: "another row's answer",
    REFERENCE: "reference",
}
"""What the main table calls each control: three floors, and the ceiling."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the tables of a study are made of."""

    spec: StudySpec
    runs: dict[tuple[str, str], Scored]
    """By model key and cell name."""
    human: Mapping[str, Collected]
    """What people rated, by mode."""
    judged: Judged | None = None
    """What a language model judged, if one was asked."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the study, greedy first, in sweep order."""
        return tuple(cells(self.spec))


def load(record: Record) -> Evidence:
    """Read every run that the tables need, each compared with its manifest's sha256 first.

    Raises:
        RecordError: If a run is missing, not scored, or changed since it was sealed, if two runs
            were scored by different recipes, or a human rating is not valid.
    """
    index = record.index()
    spec = study_from_dict(index["spec"])
    names = [cell.name for cell in cells(spec)]
    wanted = [(model.key, name) for model in spec.models for name in (*names, BASE)]
    runs = {}
    for model, name in (*wanted, *((CONTROL, control) for control in CONTROLS)):
        run_id = index["runs"].get(model, {}).get(name)
        if run_id is None:
            raise RecordError(
                f"{record.folder / 'study.json'} has no run for {model}, {name}; run "
                f"`python -m alpaca_lab {'score' if model == CONTROL else 'generate, then score'}`"
            )
        run = record.run(run_id)
        if not run.is_sealed:
            raise RecordError(
                f"run {run_id} ({model}, {name}) is not scored; run `python -m alpaca_lab score`"
            )
        run.verify()
        runs[model, name] = Scored(
            run=run_id,
            scores=run.scores(),
            manifest=run.manifest(),
            likelihood=run.likelihood(),
        )
    _refuse_mixed_recipes(runs)
    human = {mode: values.read(record, mode) for mode in MODES}
    return Evidence(spec=spec, runs=runs, human=human, judged=shown(record))


def _refuse_mixed_recipes(runs: dict[tuple[str, str], Scored]) -> None:
    first, *others = runs.values()
    for other in others:
        for part in ("signatures", "encoder"):
            if other.manifest[part] != first.manifest[part]:
                raise RecordError(
                    f"runs {first.run} and {other.run} were scored with different {part}; "
                    f"delete {MANIFEST} in both folders and run `python -m alpaca_lab score`"
                )
