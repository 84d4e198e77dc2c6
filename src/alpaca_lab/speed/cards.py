"""What the full study takes on cards that people have: measured on one, predicted for the others.

Arithmetic on what `scale_out` measured on an H200: finetuning is scaled by the cards' matrix rates,
decoding by their memory bandwidths, starting by nothing. It measures nothing, and no card but the
H200 was timed. Memory is what `preflight` would plan there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from .. import fitting, preflight
from ..config import ModelSpec, StudySpec, require
from ..files import RecordError, write_atomically
from ..memory import DecodePlan, PassPlan
from ..profiles import MODELS, PROFILES
from ..table_files import rounded, to_csv
from . import cards_page, scale_out
from .benchmark_lines import conditions, load

COLUMNS = (
    "card", "model", "basis", "gib", "tflops", "gb_s", "planned_gib", "micro_batch_tokens", "slots",
    "finetune_s", "decode_s", "start_s", "total_s", "note",
)  # fmt: skip
STAGES = ("finetune_s", "decode_s", "start_s", "total_s")
BASES = ("finetune.csv", "generate.csv", "scale_out.csv")
"""What the table and its page rest on, all in one folder."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """A card's peak rates, as its maker states them."""

    key: str
    """As `preflight.CARDS` has it, which says how much memory torch has of it."""
    tflops: float
    """Dense products of bfloat16 that are added up in float32, TFLOP/s; NaN where it has none.

    Datasheets often give twice as much, for sparse matrices; and GeForce cards do these at half the
    rate of products that are added up in float16.
    """
    gb_s: float
    """Memory bandwidth, GB/s."""


MEASURED = Card(key="H200", tflops=989.4, gb_s=4800)
"""The card of the measurements. Source: NVIDIA H200 datasheet (SXM; 1,979 TFLOPS are sparse)."""
CARDS = (
    Card(key="T4", tflops=nan, gb_s=320),
    Card(key="L4", tflops=121, gb_s=300),
    Card(key="A10G", tflops=70, gb_s=600),
    Card(key="RTX-3090", tflops=71, gb_s=936),
    Card(key="RTX-4090", tflops=165.2, gb_s=1008),
    Card(key="A100", tflops=312, gb_s=1555),
    Card(key="H100", tflops=989.4, gb_s=3350),
)
"""Sources, all of NVIDIA, as others quote them: T4 datasheet; L4 datasheet (242 TFLOPS are sparse);
A10G datasheet (Amazon's G5; the A10 has 125); Ampere GA102 whitepaper, appendix A (RTX 3090: 71,
and 142 added up in float16); Ada whitepaper, appendix A (RTX 4090); A100 datasheet (40 GB); H100
whitepaper and datasheet (SXM, 80 GB).
"""


def plans(study: StudySpec, model: ModelSpec, *, gib: float) -> tuple[PassPlan, DecodePlan]:
    """Return how a finetune and a decode would be fitted to a card, as `preflight` says it.

    Args:
        study: The study.
        model: One of its models, of a shape that is known.
        gib: What torch has of the card.

    Raises:
        SettingError: If it does not fit.
    """
    shape = preflight.shape_of(model.source)
    longest = preflight.PROMPT_TOKENS + study.max_new_tokens
    return (
        fitting.plan(study, model, shape=shape, memory_gib=gib),
        fitting.decode_plan(study, shape, longest=longest, memory_gib=gib),
    )


