"""The instruction rows: nineteen kinds of task about the world of `lexicon`.

Each kind asks about many items in several phrasings, so a held-out row is a known kind about an
item whose question was never seen. Open-ended kinds draw one of several right wordings as the
reference answer, so no model can score 1 everywhere and sampling has somewhere to go.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
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
    scene_text,
    some,
    steps_text,
    story_text,
    thanks_text,
    three_of,
    use_text,
)

Row = dict[str, str]
"""Alpaca's three fields: instruction, input ("" for none), output."""

Maker = Callable[[Random], Iterator[Row]]


def ask(instruction: str, output: str, *, given: str = "") -> Row:
    """Return one row."""
    return {"instruction": cap(instruction), "input": given, "output": output}


def opposites(rng: Random) -> Iterator[Row]:
    """Ask for the opposite of a word; both directions of a pair are never asked."""
    wording = cycle(
        (
            "What is {} the opposite of?",
            "Name the opposite of {}.",
            "Pair {} with its opposite.",
            "Turn {} into its opposite.",
            "Say the opposite: {}.",
        )
    )
    for pair in rng.sample(OPPOSITES, 36):
        word, other = rng.sample(pair, 2)
        yield ask(next(wording).format(word), opposite_text(rng, word, other))


def plurals(rng: Random) -> Iterator[Row]:
    """Ask for the plural of a noun, in a sentence or as one word."""
    for noun in rng.sample(sorted(PLURALS), 32):
        many = PLURALS[noun]
        yield rng.choice(
            (
                ask(f"Name the plural of {noun}.", f"The plural of {noun} is {many}."),
                ask(f"How do you say {noun} in the plural?", f"The plural of {noun} is {many}."),
                ask("Give the plural.", f"{cap(many)}.", given=cap(a(noun))),
                ask(f"One {noun}, but two of what?", f"One {noun}, two {many}."),
            )
        )


def past_tenses(rng: Random) -> Iterator[Row]:
    """Ask for the past tense of a verb."""
    wording = cycle(
        (
            "What is {} in the past tense?",
            "Put the verb {} in the past.",
            "How does {} look in the past tense?",
            "Which form of {} is used for yesterday?",
        )
    )
    for verb in rng.sample(sorted(VERBS), 30):
        past = VERBS[verb][1]
        answers = (
            f"The past tense of {verb} is {past}.",
            f"{cap(past)} is the past tense of {verb}.",
            f"Today I {verb}, yesterday I {past}.",
        )
        yield ask(next(wording).format(verb), rng.choice(answers))


def kinds_of_thing(rng: Random) -> Iterator[Row]:
    """Ask which category a thing belongs to."""
    wording = cycle(
        (
            "What is {} a kind of?",
            "To which group does {} belong?",
            "Classify this thing: {}.",
            "Which group does {} fit in?",
            "Say what {} is.",
        )
    )
    shared = ("orange", "needle", "axe", "hammer", "coat", "broom")
    things = [
        (m, single) for single, members in CATEGORIES.values() for m in members if m not in shared
    ]
    for thing, single in rng.sample(sorted(set(things)), 34):
        answer = rng.choice(
            (f"{some(thing)} is a kind of {single}.", f"{some(thing)} is {a(single)}.")
        )
        yield ask(next(wording).format(some(thing)), cap(answer))


def colours(rng: Random) -> Iterator[Row]:
    """Ask for the colour of a thing."""
    wording = cycle(("What colour is {}?", "Name the colour of {}.", "Which colour does {} have?"))
    for thing in rng.sample(sorted(COLOURS), 28):
        colour = COLOURS[thing]
        answers = (
            f"{some(thing)} is {colour}.",
            f"{some(thing)} is {colour}.",
            f"the colour of {some(thing)} is {colour}.",
        )
        yield ask(next(wording).format(some(thing)), cap(rng.choice(answers)))


