from alpaca_lab.prompts import TEMPLATE_HASH, render_prompt


def test_prompt_without_input_has_no_input_section():
    prompt = render_prompt("Say hello.")
    assert prompt.startswith("Below is an instruction that describes a task. Write")
    assert "### Input" not in prompt
    assert prompt.endswith("### Instruction:\nSay hello.\n\n### Response:\n")


def test_prompt_with_input_shows_it():
    prompt = render_prompt("Sort.", "b a")
    assert "paired with an input" in prompt
    assert prompt.endswith("### Instruction:\nSort.\n\n### Input:\nb a\n\n### Response:\n")


def test_braces_in_a_row_are_text():
    assert "{input} and {x}" in render_prompt("Print {input} and {x}", "{instruction}")
    assert "### Input:\n{instruction}\n" in render_prompt("Print {input} and {x}", "{instruction}")


def test_template_hash_is_pinned():
    """Runs on disk are named by it."""
    assert TEMPLATE_HASH == "9e2fc8ac063a"
