"""The first study's protocol as a scorer: faithful, not valid, and beside it what it hides.

Lines of `id`, `reference_text`, `candidate_text` (whole texts, prompt and answer) and optional
`group`. Out come the first study's columns exactly as it computed them, the canonical scores of
the answers alone, and what an empty answer earns under both.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from .. import jsonl
from ..characters import visible
from ..config import SettingError
from ..metrics import bleu_chrf, rouge, text_scores
from ..metrics.closeness import Closeness
from ..prompts import WITH_INPUT
from . import whole_text

TEMPLATE = WITH_INPUT
"""The study's one template, that of Unsloth's notebooks: an input section also without input."""
ROWS = 20
"""The study scored the first so many rows of its data, which were training rows."""
MAX_NEW_TOKENS = 64
ONE_GROUP = "answers"
"""Name of the group where no line names one."""
WHOLE = "original"
ANSWER = "canonical"
"""The protocols, as the column `protocol` has them: whole texts on 0-1, answers alone on 0-100."""
COLUMNS = ("protocol", "group", "metric", "n", "value", "floor", "signature", "note")
LENGTH_RATIO = "length_ratio|words of the answers / words of the references|words:whitespace"


def render(instruction: str, input: str = "", output: str = "") -> str:
    """Return a row as the study wrote it: always with an input section, answer included.

    Example:
        >>> "### Input:" in render("Say hello.")
        True
    """
    before, after = TEMPLATE.split("{input}")
    return before.replace("{instruction}", instruction) + input + after + output


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read and check a file of whole texts.

    Args:
        path: A .jsonl file, or .jsonl.gz. Further fields of a line are passed over.

    Returns:
        Rows of group, id, reference_text, candidate_text.

    Raises:
        SettingError: With the line, if a field is missing or of another type, a text has no
            "### Response:", or a row is given twice.
    """
    rows, seen = [], {}
    for number, record in jsonl.read(path):
        where = f"{path}:{number}"
        row = _checked(record, where)
        first = seen.setdefault((row["group"], row["id"]), number)
        if first != number:
            raise SettingError(
                f"{where} answers {row['id']} a second time (first on line {first}): "
                "give another `group`"
            )
        _split(row, where)
        rows.append(row)
    if not rows:
        raise SettingError(f"{path} has no lines: each needs id, reference_text, candidate_text")
    return rows


def _checked(record: Any, where: str) -> dict[str, str]:
    if not isinstance(record, dict):
        raise SettingError(
            f"{where}: expected an object with id, reference_text and candidate_text"
        )
    row = {"group": ONE_GROUP} | record
    for name in ("id", "reference_text", "candidate_text"):
        if name not in row:
            raise SettingError(
                f"{where} has no `{name}`: each line needs id, reference_text and candidate_text "
                "(group is optional)"
            )
    for name in ("group", "id"):
        if isinstance(row[name], bool) or not isinstance(row[name], str | int):
            raise SettingError(f"{where}: `{name}` must be text or a whole number")
    for name in ("reference_text", "candidate_text"):
        if not isinstance(row[name], str):
            raise SettingError(f"{where}: `{name}` must be text")
    checked = {name: str(row[name]) for name in ("group", "id", "reference_text", "candidate_text")}
    for name, value in checked.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SettingError(f"{where}: `{name}` is not valid Unicode") from None
    if visible(checked["group"]) != checked["group"]:
        raise SettingError(f"{where}: `group` holds a control or direction character")
    return checked


def _split(row: Mapping[str, Any], where: str) -> whole_text.Parts:
    try:
        return whole_text.split(row["reference_text"], row["candidate_text"])
    except SettingError as error:
        raise SettingError(f"{where}: {error}") from None


