"""A stranger's checkpoint or adapter: weights are loaded, and nothing in the folder is ever run."""

import json
import pickle
import shutil
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest

from alpaca_lab import models
from alpaca_lab.config import (
    LLAMA_LINEARS,
    TINY,
    DataSpec,
    LoraSpec,
    ModelSpec,
    SettingError,
    TrainSpec,
)
from alpaca_lab.judge.model import ModelJudge, parse_judge
from alpaca_lab.judge.prompt import as_read
from alpaca_lab.models import nf4
from alpaca_lab.profiles import MODELS
from alpaca_lab.weights import checkpoints, trust

pytestmark = pytest.mark.model
LLAMA = MODELS["tiny-llama"]


@pytest.fixture
def marker(tmp_path):
    """A file that is there only if something of a folder was run."""
    return tmp_path / "run"


class Runs:
    """What a pickle of this runs when it is opened: it makes the file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def write_tensors(path, header, body=b""):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


# Checkpoints


def test_a_pickle_would_run_if_it_were_opened(marker):
    """The other tests of this file prove nothing unless this is so."""
    pickle.loads(pickle.dumps(Runs(marker)))
    assert marker.exists()


def test_checkpoint_with_pickled_weights_alone_is_refused(copied, marker):
    spec, folder = copied
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(marker)))
    with pytest.raises(SettingError, match="is not a checkpoint in safetensors"):
        models.load_decoder(spec, None)
    assert not marker.exists()


def test_pickle_under_the_name_of_safetensors_is_refused(copied, marker):
    spec, folder = copied
    (folder / "model.safetensors").write_bytes(pickle.dumps(Runs(marker)))
    for load in (
        lambda: models.load_decoder(spec, None),
        lambda: models.load_trainable(spec, lora=LoraSpec(), train=TrainSpec(loader="plain")),
        lambda: ModelJudge(parse_judge(str(folder))),
    ):
        with pytest.raises(SettingError, match="no whole safetensors file .* pickled, which is"):
            load()
    assert not marker.exists()


DAMAGED = {
    "a header of a terabyte": ((1 << 40).to_bytes(8, "little") + b"{}", "impossible size"),
    "a header of no bytes": (bytes(8), "impossible size"),
    "nothing": (b"", "impossible size"),
    "a header that is a list": ((2).to_bytes(8, "little") + b"[]", "a header that is not one"),
    "brackets in brackets": (
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        "a header that is not one",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_safetensors_that_are_none_are_refused_by_their_header_alone(tmp_path, name):
    data, message = DAMAGED[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(SettingError, match=message):
        trust.read_header(tmp_path / "model.safetensors")


def test_tensors_that_end_elsewhere_than_the_file_are_refused(tmp_path):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    path = tmp_path / "model.safetensors"
    write_tensors(path, header, bytes(8))
    assert trust.read_header(path) == {"a": (2,)}
    for body in (bytes(7), bytes(9)):
        write_tensors(path, header, body)
        with pytest.raises(SettingError, match="tensors that end elsewhere than the file"):
            trust.read_header(path)


def test_headers_of_real_checkpoints_are_read_as_safetensors_reads_them():
    from safetensors import safe_open

    for path in TINY.glob("*/model.safetensors"):
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())  # no mapping: it cannot be iterated itself
            names = {name: tuple(file.get_slice(name).get_shape()) for name in keys}
        assert trust.read_header(path) == names


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/passwd", "x.bin", 3])
def test_shard_outside_its_folder_is_refused(copied, name):
    spec, folder = copied
    (folder / trust.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(SettingError, match="names a file that is no .safetensors of this folder"):
        models.load_decoder(spec, None)


CODE = "from pathlib import Path\nPath({!r}).touch()\nclass Made: pass\n"


def test_checkpoint_that_needs_its_own_code_is_refused(copied, marker):
    spec, folder = copied
    (folder / "made.py").write_text(CODE.format(str(marker)))
    change(folder / "config.json", model_type="made", auto_map={"AutoConfig": "made.Made"})
    with pytest.raises(SettingError, match=r"asks for code of its own \(auto_map\)"):
        models.load_decoder(spec, None)
    assert not marker.exists()


def test_code_beside_a_model_that_transformers_has_is_never_run(copied, marker):
    """As Phi-2 carried it: the classes of Transformers are taken."""
    spec, folder = copied
    (folder / "made.py").write_text(CODE.format(str(marker)))
    named = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "made.Made")
    change(folder / "config.json", auto_map=named)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["made.Made", "made.Made"]})
    model, tokenizer = models.load_decoder(spec, None)
    assert type(model).__module__.startswith("transformers.models.llama")
    assert type(tokenizer).__module__.startswith("transformers.")
    assert not marker.exists()


def test_tokenizer_that_needs_its_own_code_is_refused(copied, marker):
    spec, folder = copied
    (folder / "made.py").write_text(CODE.format(str(marker)))
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="MadeTokenizer",
        auto_map={"AutoTokenizer": ["made.Made", None]},
    )
    with pytest.raises(SettingError, match=r"tokenizer_config.json asks for code of its own"):
        models.load_decoder(spec, None)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation"])
def test_kernel_of_a_hub_repository_is_refused(copied, name):
    """Transformers would fetch it, compiled, and load it, without asking to trust its code."""
    spec, folder = copied
    change(folder / "config.json", **{name: "someone/kernel"})
    with pytest.raises(SettingError, match='asks for the kernel "someone/kernel"'):
        models.load_decoder(spec, None)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('touch run') }}",
        "{% set x = messages.append(1) %}",
        "{% for x in range(10**9) %}x{% endfor %}",
        "{% include '/etc/passwd' %}",
        "{{ raise_exception('no') }}",
        "{% if %}",
    ],
)
def test_chat_template_cannot_leave_its_sandbox(copied, template):
    """A judge's template is the one text of a checkpoint that is interpreted."""
    _, folder = copied
    change(folder / "tokenizer_config.json", chat_template=template)
    with pytest.raises(SettingError, match="the judge's chat template fails"):
        as_read(models.load_tokenizer(folder), "a question")


