"""The small study's bases: what they read, how they are trained, and what the study changes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from alpaca_lab.config import TINY, SettingError
from alpaca_lab.profiles import PROFILES
from benchmark_scripts import BENCHMARKS

torch = pytest.importorskip("torch")

TINY_SIZES = {
    "vocab_size": 2048, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 64,
}  # fmt: skip
IN_A_FOLDER = """
from dataclasses import replace
from pathlib import Path
import small_study
from small_bases import Recipe

short = Recipe(length=16, batch=16, at_once=2, passes=1.0)
small_study.run = lambda plan, until: small_study.make_bases(
    replace(plan, recipe=short, work=Path("work"))
)
small_study.main()
"""
"""The command, for the bases alone, of little text, in the folder where it is started."""
COLOURS = ("red", "blue", "green", "black")
TEXTS = [
    " ".join(f"The {colour} boat has {count + more} sails." for more in range(4))
    for colour in COLOURS
    for count in range(150)
]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # its processes find the modules there too


@pytest.fixture
def place(tmp_path):
    """Return a plan of one tiny base, its reading, rows and tokenizer in a folder of its own."""
    import small_study
    from small_bases import BASES, Recipe

    base = BASES["small-mistral"]
    base = replace(base, config={**base.config, **TINY_SIZES})
    write(tmp_path / "corpus.jsonl", [{"text": text} for text in TEXTS])
    write(tmp_path / "rows.jsonl", [row("Name a colour of the sea."), row("Add two and two.")])
    folder = tmp_path / "tokenizers" / base.like
    folder.mkdir(parents=True)
    for name in small_study.TOKENIZER_FILES:
        shutil.copy(TINY / "mistral" / name, folder)
    return small_study.Plan(
        rows=tmp_path / "rows.jsonl",
        corpus=tmp_path / "corpus.jsonl",
        tokenizers=tmp_path / "tokenizers",
        recipe=Recipe(length=16, batch=16, at_once=2, passes=1.0),
        bases=(base,),
        work=tmp_path / "work",
    )


def row(instruction, output="Blue."):
    return {"instruction": instruction, "input": "", "output": output}


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")


def test_a_corpus_that_fills_no_block_is_refused_with_the_cure(place):
    import small_tokens

    with pytest.raises(SettingError, match="give a larger corpus"):
        small_tokens.tokens(
            ["One boat.", "Two boats."],
            place.tokenizer(place.bases[0]),
            length=16,
            passes=1.0,
            seed=0,
        )


def test_a_corpus_that_fills_no_step_is_refused_with_the_cure(place, tmp_path):
    import small_tokens

    asked = (tmp_path / "t.npz", [place.corpus], place.tokenizer(place.bases[0]))
    with pytest.raises(SettingError, match="a step takes 5000; give a larger corpus"):
        small_tokens.write_tokens(*asked, replace(place.recipe, batch=5000))


def test_a_trial_is_published_beside_the_committed_study_where_it_says_so(place):
    import small_study

    given = ["--rows", str(place.rows), "--corpus", str(place.corpus)]
    assert small_study.plan_of(small_study.parse(given)).published == "small"
    given += ["--published", "trial"]
    assert small_study.plan_of(small_study.parse(given)).published == "trial"


def test_every_piece_is_read_as_often_as_asked_but_those_held_out():
    from small_tokens import order

    read, held_out = order(400, passes=2.0, seed=0)
    assert held_out == [0, 200]
    assert sorted(read) == sorted(2 * [place for place in range(400) if place % 200])
    assert read[:398] != read[398:]
    assert len(order(400, passes=0.5, seed=0)[0]) == 199
    assert order(400, passes=0.5, seed=1) != order(400, passes=0.5, seed=0)


def test_long_documents_are_cut_at_paragraphs_and_lose_nothing_else(tmp_path, monkeypatch):
    import small_tokens

    monkeypatch.setattr(small_tokens, "PIECE", 10)
    write(tmp_path / "a.jsonl", [{"text": "one two three\n\nfour five six seven\n\nend"}])
    write(tmp_path / "b.jsonl", [{"text": "short"}])
    found = small_tokens.pieces([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert found == ["one two three", "four five six seven", "end", "short"]


def test_a_block_predicts_the_first_token_of_the_next():
    from small_tokens import _blocks

    blocks = _blocks([np.arange(4, dtype=np.uint16), np.arange(4, 8, dtype=np.uint16)], 3)
    assert blocks.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


def test_instructions_that_a_row_asks_nearly_the_same_are_not_read(tmp_path, monkeypatch):
    import small_reading

    monkeypatch.setattr("alpaca_lab.rows.cache.OUTPUTS", tmp_path)
    asked = "Write a short story about a lighthouse keeper who lives alone on a small island."
    nearly = asked.replace("small island", "small island.")
    write(tmp_path / "rows.jsonl", [row(asked)])
    write(tmp_path / "more.jsonl", [row(nearly), row("Name three tools of a carpenter.", "A saw.")])
    facts = small_reading.write_instructions(
        tmp_path / "out.jsonl", instructions=tmp_path / "more.jsonl", rows=tmp_path / "rows.jsonl"
    )
    texts = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").open()]
    assert texts == ["Instruction: Name three tools of a carpenter.\nAnswer: A saw."] * 3
    assert (facts["rows"], facts["left_out"], facts["kept"], facts["copies"]) == (2, 1, 1, 3)


def test_rates_rise_hold_and_fall_to_nothing():
    from small_bases import Recipe

    recipe = Recipe(rising=0.25, falling=0.5)
    rates = [recipe.rate(step, 8) for step in range(8)]
    assert rates == [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


class OneMemory(torch.autograd.Function):
    """Adds two biases; their gradients, being equal, lie in one memory, as compiled code has it."""

    @staticmethod
    def forward(ctx, states, one, other):
        return states + one + other

    @staticmethod
    def backward(ctx, gradient):
        summed = gradient.sum(0, keepdim=True)
        return gradient, *(summed.as_strided(summed.shape[1:], (1,)) for _ in range(2))


class TwoBiases(torch.nn.Module):
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(4, 4)])})
        self.one, self.other = (torch.nn.Parameter(torch.zeros(4)) for _ in range(2))

    def forward(self, states):
        return OneMemory.apply(self.model["layers"][0](states), self.one, self.other)


def test_gradients_that_lie_in_one_memory_are_added_up_apart(place, monkeypatch):
    import small_training
    from small_tokens import Tokens

    seen = []
    monkeypatch.setattr(small_training, "_loss", lambda model, part: model(part.float()).mean())
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda parameters, _: seen.append([parameter.grad.clone() for parameter in parameters]),
    )
    blocks = np.ones((2 * place.recipe.batch, 4), dtype=np.uint16)
    tokens = Tokens(train=blocks, held_out=blocks[:0], bytes_per_token=1.0)
    model = TwoBiases()
    assert len(list(small_training.train(model, tokens, place.recipe))) == 2
    for gradients in seen:
        one, other, _, bias = gradients
        assert one.tolist() == other.tolist() == bias.tolist() == [0.25] * 4


@pytest.mark.model
def test_a_base_is_trained_once_and_again_when_something_changes(place):
    import small_study
    from small_manifest import is_trained, manifest_of

    small_study.make_bases(place)
    [base] = place.bases
    folder = place.folder(base)
    made = manifest_of(folder)
    assert made["losses"][-1] < made["losses"][0] - 0.5
    assert made["tokens"] == made["steps"] * 16 * 16
    assert len(made["losses"]) == made["steps"]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    small_study.make_bases(place)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written

    facts = made["request"]["reading"]
    asked = (base, place.recipe, facts, place.tokenizer(base))
    assert is_trained(folder, *asked)
    assert not is_trained(folder, base, replace(place.recipe, seed=1), *asked[2:])
    assert not is_trained(folder, *asked[:2], {"corpus_sha256": "0" * 64}, asked[3])
    (folder / "model.safetensors").write_bytes(b"broken")
    assert not is_trained(folder, *asked)

    shutil.rmtree(folder)
    small_study.make_bases(place)
    again = manifest_of(folder)
    assert again["sha256"] == made["sha256"]
    assert again["losses"] == made["losses"]


@pytest.mark.model
def test_a_trained_base_loads_as_any_checkpoint_and_its_loss_is_what_is_said(place):
    import small_study
    from small_manifest import manifest_of
    from small_tokens import pieces, tokens
    from small_training import loss_of
    from transformers import AutoModelForCausalLM, AutoTokenizer

    small_study.make_bases(place)
    folder = place.folder(place.bases[0])
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert AutoTokenizer.from_pretrained(folder)("a boat")["input_ids"][0] == 1
    made, recipe = manifest_of(folder), place.recipe
    known = tokens(
        pieces([place.corpus]), folder, length=recipe.length, passes=recipe.passes, seed=0
    )
    said = loss_of(model.float(), known.held_out, at_once=recipe.at_once)
    assert said == pytest.approx(made["held_out_nats"], abs=0.02)  # the weights are rounded
    per_byte = made["held_out_nats"] / np.log(2) / known.bytes_per_token
    assert made["held_out_bits_per_byte"] == pytest.approx(per_byte)


def test_the_study_differs_from_the_full_profile_only_where_it_is_said(place):
    import small_study

    place.work.mkdir()
    shutil.copy(place.rows, place.work)
    spec, full = place.study(), PROFILES["full"]
    changed = {
        item.name for item in fields(spec) if getattr(spec, item.name) != getattr(full, item.name)
    }
    assert changed == {"name", "models", "data", "train", "encoder", "gpu_gib"}
    assert changed - {"name", "models"} == {key.partition(".")[0] for key in small_study.CHANGES}
    assert (spec.questions, spec.repeats, len(spec.temperatures)) == (500, 3, 5)
    [model] = spec.models
    assert (model.key, model.license, model.is_local) == ("small-mistral", None, True)


@pytest.mark.model
def test_each_base_has_the_tokenizer_size_of_its_model_and_30_to_150_million_parameters():
    import transformers
    from small_bases import BASES

    sizes = {}
    for base in BASES.values():
        architecture = getattr(transformers, base.architecture)
        with torch.device("meta"):
            sizes[base.key] = architecture(
                architecture.config_class(**base.config)
            ).num_parameters()
    assert sizes == {
        "small-llama": 105_788_160, "small-mistral": 110_506_752, "small-phi": 135_386_624,
    }  # fmt: skip


@pytest.mark.model
def test_the_page_says_what_each_base_read_and_came_to(place, tmp_path):
    import small_page
    import small_study
    from small_manifest import manifest_of

    small_study.make_bases(place)
    made = manifest_of(place.folder(place.bases[0]))
    small_page.write(tmp_path / "page", [made])
    page = (tmp_path / "page" / "README.md").read_text(encoding="utf-8").replace("\u00a0", " ")
    [row] = [line for line in page.splitlines() if line.startswith("| Small Mistral")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "Mistral-7B"
    assert float(cells[2]) == pytest.approx(made["parameters"] / 1e6, abs=0.051)
    assert float(cells[3]) == pytest.approx(made["tokens"] / 1e6, abs=0.051)
    assert cells[4:6] == [str(made["steps"]), f"{made['held_out_bits_per_byte']:.3f}"]
    assert made["request"]["reading"]["corpus_sha256"][:12] in page
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "README.md", "bases.csv", "loss.csv", "loss.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "none.jsonl", "--corpus", "none.jsonl"], "no such file"),
        (["--bases", "small-gemma"], "unknown bases: small-gemma; choose from small-llama"),
        (["--passes", "0"], "--passes 0: must be above 0"),
        (["--set", "questions"], "--set questions: write FIELD=VALUE"),
        (["--tokenizers", "nowhere"], "no tokenizer in"),
    ],
)
def test_a_wrong_option_is_one_sentence(place, words, message):
    import small_study

    given = ["--rows", str(place.rows), "--corpus", str(place.corpus), *words]
    with pytest.raises(SettingError, match=message):
        plan = small_study.plan_of(small_study.parse(given))
        plan.tokenizer(plan.bases[0])


@pytest.fixture
def training(place, tmp_path):
    """Return what starts the command with a handler of interrupts and waits for its training."""
    started = []

    def start(handler):
        code = f"import signal; signal.signal(signal.SIGINT, signal.{handler})\n{IN_A_FOLDER}"
        command = subprocess.Popen(
            [sys.executable, "-c", code, "--rows", place.rows, "--corpus", place.corpus,
             "--tokenizers", place.tokenizers, "--bases", "small-mistral"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(command)
        shown = ""
        while "step/s" not in shown:  # the bar
            assert (more := command.stdout.read(1)), shown
            shown += more
        return command

    yield start
    for command in started:
        if command.poll() is None:
            os.killpg(command.pid, signal.SIGKILL)
        command.communicate()


def test_an_interrupt_ends_the_bases_at_once_and_says_how_to_go_on(training, tmp_path):
    command = training("default_int_handler")
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    said, _ = command.communicate(timeout=60)
    assert command.returncode == 130, said
    assert "interrupted: run it again, and what is done is not done again" in said
    assert "Traceback" not in said
    assert not (tmp_path / "work" / "bases" / "small-mistral" / "base.json").exists()


def test_an_interrupt_is_ignored_where_the_command_was_started_to_ignore_it(training):
    command = training("SIG_IGN")
    os.killpg(command.pid, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(3)
