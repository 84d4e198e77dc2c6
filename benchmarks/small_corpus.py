"""The text that the small study's bases are trained on, made anew from public repositories.

What it is made of stands in small_corpus.json: each source's repository and commit, the files to
read, their kind and licence. Paragraphs that stood before, and those that share 13 words in a row
with a row of --rows, are left out. OUT_DIR/corpus.jsonl has one {"source", "text"} per line, in an
order that chance made once; corpus.manifest.json says what went in and what did not.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import git_files
import plain_text
import prose
from row_overlap import Runs

from alpaca_lab.config import SettingError

RECIPE = Path(__file__).with_suffix(".json")
LEAST = 200
"""Characters of a document; a shorter one is left out, but for a question with its answer."""
PAIR_CHARACTERS = 4000
"""Characters of a question with its answer; a longer one is mostly an article to sum up."""


@dataclass
class Count:
    """What one source gave, and what was left out of it."""

    documents: int = 0
    characters: int = 0
    not_prose: int = 0
    """Documents too short, or not in English."""
    repeated: int = 0
    """Paragraphs that stood before, here or in an earlier source."""
    shared: int = 0
    """Paragraphs that share 13 words in a row with a row."""
    text: Any = field(default_factory=sha256, repr=False)
    """Digest of what the source yields before `shared` is left out: rows do not alter it."""

    def facts(self) -> dict[str, Any]:
        """Return the figures that a recipe holds."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "sha256": self.text.hexdigest(),
        }


def documents_of(source: dict[str, Any], clones: Path, count: Count) -> Iterator[list[str]]:
    """Yield the English prose documents of a source, up to its number of megabytes."""
    clean = plain_text.cleaner_of(source["kind"])
    folder = git_files.folder_of(clones, source["repository"])
    git_files.fetch(clones, source["repository"], source["commit"], source["files"])
    left, least = source.get("megabytes", float("inf")) * 1e6, source.get("least", LEAST)
    for path, text in git_files.read(folder, source["commit"], source["files"]):
        if not re.search(source.get("only", ""), text):
            continue
        for document in clean(text, path):
            size = sum(map(len, document))
            pair = len(document) == 1 and document[0].startswith("Question: ")
            fits = size <= PAIR_CHARACTERS if pair else size >= least
            if not (fits and prose.is_english(document)):
                count.not_prose += bool(document)
                continue
            yield document
            left -= size
        if left <= 0:
            return


def collected(
    recipe: Sequence[dict[str, Any]], clones: Path, runs: Runs
) -> Iterator[tuple[str, Count, list[str]]]:
    """Yield (source's name, its count, lines of the corpus), source by source.

    Args:
        recipe: The sources, in order: of two that have a paragraph, the first keeps it.
        clones: Where repositories are, or are fetched to.
        runs: The runs of 13 words that no paragraph may have.
    """
    seen: set[bytes] = set()
    for source in recipe:
        count, documents, lines = Count(), [], []
        for document in documents_of(source, clones, count):
            kept = [text for text in document if _first(text, seen)]
            count.repeated += len(document) - len(kept)
            if not kept or (len(kept) < len(document) and sum(map(len, kept)) < LEAST):
                continue
            count.documents += 1
            count.characters += sum(map(len, kept))
            count.text.update("\n\n".join(kept).encode() + b"\0")
            documents.append(kept)
        for document in _free(documents, runs, count):
            line = {"source": source["name"], "text": "\n\n".join(document)}
            lines.append(json.dumps(line, ensure_ascii=False))
        yield source["name"], count, lines


def _free(documents: list[list[str]], runs: Runs, count: Count) -> Iterator[list[str]]:
    """Yield the documents without the paragraphs that share a run, a thousand at a time."""
    for start in range(0, len(documents), 1000):
        some = documents[start : start + 1000]
        shared = iter(runs.sharing([text for document in some for text in document]))
        for document in some:
            free = [text for text in document if not next(shared)]
            count.shared += len(document) - len(free)
            if free:
                yield free


