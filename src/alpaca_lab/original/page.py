"""Scores by the first study's protocol on a page: under a banner, the canonical ones beside it."""

import json

import pandas as pd

from ..pages import markdown
from ..pages.page import Page, number
from .protocol import ANSWER, WHOLE

BANNER = (
    "Not a valid measurement. This is the first study's protocol, kept so that its tables can be "
    "compared with: it scores the prompt together with the answer, so an answer that says nothing "
    "scores high; its BLEU is a nesting error; its ROUGE is another than Google's; and it takes 20 "
    "rows that its models were trained on. Judge models by the canonical protocol alone."
)
CUT = "cut"
TRAINED = "trained_on"
"""Metrics that a replicate has besides: shares of texts cut short, and of rows trained on."""
DECIMALS = 5
"""As the study printed its scores."""


def to_json(frame: pd.DataFrame) -> str:
    """Return the table of `protocol.score` for machines: full precision, blanks as null."""
    rows = [
        {name: None if value == "" or pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]
    return json.dumps({"warning": BANNER, "rows": rows}, indent=2, ensure_ascii=False)


def to_markdown(frame: pd.DataFrame) -> str:
    """Return a table of `protocol.score` or `scores.score` as Markdown with its banner."""
    return "\n".join(markdown.page(content) for content in pages(frame))


def pages(frame: pd.DataFrame) -> tuple[Page, Page]:
    """Return the original protocol's page and the canonical one; never both in one table."""
    groups = list(dict.fromkeys(frame["group"]))
    cells = {(row["protocol"], row["group"], row["metric"]): row for _, row in frame.iterrows()}

    def shown(protocol: str, group: str, metric: str, column: str = "value") -> str:
        decimals = DECIMALS if protocol == WHOLE else 2
        return number(cells[protocol, group, metric][column], decimals=decimals)

    whole = Page(
        title="Original protocol: prompt and answer scored together, 0-1",
        header=(
            "group", "n", "Bleu", "Rouge", "BertF1", "Bleu, nested rightly",
            "empty answer: Rouge", "empty answer: BertF1", "empty answer: Bleu, nested rightly",
        ),
        rows=tuple(
            (
                group,
                str(cells[WHOLE, group, "rougeL"]["n"]),
                *(shown(WHOLE, group, m) for m in ("bleu", "rougeL", "bertscore_f1")),
                shown(WHOLE, group, "bleu_corrected"),
                *(shown(WHOLE, group, m, "floor") for m in ("rougeL", "bertscore_f1")),
                shown(WHOLE, group, "bleu_corrected", "floor"),
            )
            for group in groups
        ),
        warnings=(BANNER,),
        reading=(_beaten(frame),),
        notes=(*_shares(frame), *_notes(frame, WHOLE)),
        signatures=_signatures(frame, WHOLE),
    )  # fmt: skip
    names = ("corpus_bleu", "bleu", "rougeL", "bertscore_f1", "length_ratio")
    alone = Page(
        title="Canonical protocol: the answers of the same rows alone, 0-100",
        header=("group", "n", "BLEU", "BLEU per answer", "ROUGE-L", "BERTScore F1", "length ratio"),
        rows=tuple(
            (
                group,
                str(cells[ANSWER, group, "rougeL"]["n"]),
                *(shown(ANSWER, group, name) for name in names),
            )
            for group in groups
        ),
        reading=(_floor_alone(frame),),
        notes=_notes(frame, ANSWER),
        signatures=_signatures(frame, ANSWER),
    )
    return whole, alone


def _rouge(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    return frame[(frame["protocol"] == protocol) & (frame["metric"] == "rougeL")]


def _beaten(frame: pd.DataFrame) -> str:
    """Say how the answers stand to silence under the original protocol."""
    rows = _rouge(frame, WHOLE)
    low, high = rows["floor"].min(), rows["floor"].max()
    floor = number(low, decimals=3)
    floor += "" if number(high, decimals=3) == floor else f" to {number(high, decimals=3)}"
    below = int((rows["value"] < rows["floor"]).sum())
    groups = "group" if len(rows) == 1 else "groups"
    return (
        f"The prompt with an empty answer has a Rouge of {floor}; {below} of {len(rows)} {groups} "
        "score less than that for what they did answer."
    )


def _floor_alone(frame: pd.DataFrame) -> str:
    floor = frame.loc[frame["protocol"] == ANSWER, "floor"].max()
    return f"An empty answer has {number(floor)} in every column."


def _shares(frame: pd.DataFrame) -> tuple[str, ...]:
    """Say of a replicate how many texts were cut, and how many rows were trained on."""
    said = {
        CUT: "of the texts were cut by the limit of new tokens",
        TRAINED: "of the rows were trained on (in the first study, all)",
    }
    found = []
    for metric, text in said.items():
        shares = 100 * frame.loc[frame["metric"] == metric, "value"].dropna()
        if len(shares):
            low, high = (number(value, decimals=0) for value in (shares.min(), shares.max()))
            found.append(f"{low if low == high else f'{low} to {high}'}% {text}.")
    return tuple(found)


def _notes(frame: pd.DataFrame, protocol: str) -> tuple[str, ...]:
    noted = frame[(frame["protocol"] == protocol) & frame["note"].fillna("").ne("")]
    found: dict[str, list[str]] = {}
    for _, row in noted.iterrows():
        groups = found.setdefault(f"{row['metric']}: {row['note']}", [])
        groups.append(row["group"])
    total = frame["group"].nunique()
    return tuple(
        text if len(groups) == total else f"{text} ({', '.join(groups)})"
        for text, groups in found.items()
    )


def _signatures(frame: pd.DataFrame, protocol: str) -> tuple[tuple[str, str], ...]:
    rows = frame[(frame["protocol"] == protocol) & frame["signature"].fillna("").ne("")]
    return tuple(dict(zip(rows["metric"], rows["signature"], strict=True)).items())
