"""How the world of `lexicon` is put into words: one fact or little scene, one to four sentences.

Each builder draws one of several right wordings. The pretraining prose and the reference answers of
the rows share them, so that a model can answer in words it has read.
"""

from random import Random

from lexicon import (
    ANIMALS,
    CATEGORIES,
    DAYS,
    GIRLS,
    HOW_TO,
    MASS,
    MASS_THINGS,
    NAMES,
    OBJECTS,
    PLACES,
    PLURALS,
    SCENES,
    SHOPPING,
    SIZES,
)


def a(noun: str) -> str:
    """Return `noun` with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' and noun != 'uniform' else 'a'} {noun}"


def cap(text: str) -> str:
    """Return `text` with its first letter in upper case and the rest untouched."""
    return text[:1].upper() + text[1:]


def some(noun: str) -> str:
    """Return `noun` as it is named in general: "an apple", but "milk"."""
    return noun if noun in MASS or noun in MASS_THINGS else a(noun)


def join(items: list[str]) -> str:
    """Return "x, y and z"."""
    return f"{', '.join(items[:-1])} and {items[-1]}"


def plural(noun: str) -> str:
    """Return the plural of a lexicon noun; mass nouns stay as they are."""
    if noun in MASS:
        return noun
    if noun in PLURALS:
        return PLURALS[noun]
    if noun.endswith(("ch", "sh", "x", "s")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def animal_text(rng: Random, name: str) -> str:
    """Describe an animal in one or two true sentences, in one of four wordings."""
    kind, size, colour, home, food, act = ANIMALS[name]
    return rng.choice(
        (
            f"{cap(a(name))} is {a(size)} {colour} {kind} that lives {home}. "
            f"It eats {food} and {act}.",
            f"The {name} is {a(size)} {kind}. It is {colour}, lives {home} and eats {food}.",
            f"{cap(a(name))} is {a(kind)} that {act}. It lives {home} and likes to eat {food}.",
            f"The {name} lives {home}. It is {a(size)} {colour} {kind} that {act} and eats {food}.",
        )
    )


def object_text(rng: Random, name: str) -> str:
    """Describe an object in one or two true sentences, in one of four wordings."""
    kind, material, use, place = OBJECTS[name]
    return rng.choice(
        (
            f"{cap(a(name))} is {a(kind)} made of {material}. It is used for {use}.",
            f"{cap(a(name))} is {a(kind)} for {use}. "
            f"It is made of {material} and is often found {place}.",
            f"You find {a(name)} {place}. "
            f"It is {a(kind)} made of {material} and is good for {use}.",
            f"{cap(a(name))} is made of {material} and is used for {use}.",
        )
    )


def use_text(rng: Random, name: str) -> str:
    """Say what an object is for, in one of three wordings."""
    use = OBJECTS[name][2]
    return rng.choice(
        (
            f"{cap(a(name))} is used for {use}.",
            f"People use {a(name)} for {use}.",
            f"{cap(a(name))} is good for {use}.",
        )
    )


def steps_text(rng: Random, task: str) -> str:
    """Tell the steps of a task in order, in one of four wordings."""
    s = HOW_TO[task]
    return rng.choice(
        (
            f"First, {s[0]}. Next, {s[1]}. Then {s[2]} and {s[3]}.",
            f"{cap(s[0])} and {s[1]}. After that, {s[2]}. Finally, {s[3]}.",
            f"To {task}, {s[0]} and {s[1]}. Then {s[2]}. Last, {s[3]}.",
            f"{cap(s[0])}. Then {s[1]}, {s[2]} and {s[3]}.",
        )
    )


def thanks_text(rng: Random, name: str, gift: str) -> str:
    """Write a short thank-you note, with the wording of each part drawn afresh."""
    opening = rng.choice(("Dear", "Hello", "Dear"))
    came = rng.choice((f"It came on {rng.choice(DAYS)}.", f"I showed it to {rng.choice(NAMES)}."))
    thanks = rng.choice((f"thank you for the {gift}.", f"thank you so much for the lovely {gift}."))
    praise = rng.choice(
        (
            "I like it very much.",
            "It is just what I wanted.",
            "It made me very happy.",
            "It is a perfect present.",
        )
    )
    close = rng.choice(
        ("See you soon!", "I hope to see you soon.", "You are a good friend.", "With love.")
    )
    return f"{opening} {name}, {thanks} {came} {praise} {close}"


def story_text(rng: Random, name: str, animal: str) -> str:
    """Tell a very short story of a person who helps an animal, each part drawn afresh."""
    _, size, colour, home, food, _ = ANIMALS[animal]
    start = rng.choice(
        (
            f"One morning {name} found {a(size)} {animal} {home}.",
            f"One day {name} met {a(colour)} {animal} by the {rng.choice(SCENES)}.",
            f"Once {a(size)} {animal} came to the house of {name}.",
        )
    )
    trouble = rng.choice(
        ("It was lost and hungry.", "It was cold and tired.", "It had hurt itself in the storm.")
    )
    aid = rng.choice(
        (
            f"{name} gave it {food}.",
            f"{name} took it home and fed it {food}.",
            f"{name} sat with it until it slept.",
        )
    )
    end = rng.choice(
        (
            f"From that day on, the {animal} was a friend.",
            f"The {animal} never forgot {name}.",
            f"In the end, the {animal} went back home.",
        )
    )
    return f"{start} {trouble} {aid} {end}"


def scene_text(rng: Random, animal: str, scene: str) -> str:
    """Put an animal in a scene, in one of six sentences."""
    return rng.choice(
        (
            f"The {animal} slept near the {scene}.",
            f"We saw {a(animal)} by the {scene}.",
            f"The {animal} was hiding behind the {scene}.",
            f"A little {animal} sat in front of the {scene}.",
            f"{cap(a(animal))} came to the {scene} in the evening.",
            f"The {animal} waited by the old {scene} all day.",
        )
    )


def opposite_text(rng: Random, word: str, other: str) -> str:
    """State that two words are opposites, the first being the one asked about."""
    return rng.choice(
        (
            f"The opposite of {word} is {other}.",
            f"The opposite of {word} is {other}.",
            f"{cap(other)} is the opposite of {word}.",
            f"{cap(word)} is the opposite of {other}.",
        )
    )


def bigger_text(rng: Random, one: str, two: str) -> str:
    """Compare two animals of different size, in one of two wordings."""
    low, high = sorted((one, two), key=lambda name: SIZES.index(ANIMALS[name][1]))
    return rng.choice(
        (f"{cap(a(high))} is bigger than {a(low)}.", f"{cap(a(low))} is smaller than {a(high)}.")
    )


def three_of(rng: Random, category: str) -> list[str]:
    """Draw three members of a category, in plural, in a random order."""
    return [plural(word) for word in rng.sample(CATEGORIES[category][1], 3)]


def differ_in_size(rng: Random) -> tuple[str, str]:
    """Draw two animals, one clearly bigger."""
    while True:
        one, two = rng.sample(sorted(ANIMALS), 2)
        if abs(SIZES.index(ANIMALS[one][1]) - SIZES.index(ANIMALS[two][1])) >= 2:
            return one, two


Event = tuple[str, str, str, str, str]
"""(name, past, base, what, where or when): "Anna", "bought", "buy", "a red hat", "at the zoo"."""


def event(rng: Random, name: str) -> Event:
    """Draw something that `name` did, in parts that a question can ask for."""
    place = f"the {rng.choice(PLACES)}"
    day = f"on {rng.choice(DAYS)}"
    return rng.choice(
        (
            (name, "went", "go", f"to {place}", day),
            (name, "bought", "buy", a(rng.choice(SHOPPING)), f"at {place}"),
            (name, "saw", "see", a(rng.choice(sorted(ANIMALS))), f"at {place}"),
            (name, "found", "find", a(rng.choice(SHOPPING)), f"near {place}"),
            (name, "drew", "draw", a(rng.choice(sorted(ANIMALS))), day),
        )
    )


def pronoun(name: str) -> str:
    """Return "she" or "he"."""
    return "she" if name in GIRLS else "he"
