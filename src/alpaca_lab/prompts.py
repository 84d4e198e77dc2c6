"""The two Alpaca templates. A prompt ends in a newline, so that the response tokenises apart.

Source: Stanford Alpaca, https://github.com/tatsu-lab/stanford_alpaca. The one departure is the
newline after "### Response:": without it 3% of the rows tokenise across the boundary.
"""

from .config import fingerprint

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
TEMPLATE_HASH = fingerprint({"with_input": WITH_INPUT, "without_input": WITHOUT_INPUT})


def render_prompt(instruction: str, input: str = "") -> str:
    """Return the text a model reads before it answers; it ends in a newline.

    Args:
        instruction: What to do.
        input: What to do it to; empty picks the template without an input section.

    Example:
        >>> render_prompt("Say hello.").splitlines()[-1]
        '### Response:'
    """
    # str.replace rather than str.format: braces in a row are text, not fields.
    if not input:
        return WITHOUT_INPUT.replace("{instruction}", instruction)
    before, after = WITH_INPUT.split("{input}")
    return before.replace("{instruction}", instruction) + input + after
