"""Which rows an optimiser step sees, and how they fall to processes and into forward passes. Pure.

The rows of a step are drawn by number, before any tokenizer has seen them, so every model of a
study learns from the same rows in the same order; how many passes a step takes is this machine's
affair and changes nothing that is learned.
"""

import random
from collections.abc import Sequence
from math import ceil


def plan_steps(
    rows: int, *, batch_size: int, epochs: float, seed: int, max_steps: int | None = None
) -> list[list[int]]:
    """Return the rows of each optimiser step.

    Each epoch is a new shuffle of all rows, cut into batches; its last batch may be smaller, so
    that each row is seen once an epoch.

    Args:
        rows: How many rows there are.
        batch_size: Rows per step.
        epochs: Passes over the rows; a part of an epoch is rounded up to whole batches.
        seed: Seeds the shuffles.
        max_steps: Stop after so many; where `epochs` gives fewer, more epochs follow.

    Example:
        >>> [sorted(step) for step in plan_steps(3, batch_size=2, epochs=1, seed=0)]
        [[0, 2], [1]]
    """
    per_epoch = ceil(rows / batch_size)
    wanted = max_steps or ceil(epochs * per_epoch)
    steps: list[list[int]] = []
    epoch = 0
    while len(steps) < wanted:
        order = list(range(rows))
        random.Random(f"{seed}-{epoch}").shuffle(order)
        steps += [order[start : start + batch_size] for start in range(0, rows, batch_size)]
        epoch += 1
    return steps[:wanted]


def pack(lengths: Sequence[int], *, room: int) -> list[list[int]]:
    """Split rows into as few passes as hold them, each about as full as the others.

    The longest row goes first, into the emptiest pass. Evenly filled passes matter more than the
    last per cent of room: the largest decides the memory, and nothing is padded.

    Args:
        lengths: Tokens of each row, each at most `room`.
        room: Most tokens in a pass.

    Returns:
        Indices into `lengths`, pass by pass.

    Example:
        >>> pack([5, 1, 4, 2], room=8)
        [[0, 1], [2, 3]]
    """
    for count in range(max(1, ceil(sum(lengths) / room)), len(lengths) + 1):
        passes = share(lengths, count=count)
        if max(sum(lengths[i] for i in part) for part in passes) <= room:
            return [sorted(part) for part in passes]
    return [[i] for i in range(len(lengths))]


def share(lengths: Sequence[int], *, count: int) -> list[list[int]]:
    """Split things into `count` parts of about equal sums: the longest first, to the emptiest.

    Args:
        lengths: What each takes, in any unit.
        count: How many parts, >= 1; some are empty where there are fewer things.

    Returns:
        Indices into `lengths`, part by part, longest first.

    Example:
        >>> share([5, 1, 4, 2], count=2)
        [[0, 1], [2, 3]]
    """
    parts: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        emptiest = filled.index(min(filled))
        parts[emptiest].append(i)
        filled[emptiest] += lengths[i]
    return parts


def pad(lengths: Sequence[int], *, room: int) -> list[list[int]]:
    """Split rows into passes of about one length, each as large as `room` holds once padded.

    Args:
        lengths: Tokens of each row.
        room: Most tokens in a pass, padding counted.

    Example:
        >>> pad([5, 1, 4, 2], room=8)
        [[1, 3], [2], [0]]
    """
    passes: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # Rows come in order of length, so this row is the longest of a pass that takes it.
        if passes and (len(passes[-1]) + 1) * lengths[i] <= room:
            passes[-1].append(i)
        else:
            passes.append([i])
    return passes
