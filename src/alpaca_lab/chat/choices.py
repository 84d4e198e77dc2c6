"""How answers are decoded in a chat: what a user sets, and the one `DecodeSetting` that it means.

A temperature means sampling, and so does top_k; temperature 0 means greedy. What contradicts
itself is refused by `DecodeSetting`, as in a study.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from ..config import DecodeSetting, SettingError, StudySpec, require, require_types
from ..typed import hints


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a user chose; the defaults are greedy."""

    temperature: float | None = None
    """None: 1 where top_k is set, else greedy. 0: greedy."""
    top_k: int = 0
    """Draw from so many tokens; 0 keeps all."""
    num_beams: int = 1
    """Beam width; 1 means no beam search."""
    max_new_tokens: int = 512
    """Response budget in tokens."""
    seed: int = 0
    """Seeds the noise of sampled answers."""

    def __post_init__(self) -> None:
        require_types(self)
        self.setting()  # refuses what contradicts itself

    def setting(self) -> DecodeSetting:
        """Return what is handed to the engine.

        Raises:
            SettingError: If the choices contradict each other.

        Example:
            >>> Choices(temperature=0.5).setting().do_sample
            True
        """
        sampled = self.top_k > 0 if self.temperature is None else self.temperature != 0
        try:
            return DecodeSetting(
                do_sample=sampled,
                temperature=(self.temperature or 1.0) if sampled else 1.0,
                top_k=self.top_k,
                num_beams=self.num_beams,
                max_new_tokens=self.max_new_tokens,
            )
        except SettingError as error:
            means = " (do_sample=False is temperature=0 here)" * ("do_sample" in str(error))
            raise SettingError(f"{error}{means}") from None

    def changed(self, assignments: str) -> "Choices":
        """Return these choices with some changed, all of them at once.

        Args:
            assignments: Such as "temperature=0.5 top_k=4".

        Raises:
            SettingError: If a name is unknown, a value is none, or the choices contradict.

        Example:
            >>> Choices().changed("num_beams=4").describe()
            '4 beams, at most 512 tokens'
        """
        pairs = [assignment.partition("=") for assignment in assignments.split()]
        names = ", ".join(NAMES)
        require(bool(pairs), f"set what? Write NAME=VALUE, the names being {names}")
        for name, equals, _ in pairs:
            require(bool(equals), f"{name}: write NAME=VALUE without spaces, of {names}")
        return self.with_texts({name: text for name, _, text in pairs})

    def with_texts(self, values: Mapping[str, str]) -> "Choices":
        """Return these choices with some changed to what a user typed for them.

        Raises:
            SettingError: If a name is unknown, a value is none, or the choices contradict.
        """
        for name in values:
            require(name in NAMES, f"there is no {name}: choose from {', '.join(NAMES)}")
        return replace(self, **{name: _number(text, name) for name, text in values.items()})

    def describe(self) -> str:
        """Return the choices in words, each that decides an answer.

        Example:
            >>> Choices(top_k=4, seed=1).describe()
            'sampled at temperature 1, top_k 4, at most 512 tokens, seed 1'
        """
        setting, budget = self.setting(), f"at most {self.max_new_tokens} tokens"
        if setting.num_beams > 1:
            return f"{setting.num_beams} beams, {budget}"
        if not setting.do_sample:
            return f"greedy, {budget}"
        top_k = f", top_k {setting.top_k}" if setting.top_k else ""
        return f"sampled at temperature {setting.temperature:g}{top_k}, {budget}, seed {self.seed}"


NAMES = tuple(field.name for field in fields(Choices))


def defaults(study: StudySpec | None, changes: str = "") -> Choices:
    """Return greedy, with the budget and the seed of a study where there is one.

    Args:
        study: The study of the adapter.
        changes: As for `Choices.changed`; "" changes nothing.
    """
    first = Choices()
    if study is not None:
        first = Choices(max_new_tokens=study.max_new_tokens, seed=study.seed)
    return first.changed(changes) if changes.strip() else first


def _number(text: str, name: str) -> float | int:
    """Return the number that a user typed for a choice."""
    whole = hints(Choices)[name] is int
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number, 0 for greedy"
        raise SettingError(f"{name} must be {kind}, not {text[:40]!r}") from None
