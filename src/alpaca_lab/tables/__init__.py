"""From the scores of a study to its tables: long data frames, one number per row, no text read."""

from .evidence import Evidence, load

__all__ = ["Evidence", "load"]
