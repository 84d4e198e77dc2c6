"""What every form of an export is told, and what it tells."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..weights.checkpoints import TOKENIZER_FILES, locate
from ..weights.trust import ADAPTER
from .answers import Answers
from .source import Source

GIB = 2**30
Tell = Callable[[str], None]
"""Says what is being done now: the next of a form's `STEPS`."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A form that was written, read back and asked the study's first questions."""

    answers: Answers
    """Of the model that the form was made of, as it is exported: in 16 bits, for a merged one."""
    same: int
    """How many questions it answers to the same tokens when it is read back."""
    by: str
    """What read it back, with its version."""
    dtype: str
    """Of the weights in the files."""
    partings: list[dict[str, Any]] = field(default_factory=list)
    """Where the other answers part, each within rounding: fields of `near_ties.Parting`."""


def copy_tokenizer(source: Source, folder: Path) -> None:
    """Put a base's tokenizer into an export, file by file as it is.

    Saved by Transformers 5 it would name a class that Transformers 4 and llama.cpp's converter do
    not have; a base's own files are read by whatever reads the base.
    """
    base = locate(source.spec)
    for name in (*(n for n in TOKENIZER_FILES if n != "config.json"), "chat_template.jinja"):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def weights_gib(source: Source) -> float:
    """Return the GiB of a base in 16 bits, whatever its files are in."""
    from ..weights.trust import read_header

    count = 0
    for path in locate(source.spec).glob("*.safetensors"):
        for shape in read_header(path).values():
            size = 1
            for length in shape:
                size *= length
            count += size
    return 2 * count / GIB


def adapter_gib(source: Source) -> float:
    """Return the GiB of an adapter."""
    return (source.adapter / ADAPTER).stat().st_size / GIB
