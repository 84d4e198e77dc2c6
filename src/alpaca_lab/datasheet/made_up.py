"""A dozen made-up rows that show what validation, clusters and overlap find. No one trains on them.

The embedded rows are clean, so that a report on them is empty: these have one of each fault.
"""

from ..config import DataSpec
from ..data import Dataset, split
from ..rows.validation import validate

NAME = "made-up rows"
CYCLE = (
    "Water evaporates from the sea, rises, cools into clouds, falls as rain and flows back to the "
    "sea in rivers."
)


def _row(instruction: str, output: str, input: str = "") -> dict[str, str]:
    return {"instruction": instruction, "input": input, "output": output}


ROWS = (
    _row("Name the capital of Norway.", "Oslo.", "<noinput>"),
    _row("Name three fruits.", "Apples, pears and plums.", "No input required."),
    _row("Name a planet.", "Venus.", "N/A"),
    _row("Name a metal.", "Iron."),
    _row("name a  metal.", "Copper."),
    _row("Draw a lighthouse at night.", "<nooutput>"),
    _row("Record a song about rain.", "<No output. This task needs a microphone.>"),
    _row("Say nothing.", " "),
    _row("List five tips for sleeping well at night.", "Keep your room dark, cool and quiet."),
    _row("Please list five tips for sleeping well at night.", "Go to bed at the same hour."),
    _row("Translate into French: good morning.", "Bonjour."),
    _row("Explain in one sentence how rain is made.", CYCLE),
    _row("Tell a child where rain comes from.", f"Listen! {CYCLE} Is that not clever?"),
    _row("Write a haiku about the sea.", "Grey waves, and a gull. The ferry is late again. Salt."),
)


def demonstration() -> Dataset:
    """Return the made-up rows validated, clustered and split like any others."""
    examples, findings = validate(ROWS, place=NAME)
    spec = DataSpec(source=NAME, revision=None, test_share=0.3, validation_share=0.2)
    source = {"source": NAME, "revision": None, "sha256": None}
    return split(examples, spec=spec, source=source, findings=findings)
