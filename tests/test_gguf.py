"""GGUF: what llama.cpp answers beside what torch does. Where there is a llama.cpp, really."""

import importlib.util
import os
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from alpaca_lab import files
from alpaca_lab.config import SettingError, as_dict
from alpaca_lab.decoding import slots
from alpaca_lab.decoding.jobs import Finished, Job
from alpaca_lab.exports import gguf, llama_cpp, llama_server, near_ties
from alpaca_lab.exports.answers import DifferentAnswer
from alpaca_lab.exports.source import Source
from alpaca_lab.models import nf4
from alpaca_lab.profiles import MODELS, configure
from alpaca_lab.store import Record
from alpaca_lab.weights import checkpoints
from random_models import EOS, fill_adapters, random_model, random_prompts

TOKENIZERS = {"llama": "llama2", "mistral": "mistral-7b-v0.1", "phi": "phi-2"}
SIZES = {
    "llama": {"vocab_size": 32000},
    "mistral": {"vocab_size": 32000},
    "phi": {"vocab_size": 51200, "bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": None,
            "intermediate_size": 256},
}  # fmt: skip
"""llama.cpp takes it for granted that Phi's inner layer is four times as wide as the others."""
QUESTIONS = [
    {"id": "a", "instruction": "Name three colours.", "input": ""},
    {"id": "b", "instruction": "Say </s> in French, then 3.14 % of it.", "input": "Où? \u00a0 C++"},
]


@pytest.fixture
def installed():
    """llama.cpp as this machine has it."""
    try:
        found = llama_cpp.find(None)
    except SettingError as error:
        pytest.skip(str(error))
    if importlib.util.find_spec("sentencepiece") is None:
        pytest.skip("llama.cpp's converter needs the package sentencepiece")
    return found


