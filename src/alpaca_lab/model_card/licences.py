"""Licences: what each asks, in a sentence with its link, and what two of them make together."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..pages.markdown import escape
from .known import Form, Known

HUB_LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"
LLAMA2_NOTICE = (
    "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved."
)
"""The words that the licence wants in a Notice file beside whatever is made of Llama 2."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence that we know by its identifier on the hub."""

    title: str
    link: str
    asks: str
    """What it asks of whoever uses or passes on, as Markdown."""


LICENCES = {
    "llama2": Licence(
        title="LLAMA 2 Community License",
        link="https://ai.meta.com/llama/license/",
        asks="Pass a copy of it on with whatever is made of Llama 2, together with the file NOTICE "
        "that lies here; keep to its "
        "[acceptable use policy](https://ai.meta.com/llama/use-policy/); do not improve other "
        "language models with it or its outputs; who had more than 700 million monthly users when "
        'it came out must ask Meta. It grants no trademark: the name "Llama 2" says what this was '
        "made of, and no more.",
    ),
    "apache-2.0": Licence(
        title="Apache License 2.0",
        link="https://www.apache.org/licenses/LICENSE-2.0",
        asks="Any use, with the licence and its notices kept and changes said.",
    ),
    "mit": Licence(
        title="MIT License",
        link="https://opensource.org/license/mit",
        asks="Any use, with the copyright notice kept.",
    ),
    "cc-by-nc-4.0": Licence(
        title="Creative Commons Attribution-NonCommercial 4.0",
        link="https://creativecommons.org/licenses/by-nc/4.0/",
        asks="No commercial use; name the source.",
    ),
}
"""By the hub's identifier: those of the models and datasets that we know."""


def metadata(known: Known) -> dict[str, str]:
    """Return the fields `license`, `license_name` and `license_link` that the hub wants.

    One licence where base and rows have the same; "other" with both names where they differ, and a
    link to the file that says both; "unknown" where either is.
    """
    of_base, of_rows = known.model.license, known.study.data.license
    if of_base is None or of_rows is None:
        return {"license": "unknown"}
    if of_base == of_rows:
        return {"license": of_base}
    return {
        "license": "other",
        "license_name": f"{of_base}-and-{of_rows}",
        "license_link": "LICENSE.md",
    }


def section(known: Known, *, form: Form) -> str:
    """Return what each licence says, as Markdown: the base's, the rows', and both together."""
    base, rows = known.base, known.rows
    of_base = f"The base, {escape(base.name if base.is_hub else known.title)}"
    if base.is_hub and base.name == known.model.mirror:
        original = escape(known.model.source)
        of_base += f", a mirror of the gated {original}, which keeps the licence of the original"
    elif not base.is_hub and not known.is_tiny:
        of_base += f", weights from a local folder taken to be {escape(known.title)}"
    of_rows = f"The rows, {escape(rows.name or 'not recorded')}"
    what = "adapter" if form == "adapter" else "model"
    return "\n".join(
        (
            f"- {of_base}: {_sentence(known.model.license)}",
            f"- {of_rows}: {_sentence(known.study.data.license)}",
            f"- This {what} is made of both: {_together(known)}",
        )
    )


def files(known: Known, *, form: Form) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the files that the licences want beside the card."""
    if metadata(known).get("license_link") == "LICENSE.md":
        yield "LICENSE.md", f"# Licences\n\n{section(known, form=form)}\n"
    if known.model.license == "llama2":
        yield "NOTICE", f"{LLAMA2_NOTICE}\n"


def _sentence(license: str | None) -> str:
    if license is None:
        return "licence not known; find it out before you use or pass on what is made of it."
    if license in LICENCES:
        licence = LICENCES[license]
        return f"[{licence.title}]({licence.link}). {licence.asks}"
    return f"`{license}`, by [the hub's identifier]({HUB_LICENSES}); read its terms."


def _together(known: Known) -> str:
    licences = (known.model.license, known.study.data.license)
    if None in licences:
        return "as one of the licences is not known, neither is what may be done with it."
    if len(set(licences)) == 1:
        return "the one licence covers it."
    if "cc-by-nc-4.0" in licences:
        return "keep to both licences, and so to no commercial use."
    return "keep to both licences."
