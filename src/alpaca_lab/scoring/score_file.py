"""`python -m alpaca_lab score FILE`: from a file of texts to the scores that are printed."""

from pathlib import Path

from ..config import BERT_BASE, MINILM, SettingError
from ..metrics import closeness
from ..metrics.closeness import Closeness
from ..original import page as original_page
from ..original import protocol
from ..profiles import parse_encoder
from ..progress import Bar
from ..table_files import to_csv
from . import answers_file, answers_text

NO_ENCODER = "none"


def score(file: Path, protocol: str, *, baseline: str, encoder: str, form: str) -> str:
    """Return the scores of a file as text.

    Args:
        file: Lines as `answers_file.read` or `protocol.read_file` take them.
        protocol: "canonical" or "original".
        baseline: Group that the others are compared with, canonical only; "" compares nothing.
        encoder: BERTScore's, a key of `profiles.ENCODERS` or "none"; "" takes the offline one. The
            original protocol keeps its own for whole texts, and takes this one for answers alone.
        form: "text", "json" or "csv".

    Raises:
        SettingError: If the file, an option or the encoder that was asked for cannot be used.
    """
    if protocol == "canonical":
        return _canonical(file, baseline=baseline or None, encoder=encoder, form=form)
    if protocol == "original":
        if baseline:
            raise SettingError("--baseline: the original protocol has no tests; leave it out")
        return _original(file, encoder=encoder, form=form)
    raise SettingError(f'unknown protocol "{protocol}": choose canonical or original')


def _canonical(file: Path, *, baseline: str | None, encoder: str, form: str) -> str:
    answers = answers_file.read(file)
    by_encoder = _by(encoder)
    with Bar(total=len(answers.rows), desc="Score", unit="answer") as bar:
        frame = answers_file.table(
            answers, closeness=by_encoder, baseline=baseline, advance=bar.update
        )
    if form == "json":
        return answers_file.to_json(frame, answers)
    if form == "csv":
        return to_csv(frame).rstrip("\n")
    return answers_text.to_text(frame, answers, baseline=baseline)


def _original(file: Path, *, encoder: str, form: str) -> str:
    rows = protocol.read_file(file)
    whole = closeness.of(None if encoder == NO_ENCODER else BERT_BASE)
    answers = _by(encoder)
    with Bar(total=len(rows), desc="Score", unit="text") as bar:
        frame = protocol.score(rows, whole=whole, answers=answers, advance=bar.update)
    if form == "json":
        return original_page.to_json(frame)
    return (to_csv(frame) if form == "csv" else original_page.to_markdown(frame)).rstrip("\n")


def _by(encoder: str) -> Closeness:
    """BERTScore by an encoder, which must be had once it is asked for."""
    if encoder == NO_ENCODER:
        return Closeness()
    found = closeness.of(parse_encoder(encoder or MINILM.name))
    if found.missing:
        raise SettingError(found.missing)
    return found
