"""A session without a model, for the tests of what is around one."""

from alpaca_lab.chat.session import Answer


class FakeSession:
    """Says the same pieces to every question, and keeps what it was asked.

    Args:
        pieces: What is said, piece by piece.
        before: Called before each piece; what it raises, the answer raises.
    """

    title, place = "Tiny LLaMA, finetuned", "cpu, float32"

    def __init__(self, pieces=("An ", "owl."), before=lambda: None):
        self.pieces, self.before = pieces, before
        self.asked = []

    def ask(self, question, choices, *, hear=lambda _: None, stopped=lambda: False):
        self.asked.append((question, choices))
        said = []
        for piece in self.pieces:
            self.before()
            if stopped():
                break
            said.append(piece)
            hear(piece)
        return Answer(
            question=question,
            choices=choices,
            repeat=len(self.asked) - 1,
            text="".join(said),
            n_new_tokens=len(said),
            wall_s=2.0,
            ended="eos" if len(said) == len(self.pieces) else "stopped",
        )
