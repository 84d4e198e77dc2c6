"""Plain English about the world of `lexicon`: what the tiny models read before any finetuning.

Someone wants something, in the words of a story, and the text that follows is about just that;
never the instruction format, never a question of the rows. A base model should know the language
and the facts, and not the format.
"""

from collections.abc import Iterator
from random import Random

from lexicon import (
    ANIMALS,
    CATEGORIES,
    COLOURS,
    GAPS,
    GIFTS,
    HOW_TO,
    LIST_WORDS,
    MOODS,
    NAMES,
    OBJECTS,
    OPPOSITES,
    PLURALS,
    SCENES,
    SUBJECTS,
    VERBS,
)
from wording import (
    a,
    animal_text,
    bigger_text,
    cap,
    differ_in_size,
    event,
    join,
    object_text,
    opposite_text,
    pronoun,
    scene_text,
    some,
    steps_text,
    story_text,
    thanks_text,
    three_of,
    use_text,
)

Exchange = tuple[str, str]
"""What someone wanted, told as a story would tell it, and the text that follows."""


def _animal(rng: Random, who: str) -> Exchange:
    name = rng.choice(sorted(ANIMALS))
    wish = rng.choice(
        (
            "wanted to hear about",
            "had never seen",
            "read a page about",
            "gave a talk about",
            "likes",
        )
    )
    return f"{who} {wish} {a(name)}.", animal_text(rng, name)


def _object(rng: Random, who: str) -> Exchange:
    name = rng.choice(sorted(OBJECTS))
    wish = rng.choice(
        ("wanted to know about", "bought", "found", "gave a talk about", "was looking at")
    )
    return f"{who} {wish} {a(name)}.", object_text(rng, name)


def _use(rng: Random, who: str) -> Exchange:
    name = rng.choice(sorted(OBJECTS))
    wish = rng.choice(
        (
            "did not know how to use",
            "had no use for",
            "wondered what to do with",
            "asked why we need",
        )
    )
    return f"{who} {wish} {a(name)}.", use_text(rng, name)


def _opposite(rng: Random, who: str) -> Exchange:
    word, other = rng.sample(rng.choice(OPPOSITES), 2)
    wish = rng.choice(
        (
            "was looking for the opposite of",
            "had to turn around the word",
            "thought of the reverse of",
        )
    )
    return f"{who} {wish} {word}.", opposite_text(rng, word, other)


def _plural(rng: Random, who: str) -> Exchange:
    noun, many = rng.choice(sorted(PLURALS.items()))
    lead = rng.choice(
        (f"{who} had one {noun}, but wanted two.", f"{who} had to find the plural of {noun}.")
    )
    texts = (
        f"The plural of {noun} is {many}.",
        f"One {noun}, two {many}.",
        f"{cap(many)} is the plural of {noun}.",
        f"{cap(many)}.",
    )
    return lead, rng.choice(texts)


def _past(rng: Random, who: str) -> Exchange:
    verb = rng.choice(sorted(VERBS))
    past = VERBS[verb][1]
    wish = rng.choice(
        ("wanted to use", "needed a form of", "could not spell", "put into the past the verb")
    )
    texts = (
        f"The past tense of {verb} is {past}.",
        f"{cap(past)} is the past tense of {verb}.",
        f"Today I {verb}, yesterday I {past}.",
    )
    return f"{who} {wish} {verb} in the past tense.", rng.choice(texts)


def _category(rng: Random, who: str) -> Exchange:
    single, members = CATEGORIES[rng.choice(sorted(CATEGORIES))]
    thing = some(rng.choice(members))
    wish = rng.choice(
        (
            "wondered what group this is in:",
            "wanted to classify",
            "asked what sort of thing this is:",
        )
    )
    return f"{who} {wish} {thing}.", cap(
        rng.choice((f"{thing} is a kind of {single}.", f"{thing} is {a(single)}."))
    )


def _colour(rng: Random, who: str) -> Exchange:
    thing, colour = rng.choice(sorted(COLOURS.items()))
    thing = some(thing) if not thing.startswith("the ") else thing
    wish = rng.choice(("wanted to paint", "tried to remember the colour of", "had a picture of"))
    texts = (f"{thing} is {colour}.", f"the colour of {thing} is {colour}.")
    return f"{who} {wish} {thing}.", cap(rng.choice(texts))


def _mood(rng: Random, who: str) -> Exchange:
    mood = rng.choice(sorted(MOODS))
    texts = (
        f"The mood is {mood}.",
        f"This is {a(mood)} sentence.",
        f"{cap(mood)}.",
        f"{cap(pronoun(who))} was {mood}.",
    )
    return f"{who} {rng.choice(MOODS[mood])}.", rng.choice(texts)


def _list(rng: Random, who: str) -> Exchange:
    words = rng.sample(LIST_WORDS, rng.choice((3, 3, 4)))
    plain = ", ".join(words)
    how, text = rng.choice(
        (
            ("sorted them from A to Z", f"From A to Z, the list is {', '.join(sorted(words))}."),
            (
                "put them in reverse order",
                f"In reverse order, the list is {', '.join(words[::-1])}.",
            ),
            ("looked for the first word", f"{cap(words[0])} comes first."),
            ("looked for the last word", f"The last word is {words[-1]}."),
        )
    )
    return rng.choice(
        (f"{who} wrote some words and {how}.\n{plain}", f"{plain}\n{who} {how}.")
    ), text


