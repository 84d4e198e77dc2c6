"""Which questions ask nearly the same: found, verified, and joined whatever their order."""

import os
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from alpaca_lab.rows import clusters
from alpaca_lab.rows.clusters import assign, jaccard, near_pairs, shingles
from alpaca_lab.rows.ngrams import normalise, words
from alpaca_lab.rows.sources import read_file


def every_pair(questions):
    """All pairs at 0.7 or above by brute force: shared shingles counted through an index."""
    sets = {key: shingles(text) for key, text in questions.items()}
    owners, found = defaultdict(list), {}
    for key in sorted(sets):
        shared = Counter(other for shingle in sets[key] for other in owners[shingle])
        for other, count in shared.items():
            value = count / (len(sets[key]) + len(sets[other]) - count)
            if value >= 0.7:
                found[other, key] = value
        for shingle in sets[key]:
            owners[shingle].append(key)
    return found


def vary(text, rng, vocabulary):
    """Change, add or drop one word to five."""
    changed = text.split()
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        place, kind = rng.randrange(len(changed)), rng.random()
        if kind < 0.5:
            changed[place] = rng.choice(vocabulary)
        elif kind < 0.75 or len(changed) == 1:
            changed.insert(place, rng.choice(vocabulary))
        else:
            del changed[place]
    return " ".join(changed)


@pytest.fixture(scope="module")
def variations():
    """1,500 sentences of random words, and two variations of each."""
    rng = random.Random(0)
    vocabulary = [f"word{i}" for i in range(2000)]
    whole = [" ".join(rng.choices(vocabulary, k=rng.randint(4, 30))) for _ in range(1500)]
    texts = whole + [vary(text, rng, vocabulary) for text in whole for _ in range(2)]
    return {f"{place:064x}": text for place, text in enumerate(texts)}


def test_shingles_are_word_trigrams_without_case_and_punctuation():
    assert shingles("The cat, the CAT; the cat!") == {"the cat the", "cat the cat"}


def test_text_of_fewer_than_three_words_is_one_shingle():
    assert shingles("Say yes.") == shingles("say YES") == {"say yes"}
    assert jaccard(shingles("Say yes."), shingles("Say no.")) == 0
    assert shingles(":-)") != shingles(":-(")


def test_signs_are_words_so_that_sums_are_told_apart():
    assert shingles("What is 6 + 3?") != shingles("What is 6 * 3?")
    assert words("a < b") == ["a", "<", "b"]


def test_scripts_other_than_latin_have_words():
    assert words(normalise("हिन्दी में लिखो।")) == ["हिन्दी", "में", "लिखो"]
    assert words("東京タワー") == list("東京タワー")
    one, two = "フランスの首都を教えてください。", "フランスの首都を教えて下さい。"
    assert jaccard(shingles(one), shingles(two)) > 0.5


def test_jaccard_of_one_changed_word_in_twenty():
    # 18 shingles each; the changed word stands in 3 of them: 15 shared, 21 in all.
    one = [str(i) for i in range(20)]
    two = [*one[:10], "other", *one[11:]]
    assert jaccard(shingles(" ".join(one)), shingles(" ".join(two))) == 15 / 21


def test_pair_at_exactly_seven_tenths_is_a_near_duplicate():
    # 10 words have 8 shingles, 11 have 9; 7 stand in both, so 10 in all.
    one = "a b c d e f g h i j"
    assert jaccard(shingles(one), shingles("x b c d e f g h i j k")) == 0.7
    [pair] = near_pairs({"1": one, "2": "x b c d e f g h i j k"})
    assert pair == ("1", "2", 0.7)


def test_clusters_are_the_same_whatever_the_order(variations):
    keys = list(variations)
    random.Random(1).shuffle(keys)
    shuffled = {key: variations[key] for key in keys}
    pairs = near_pairs(variations)
    assert near_pairs(shuffled) == pairs
    assert assign(shuffled, pairs) == assign(variations, pairs[::-1])


def test_no_pair_is_missed_and_none_is_invented(variations):
    expected = every_pair(variations)
    found = near_pairs(variations)
    assert len(expected) > 800
    assert {(one, two): value for one, two, value in found} == expected


