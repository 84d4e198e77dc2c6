"""What a card is written from: the facts of one finetune, and the scores where there are any."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ..characters import plain
from ..config import HUB_NAME, REVISION, TINY, ModelSpec, StudySpec
from ..pages.page import Page
from ..profiles import HUB_DATASETS

Form = Literal["adapter", "merged", "gguf"]
"""What lies beside the card: the adapter alone, the model with it merged in, or that for
llama.cpp."""
FORMS: tuple[Form, ...] = ("adapter", "merged", "gguf")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where weights or rows came from: a commit of the hub, or something local with its sha256."""

    name: str
    """The hub's owner/name, or a file's or folder's name, on one printable line; "" if unknown."""
    revision: str | None
    """Commit of the hub, 40 hex digits; None for something local."""
    sha256: str | None
    """Of a file, or of a folder's config and weights; None where the commit already says it."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Source":
        """Return the source that a manifest names, whatever stands there believed to be data."""
        name, revision = str(values.get("source") or ""), str(values.get("revision") or "")
        sha256 = str(values.get("sha256") or "")
        is_hub = bool(HUB_NAME.fullmatch(name) and REVISION.fullmatch(revision))
        return cls(
            name=plain(name),
            revision=revision if is_hub else None,
            sha256=sha256 if SHA256.fullmatch(sha256) else None,
        )

    @property
    def is_hub(self) -> bool:
        """True for a pinned repository of the hub."""
        return self.revision is not None


@dataclass(frozen=True, kw_only=True)
class Known:
    """All that is known of a finetune when its card is written."""

    study: StudySpec
    model: ModelSpec
    data: Mapping[str, Any]
    """What `data.Dataset.manifest` returns: which rows, and how they were split."""
    manifest: Mapping[str, Any]
    """That of the finetune. A fact without its key is not told; one that is None is unknown."""
    losses: pd.DataFrame
    """A row per step and per validation: step, kind ("train" or "validation"), loss."""

    @property
    def title(self) -> str:
        """The base's printed name, on one printable line."""
        return plain(self.model.title)

    @property
    def name(self) -> str:
        """What the finetuned model is called: "Phi-2, finetuned on yahma/alpaca-cleaned"."""
        return f"{self.title}, finetuned on {self.rows.name or 'unknown rows'}"

    @property
    def base(self) -> Source:
        """The weights that were loaded, a mirror's where one was taken."""
        return Source.of(self.manifest.get("base") or {})

    @property
    def rows(self) -> Source:
        """The rows."""
        return Source.of(self.data)

    @property
    def is_tiny(self) -> bool:
        """True where the base is one of the embedded checkpoints."""
        return Path(self.model.source).is_relative_to(TINY)

    @property
    def is_alpaca(self) -> bool:
        """True where the rows are a hub dataset that we know to be Alpaca's."""
        return self.rows.is_hub and self.rows.name in HUB_DATASETS

    @property
    def is_english(self) -> bool:
        """True where the rows are known to be English: Alpaca's, or the embedded ones."""
        return self.is_alpaca or Path(self.study.data.source).is_relative_to(TINY)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a decoded and scored study says of one of its models."""

    page: Page
    """The main table's page, cut to the model and the controls."""
    main: pd.DataFrame
    """The rows of `scores.main_table` of the finetuned model."""
    settings: pd.DataFrame
    """Its rows of `trends.setting_table`."""
    contrasts: pd.DataFrame
    """Its rows of `trends.contrast_table`."""
    compared: int
    """Size of the family of settings that Holm's correction covers."""
    is_merged: bool
    """Whether the adapter was merged into the weights that answered, or decoded beside NF4."""
