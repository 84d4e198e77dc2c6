"""Clusters of questions that ask nearly the same: found by MinHash, verified by counting.

MinHash proposes pairs, the exact Jaccard similarity of their word 3-grams decides, and linked
questions form a cluster. Only a proposal can be missed: at a similarity of exactly 0.7 the chance
is (1 - 0.7**4)**32, 1 in 6,800, and it falls fast above.

Source: Broder (1997), On the resemblance and containment of documents. Bands: Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, section 3.4.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain, combinations
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from .ngrams import ngrams, normalise, words

SHINGLE_WORDS = 3
SIMILAR = 0.7
"""Jaccard similarity from which two questions are near-duplicates, in [0, 1]."""
PERMUTATIONS = 128
BANDS = 32
"""Bands of 4 permutations: what datasketch takes at a threshold of 0.5 where a missed pair costs
nine times a needless comparison. Its default of 25 bands of 5 misses 1% at a similarity of 0.7."""
SEED = 1
LISTED = 200
"""Questions in a cluster up to which every pair is listed; of a larger one, its links alone."""


class Pair(NamedTuple):
    """Two questions that ask nearly the same."""

    one: str
    """The smaller key."""
    two: str
    """The larger key."""
    jaccard: float
    """Share of word 3-grams that both have, in [SIMILAR, 1]."""


def parameters() -> dict[str, Any]:
    """Return every choice that decides the clusters, JSON-able: part of a manifest."""
    return {
        "shingle_words": SHINGLE_WORDS,
        "jaccard": SIMILAR,
        "permutations": PERMUTATIONS,
        "bands": BANDS,
        "seed": SEED,
        "datasketch": version("datasketch"),
    }


def shingles(text: str) -> frozenset[str]:
    """Return a question's word 3-grams; of a shorter text, all of it as a single shingle.

    Example:
        >>> sorted(shingles("Name the capital of France."))
        ['capital of france', 'name the capital', 'the capital of']
        >>> shingles("Say yes!") == shingles("say YES") != shingles("Say no!")
        True
    """
    text = normalise(text)
    found = words(text)
    runs = frozenset(map(" ".join, ngrams(found, SHINGLE_WORDS)))
    # Without any word (":-)") the signs themselves are compared.
    return runs or frozenset([" ".join(found) or text])


def jaccard(one: Collection[str], two: frozenset[str]) -> float:
    """Return the shared part of two sets of shingles, neither empty, in [0, 1].

    Example:
        >>> jaccard(frozenset("abc"), frozenset("bcd"))
        0.5
    """
    shared = len(two.intersection(one))
    return shared / (len(one) + len(two) - shared)


def near_pairs(
    questions: Mapping[str, str], *, seen: Callable[[], object] = lambda: None
) -> list[Pair]:
    """Return the pairs of questions that are near-duplicates, whatever the order of `questions`.

    Every pair of a cluster of up to `LISTED` questions; of a larger one only as many pairs as
    link it together, for they grow with its square.

    Args:
        questions: Text by key. Equal questions share a key and stand once.
        seen: Called once per question, for a progress bar.

    Returns:
        Pairs in the order of their keys.
    """
    keys = sorted(questions)
    sets = [shingles(questions[key]) for key in keys]
    forest = _Forest(len(keys))
    rare = _rarest(sets)
    for bucket in _buckets(sets, seen):
        for places in _sharing(bucket, sets, rare):
            _link(places, sets, forest)
    found = []
    for members in forest.trees():
        whole = len(members) <= LISTED
        compared = combinations(members, 2) if whole else forest.links[forest.root(members[0])]
        alike = ((i, j, jaccard(sets[i], sets[j])) for i, j in map(sorted, compared))
        found += (Pair(keys[i], keys[j], value) for i, j, value in alike if value >= SIMILAR)
    return sorted(found)


def assign(keys: Iterable[str], pairs: Iterable[tuple[str, str, float]]) -> dict[str, str]:
    """Return the cluster of each key: the smallest key that pairs link it with, or itself.

    Example:
        >>> assign("abcd", [("b", "c", 0.8), ("c", "d", 0.7)])
        {'a': 'a', 'b': 'b', 'c': 'b', 'd': 'b'}
    """
    keys = list(keys)
    places = {key: place for place, key in enumerate(keys)}
    forest = _Forest(len(keys))
    for one, two, _ in pairs:
        forest.join(places[one], places[two])
    cluster = {key: key for key in keys}
    for members in forest.trees():
        smallest = min(keys[place] for place in members)
        cluster |= {keys[place]: smallest for place in members}
    return cluster


def _buckets(sets: Sequence[frozenset[str]], seen: Callable[[], object]) -> Iterator[Sequence[int]]:
    """Yield groups of places whose MinHashes agree in a band: likely near-duplicates."""
    from datasketch import MinHash  # brings scipy, which a cached split does not wait for

    texts = ([shingle.encode() for shingle in sorted(shingles)] for shingles in sets)
    signatures = np.empty((len(sets), PERMUTATIONS), dtype=np.uint32)
    hashes = MinHash.generator(texts, num_perm=PERMUTATIONS, seed=SEED, scheme="affine32")
    for place, signature in enumerate(hashes):
        signatures[place] = signature.hashvalues
        seen()
    for band in np.split(signatures, BANDS, axis=1):
        groups = defaultdict(list)
        for place, values in enumerate(np.ascontiguousarray(band)):
            groups[values.tobytes()].append(place)
        yield from (group for group in groups.values() if len(group) > 1)


def _rarest(sets: Sequence[frozenset[str]]) -> list[list[str]]:
    """Return of each set its rarest shingles, of which every near-duplicate shares at least one.

    Two sets with a similarity of 0.7 share at least 0.7 n shingles of a set of n, so that they
    cannot all be different among its 0.3 n + 1 rarest.
    """
    counts = Counter(chain.from_iterable(sets))
    return [
        heapq.nsmallest(
            len(shingles) - _at_least(SIMILAR * len(shingles)) + 1,
            shingles,
            key=lambda shingle: (counts[shingle], shingle),
        )
        for shingles in sets
    ]


def _sharing(
    bucket: Sequence[int], sets: Sequence[frozenset[str]], rare: Sequence[Sequence[str]]
) -> Iterator[list[int]]:
    """Yield the places of a bucket that share a rare shingle, wherever they may be alike.

    Thousands of questions in one template are so told apart without comparing each with each:
    what they have in common is not rare.

    Source: prefix and position filters of Xiao et al. (2011), Efficient similarity joins for
    near-duplicate detection.
    """
    smallest = min(len(sets[place]) for place in bucket)
    sharing = defaultdict(list)
    for place in bucket:
        size = len(sets[place])
        # Jaccard j means j / (1 + j) of both sizes in common, all from the first shared one on.
        needed = _at_least(SIMILAR / (1 + SIMILAR) * (size + smallest))
        for shingle in rare[place][: size - needed + 1]:
            sharing[shingle].append(place)
    yield from (places for places in sharing.values() if len(places) > 1)


def _at_least(count: float) -> int:
    """Return the smallest whole number that is not below `count` but for its rounding."""
    return ceil(count - 1e-9)


class _Forest:
    """Union-find over places 0..n-1, which remembers the pairs that joined its trees."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))
        self.links: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)

    def root(self, place: int) -> int:
        while self.parent[place] != place:
            self.parent[place] = place = self.parent[self.parent[place]]
        return place

    def join(self, one: int, two: int) -> None:
        # The smaller list of links moves, so that a chain of joins stays linear.
        kept, moved = sorted(
            (self.root(one), self.root(two)), key=lambda root: -len(self.links[root])
        )
        if kept != moved:
            self.parent[moved] = kept
            self.links[kept] += [*self.links.pop(moved), (one, two)]

    def trees(self) -> list[list[int]]:
        """Return the places of each tree of two or more."""
        groups = defaultdict(list)
        for place in range(len(self.parent)):
            groups[self.root(place)].append(place)
        return [group for group in groups.values() if len(group) > 1]


def _link(bucket: Sequence[int], sets: Sequence[frozenset[str]], forest: _Forest) -> None:
    """Join the trees of a bucket between which there is a near-duplicate pair.

    Places already in one tree are not compared: a thousand wordings of a question cost a thousand
    comparisons, not half a million.
    """
    groups = defaultdict(list)
    for place in bucket:
        groups[forest.root(place)].append(place)
    settled: list[list[int]] = []
    for group in groups.values():
        apart = []
        for other in settled:
            pairs = ((i, j) for i in other for j in group)
            link = next((p for p in pairs if jaccard(sets[p[0]], sets[p[1]]) >= SIMILAR), None)
            if link is None:
                apart.append(other)
            else:
                forest.join(*link)
                other += group
                group = other
        settled = [*apart, group]
