"""A finetuned model of a study, loaded as decoding loads it, and asked question by question."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from .. import hardware, models
from ..config import SettingError, StudySpec
from ..decoding import beams, slots
from ..decoding.jobs import Finished, Job, Watch
from ..encoding import encode_prompt
from ..files import RecordError
from ..fitting import decode_plan
from ..quiet import quiet_loading
from ..store import Record
from ..sweep import Cell, cells
from ..weights.checkpoints import locate, read_shape

Question = Mapping[str, Any]
"""A line of questions.jsonl."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A finetuned model of a study, and the questions that it is asked."""

    study: StudySpec
    model: Any
    tokenizer: Any
    questions: list[dict[str, Any]]
    """The study's held-out questions, in their order."""

    def cell(self, name: str) -> Cell:
        """Return the study's cell of that name.

        Raises:
            SettingError: If the study has none.
        """
        known = {cell.name: cell for cell in cells(self.study)}
        if name not in known:
            raise SettingError(f'no cell "{name}" in this study: choose from {", ".join(known)}')
        return known[name]

    def one_pass(self) -> list[Cell]:
        """Return the cells that share a pass through the slots: greedy and the sampled ones."""
        return [cell for cell in cells(self.study) if cell.setting.num_beams == 1]

    def jobs(self, questions: Iterable[Question], asked: Iterable[Cell]) -> list[Job]:
        """Return a job for the first answer to each question in each cell, question by question."""
        asked = tuple(asked)
        return [
            Job(
                question=question["id"],
                prompt_ids=prompt,
                cell=cell.name,
                setting=cell.setting,
                repeat=0,
            )
            for question in questions
            for prompt in [self.prompt(question)]
            for cell in asked
        ]

    def prompt(self, question: Question) -> tuple[int, ...]:
        """Return the tokens of a question's prompt."""
        return tuple(encode_prompt(self.tokenizer, question["instruction"], question["input"]))

    def decode(
        self,
        jobs: Sequence[Job],
        *,
        width: int | None = None,
        seed: int | None = None,
        watch: Watch | None = None,
    ) -> list[Finished]:
        """Return the answers to jobs without beams, in the order of the jobs.

        Args:
            jobs: Each of another question or cell.
            width: Slots, fewer where memory is short; None: the study's.
            seed: Of the noise; None: the study's.
            watch: Called after each step.
        """
        width = width or self.study.slots
        plan = decode_plan(
            replace(self.study, slots=width),
            read_shape(locate(self.study.models[0])),
            longest=max(len(job.prompt_ids) + job.setting.max_new_tokens for job in jobs),
            memory_gib=hardware.memory_gib(self.study.gpu_gib),
        )
        found = slots.decode(
            self.model,
            jobs,
            slots=min(width, plan.slots),
            columns=plan.columns,
            eos_token_id=self.tokenizer.eos_token_id,
            seed=self.study.seed if seed is None else seed,
            watch=watch,
        )
        by_job = {finished.job: finished for finished in found}
        return [by_job[job] for job in jobs]

    def search(self, job: Job, *, watch: Watch | None = None) -> Finished:
        """Return the best beam of one job."""
        eos, width = self.tokenizer.eos_token_id, job.setting.num_beams
        [best] = beams.search(self.model, [job], rows=width, eos_token_id=eos, watch=watch)
        return best

    def text(self, ids: Sequence[int]) -> str:
        """Return an answer's text, special tokens left out."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


def open_model(study: StudySpec, *, record: Record) -> Opened:
    """Load a study's first model with its adapter merged, as decoding does.

    Args:
        study: The study.
        record: Holds its questions and the finetune's manifest.

    Raises:
        SettingError: If the model is not finetuned on this machine.
    """
    spec = study.models[0]
    try:
        adapter = record.adapter(spec.key)
        questions = record.questions()
    except RecordError:
        adapter = None
    if adapter is None or not adapter.is_dir():
        raise SettingError(
            f"{spec.title} is not finetuned in results/{record.folder.name}: run master_file.ipynb "
            "with these parameters first, or in a shell `python -m alpaca_lab finetune --profile "
            f"PROFILE --name {record.folder.name} --only {spec.key}`"
        )
    hardware.claim_device(study.gpu_gib)
    # It remarks on kernels that a CPU has no need of.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with quiet_loading():
        model, tokenizer = models.load_decoder(spec, adapter)
    return Opened(study=study, model=model, tokenizer=tokenizer, questions=questions)


def asked(opened: Opened, question: Question) -> pd.DataFrame:
    """Return a question as it is asked, and the answer that scores 100: columns what, text."""
    rows = [
        ("instruction", question["instruction"]),
        ("input", question["input"] or "(none)"),
        ("reference", question["reference"]),
        ("prompt", f"{len(opened.prompt(question))} tokens, template and all"),
    ]
    return pd.DataFrame(rows, columns=["what", "text"])