def moods(rng: Random) -> Iterator[Row]:
    """Ask whether a sentence is happy, sad or angry; every event is asked about once."""
    instructions = (
        "Classify the mood of the sentence.",
        "Is this happy, sad or angry?",
        "What feeling does the text show?",
        "Name the mood.",
    )
    for mood, happenings in sorted(MOODS.items()):
        for happening in happenings:
            answer = rng.choice(
                (f"{cap(mood)}.", f"The mood is {mood}.", f"This is {a(mood)} sentence.")
            )
            yield ask(rng.choice(instructions), answer, given=f"{rng.choice(NAMES)} {happening}.")


def word_lists(rng: Random) -> Iterator[Row]:
    """Ask to sort or reverse a short list, or for its first or last word."""
    for i in range(40):
        words = rng.sample(LIST_WORDS, rng.choice((3, 3, 4)))
        yield (
            ask(
                "Sort the words from A to Z.",
                f"From A to Z, the list is {', '.join(sorted(words))}.",
                given=", ".join(words),
            ),
            ask(
                "Reverse the order of the list.",
                f"In reverse order, the list is {', '.join(words[::-1])}.",
                given=", ".join(words),
            ),
            ask("Which word comes first?", f"{cap(words[0])} comes first.", given=", ".join(words)),
            ask("What is the last word?", f"The last word is {words[-1]}.", given=", ".join(words)),
        )[i % 4]


def gaps(rng: Random) -> Iterator[Row]:
    """Ask for the missing word of a sentence, in place."""
    instructions = (
        "Fill in the blank.",
        "Complete the sentence.",
        "Which word is missing?",
        "Fill the gap with one word.",
    )
    for sentence, word in GAPS:
        whole = sentence.replace("___", word)
        answer = rng.choice((whole, whole, f"The missing word is {word}."))
        yield ask(rng.choice(instructions), answer, given=sentence)


def animals(rng: Random) -> Iterator[Row]:
    """Ask for a description of an animal: open-ended."""
    wording = cycle(
        (
            "Describe {}.",
            "What is {}?",
            "How does {} live?",
            "Introduce {} in a few words.",
            "Explain to a child what {} is.",
        )
    )
    for name in rng.sample(sorted(ANIMALS), 46):
        yield ask(next(wording).format(a(name)), animal_text(rng, name))


def objects(rng: Random) -> Iterator[Row]:
    """Ask for a description of an object: open-ended."""
    wording = cycle(
        (
            "Describe {}.",
            "What does {} look like?",
            "What is {} like?",
            "Say what {} is and what it is for.",
        )
    )
    for name in rng.sample(sorted(OBJECTS), 36):
        yield ask(next(wording).format(a(name)), object_text(rng, name))


def uses(rng: Random) -> Iterator[Row]:
    """Ask what an object is for."""
    wording = cycle(("What is {} used for?", "Why would {} be useful?", "How can {} help us?"))
    for name in rng.sample(sorted(OBJECTS), 30):
        yield ask(next(wording).format(a(name)), use_text(rng, name))


def threes(rng: Random) -> Iterator[Row]:
    """Ask for three members of a category: open-ended."""
    wordings = (
        "Name three {}.",
        "List some {} for a quiz.",
        "Which {} can you name?",
        "Give three examples of {}.",
    )
    for category in sorted(CATEGORIES):
        for wording in rng.sample(wordings, 2):
            three = join(three_of(rng, category))
            answer = rng.choice((f"Three {category} are {three}.", f"{cap(three)} are {category}."))
            yield ask(wording.format(category), answer)


def how_tos(rng: Random) -> Iterator[Row]:
    """Ask for the steps of an everyday task."""
    wording = cycle(
        (
            "How do you {}?",
            "Explain how to {}.",
            "What are the steps to {} at home?",
            "I want to {}. Help me.",
        )
    )
    for task in HOW_TO:
        yield ask(next(wording).format(task), steps_text(rng, task))


