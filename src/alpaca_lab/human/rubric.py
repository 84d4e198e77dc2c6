"""What a rater is asked, in words: two questions, each with five levels to choose from.

A plan carries its rubric along, so that all its ratings are of one wording, even after this file
has changed. A level is chosen by its place, 1 to 5 from left to right, wherever a person does it:
keys, buttons and sheets; it is recorded as a score, 0 to 4.
"""

from dataclasses import asdict, dataclass
from typing import Any

ACCEPTABILITY = "acceptability"
PAIRWISE = "pairwise"
MODES = (ACCEPTABILITY, PAIRWISE)
TOP = 4
"""Highest score; the lowest is 0."""
SKIPS = (
    "I do not know the subject",
    "The question makes no sense",
    "I do not want to read this",
    "Another reason",
)
"""Why an answer may be passed over: it is then missing with this reason, never a middling score."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One of the five choices."""

    label: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """A question, how to go about it, and the five levels, lowest or leftmost first."""

    question: str
    advice: tuple[tuple[str, str], ...]
    """(heading, text)."""
    levels: tuple[Level, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the rubric as plan.json holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Rubric":
        """Return the rubric that `as_dict` wrote."""
        return cls(
            question=values["question"],
            advice=tuple((heading, text) for heading, text in values["advice"]),
            levels=tuple(Level(**level) for level in values["levels"]),
        )

    def as_text(self) -> str:
        """Return the rubric for a terminal or a text file."""
        lines = [self.question, ""]
        lines += [f"{heading}. {text}" for heading, text in self.advice]
        lines += ["", "Choose one:"]
        lines += [
            f"  {place}  {level.label}: {level.detail}"
            for place, level in enumerate(self.levels, start=1)
        ]
        return "\n".join(lines)


SHARED = (
    (
        "Length",
        "A longer answer is not a better one. Count what was asked for, not words.",
    ),
    (
        "Facts",
        "Look up what you do not know. If you still cannot tell, skip, and say why: a skipped "
        "answer is better than a guess.",
    ),
    (
        "Blind",
        "Which model or setting wrote what is hidden. Do not try to guess it; if you recognise an "
        "answer, rate what stands there.",
    ),
)
RUBRICS = {
    ACCEPTABILITY: Rubric(
        question="How acceptable is this answer?",
        advice=(
            (
                "Right before well put",
                "Judge whether the answer does what the instruction asks, and whether it is true. "
                "Grammar and style move it by one level at most.",
            ),
            *SHARED,
        ),
        levels=(
            Level(label="Useless", detail="wrong, off the subject, harmful, or no answer"),
            Level(label="Poor", detail="on the subject, but most of it is wrong or missing"),
            Level(label="Mixed", detail="partly right; something that matters is wrong or missing"),
            Level(label="Good", detail="right and complete, but for small flaws"),
            Level(label="Excellent", detail="right and complete; could be handed on as it is"),
        ),
    ),
    PAIRWISE: Rubric(
        question="Which answer is better?",
        advice=(
            (
                "Right before well put",
                "The better answer does what the instruction asks, and is true. Only where both "
                "do that equally well do grammar and style decide.",
            ),
            *SHARED,
        ),
        levels=(
            Level(label="A, clearly", detail="answer A is clearly better"),
            Level(label="A, slightly", detail="answer A is slightly better"),
            Level(label="Equal", detail="equally good, or equally bad"),
            Level(label="B, slightly", detail="answer B is slightly better"),
            Level(label="B, clearly", detail="answer B is clearly better"),
        ),
    ),
}
"""By mode."""
