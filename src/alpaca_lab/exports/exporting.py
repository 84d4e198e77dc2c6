"""From a finetuned model of a study to a folder that stands for itself, and to the hub."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from .. import hardware
from ..config import require
from ..files import write_atomically, write_json
from ..model_card import study_cards
from ..progress import Bar
from ..store import OUTPUTS, Record
from . import about, adapter, gguf, llama_cpp, merged, publish
from .bases import name_of_base
from .folder import ABOUT, staged
from .source import open_source

Form = Literal["adapter", "merged", "gguf"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """What is exported, where to, and whether it is published."""

    model: str
    """Key of a finetuned model of the study."""
    form: str
    """One of `FORMS`."""
    folder: Path | None = None
    """Where to; None: outputs/export/<study>/<model>/<form>."""
    base: str = ""
    """What a base in a local folder is on the hub, "owner/name@COMMIT"; "" where it is not."""
    llama_cpp: Path | None = None
    """Folder of llama.cpp; None: where it is looked for."""
    push: str = ""
    """Hub repository that it is put in, "owner/name"; "" publishes nothing."""
    public: bool = False
    """Whether everyone may see that repository."""

    def __post_init__(self) -> None:
        require(self.form in FORMS, f'--to "{self.form}": choose from {", ".join(FORMS)}')
        require(not (self.public and not self.push), "--public: say where with --push owner/name")
        require(
            not (self.base and self.form != "adapter"),
            "--base: only an adapter names its base; the other forms need none",
        )
        require(
            not (self.llama_cpp and self.form != "gguf"), "--llama-cpp: only --to gguf needs it"
        )


def export(spec: ExportSpec, *, record: Record) -> str:
    """Export a finetuned model, read it back, compare its answers, and publish it if asked to.

    Whatever can be refused is refused before the model is loaded.

    Args:
        spec: What, where to, and whether to publish.
        record: The study.

    Returns:
        One sentence: where it is, and how far it answers as the model that it was made of.

    Raises:
        SettingError: If a choice does not fit, the disk has no room, llama.cpp is not there, or the
            hub refuses.
        RecordError: If the model is not finetuned, or its record is damaged.
        DifferentAnswer: If what is read back answers otherwise; nothing is kept of it then.
    """
    if spec.push:
        publish.check(spec.push, public=spec.public)  # before `locate` takes us off the hub
    source = open_source(record, spec.model)
    named = name_of_base(source.spec, spec.base) if spec.form == "adapter" else None
    require(
        not (spec.push and named and named[1] is None),
        f"--push: the base of {spec.model} is a folder of this machine, {source.spec.source}, and "
        "an adapter is of no use without its base: say which hub model that is with --base "
        "owner/name@COMMIT, or publish --to merged",
    )
    module, write = {
        "adapter": (adapter, partial(adapter.write, base=named)),
        "merged": (merged, merged.write),
        "gguf": (gguf, gguf.write),
    }[spec.form]
    if spec.form == "gguf":
        write = partial(write, llama_cpp=llama_cpp.find(spec.llama_cpp))
    folder = spec.folder or OUTPUTS / "export" / source.study.name / spec.model / spec.form
    what = f"{spec.model} as {spec.form}"
    card = study_cards.build(record, spec.model, form=spec.form)
    hardware.claim_device(source.study.gpu_gib)
    with (
        staged(folder, gib=module.gib(source), what=what) as part,
        Bar(total=module.STEPS, desc=f"Export {what}", unit="step") as bar,
    ):
        written = write(source, part, tell=partial(_tell, bar))
        bar.set_postfix_str("")
        bar.update()
        known = about.facts(source, spec.form, written)
        card["README.md"] = card["README.md"] + about.section(known).encode()
        for name, content in card.items():
            write_atomically(part / name, content)
        write_json(part / ABOUT, known)
    summary = about.summary(known, folder)
    if spec.push:
        address = publish.push(folder, spec.push, public=spec.public)
        summary += f"; {'public' if spec.public else 'private'} at {address}"
    return summary


def _tell(bar: Bar, what: str) -> None:
    """Show what is done now; what was shown before is then done."""
    if bar.postfix:
        bar.update()
    bar.set_postfix_str(what)
