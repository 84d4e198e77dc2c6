"""What decoding was meant to reach, beside what was measured: from `decoding_speed.table`."""

from collections.abc import Iterator
from math import nan

import pandas as pd

from .decoding_arms import (
    BUSY_SHARE,
    CELLS,
    CELLS_FEW,
    GROWTH,
    NINE,
    NINE_FEW,
    ONE,
    ONE_FEW,
    OURS_NAME,
    PEERS,
    SHARE_OF_LIMIT,
    Goal,
)

COLUMNS = ("model", "what", "measured", "bound", "goal", "met")


def goals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row per model and goal.

    Args:
        frame: `decoding_speed.table`.

    Returns:
        Columns `COLUMNS`: what was measured, whether it should be at least or at most the goal, and
        whether it is. What was not measured is blank, and so is the goal of a value without one.
    """
    return pd.DataFrame(
        [
            {
                "model": model,
                "what": what,
                "measured": measured,
                "bound": goal.bound if goal else "",
                "goal": goal.value if goal else nan,
                "met": goal.met(measured) if goal else None,
            }
            for model, rows in frame.groupby("model", sort=False)
            for what, measured, goal in _measured(rows)
        ],
        columns=list(COLUMNS),
    )


def _measured(rows: pd.DataFrame) -> Iterator[tuple[str, float, Goal | None]]:
    """Yield (what, measured, goal) of one model."""
    peers = rows[rows["arm"] != OURS_NAME].set_index("arm")
    ours = rows[rows["arm"] == OURS_NAME].set_index("pass")
    for peer in PEERS:
        goal = Goal(value=peer.goal)
        yield f"{peer.passes[0]}: times {peer.name}", peers.loc[peer.name, "ratio"], goal
    plain = PEERS[0].name
    times = ours.loc[ONE, "tok_s"] / peers.loc[plain, "tok_s"]
    yield f"{ONE}: times {plain}", times, None
    yield f"{NINE}: share of the limit", ours.loc[NINE, "share_of_limit"], SHARE_OF_LIMIT
    yield f"{NINE}: share of rows that are busy", ours.loc[NINE, "busy_share"], BUSY_SHARE
    seconds, per_token = ours["seconds"], ours["seconds"] / ours["new_tokens"]
    yield f"{NINE} / {ONE}: seconds", seconds[NINE] / seconds[ONE], CELLS
    few = f"{NINE} / {ONE}, few questions: seconds"
    yield few, seconds[NINE_FEW] / seconds[ONE_FEW], CELLS_FEW
    for every, some in ((NINE, NINE_FEW), (ONE, ONE_FEW)):
        yield (
            f"{every}, all / few questions: seconds per token",
            per_token[every] / per_token[some],
            GROWTH,
        )
