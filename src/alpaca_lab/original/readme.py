"""The first study's tables taken apart: results/original/README.md, and its parts for a notebook.

Every number is computed from the files in results/original; what was measured elsewhere and cannot
be computed here stands in a column of its own that says so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import BERT_BASE, ROBERTA, StudySpec
from ..files import write_atomically
from ..pages import markdown
from ..pages.page import BLANK, number, p_value
from ..pages.wording import KNOBS
from . import published
from .page import BANNER, CUT, DECIMALS, TRAINED
from .protocol import ANSWER, MAX_NEW_TOKENS, ROWS, WHOLE
from .published import AXES, DEFAULT
from .replicate import grid, resolve

FOLDER = published.FIGURES.parent
TEMPLATE = Path(__file__).with_name("readme.template.md")
"""The prose of the page, with a {NAME} where a computed part goes."""
TITLES = {"llama-2-7b": "LLaMA2 7B", "mistral-7b": "Mistral", "phi-2": "Phi2"}
"""Names as the study printed them."""
SCORES = ("bleu", "rougeL", "bertscore_f1")
LLAMA_SHIPS = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
"""Decoding fields of LLaMA-2's generation_config.json; those of Mistral and Phi-2 have none."""


def published_tables(rows: pd.DataFrame | None = None) -> str:
    """Return the first study's four tables as Markdown, digit for digit.

    Args:
        rows: `published.figures()`, read if not given.
    """
    rows = published.figures() if rows is None else rows
    return "\n".join(_published(rows, axis) for axis in (DEFAULT, *AXES))


def _published(rows: pd.DataFrame, axis: str) -> str:
    human = axis == DEFAULT
    lines = []
    for row in rows[rows["table"] == axis].to_dict("records"):
        scores = [number(row[name], decimals=DECIMALS) for name in SCORES]
        ends = [number(row["human"])] if human else []
        starts = [] if human else [f"{row['value']:g}"]
        lines.append((TITLES[row["model"]], *starts, *scores, *ends))
    knob, last = ([], ["Human"]) if human else ([KNOBS[axis]], [])
    title = "Default settings" if human else KNOBS[axis].capitalize()
    header = ("Model", *knob, "Bleu", "Rouge", "BertF1", *last)
    return f"**{title}**\n\n{markdown.grid(header, lines)}"


def trends(rows: pd.DataFrame | None = None) -> str:
    """Return what the published tables show of trends, as Markdown.

    Args:
        rows: `published.figures()`, read if not given.
    """
    rows = published.figures() if rows is None else rows
    found = published.trends(rows)
    names = {"rougeL": "Rouge", "bertscore_f1": "BertF1"}
    lines = [
        (
            KNOBS[row["axis"]],
            names[row["metric"]],
            f"{row['from']:g} to {row['to']:g}",
            number(100 * row["change"], sign=True),
            p_value(row["p"]),
            p_value(row["p_holm"]),
        )
        for row in found.to_dict("records")
    ]
    header = ("knob", "column", "turned from", "change, points", "p", "p, Holm")
    falls, values = published.falling(rows, "num_beams", 2, 8)
    low, high = published.span(rows, "rougeL")
    least = found.loc[found["p"].idxmin()]
    sentences = (
        f"The smallest p is {p_value(least['p'])} before correction ({KNOBS[least['axis']]}, "
        f"{names[least['metric']]}), and {p_value(found['p_holm'].min())} after Holm's over the "
        "knobs of a column.",
        f"All Rouge values of all tables lie between {number(low, decimals=DECIMALS)} and "
        f"{number(high, decimals=DECIMALS)}: {number(100 * (high - low), decimals=1)} points.",
        f'"Larger beams improve all metrics": from 2 to 8 beams {falls} of {values} values that '
        "vary fall (three models, Rouge and BertF1).",
    )
    table = markdown.grid(header, lines, words=3)
    return f"{table}\n{markdown.escape(' '.join(sentences))}\n"


def evidence(replication: pd.DataFrame, reported: pd.DataFrame) -> str:
    """Return what the study's numbers were made of, as Markdown: reported beside measured here.

    Args:
        replication: `scores.score`, or its scores.csv.
        reported: results/original/reported.csv.
    """
    whole, alone = _rouge(replication, WHOLE), _rouge(replication, ANSWER)
    corrected = replication[replication["metric"] == "bleu_corrected"]
    cut = replication[replication["metric"] == CUT]
    moved = {name: rows.loc[rows["mde"] > 0, "mde"] for name, rows in
             ((WHOLE, 100 * whole[["mde"]]), (ANSWER, alone[["mde"]]))}  # fmt: skip
    here = {
        "floor": _range(whole["floor"], 3),
        "corrected": _range(corrected["value"], 2),
        "answer": _range(alone["value"] / 100, 2),
        "detectable": f"{_range(moved[WHOLE], 1)}; of the answers alone {_range(moved[ANSWER], 1)}",
        "cut": f"{_range(100 * cut['value'], 0)}%",
    }
    lines = [
        (row["quantity"], row["reported"], here.get(row["key"], BLANK))
        for row in reported.to_dict("records")
    ]
    header = ("quantity", "reported", "measured here, tiny models")
    return markdown.grid(header, lines, words=3)


