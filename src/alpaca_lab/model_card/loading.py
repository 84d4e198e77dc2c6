"""How to load each form and ask it something: short programs that run as they stand."""

from ..pages.page import count
from ..prompts import WITH_INPUT, WITHOUT_INPUT, render_prompt
from .known import Form, Known

QUESTION = "Name three primary colours."
_ASK = """prompt = PROMPT.format(instruction="{question}")
inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens={budget})
print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
_ADAPTER = '''import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

{base}
ADAPTER = "path/to/this/folder"
PROMPT = """{prompt}"""

nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)
tokenizer = AutoTokenizer.from_pretrained(BASE{revision})
model = AutoModelForCausalLM.from_pretrained(
    BASE{revision}, quantization_config=nf4, dtype=torch.bfloat16, device_map="auto"
)
model = PeftModel.from_pretrained(model, ADAPTER).eval()

{ask}'''
_MERGED = '''from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "path/to/this/folder"
PROMPT = """{prompt}"""

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto", device_map="auto")

{ask}'''
_GGUF = r"""llama-completion -m MODEL.gguf -no-cnv --no-display-prompt --temp 0 -n {budget} \
  -p '{prompt}'"""


def section(known: Known, *, form: Form) -> str:
    """Return how to load a form and ask it greedily, as Markdown."""
    budget = known.study.max_new_tokens
    ask = _ASK.format(question=QUESTION, budget=budget)
    if form == "adapter":
        # The hub's names and commits have no character that could end the string.
        if known.base.is_hub:
            base = f'BASE, REVISION = "{known.base.name}", "{known.base.revision}"'
            revision = ", revision=REVISION"
        else:
            base, revision = 'BASE = "path/to/the/base"', ""
        code = _ADAPTER.format(base=base, revision=revision, prompt=WITHOUT_INPUT, ask=ask)
        how = (
            "With PEFT, on the 4-bit base that it was trained on. `BASE` is the base named below, "
            "`ADAPTER` this folder, or this repository's name on the hub."
        )
    elif form == "merged":
        code = _MERGED.format(prompt=WITHOUT_INPUT, ask=ask)
        how = "With Transformers alone. `MODEL` is this folder, or this repository's name."
    else:
        code = _GGUF.format(budget=budget, prompt=render_prompt(QUESTION).replace("\n", r"\n"))
        how = "With [llama.cpp](https://github.com/ggml-org/llama.cpp), outside conversation mode."
    language = "sh" if form == "gguf" else "python"
    return "\n\n".join(
        (
            how,
            f"```{language}\n{code}\n```",
            "The prompt is Alpaca's template, word for word, and ends in a line break; decoding is "
            f"greedy, to {count(budget)} new tokens at most. An instruction with an input has this "
            "template instead:",
            f"```text\n{WITH_INPUT}```",
        )
    )
