"""peer_generate.py, unmodified, with answers of real length under beam search too.

Its criterion ends an answer where its reference does, and says so once per beam. Transformers' beam
search asks about its candidates instead, twice as many as beams, and fails on an answer that is too
short. All candidates of a question end alike, so what is said of its beams is said of each.

Takes the arguments of peer_generate.py.
"""

import runpy
from functools import wraps
from pathlib import Path
from typing import Any

PEER = Path(__file__).with_name("peer_generate.py")


def asked_of_candidates(base: type) -> type:
    """Return a `StoppingCriteria` whose subclasses may say less than they are asked: per beam.

    Args:
        base: `transformers.StoppingCriteria`.
    """

    class PerQuestion(base):
        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            per_beam = cls.__call__

            @wraps(per_beam)
            def per_candidate(self: Any, input_ids: Any, scores: Any, **more: Any) -> Any:
                done = per_beam(self, input_ids, scores, **more)
                # Candidates of a question stand together, as its beams do.
                return done.repeat_interleave(len(input_ids) // len(done))

            cls.__call__ = per_candidate

    return PerQuestion


def main() -> None:
    """Extend Transformers' class, then run the peer's script with the same arguments."""
    import transformers

    transformers.StoppingCriteria = asked_of_candidates(transformers.StoppingCriteria)
    runpy.run_path(str(PEER), run_name="__main__")


if __name__ == "__main__":
    main()