def random_source(architecture, place):
    """A finetune with random weights of a model with a real tokenizer, that may end an answer."""
    import torch
    from peft import LoraConfig, get_peft_model

    reference = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    if reference is None:
        pytest.skip("ALPACA_LAB_REFERENCE_DATA names no folder with the real tokenizers")
    base = place / "base"
    shutil.copytree(Path(reference) / "tokenizers" / TOKENIZERS[architecture], base)
    model = random_model(architecture, **SIZES[architecture])
    model.lm_head.weight.data[model.config.eos_token_id] *= 2
    model.to(torch.bfloat16).save_pretrained(base)
    spec = replace(MODELS[f"tiny-{architecture}"], key="random", source=str(base))
    lora = LoraConfig(
        r=4, lora_alpha=4, target_modules=list(spec.lora_targets), task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(nf4.load_nf4(base).requires_grad_(False), lora)
    fill_adapters(adapted).save_pretrained(place / "adapter")
    study = replace(configure("smoke", changes={"max_new_tokens": "24"}), models=(spec,))
    record = Record(place / "record")
    record.write_index({"spec": as_dict(study), "runs": {}})
    return Source(
        record=record,
        study=study,
        spec=spec,
        adapter=place / "adapter",
        adapter_sha256=files.sha256_file(place / "adapter" / "adapter_model.safetensors"),
        base=checkpoints.identify(spec),
        questions=QUESTIONS,
    )


def converted(source, installed, place):
    (place / "gguf").mkdir()
    return gguf.write(source, place / "gguf", llama_cpp=installed, tell=lambda what: None)


@pytest.mark.model
@pytest.mark.parametrize("architecture", TOKENIZERS)
def test_llama_cpp_answers_as_the_merged_model(architecture, installed, tmp_path):
    source = random_source(architecture, tmp_path)
    written = converted(source, installed, tmp_path)
    assert written.same + len(written.partings) == len(QUESTIONS)
    assert all(parting["gap"] <= parting["noise"] for parting in written.partings)
    assert written.by.startswith("llama-server ") and written.dtype == "float16"
    assert [path.name for path in (tmp_path / "gguf").iterdir()] == ["random-f16.gguf"]
    machine = str(tmp_path).encode()
    assert machine not in (tmp_path / "gguf" / "random-f16.gguf").read_bytes()


@pytest.mark.model
def test_file_of_other_weights_is_refused(installed, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    source = random_source("llama", tmp_path)
    convert = llama_cpp.LlamaCpp.convert

    def of_others(self, checkpoint, file, *, name):
        weights = load_file(checkpoint / "model.safetensors")
        weights["model.layers.1.self_attn.k_proj.weight"].mul_(0.5)
        save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
        convert(self, checkpoint, file, name=name)

    monkeypatch.setattr(llama_cpp.LlamaCpp, "convert", of_others)
    with pytest.raises(DifferentAnswer, match="llama.cpp answers question . .* logits apart where"):
        converted(source, installed, tmp_path)


@pytest.mark.model
def test_tokenizer_without_its_sentencepiece_model_is_refused(installed, tmp_path):
    """From tokenizer.json alone llama.cpp would join other pieces than the study did."""
    source = random_source("llama", tmp_path)
    (tmp_path / "base" / "tokenizer.model").unlink()
    with pytest.raises(DifferentAnswer, match="llama.cpp reads question 1 .a. as other tokens"):
        converted(source, installed, tmp_path)


# Near ties


def answered(model, *, tokens=12):
    """Return greedy answers of a random model to two prompts."""
    setting = SimpleNamespace(
        num_beams=1, do_sample=False, temperature=1.0, top_k=0, max_new_tokens=tokens
    )
    jobs = [
        Job(question=name, prompt_ids=prompt, cell="greedy", setting=setting, repeat=0)
        for name, prompt in zip("ab", random_prompts(5, 9), strict=True)
    ]
    found = slots.decode(model, jobs, slots=2, eos_token_id=EOS, seed=0)
    return {one.job.question: one for one in found}


def other(answer, token):
    """Return an answer that begins as this one and has another second token."""
    ids = (answer.ids[0], token, *answer.ids[2:])
    return replace(answer, ids=ids)


@pytest.mark.model
def test_parting_has_the_gap_of_its_two_tokens():
    import torch

    model = random_model("llama")
    ours = answered(model)
    context = torch.tensor([[*ours["a"].job.prompt_ids, ours["a"].ids[0]]])
    logits = model(context).logits[0, -1].detach()
    least = int(logits.argmin())
    [parting] = near_ties.partings(
        model, ours, ours | {"a": other(ours["a"], least)}, eos_token_id=EOS
    )
    assert (parting.question, parting.position, parting.theirs) == ("a", 1, least)
    assert parting.ours == ours["a"].ids[1]
    assert parting.gap == pytest.approx(float(logits.max() - logits.min()), rel=1e-4)
    assert 0 < parting.noise < parting.gap and not parting.is_rounding


@pytest.mark.model
def test_two_tokens_that_the_model_cannot_tell_apart_are_a_matter_of_rounding():
    model = random_model("llama")
    ours = answered(model)
    first = ours["a"].ids[1]
    twin = 100 if first != 100 else 101
    model.lm_head.weight.data[twin] = model.lm_head.weight.data[first]
    [parting] = near_ties.partings(
        model, ours, ours | {"a": other(ours["a"], twin)}, eos_token_id=EOS
    )
    assert parting.gap == 0 and parting.is_rounding


@pytest.mark.model
def test_equal_answers_do_not_part_and_an_early_end_does():
    model = random_model("llama")
    ours = answered(model)
    assert near_ties.partings(model, ours, dict(ours), eos_token_id=EOS) == []
    short = replace(ours["b"], ids=ours["b"].ids[:3], finish_reason="eos")
    [parting] = near_ties.partings(model, ours, ours | {"b": short}, eos_token_id=EOS)
    assert (parting.position, parting.theirs) == (3, EOS)


def test_no_number_is_no_rounding():
    place = {"question": "a", "position": 0, "ours": 1, "theirs": 2}
    assert not near_ties.Parting(**place, gap=float("nan"), noise=1.0).is_rounding
    assert not near_ties.Parting(**place, gap=0.0, noise=float("nan")).is_rounding


# llama-server, played by a script

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({"status": "ok"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            assert (asked["add_special"], asked["parse_special"]) == (True, False)
            self.reply({"tokens": [len(asked["content"])]})
        else:
            ends = asked["prompt"] == [1, 2]
            stop = {"tokens": [7, 8] if ends else [7] * asked["n_predict"]}
            self.reply(stop | {"stop_type": "eos" if ends else "limit"})

    def reply(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

if "broken.gguf" in sys.argv[sys.argv.index("-m") + 1]:
    sys.exit("E load: error: wrong magic\\nE srv: exiting")
host, port = (sys.argv[sys.argv.index(name) + 1] for name in ("--host", "--port"))
HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path):
    """A program that answers as llama-server does."""
    path = tmp_path / "llama-server"
    path.write_text(f"#!{sys.executable}\n{SERVER}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def job(*prompt, tokens=4):
    setting = SimpleNamespace(max_new_tokens=tokens)
    return Job(question="q", prompt_ids=prompt, cell="greedy", setting=setting, repeat=0)


def test_server_is_asked_by_tokens_and_ends_with_the_block(program, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with llama_server.serving(program, tmp_path / "x.gguf", context=16) as server:
        assert server.tokenize("four") == [4]
        ended, cut = (server.answer(job(*ids), eos_token_id=2) for ids in ((1, 2), (1, 3)))
        assert server.is_ready()
    assert ended == Finished(job=job(1, 2), ids=(7, 8), n_new_tokens=3, finish_reason="eos")
    assert (cut.ids, cut.finish_reason) == ((7, 7, 7, 7), "length")
    assert not server.is_ready()
    with pytest.raises(SettingError, match="llama-server did not answer /tokenize"):
        server.tokenize("four")


def test_server_that_does_not_load_a_file_says_why(program, tmp_path):
    words = "does not load broken.gguf: E load: error: wrong magic"
    with (
        pytest.raises(SettingError, match=words),
        llama_server.serving(program, tmp_path / "broken.gguf", context=16),
    ):
        pass
