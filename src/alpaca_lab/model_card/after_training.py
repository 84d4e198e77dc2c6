"""The card that a finetune leaves beside its adapter: all that is known before it is decoded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .. import environment
from ..config import ModelSpec, StudySpec, as_dict
from ..files import write_atomically
from ..weights import checkpoints


def after_training(
    folder: Path,
    study: StudySpec,
    model: ModelSpec,
    *,
    data: Mapping[str, Any],
    losses: pd.DataFrame,
    facts: Mapping[str, Any],
) -> None:
    """Write the card of a new adapter in place of the empty template that PEFT puts there.

    Its sha256 goes into the finetune's manifest, so it is written before that and never again; the
    card with the scores is `study_cards.build`'s.

    Args:
        folder: The adapter's.
        study: What was asked for.
        model: Which of its models.
        data: `Dataset.manifest()` of the rows.
        losses: `history.loss_table`.
        facts: Fields of the finetune's manifest that are known by now.
    """
    # At the end of hours: no stage should wait for the plotting library when it starts.
    from . import card
    from .known import Known

    manifest = {
        "request": {"lora": as_dict(study.lora), "train": as_dict(study.train)},
        "base": checkpoints.identify(model),
        "environment": environment.snapshot(),
        **facts,
    }
    known = Known(study=study, model=model, data=data, manifest=manifest, losses=losses)
    for name, content in card.files(known, None, form="adapter").items():
        write_atomically(folder / name, content)
