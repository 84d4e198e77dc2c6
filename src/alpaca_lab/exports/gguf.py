"""One GGUF file for llama.cpp and what is built on it, converted from the merged checkpoint.

Weights in float16, not quantised: a quantised file decodes other tokens, and could not be compared.
llama.cpp rounds elsewhere than torch, so that an answer may part where two tokens lie closer than
16 bits tell apart; each such place is measured, and beyond rounding the file is refused.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .. import models
from ..hub.fetch import fetch
from ..hub.repository import Repository
from ..prompts import render_prompt
from ..quiet import quiet_loading
from ..weights.checkpoints import locate
from .answers import Answers, DifferentAnswer, jobs
from .forms import Tell, Written, weights_gib
from .llama_cpp import TYPE, LlamaCpp
from .llama_server import Server, serving
from .merged import save
from .near_ties import Parting, partings
from .source import Source

STEPS = 5
SENTENCEPIECE = "tokenizer.model"


def gib(source: Source) -> float:
    """Return the GiB that are needed at once: the merged checkpoint, and the file made of it."""
    return 2 * weights_gib(source)


def write(source: Source, folder: Path, *, llama_cpp: LlamaCpp, tell: Tell) -> Written:
    """Write the GGUF file; ask llama.cpp the questions by tokens, and compare its answers.

    The prompts are compared as well: whoever types one gets the tokens that the study gave.

    Args:
        source: What is exported.
        folder: Where to; empty.
        llama_cpp: What converts and what answers.
        tell: Told of each of `STEPS` steps.

    Raises:
        SettingError: If llama.cpp cannot convert or load this model.
        DifferentAnswer: If a prompt is read as other tokens, or an answer parts beyond rounding.
    """
    checkpoint, file = folder / "checkpoint", folder / f"{source.spec.key}-{TYPE}.gguf"
    with quiet_loading():
        ours, model = save(source, checkpoint, tell=tell, keep=True)
        tokenizer = models.load_tokenizer(checkpoint)
        asked = jobs(tokenizer, source)
        tell("converting")
        _add_sentencepiece(source, checkpoint)
        llama_cpp.convert(checkpoint, file, name=source.spec.title)
        shutil.rmtree(checkpoint)
        tell("asking llama.cpp")
        longest = max(len(job.prompt_ids) for job in asked) + source.study.max_new_tokens
        eos = tokenizer.eos_token_id
        with serving(llama_cpp.server, file, context=longest + 8) as server:
            _compare_prompts(server, source, ours)
            theirs = {job.question: server.answer(job, eos_token_id=eos) for job in asked}
        found = partings(model, ours, theirs, eos_token_id=eos)
    _require_rounding(ours, found)
    return Written(
        answers=ours,
        same=len(ours) - len(found),
        by=llama_cpp.version(),
        dtype="float16",
        partings=[asdict(parting) for parting in found],
    )


def _add_sentencepiece(source: Source, checkpoint: Path) -> None:
    """Put the base's tokenizer.model beside its tokenizer.json, where it has one.

    From tokenizer.json alone the converter gives every piece of a LLaMA tokenizer the same score,
    and llama.cpp then joins other pieces.
    """
    base = locate(source.spec)
    if not source.spec.is_local:
        base = fetch(
            Repository(
                name=source.spec.source,
                revision=source.spec.revision or "",
                files=(SENTENCEPIECE,),
                title=f"{SENTENCEPIECE} of {source.spec.source}",
                instead="run this once with a network",
            )
        )
    if (base / SENTENCEPIECE).is_file():
        shutil.copyfile(base / SENTENCEPIECE, checkpoint / SENTENCEPIECE)


def _compare_prompts(server: Server, source: Source, ours: Answers) -> None:
    for number, question in enumerate(source.questions, start=1):
        read = server.tokenize(render_prompt(question["instruction"], question["input"]))
        if tuple(read) != ours[question["id"]].job.prompt_ids:
            raise DifferentAnswer(
                f"llama.cpp reads question {number} ({question['id']}) as other tokens than the "
                f"model that was exported, so nothing was kept: put the {SENTENCEPIECE} of "
                f"{source.spec.title} into the folder of its base, or take a newer llama.cpp"
            )


def _require_rounding(ours: Answers, found: Sequence[Parting]) -> None:
    """Refuse a file whose answers part where rounding does not explain it."""
    numbers = {question: number for number, question in enumerate(ours, start=1)}
    for parting in found:
        if not parting.is_rounding:
            raise DifferentAnswer(
                f"llama.cpp answers question {numbers[parting.question]} ({parting.question}) "
                f"differently from token {parting.position + 1} on: {parting.ours} in the model "
                f"that was exported, {parting.theirs} in the GGUF file, {parting.gap:.3g} logits "
                f"apart where 16 bits move them by {parting.noise:.3g}; so nothing was kept: take "
                "another llama.cpp"
            )
