"""A study's judging from start to seal: `python -m alpaca_lab judge`."""

from collections.abc import Callable, Iterable

from ..config import ModelSpec
from ..store import Record, Run
from .judging import judge
from .model import Judge, ModelJudge, identity, parse_judge
from .pairs import Pair, reference_pairs


def judge_study(
    record: Record,
    source: str,
    *,
    questions: int | None = None,
    pairs: Iterable[Pair] = (),
    open_judge: Callable[[ModelSpec], Judge] = ModelJudge,
) -> Run:
    """Let a model judge the rows of a study's main table against the references.

    Args:
        record: A study that is decoded and scored.
        source: The judge, as `model.parse_judge` takes it.
        questions: Only the first so many in the test order; None takes all.
        pairs: More pairs to judge beside them, such as those of a plan that people rate.
        open_judge: Loads the judge; a test passes a stand-in.

    Returns:
        The sealed folder, entered in study.json as the judging that the tables show.

    Raises:
        SettingError: If the judge cannot be had or used.
        RecordError: If the study is not scored, or a folder was changed.
    """
    spec = parse_judge(source)
    chosen = [*reference_pairs(record, questions=questions), *pairs]
    run = judge(
        chosen,
        root=record.judgings,
        identity=identity(spec),
        open_judge=lambda: open_judge(spec),
    )
    record.enter_judging(run.id)
    return run