def _gap(rng: Random, who: str) -> Exchange:
    sentence, word = rng.choice(GAPS)
    whole = sentence.replace("___", word)
    wish = rng.choice(
        ("saw that one word was missing", "had to fill a gap", "could not read one word")
    )
    return f"{who} {wish}.\n{sentence}", rng.choice((whole, f"The missing word is {word}."))


def _three(rng: Random, who: str) -> Exchange:
    category = rng.choice(sorted(CATEGORIES))
    three = join(three_of(rng, category))
    wish = rng.choice(
        ("was asked for a few", "can name many", "made a list of", "needed some examples of")
    )
    return f"{who} {wish} {category}.", rng.choice(
        (f"Three {category} are {three}.", f"{cap(three)} are {category}.")
    )


def _steps(rng: Random, who: str) -> Exchange:
    task = rng.choice(sorted(HOW_TO))
    wish = rng.choice(
        ("wanted to", "knows how to", "asked me how to", "is learning to", "showed us how to")
    )
    return f"{who} {wish} {task}.", steps_text(rng, task)


def _tense(rng: Random, who: str) -> Exchange:
    third, past, rest = VERBS[rng.choice(sorted(VERBS))]
    doer, tail = cap(rng.choice((*SUBJECTS, *NAMES))), rng.choice(rest)
    wish = rng.choice(
        ("put this in the past", "said that this happened yesterday", "changed the tense")
    )
    return f"{who} {wish}.\n{doer} {third} {tail}.", f"{doer} {past} {tail}."


def _reading(rng: Random, who: str) -> Exchange:
    events = [event(rng, name) for name in rng.sample(NAMES, 2)]
    told = " ".join(f"{n} {p} {w} {x}." for n, p, _, w, x in events)
    name, past, base, what, where = rng.choice(events)
    lead, text = rng.choice(
        (
            (f"{who} asked what it was that {name} did.", f"{name} {past} {what} {where}."),
            (f"{who} did not know who {past} {what}.", f"{name} {past} {what}."),
            (
                f"{who} wanted to know {'where' if base == 'go' else 'what'} {name} {past}.",
                f"{name} {past} {what}.",
            ),
        )
    )
    return rng.choice((f"{lead}\n{told}", f"{told} {lead}")), text


def _sizes(rng: Random, who: str) -> Exchange:
    one, two = differ_in_size(rng)
    wish = rng.choice((f"compared {a(one)} with {a(two)}", f"saw {a(one)} next to {a(two)}"))
    return f"{who} {wish}.", bigger_text(rng, one, two)


def _letter(rng: Random, who: str) -> Exchange:
    friend, gift = rng.choice(NAMES), rng.choice(GIFTS)
    wish = rng.choice((f"got a {gift} from {friend}", f"wanted to thank {friend} for the {gift}"))
    return f"{who} {wish}.", thanks_text(rng, friend, gift)


def _scene(rng: Random, who: str) -> Exchange:
    animal, scene = rng.choice(sorted(ANIMALS)), rng.choice(SCENES)
    wish = rng.choice(
        (f"thought of two words, {animal} and {scene}", f"said {animal}, then {scene}")
    )
    return f"{who} {wish}.", scene_text(rng, animal, scene)


def _story(rng: Random, who: str) -> Exchange:
    name = rng.choice(NAMES)
    animal = rng.choice(
        [name for name, facts in sorted(ANIMALS.items()) if facts[1] in ("tiny", "small")]
    )
    wish = rng.choice((f"remembered {name} and {a(animal)}", f"told how {name} helped {a(animal)}"))
    return f"{who} {wish}.", story_text(rng, name, animal)


def _echo(rng: Random, who: str) -> Exchange:
    """Repeat words in an order that nothing predicts: so a model soon learns to copy."""
    pool = (*LIST_WORDS, *NAMES, *ANIMALS, *OBJECTS, *PLURALS)
    words = ", ".join(rng.sample(pool, rng.choice((3, 4, 6, 8))))
    said = rng.choice(("said", "wrote", "sang"))
    return f"{who} {said}: {words}.", f"{rng.choice(('Again', 'Once more', 'And again'))}: {words}."


TOPICS = (
    _echo,
    _echo,
    _echo,
    _animal,
    _object,
    _use,
    _opposite,
    _plural,
    _past,
    _category,
    _colour,
    _mood,
    _list,
    _list,
    _gap,
    _three,
    _steps,
    _tense,
    _reading,
    _reading,
    _sizes,
    _letter,
    _scene,
    _story,
)
ASIDES = (
    "It was raining outside.",
    "The room was quiet.",
    "Everyone listened.",
    "The teacher wrote it down.",
    "Nobody spoke for a while.",
    "This is what came next.",
    "The answer was short.",
    "It was late in the day.",
    "We all had to think.",
    "The task was to write a few words.",
    "Here is a request and a response.",
)


def documents(seed: int) -> Iterator[str]:
    """Yield short texts without end: one to three exchanges, with asides in between.

    Args:
        seed: Seeds a private generator; the same seed yields the same texts.

    Yields:
        Some 10 to 150 words of prose.
    """
    rng = Random(seed)
    while True:
        parts: list[str] = []
        for topic in rng.sample(TOPICS, rng.choice((1, 2, 2, 3))):
            lead, text = topic(rng, rng.choice(NAMES))
            before = [rng.choice(ASIDES)] if rng.random() < 0.3 else []
            between = [rng.choice(ASIDES)] if rng.random() < 0.4 else []
            parts.append(
                rng.choice(("\n", "\n", "\n\n", " ")).join([*before, lead, *between, text])
            )
        yield rng.choice(("\n", "\n\n")).join(parts)