def _first(text: str, seen: set[bytes]) -> bool:
    digest = blake2b(text.encode(), digest_size=16).digest()
    new = digest not in seen
    seen.add(digest)
    return new


def check(source: dict[str, Any], count: Count) -> None:
    """Refuse a source's text that is not the recipe's.

    Raises:
        SettingError: If it differs, with both digests.
    """
    found = count.facts()
    if found["sha256"] != source.get("sha256"):
        raise SettingError(
            f"{source['name']} yields a text of sha256 {found['sha256'][:16]}... where "
            f"{RECIPE.name} has {str(source.get('sha256'))[:16]}...: its files or the cleaners "
            "have changed; --record writes what there is now into the recipe"
        )


def texts_of(rows: Path) -> list[str]:
    """Return instruction, input and output of each row in one."""
    lines = filter(str.strip, rows.read_text(encoding="utf-8").split("\n"))
    names = ("instruction", "input", "output")
    return ["\n".join(json.loads(line).get(name) or "" for name in names) for line in lines]


def make(out: Path, *, rows: Path, clones: Path, recipe: Path, record: bool) -> dict[str, Any]:
    """Write the corpus and its manifest, and return the manifest.

    Args:
        out: Folder of the corpus.
        rows: Rows that no paragraph may share 13 words in a row with.
        clones: Where repositories are, or are fetched to.
        recipe: The sources.
        record: Write what each source yields into the recipe, and compare nothing.

    Raises:
        SettingError: If a source cannot be read, or yields another text than the recipe's.
    """
    sources = json.loads(recipe.read_text(encoding="utf-8"))
    runs = Runs(texts_of(rows))
    counts, lines = {}, []
    for source, (name, count, own) in zip(sources, collected(sources, clones, runs), strict=True):
        if record:
            source |= count.facts()
        else:
            check(source, count)
        counts[name] = count
        lines += own
        print(row(name, count), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    lines.sort(key=lambda line: blake2b(line.encode()).digest())
    corpus = "".join(f"{line}\n" for line in lines).encode()
    (out / "corpus.jsonl").write_bytes(corpus)
    manifest = {
        "corpus": {
            "documents": len(lines),
            "bytes": len(corpus),
            "sha256": sha256(corpus).hexdigest(),
        },
        "rows": {"runs": len(runs), "sha256": sha256(rows.read_bytes()).hexdigest()},
        "sources": {name: facts(count) for name, count in counts.items()},
    }
    written(out / "corpus.manifest.json", manifest)
    if record:
        written(recipe, sources)
    return manifest


def facts(count: Count) -> dict[str, Any]:
    """Return a source's figures and how much was left out of it."""
    left_out = {name: getattr(count, name) for name in ("not_prose", "repeated", "shared")}
    return count.facts() | {"left_out": left_out}


def written(path: Path, value: Any) -> None:
    """Write a value as JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def row(name: str, count: Count) -> str:
    """Return a source's line of the table."""
    return (
        f"{name:36}{count.documents:9,}{count.characters / 1e6:8.1f}"
        f"{count.not_prose:10,}{count.repeated:10,}{count.shared:8,}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the corpus; what stands in the way ends in one sentence and exit status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT_DIR", help="folder to write")
    add("--rows", type=Path, required=True, help="rows whose text must not be in it")
    add("--clones", type=Path, help="folder of bare clones OWNER+NAME: OUT_DIR/clones")
    add("--recipe", type=Path, default=RECIPE, help="the sources: small_corpus.json")
    add("--record", action="store_true", help="write what each yields into the recipe")
    options = parser.parse_args(arguments)
    print(f"{'source':36}{'documents':>9}{'MB':>8}{'not prose':>10}{'repeated':>10}{'shared':>8}")
    try:
        manifest = make(
            options.out,
            rows=options.rows,
            clones=options.clones or options.out / "clones",
            recipe=options.recipe,
            record=options.record,
        )
    except SettingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    made = manifest["corpus"]
    print(f"{made['documents']:,} documents, {made['bytes'] / 1e6:.1f} MB, sha256 {made['sha256']}")


if __name__ == "__main__":
    main()