def table(timed: pd.DataFrame, *, cap_gib: float, study: StudySpec) -> pd.DataFrame:
    """Return a row per card and model: seconds of the study, and memory.

    Args:
        timed: scale_out.csv: its rows of one GPU are those of `MEASURED`.
        cap_gib: What a process might take of that GPU.
        study: What would be run.

    Returns:
        Columns `COLUMNS`. basis is "measured", "inferred" (from another model on that card),
        "predicted" or "cannot run"; planned_gib is the larger of a finetune's and a decode's.
    """
    alone = timed[timed["gpus"] == 1].fillna({"note": ""}).set_index("model")
    lines = [
        line
        for card in (MEASURED, *CARDS)
        for model in study.models
        for line in _lines(card, model, alone.loc[model.key], cap_gib=cap_gib, study=study)
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def _lines(
    card: Card, model: ModelSpec, timed: Mapping[str, Any], *, cap_gib: float, study: StudySpec
) -> Iterator[dict[str, Any]]:
    here = card is MEASURED
    gib = cap_gib if here else preflight.CARDS[card.key][0]
    line = {"card": card.key, "model": model.key, "gib": gib, "gb_s": card.gb_s}
    refused = "" if here else _refusal(card, study)
    if refused:
        yield line | {"basis": "cannot run", "note": refused}
        return
    passes, decode = plans(study, model, gib=gib)
    known = plans(study, model, gib=cap_gib)[0].micro_batch_tokens
    notes = [timed["note"]] if timed["note"] else []
    if passes.micro_batch_tokens != known:
        notes.append(
            f"passes of {passes.micro_batch_tokens:,} tokens, not the {known:,} that were timed: "
            "not in its seconds"
        )
    finetune_s = timed["finetune_s"] * MEASURED.tflops / card.tflops
    decode_s = timed["decode_s"] * MEASURED.gb_s / card.gb_s
    inferred = str(timed["note"]).startswith("inferred")
    yield line | {
        "basis": ("inferred" if inferred else "measured") if here else "predicted",
        "tflops": card.tflops,
        "planned_gib": max(passes.gib, decode.gib),
        "micro_batch_tokens": passes.micro_batch_tokens,
        "slots": decode.slots,
        "finetune_s": finetune_s,
        "decode_s": decode_s,
        "start_s": timed["start_s"],
        "total_s": finetune_s + decode_s + timed["start_s"],
        "note": "; ".join(notes),
    }


def _refusal(card: Card, study: StudySpec) -> str:
    """Return why a card cannot run a study, or ""."""
    verdicts = preflight.table(study, card=card.key)["can run"]
    return next((text.removeprefix("no: ") for text in verdicts if text != "yes"), "")


def reached(folder: Path) -> dict[str, tuple[float, float]]:
    """Return what the measured card reached, as (lowest, highest) over the models.

    Returns:
        Shares of its stated rates: "matrix", of a large product, and "copy", of a large copy; and
        shares that our own arms had of the limits made of these: "finetune", "decode". "gib": the
        most that PyTorch had reserved in each model's runs.
    """
    finetunes, decodes = (pd.read_csv(folder / name) for name in BASES[:2])
    finetunes = finetunes[finetunes["arm"] == "alpaca lab"]
    decodes = decodes[(decodes["arm"] == "alpaca lab") & (decodes["pass"] == "nine cells")]
    found = {
        "matrix": finetunes["matrix_tflops"] / MEASURED.tflops,
        "copy": decodes["copy_tb_s"] * 1000 / MEASURED.gb_s,
        "finetune": finetunes["share_of_limit"],
        "decode": decodes["share_of_limit"],
        "gib": pd.concat([finetunes["peak_gib"], decodes["peak_gib"]]),
    }
    return {name: (values.min(), values.max()) for name, values in found.items()}


def write(folder: Path, *, lines: Path) -> None:
    """Write cards.csv and its page, cards.md, to `folder`.

    Args:
        folder: Where `BASES` stand.
        lines: Those that scale_out.csv was made of; they say on which card, and under which cap.

    Raises:
        RecordError: If a file is missing.
        SettingError: If the lines are not of the card that the predictions start from.
    """
    for name in BASES:
        if not (folder / name).is_file():
            raise RecordError(f"no {name} in {folder}: the other cards are predicted from it")
    rows = load(lines, scale_out.CONDITIONS, command=scale_out.COMMAND)
    facts = conditions(rows, scale_out.CONDITIONS, command=scale_out.COMMAND)
    require(
        MEASURED.key in (facts["gpu"] or ""),
        f"{lines.name} was measured on {facts['gpu']}, and other cards are predicted from an "
        f"{MEASURED.key} alone",
    )
    study = PROFILES["full"]
    timed = pd.read_csv(folder / "scale_out.csv")
    frame = table(timed, cap_gib=facts["cap_gib"], study=study)
    numbers = ["gib", "tflops", "gb_s", "planned_gib", *STAGES]
    whole = dict.fromkeys(("micro_batch_tokens", "slots"), "Int64")
    write_atomically(folder / "cards.csv", to_csv(rounded(frame, numbers).astype(whole)))
    titles = {model.key: MODELS[model.key].title for model in study.models}
    page = cards_page.page(frame, reached(folder), titles=titles)
    write_atomically(folder / "cards.md", page)