def _rouge(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    return frame[(frame["protocol"] == protocol) & (frame["metric"] == "rougeL")]


def _range(values: pd.Series, decimals: int) -> str:
    low, high = (number(value, decimals=decimals) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def replication_table(replication: pd.DataFrame, *, settings: Sequence[str] = ()) -> str:
    """Return the replicate's scores as Markdown, one row per model and setting.

    Args:
        replication: `scores.score`, or its scores.csv.
        settings: Only these; all if empty.
    """
    chosen = replication[replication["setting"].isin(settings)] if settings else replication
    lines = []
    for (model, setting), rows in chosen.groupby(["model", "setting"], sort=False):
        cells = {(row["protocol"], row["metric"]): row for row in rows.to_dict("records")}
        whole, alone = cells[WHOLE, "rougeL"], cells[ANSWER, "rougeL"]
        lines.append(
            (
                model,
                setting,
                number(cells[WHOLE, "bleu"]["value"], decimals=DECIMALS),
                number(cells[WHOLE, "bleu_corrected"]["value"], decimals=DECIMALS),
                number(whole["value"], decimals=DECIMALS),
                number(whole["floor"], decimals=DECIMALS),
                number(alone["value"]),
            )
        )
    header = (
        "model", "setting", "Bleu", "Bleu, nested rightly", "Rouge", "Rouge of an empty answer",
        "ROUGE-L of the answers alone, 0-100",
    )  # fmt: skip
    return markdown.grid(header, lines, words=2)


def protocols() -> str:
    """Return both protocols side by side, as Markdown."""
    test = f"{StudySpec.questions} held-out questions, no near-duplicate of a training row"
    lines = (
        ("rows", f"the first {ROWS} of the data: training rows", test),
        ("prompt", "one template, with an input section also without input", "both templates"),
        ("new tokens", str(MAX_NEW_TOKENS), str(StudySpec.max_new_tokens)),
        ("scored", "prompt and answer against prompt and reference", "the answer alone"),
        ("BLEU", "nltk, every reference word a reference of letters", "sacreBLEU of the corpus"),
        ("ROUGE-L", "pltrdy's: distinct words, sentence by sentence", "Google's"),
        ("BERTScore", *(f"{e.name}, layer {e.layer}" for e in (BERT_BASE, ROBERTA))),
        (
            "unset fields",
            "inherited: top_k 50; LLaMA-2 also temperature 0.6, top_p 0.9",
            "none: every field is a value",
        ),
        ("beams", "sampled", "not sampled"),
        ("uncertainty", "none", "intervals and paired tests over questions, corrected"),
    )
    return markdown.grid(("", "original", "canonical"), lines, words=3)


def settings() -> str:
    """Return what each setting set, and what it decoded with once the rest was inherited."""
    lines = []
    for setting in grid():
        asked = ", ".join(f"{name} {value}" for name, value in setting.asked.items())
        used = (_used(resolve(setting.asked, shipped)) for shipped in (LLAMA_SHIPS, {}))
        lines.append((setting.name, asked or "nothing", *used))
    header = ("setting", "the study set", "LLaMA-2 decoded with", "Mistral and Phi-2 decoded with")
    return markdown.grid(header, lines, words=4)


def _used(fields: Mapping[str, Any]) -> str:
    if not fields["do_sample"]:
        return "greedy"
    names = ("temperature", "top_k", "top_p", "num_beams")
    return ", ".join(f"{name} {fields[name]:g}" for name in names)


def readme(folder: Path = FOLDER) -> str:
    """Return results/original/README.md from the files beside it.

    Args:
        folder: Holds published.csv, reported.csv and replication.csv.
    """
    rows = published.figures(folder / "published.csv")
    replication = pd.read_csv(folder / "replication.csv")
    reported = pd.read_csv(folder / "reported.csv", dtype=str)
    whole, alone = _rouge(replication, WHOLE), _rouge(replication, ANSWER)
    below = int((whole["value"] < whole["floor"]).sum())
    bleu = replication[(replication["protocol"] == WHOLE) & (replication["metric"] == "bleu")]
    trained = replication.loc[replication["metric"] == TRAINED, "value"].iloc[0]
    facts = {
        "BANNER": BANNER,
        "TABLES": published_tables(rows),
        "PROTOCOLS": protocols(),
        "SETTINGS": settings(),
        "BLEU": f"{bleu['value'].max():.1e}",
        "EVIDENCE": evidence(replication, reported),
        "FLOOR": _range(whole["floor"], 3),
        "BELOW": f"{below} of {len(whole)}",
        "WHOLE": _range(100 * whole["value"], 1),
        "ALONE": _range(alone["value"], 1),
        "TRAINED": BLANK if pd.isna(trained) else f"{round(ROWS * trained)} of the {ROWS}",
        "REPLICATION": replication_table(replication),
        "TRENDS": trends(rows),
        "DETECTABLE": reported.set_index("key").loc["detectable", "reported"],
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", value.rstrip())
    return text


def write(folder: Path = FOLDER, *, scores: Path | None = None) -> Path:
    """Write README.md of results/original, and return its path.

    Args:
        folder: Holds published.csv, reported.csv and replication.csv.
        scores: The scores.csv of a study's replicate; it takes the place of replication.csv.
    """
    if scores is not None:
        write_atomically(folder / "replication.csv", scores.read_bytes())
    write_atomically(folder / "README.md", readme(folder))
    return folder / "README.md"