def rewrites(rng: Random) -> Iterator[Row]:
    """Ask to put a sentence in the past tense."""
    instructions = (
        "Rewrite this in the past tense.",
        "Change the sentence to the past.",
        "Say that it happened yesterday.",
    )
    for verb in rng.sample(sorted(VERBS), 46):
        third, past, rest = VERBS[verb]
        who, tail = cap(rng.choice((*SUBJECTS, *NAMES))), rng.choice(rest)
        yield ask(rng.choice(instructions), f"{who} {past} {tail}.", given=f"{who} {third} {tail}.")


def readings(rng: Random) -> Iterator[Row]:
    """Ask about one of two events told in the input."""
    for _ in range(46):
        events = [event(rng, name) for name in rng.sample(NAMES, 2)]
        name, past, base, what, where = rng.choice(events)
        told = " ".join(f"{n} {p} {w} {x}." for n, p, _, w, x in events)
        questions = [
            (f"What did {name} {base}?", f"{name} {past} {what}."),
            (f"Who {past} {what}?", f"{name} {past} {what}."),
            (f"What do we learn about {name}?", f"{name} {past} {what} {where}."),
        ]
        if base == "go":
            questions[0] = (f"Where did {name} go?", questions[0][1])
        yield ask(*rng.choice(questions), given=told)


def sizes(rng: Random) -> Iterator[Row]:
    """Ask which of two animals is bigger, or smaller."""
    wording = cycle(
        (
            "Does {} outgrow {}?",
            "Compare {} with {} in size.",
            "Is {} smaller than {}?",
            "{} or {}: which one is larger?",
        )
    )
    for _ in range(32):
        one, two = differ_in_size(rng)
        yield ask(next(wording).format(a(one), a(two)), bigger_text(rng, one, two))


def thanks(rng: Random) -> Iterator[Row]:
    """Ask for a thank-you note: open-ended."""
    wording = cycle(
        (
            "Write a note to thank {} for the {}.",
            "{} gave me the {}. Write a thank-you note.",
            "Thank {} for a present, the {}.",
            "Let {} know that the {} made you happy.",
        )
    )
    for gift in GIFTS:
        name = rng.choice(NAMES)
        yield ask(next(wording).format(name, gift), thanks_text(rng, name, gift))


def scenes(rng: Random) -> Iterator[Row]:
    """Ask for a sentence with two given words: open-ended."""
    wording = cycle(
        (
            "Write a sentence with the words {} and {}.",
            "Use {} and {} in one sentence.",
            "Which sentence could join {} and {}?",
            "Put {} together with {} in a sentence.",
        )
    )
    for animal in rng.sample(sorted(ANIMALS), 36):
        scene = rng.choice(SCENES)
        yield ask(next(wording).format(animal, scene), scene_text(rng, animal, scene))


def stories(rng: Random) -> Iterator[Row]:
    """Ask for a very short story about a person and an animal: open-ended."""
    wording = cycle(
        (
            "Tell a story about {} and {}.",
            "Write a short story in which {} meets {}.",
            "What happened to {} and {}?",
            "{} helped {}. Tell the story.",
        )
    )
    for animal in rng.sample(
        [n for n, facts in sorted(ANIMALS.items()) if facts[1] in ("tiny", "small")], 24
    ):
        name = rng.choice(NAMES)
        yield ask(next(wording).format(name, a(animal)), story_text(rng, name, animal))


KINDS: dict[str, Maker] = {
    "opposite": opposites,
    "plural": plurals,
    "past tense": past_tenses,
    "category": kinds_of_thing,
    "colour": colours,
    "mood of a sentence": moods,
    "short word list": word_lists,
    "fill the gap": gaps,
    "describe an animal": animals,
    "describe an object": objects,
    "use of an object": uses,
    "name three": threes,
    "how to": how_tos,
    "rewrite in the past": rewrites,
    "read and answer": readings,
    "compare sizes": sizes,
    "thank-you note": thanks,
    "sentence with two words": scenes,
    "short story": stories,
}
