"""Printed names of metrics, knobs, cells and controls: one spelling for all of the report."""

from ..sweep import BASE, GREEDY

METRICS = {
    "corpus_bleu": "BLEU",
    "corpus_chrf": "chrF",
    "rougeL": "ROUGE-L",
    "bertscore_f1": "BERTScore F1",
    "bertscore_f1_rescaled": "BERTScore F1, rescaled",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeLsum": "ROUGE-Lsum",
    "human": "Human",
    "judge": "LLM judge (a model)",
    "nll": "NLL",
    "bits_per_character": "bits / char",
    "length_ratio": "length ratio",
    "finish_rate": "ended by EOS",
    "empty_rate": "empty",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "repeated_4grams": "repeated 4-grams",
    "unique_answers": "unique answers",
}
KNOBS = {"temperature": "temperature", "num_beams": "beams", "top_k": "top-k"}
RAISING = {
    "temperature": "Raising the temperature",
    "num_beams": "Raising the number of beams",
    "top_k": "Raising top-k",
}
GREEDY_AT = {"temperature": "0", "num_beams": "1", "top_k": "1"}
"""The value of each knob at which decoding is greedy."""
CONTROLS = {
    "empty answer": "floor: empty\nanswer",
    "copied instruction": "floor: copied\ninstruction",
    "another row's answer": "floor: another\nrow's answer",
    "reference": "ceiling: the\nreference itself",
}
"""Control rows of the main table by their `value`, each said to be a floor or the ceiling; a line
break is where a cell may be broken."""


def cell(name: str) -> str:
    """Return a cell's printed name.

    Example:
        >>> cell("num_beams=4"), cell("greedy"), cell("base")
        ('beams 4', 'greedy', 'untuned, greedy')
    """
    knob, _, value = name.partition("=")
    return f"{KNOBS[knob]} {value}" if value else {BASE: f"untuned, {GREEDY}"}.get(name, name)


def setting(knob: str, value: str) -> str:
    """Return a knob's value, and that it is greedy decoding where it is.

    Example:
        >>> setting("temperature", "greedy"), setting("num_beams", "1"), setting("top_k", "8")
        ('0 (greedy)', '1 (greedy)', '8')
    """
    at = GREEDY_AT[knob]
    return f"{at} ({GREEDY})" if value in (GREEDY, at) else value