def score_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    whole: Closeness,
    answers: Closeness,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Return one row of scores per text, in the order given.

    Args:
        rows: What `read_file` returns, at least one.
        whole: BERTScore of whole texts; the study's encoder is `config.BERT_BASE`.
        answers: BERTScore of answers alone.
        advance: Called once per row, for a progress bar.

    Returns:
        Columns group, id, same_prompt, no_text; bleu, bleu_corrected, rougeL, bertscore_f1 of whole
        texts, 0-1; answer_rougeL, answer_bleu, answer_bertscore_f1, 0-100 (NaN where the
        reference's answer is empty or, for ROUGE, invisible), `bleu_chrf.BLEU_STATISTICS`, n_words
        and n_ref_words of the answers.

    Raises:
        SettingError: With the row, if a text has no marker or cannot be scored.
    """
    scored, pairs, known = [], [], {}
    for row in rows:
        where = f"row {row['id']} of {row['group']}"
        text, target = row["candidate_text"], row["reference_text"]
        parts = _split(row, where)
        if (text, target) not in known:
            try:
                known[text, target] = whole_text.scores(text, reference_text=target)
            except SettingError as error:
                raise SettingError(f"{where}: {error}") from None
        facts = {
            "same_prompt": parts.same_prompt,
            "no_text": not text.replace(".", " ").strip(),
        }
        identity = {"group": row["group"], "id": row["id"]}
        scored.append(identity | facts | known[text, target] | _answer_scores(parts))
        pairs.append((text, target, parts.answer, parts.reference))
        advance()
    texts, targets, replies, references = map(list, zip(*pairs, strict=True))
    frame = pd.DataFrame(scored)
    frame["bertscore_f1"] = [value / 100 for value in whole.values(texts, targets)]
    frame["answer_bertscore_f1"] = answers.values(replies, references)
    return frame


def silent(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the same rows with an empty answer: the prompt is all that is said."""
    return [
        {**row, "candidate_text": _split(row, f"row {row['id']} of {row['group']}").prompt}
        for row in rows
    ]


def _answer_scores(parts: whole_text.Parts) -> dict[str, float]:
    names = ("answer_rougeL", "answer_bleu", *bleu_chrf.BLEU_STATISTICS, "n_words", "n_ref_words")
    if not parts.reference:
        return dict.fromkeys(names, math.nan)
    counts = bleu_chrf.bleu(parts.answer, reference=parts.reference)
    values = (
        rouge.rouge(parts.answer, reference=parts.reference)["rougeL"],
        *counts.values(),
        float(len(parts.answer.split())),
        float(len(parts.reference.split())),
    )
    return dict(zip(names, values, strict=True))


def score(
    rows: Iterable[Mapping[str, Any]],
    *,
    whole: Closeness,
    answers: Closeness,
    advance: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Return the scores of each group under both protocols, one number per row.

    Args:
        rows: What `read_file` returns.
        whole: BERTScore of whole texts.
        answers: BERTScore of answers alone.
        advance: Called once per row, for a progress bar.

    Returns:
        Columns `COLUMNS`. protocol "original": means over the rows of whole texts, on 0-1;
        "canonical": of the answers alone, on 0-100 (corpus_bleu over all of a group's answers).
        `floor` is what the same rows earn with an empty answer. A blank value says why in `note`.
    """
    rows = list(rows)
    scored = score_rows(rows, whole=whole, answers=answers, advance=advance)
    floor = score_rows(silent(rows), whole=whole, answers=answers)
    return summarise(scored, floor, whole=whole, answers=answers)


def summarise(
    scored: pd.DataFrame, floor: pd.DataFrame, *, whole: Closeness, answers: Closeness
) -> pd.DataFrame:
    """Return `score`'s table from the rows of `score_rows`, and of the same rows made silent."""
    table = []
    for group, rows in scored.groupby("group", sort=False):
        said_nothing = floor.loc[rows.index]
        note = _differing(rows)
        for (protocol, metric), (value, n) in _means(rows).items():
            closest = {WHOLE: whole, ANSWER: answers}[protocol]
            signature = _signature(protocol, metric, closest)
            notes = [closest.missing if metric == "bertscore_f1" else "", _left_out(rows, n)]
            notes.append(note if protocol == ANSWER else _empties(rows))
            table.append(
                {"protocol": protocol, "group": group, "metric": metric, "n": n, "value": value}
                | {"floor": _means(said_nothing)[protocol, metric][0], "signature": signature}
                | {"note": "; ".join(filter(None, notes))}
            )
    return pd.DataFrame(table, columns=list(COLUMNS))


def _means(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """Return the value and the rows behind it of every protocol and metric."""
    found = {
        (WHOLE, metric): (float(rows[metric].mean()), len(rows))
        for metric in ("bleu", "bleu_corrected", "rougeL", "bertscore_f1")
    }
    kept = rows[rows["n_ref_words"].notna()]
    counted = kept[kept["answer_bleu"].notna()]
    sums = counted[list(bleu_chrf.BLEU_STATISTICS)].sum().to_numpy()
    corpus = float(bleu_chrf.corpus_bleu(sums)) if len(counted) else math.nan
    words, reference_words = kept["n_words"].sum(), kept["n_ref_words"].sum()
    seen = kept["answer_rougeL"]
    return found | {
        (ANSWER, "rougeL"): (float(seen.mean()), int(seen.count())),
        (ANSWER, "corpus_bleu"): (corpus, len(counted)),
        (ANSWER, "bleu"): (float(counted["answer_bleu"].mean()), len(counted)),
        (ANSWER, "bertscore_f1"): (float(kept["answer_bertscore_f1"].mean()), len(kept)),
        (ANSWER, "length_ratio"): (words / reference_words if len(kept) else math.nan, len(kept)),
    }


def _left_out(rows: pd.DataFrame, n: int) -> str:
    """Why only n of these rows have a score."""
    without = int(rows["n_ref_words"].isna().sum()) if n < len(rows) else 0
    unseen = len(rows) - without - n
    reasons = (
        (without, "have no reference to score"),
        (unseen, "have a reference that the metric cannot see"),
    )
    return "; ".join(f"{count} rows {why}" for count, why in reasons if count)


def _signature(protocol: str, metric: str, by: Closeness) -> str:
    if metric == "bertscore_f1":
        unit = "prompt + answer" if protocol == WHOLE else "answer"
        return by.signature.replace("|unit:answer|", f"|unit:{unit}|")
    if metric == "length_ratio":
        return LENGTH_RATIO
    return (whole_text.SIGNATURES if protocol == WHOLE else text_scores.SIGNATURES)[metric]


def _empties(rows: pd.DataFrame) -> str:
    count = int(rows["no_text"].sum())
    return f"{count} texts have no word and score 0 (the study's code would stop)" if count else ""


def _differing(rows: pd.DataFrame) -> str:
    other = rows[~rows["same_prompt"]]
    if other.empty:
        return ""
    return (
        f"the prompts of {len(other)} rows differ, first {other['id'].iloc[0]}: each text is split "
        "at its own marker"
    )