def test_bands_are_those_of_datasketch_at_a_threshold_of_one_half():
    """A missed pair is weighed nine times a needless comparison."""
    from datasketch import MinHashLSH

    lsh = MinHashLSH(threshold=0.5, num_perm=clusters.PERMUTATIONS, weights=(0.1, 0.9))
    assert (lsh.b, lsh.b * lsh.r) == (clusters.BANDS, clusters.PERMUTATIONS)


def test_datasketchs_defaults_would_miss_pairs(variations):
    """Why the bands are not its default: the negative control of the recall above."""
    from datasketch import MinHash, MinHashLSH

    missed = {}
    for threshold in (0.5, 0.7):
        lsh = MinHashLSH(threshold=threshold, num_perm=128)
        hashes = {}
        for key, text in variations.items():
            hashes[key] = MinHash(num_perm=128)
            hashes[key].update_batch([shingle.encode() for shingle in shingles(text)])
            lsh.insert(key, hashes[key])
        proposed = {key: set(lsh.query(value)) for key, value in hashes.items()}
        missed[threshold] = sum(two not in proposed[one] for one, two in every_pair(variations))
    assert missed[0.7] > 100 > missed[0.5] > 0


def test_chain_of_wordings_is_one_cluster_named_by_its_smallest_key():
    texts = {
        "c": "list five good tips for sleeping well on a hot night in town",
        "a": "list five good tips for sleeping well on a hot night in may",
        "b": "give five good tips for sleeping well on a hot night in may",
        "d": "name the capital of France",
    }
    pairs = near_pairs(texts)
    assert [pair[:2] for pair in pairs] == [("a", "b"), ("a", "c")]
    assert assign(texts, pairs) == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_two_thousand_wordings_of_one_question_cost_few_comparisons(monkeypatch):
    """Pairs grow with the square of a cluster: only as many are kept as link it."""
    calls = Counter()
    exact = clusters.jaccard
    monkeypatch.setattr(clusters, "jaccard", lambda *sets: calls.update(n=1) or exact(*sets))
    common = " ".join(f"w{i}" for i in range(40))
    questions = {f"{i:04}": f"{common} number {i}" for i in range(2000)}
    pairs = near_pairs(questions)
    assert len(pairs) == 1999
    assert set(assign(questions, pairs).values()) == {"0000"}
    assert calls["n"] < 10_000


def test_questions_that_share_a_template_alone_are_not_compared(monkeypatch):
    calls = Counter()
    exact = clusters.jaccard
    monkeypatch.setattr(clusters, "jaccard", lambda *sets: calls.update(n=1) or exact(*sets))
    common = " ".join(f"w{i}" for i in range(20))
    own = {i: " ".join(f"own{i}x{j}" for j in range(9)) for i in range(2000)}
    assert near_pairs({f"{i:04}": f"{common} {own[i]}" for i in own}) == []
    assert calls["n"] == 0


def test_every_question_is_counted_for_the_bar():
    seen = Counter()
    near_pairs({"1": "a b c", "2": "d e f"}, seen=lambda: seen.update(n=1))
    assert seen["n"] == 2


def test_no_question_gives_no_pair():
    assert near_pairs({}) == [] and assign([], []) == {}


@pytest.mark.parametrize(
    ("name", "expected"), [("alpaca_random_9229.jsonl", 3), ("alpaca_union.jsonl.gz", 9)]
)
def test_no_pair_of_real_questions_is_missed(name, expected):
    folder = os.environ.get("ALPACA_LAB_REFERENCE_DATA")
    if not folder:
        pytest.skip("ALPACA_LAB_REFERENCE_DATA is not set: no real Alpaca rows")
    records = read_file(Path(folder) / "alpaca" / name)
    questions = {
        f"{place:06}": f"{record['instruction']}\n{record['input']}"
        for place, record in enumerate(records)
    }
    assert {pair[:2] for pair in near_pairs(questions)} == set(every_pair(questions))
    assert len(every_pair(questions)) == expected
