"""How far each rater is."""

import pandas as pd

from ..store import Record
from . import plan as plans
from . import ratings
from .ratings import RATED


def table(record: Record, mode: str) -> pd.DataFrame:
    """Return one row per rater: rated, skipped, to do, and seconds per rating.

    Returns:
        Columns rater, rated, skipped, to do, seconds (median; blank where nobody measured).

    Raises:
        RecordError: If there is no plan, or a rating is not valid.
    """
    plan = plans.read(record, mode)
    standing = ratings.standing(ratings.read(record, mode)).values()
    rows = []
    for rater, items in plan.order.items():
        mine = [entry for entry in standing if entry.rater == rater]
        rated = sum(entry.action == RATED for entry in mine)
        seconds = pd.Series([entry.seconds for entry in mine], dtype=float).median()
        rows.append((rater, rated, len(mine) - rated, len(items) - len(mine), seconds))
    return pd.DataFrame(rows, columns=["rater", "rated", "skipped", "to do", "seconds"])
