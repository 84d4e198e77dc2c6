"""What 1, 8 and 64 GPUs take for a full study, from what was measured on one and on two."""

SHARES = (8, 64)
"""On so many GPUs, one has the share of a step, and of the questions, that is timed on one."""
LINES = "scale_out.jsonl"
"""The file of lines, below results/performance/."""
CONDITIONS = ("gpu", "cap_gib", "data", "weights", "gpus", "warm", "steps", "packages")
"""What must be the same in two runs that stand in one table."""


def write(folder, rows):
    """Not yet."""