# Adapters


@pytest.fixture
def foreign(adapter, tmp_path):
    """A copy of a whole adapter that a test makes another's."""
    return Path(shutil.copytree(adapter, tmp_path / "adapter"))


@pytest.fixture
def never_opened(monkeypatch):
    """PEFT and the base: a refused adapter is refused before either is opened."""
    import peft

    def opened(*_, **__):
        raise AssertionError("the adapter was opened")

    monkeypatch.setattr(peft.PeftModel, "from_pretrained", opened)
    monkeypatch.setattr(nf4, "load_nf4", opened)


def test_adapter_of_our_own_is_taken(adapter):
    shape = checkpoints.read_shape(TINY / "llama")
    assert trust.check_adapter(adapter, shape=shape, targets=LLAMA_LINEARS) == LoraSpec()


def test_pickled_adapter_is_refused(foreign, never_opened, marker):
    (foreign / trust.ADAPTER).unlink()
    (foreign / "adapter_model.bin").write_bytes(pickle.dumps(Runs(marker)))
    with pytest.raises(SettingError, match=r"has no adapter_model.safetensors; pickled weights"):
        models.load_decoder(LLAMA, foreign)
    (foreign / "adapter_model.bin").rename(foreign / trust.ADAPTER)
    with pytest.raises(SettingError, match="no whole safetensors file"):
        models.load_decoder(LLAMA, foreign)
    assert not marker.exists()


MORE = {
    "modules_to_save": ["lm_head"],
    "trainable_token_indices": [1, 2],
    "target_parameters": ["mlp.experts"],
    "rank_pattern": {"q_proj": 4},
    "alpha_pattern": {"q_proj": 4},
    "layers_to_transform": [0],
    "layer_replication": [[0, 2]],
    "megatron_config": {"a": 1},
    "loftq_config": {"loftq_bits": 4},
    "bias": "all",
    "lora_bias": True,
    "use_dora": True,
    "init_lora_weights": "pissa",
    "exclude_modules": ["q_proj"],
    "fan_in_fan_out": True,
    "a_field_of_next_year": True,
}


