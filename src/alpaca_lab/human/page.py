"""A plan as a notebook shows it: what is rated, what it can see, and the rubric."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..characters import plain
from ..config import study_from_dict
from ..pages import markdown
from ..pages.page import Page, count
from ..pages.wording import cell
from ..store import CONTROL, Record
from .plan import Plan
from .rubric import PAIRWISE

if TYPE_CHECKING:
    from IPython.display import Markdown


def strata(plan: Plan, record: Record) -> "Markdown":
    """Return what is rated of each model and setting, and what had to be left out."""
    models = study_from_dict(record.index()["spec"]).models
    titles = {model.key: plain(model.title) for model in models} | {CONTROL: "control"}
    pairs = plan.mode == PAIRWISE
    rows = tuple(
        (
            titles[one.model],
            cell(one.cell),
            *map(count, (one.planned, one.pool, one.failed)),
            *([count(one.identical)] if pairs else []),
        )
        for one in plan.strata
    )
    kind = "pairs" if pairs else "answers"
    header = ("Model", "setting", f"{kind} in the plan", f"{kind} there are", "failed")
    return _shown(
        Page(
            title=f"What is rated: {len(plan.items)} {kind}",
            header=(*header, *(["identical texts"] if pairs else [])),
            rows=rows,
            words=2,
        )
    )


def rubric(plan: Plan) -> "Markdown":
    """Return what a rater is asked."""
    asked = plan.rubric
    rows = tuple(
        (str(place), level.label, level.detail) for place, level in enumerate(asked.levels, start=1)
    )
    advice = tuple(f"{heading}. {text}" for heading, text in asked.advice)
    return _shown(
        Page(
            title=asked.question,
            header=("Key", "level", "meaning"),
            rows=rows,
            words=3,
            reading=(advice,),
        )
    )


def lines(sentences: Iterable[str]) -> "Markdown":
    """Return sentences as a list."""
    from IPython.display import Markdown

    return Markdown("".join(f"- {markdown.escape(sentence)}\n" for sentence in sentences))


def _shown(content: Page) -> "Markdown":
    from IPython.display import Markdown

    return Markdown(markdown.page(content))
