"""Command lines that nobody would type, and text under the tokenizers of the embedded models."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import hostile
import pandas as pd
from hypothesis import strategies as st
from targets import Target
from typer.main import get_command

from alpaca_lab import __main__, calibration, encoding, executed, models, study
from alpaca_lab.characters import plain
from alpaca_lab.chat import terminal
from alpaca_lab.config import TINY
from alpaca_lab.data import Example
from alpaca_lab.decoding import generate as generate_stage
from alpaca_lab.exports import exporting
from alpaca_lab.finetuning import finetune as finetune_stage
from alpaca_lab.rows import cache
from alpaca_lab.scoring import score
from alpaca_lab.store import Record

ENDINGS = {0, 1, 2, 130}
"""Done; not all as wanted; refused; interrupted."""
MANIFEST = {"adapted_layers": 1, "trainable_parameters": 1, "best_validation_loss": 1.0,
            "adapter": {"folder": "outputs"}}  # fmt: skip
HEAVY = (
    (study, "run", None),
    (study, "prepare", None),
    (executed, "execute", None),
    (score, "score", None),
    (finetune_stage, "finetune", MANIFEST),
    (generate_stage, "generate", None),
    (terminal, "run", 0),
    (exporting, "export", "exported"),
    (calibration, "write", pd.DataFrame({"passed": [True]})),
)
"""What a command would do once its choices are accepted: minutes of work, tested elsewhere."""
typeable = hostile.texts.map(lambda text: text.replace("\x00", "")).map(
    # A terminal passes bytes on; Python keeps those that are not UTF-8 as these surrogates.
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)


@contextlib.contextmanager
def apart(folder: Path) -> Iterator[None]:
    """Keep records and caches below a folder, and leave the heavy work out."""
    with contextlib.ExitStack() as stack:
        place = {"results": folder / "results"}
        stack.enter_context(mock.patch.object(Record.of.__func__, "__kwdefaults__", place))
        stack.enter_context(mock.patch.object(cache, "OUTPUTS", folder / "outputs"))
        for module, name, found in HEAVY:
            stack.enter_context(mock.patch.object(module, name, mock.Mock(return_value=found)))
        yield


def vectors(folder: Path) -> st.SearchStrategy:
    """Command lines: commands, their options, and values right, wrong and hostile."""
    file = folder / "answers.jsonl"
    file.write_text('{"id": 1, "reference": "a b", "answer": "a"}\n')
    known = get_command(__main__.app).commands
    options = {
        name: sorted(option for part in command.params for option in part.opts)
        for name, command in known.items()
    }
    right = (
        "smoke", "full", "tiny-llama", str(file), str(folder), "0", "-1", "1e999", "nan", "none",
        "greedy", "questions=2", "train.epochs=nan", "acceptability", "--", f"mine={TINY / 'phi'}",
        f"mine=a/b@{'0' * 40}", "instruction=question, output=answer",
    )  # fmt: skip
    value = st.sampled_from(right) | typeable

    def of(name: str) -> st.SearchStrategy:
        # No encoder is loaded: that takes seconds, and tells nothing of the command line.
        start = [name, "--encoder", "none"] if name == "score" else [name]
        words = st.lists(st.sampled_from([*options[name], str(file)]) | value, max_size=6)
        return words.map(lambda rest: start + rest)

    return st.sampled_from(sorted(options)).flatmap(of) | st.lists(value, max_size=3)


def ran(arguments: list[str]) -> None:
    """Run a command line in this process, and require one of the known endings."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with (
        mock.patch.object(sys, "argv", ["alpaca_lab", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = 0
        try:
            __main__.main()
        except SystemExit as end:
            code = end.code
        out.flush()
        err.flush()
    assert code in ENDINGS, code
    said = err.buffer.getvalue().decode()
    assert "Traceback" not in said
    *_, last = said.rstrip("\n").split("\n")
    if last.startswith("error: "):
        assert code == 2 and last == plain(last) and len(last) < 1200


def of_commands(folder: Path) -> Iterator[Target]:
    """Yield the target of command lines; run it within `apart`."""
    yield Target(name="command line", inputs=vectors(folder), check=ran, weight=0.3)


def of_tokenizers(_: Path) -> Iterator[Target]:
    """Yield a target for the tokenizer of each embedded model."""
    for folder in ("llama", "mistral", "phi"):
        tokenizer = models.load_tokenizer(TINY / folder)

        def encoded(texts: tuple[str, str], tokenizer=tokenizer) -> None:
            asked, said = texts
            row = Example(instruction=asked, input="", output=said)
            made = encoding.encode_example(tokenizer, row, max_length=100_000)
            ids = made["input_ids"]
            assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id
            answer = [label for label in made["labels"] if label != encoding.IGNORED][:-1]
            assert tokenizer.decode(answer) == said

        yield Target(
            name=f"tokenizer of tiny {folder}",
            inputs=st.tuples(hostile.valid_texts, hostile.valid_texts),
            check=encoded,
        )