@pytest.mark.parametrize("name", MORE)
def test_adapter_that_is_more_than_plain_lora_is_refused(foreign, never_opened, name):
    change(foreign / trust.ADAPTER_CONFIG, **{name: MORE[name]})
    with pytest.raises(SettingError, match=f"{name} is more than plain LoRA, and is refused"):
        models.load_decoder(LLAMA, foreign)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "peft_type and task_type must be"),
        ({"task_type": "SEQ_CLS"}, "peft_type and task_type must be"),
        ({"target_modules": ["q_proj"]}, "target_modules must be q_proj, k_proj"),
        ({"target_modules": [*LLAMA_LINEARS, "lm_head"]}, "target_modules must be"),
        ({"target_modules": ".*"}, "target_modules must be"),
        ({"r": "many"}, "is no LoRA adapter's"),
        ({"r": 8}, "has shape .* not"),
    ],
)
def test_adapter_of_another_kind_or_for_other_layers_is_refused(
    foreign, never_opened, fields, message
):
    change(foreign / trust.ADAPTER_CONFIG, **fields)
    with pytest.raises(SettingError, match=message):
        models.load_decoder(LLAMA, foreign)


def test_adapter_without_its_config_is_refused_and_the_hub_not_asked(foreign, never_opened):
    (foreign / trust.ADAPTER_CONFIG).unlink()
    with pytest.raises(SettingError, match="no such file: .*adapter_config.json"):
        models.load_decoder(LLAMA, foreign)


@pytest.mark.parametrize("name", ["base_model.model.lm_head.weight", "../x", "\x1b[31mred"])
def test_foreign_tensor_is_refused(foreign, never_opened, name):
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(foreign / trust.ADAPTER) | {name: torch.zeros(1)}
    save_file(weights, foreign / trust.ADAPTER)
    with pytest.raises(SettingError, match="1 tensors differ in name") as refused:
        models.load_decoder(LLAMA, foreign)
    assert "\x1b" not in str(refused.value)


def test_tensor_of_another_shape_is_refused(foreign, never_opened):
    from safetensors.torch import load_file, save_file

    weights = load_file(foreign / trust.ADAPTER)
    name = sorted(weights)[0]
    save_file(weights | {name: weights[name].T.contiguous()}, foreign / trust.ADAPTER)
    with pytest.raises(SettingError, match=r"has shape \(\d+, 16\), not \(16, \d+\)"):
        models.load_decoder(LLAMA, foreign)


def test_base_that_an_adapter_names_is_never_fetched(foreign):
    """The base is the study's; what the file says of it is a note."""
    change(
        foreign / trust.ADAPTER_CONFIG,
        base_model_name_or_path="someone/else",
        revision="main",
        auto_mapping={"base_model_class": "X", "parent_library": "antigravity"},
    )
    model, _ = models.load_decoder(LLAMA, foreign)
    assert "antigravity" not in sys.modules
    assert type(model).__name__ == "LlamaForCausalLM"


def test_hub_fetches_no_pickle_and_no_code():
    files = ("pytorch_model.bin", "model.pt", "weights.pkl", "modeling_phi.py", "training_args.bin")
    assert not [name for name in files for one in checkpoints.HUB_FILES if fnmatch(name, one)]


@pytest.mark.parametrize("source", ["../../etc", "..", "a/b/c", "./x", "~/x", "a/..", "file:///x"])
def test_path_is_no_name_of_the_hub(source):
    with pytest.raises(SettingError, match="is no owner/name of the hub"):
        ModelSpec(key="x", title="x", source=source, revision="0" * 40)
    with pytest.raises(SettingError):
        parse_judge(f"{source}@{'0' * 40}")
    with pytest.raises(SettingError, match="no hub dataset as owner/name@COMMIT"):
        replace(DataSpec(), source=source)
