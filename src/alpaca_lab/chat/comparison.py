"""A few questions under several settings, side by side, as a notebook shows them."""

from collections.abc import Sequence

import pandas as pd

from .choices import Choices
from .session import Question
from .terminal import Asks


def table(
    session: Asks, instructions: Sequence[str], settings: Sequence[str], choices: Choices
) -> pd.DataFrame:
    """Ask each question under each setting.

    Args:
        session: What answers.
        instructions: What is asked.
        settings: What differs from `choices`, such as "temperature=0.5 top_k=4".
        choices: All else.

    Returns:
        One row per answer: instruction, setting, answer, tokens, tokens/s, ended.

    Raises:
        SettingError: Before anything is asked, if a setting or a question cannot be.
    """
    questions = [Question(instruction=text) for text in instructions]
    asked = [(text, choices.changed(text)) for text in settings]
    rows = []
    for question in questions:
        for text, chosen in asked:
            answer = session.ask(question, chosen)
            rows.append(
                {
                    "instruction": question.instruction,
                    "setting": text,
                    "answer": answer.text,
                    "tokens": answer.n_new_tokens,
                    "tokens/s": answer.tokens_per_s,
                    "ended": answer.ended,
                }
            )
    return pd.DataFrame(rows)
