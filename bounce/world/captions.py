"""Captions for Bounce clips: one for the video and one for the audio. They do not contain the times of contacts.

A video caption names no sound, and an audio caption names no colour. Captions consist of lower-case words and single
spaces. This module does not import the simulator, so that prompts can be encoded without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from .world import Worlds

T = TypeVar("T")
Ball = tuple[int, int, int]
"""Indices of the colour, size and material of a ball."""

COLOUR_WORDS = {
    "red": ("red", "crimson", "scarlet"), "yellow": ("yellow", "golden", "lemon"), "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise", "aqua"), "blue": ("blue", "sapphire"), "purple": ("purple", "violet", "magenta"),
}  # fmt: skip
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
MATERIAL_WORDS = {
    "metal": ("metal", "steel", "iron"), "wood": ("wooden", "wood", "oak"),
    "glass": ("glass", "crystal"), "rubber": ("rubber", "rubbery"),
}  # fmt: skip
BALL = ("ball", "ball", "sphere")
PLURAL = {"ball": "balls", "sphere": "spheres"}
MOTIONS = (("bouncing", "bounces"), ("bouncing", "bounces"), ("hopping", "hops"), ("jumping", "jumps"))
SOUNDS = {
    "metal": (("clanging", "clangs", "clang"), ("ringing", "rings", "ring")),
    "wood": (("knocking", "knocks", "knock"), ("clacking", "clacks", "clack")),
    "glass": (("clinking", "clinks", "clink"), ("tinkling", "tinkles", "tinkle")),
    "rubber": (("thudding", "thuds", "thud"), ("thumping", "thumps", "thump")),
}
ANY_SOUND = (("bouncing", "bounces", "sound"), ("landing", "lands", "noise"))
JUST_BOUNCING, A_BALL_BOUNCING = "bouncing", "a ball bouncing"  # neutral prompts: no attributes; the first also no number
JOINTS = ("and", "and", "and", "with", "beside")
GRAMMAR = ("a", "an", "the", "of", "two", "and")

_COLOURS, _SIZES, _MATERIALS = tuple(COLOUR_WORDS), tuple(SIZE_WORDS), tuple(MATERIAL_WORDS)
DROP = 0.12  # probability that an attribute of a ball is omitted
_DRAWS = 32  # random numbers per caption; fixed, so that the first captions are the same for any number of clips


def _vocabulary() -> tuple[str, ...]:
    words = {*GRAMMAR, *JOINTS, *BALL, *PLURAL.values()}
    for table in (COLOUR_WORDS, SIZE_WORDS, MATERIAL_WORDS):
        words.update(word for synonyms in table.values() for word in synonyms)
    for forms in (MOTIONS, ANY_SOUND, *SOUNDS.values()):
        words.update(word for form in forms for word in form)
    return tuple(sorted(words))


VOCABULARY: tuple[str, ...] = _vocabulary()


class _Draws:
    """Makes random choices from a fixed list of uniform random numbers."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._next: Iterator[float] = iter(numbers)

    def choose(self, choices: Sequence[T]) -> T:
        return choices[int(next(self._next) * len(choices))]

    def chance(self, p: float) -> bool:
        return next(self._next) < p


def picture_caption(
    rng: np.random.Generator,
    colours: Sequence[int],
    sizes: Sequence[int],
    materials: Sequence[int],
    drop: float = DROP,
) -> str:
    """Writes a random video caption for one or two balls, in random order.

    colours, sizes, materials: one index per ball. drop: probability that an attribute is omitted; 0 names all attributes.
    """
    balls = list(zip(colours, sizes, materials))
    return _picture(_Draws(rng.random(_DRAWS).tolist()), balls, drop)


def sound_caption(rng: np.random.Generator, sizes: Sequence[int], materials: Sequence[int], drop: float = DROP) -> str:
    """Writes a random audio caption for one or two balls, in random order. The arguments are those of `picture_caption`."""
    return _sound(_Draws(rng.random(_DRAWS).tolist()), list(zip(sizes, materials)), drop)


def captions(worlds: Worlds, seed: int, drop: float = DROP) -> tuple[list[str], list[str]]:
    """Writes the video captions and the audio captions of all clips.

    seed: random seed. The first captions are the same for any number of clips.
    drop: probability that an attribute is omitted; 0 names all attributes.
    """
    numbers = np.random.Generator(np.random.Philox(seed)).random((len(worlds.exists), 2, _DRAWS)).tolist()
    attributes = np.stack([worlds.colour, worlds.size, worlds.material], -1).tolist()
    pictures, sounds = [], []
    for (of_picture, of_sound), both, exists in zip(numbers, attributes, worlds.exists.tolist()):
        balls = [ball for ball, there in zip(both, exists) if there]
        pictures.append(_picture(_Draws(of_picture), balls, drop))
        sounds.append(_sound(_Draws(of_sound), [ball[1:] for ball in balls], drop))
    return pictures, sounds


def plain_captions(worlds: Worlds) -> tuple[list[str], list[str]]:
    """Writes captions without synonyms or random choices: "a small red metal ball bouncing", "a small metal ball clanging"."""
    pictures, sounds = [], []
    for row in range(len(worlds.exists)):
        balls = [
            (_COLOURS[worlds.colour[row, b]], _SIZES[worlds.size[row, b]], _MATERIALS[worlds.material[row, b]])
            for b in np.flatnonzero(worlds.exists[row])
        ]
        pictures.append(" and ".join(_with_article([s, c, MATERIAL_WORDS[m][0], "ball bouncing"]) for c, s, m in balls))
        sounds.append(" and ".join(_with_article([s, MATERIAL_WORDS[m][0], "ball", SOUNDS[m][0][0]]) for _, s, m in balls))
    return pictures, sounds


def _picture(draws: _Draws, balls: list[Ball], drop: float) -> str:
    order = _shuffled(draws, balls)
    things = [_noun_phrase(draws, *ball, drop) for ball in order]
    ing, verb = draws.choose(MOTIONS)
    if len(things) == 1:
        return f"{things[0]} {ing if draws.chance(0.5) else verb}"
    other_ing, other_verb = draws.choose(MOTIONS)
    return draws.choose(
        (
            f"{things[0]} {ing} and {things[1]} {other_ing}",
            f"{things[0]} {verb} and {things[1]} {other_verb}",
            f"{things[0]} {draws.choose(JOINTS)} {things[1]} {ing}",
        )
    )


def _sound(draws: _Draws, balls: list[tuple[int, int]], drop: float) -> str:
    """`balls`: (size, material) indices."""
    if len(balls) == 2 and balls[0] == balls[1] and draws.chance(0.5):
        return _plural_sound(draws, *balls[0], drop)
    parts = [_single_sound(draws, *ball, drop) for ball in _shuffled(draws, balls)]
    return " and ".join(parts)


def _single_sound(draws: _Draws, size: int, material: int, drop: float) -> str:
    thing = _noun_phrase(draws, None, size, material, drop)
    ing, verb, noun = _sound_words(draws, material)
    return draws.choose((f"{thing} {ing}", f"{thing} {verb}", f"the {noun} of {thing}", f"the {ing} of {thing}"))


def _plural_sound(draws: _Draws, size: int, material: int, drop: float) -> str:
    *said, ball = _attributes(draws, None, size, material, drop)
    things = " ".join(["two", *said, PLURAL[ball]])
    ing, _, noun = _sound_words(draws, material)
    return draws.choose((f"{things} {ing}", f"the {noun} of {things}", f"the {ing} of {things}"))


def _sound_words(draws: _Draws, material: int) -> tuple[str, str, str]:
    """Chooses words for the sound. One in four does not depend on the material, so that a model must also use the adjectives."""
    forms = ANY_SOUND if draws.chance(0.25) else SOUNDS[_MATERIALS[material]]
    return draws.choose(forms)


def _noun_phrase(draws: _Draws, colour: int | None, size: int, material: int, drop: float) -> str:
    return _with_article(_attributes(draws, colour, size, material, drop))


def _attributes(draws: _Draws, colour: int | None, size: int, material: int, drop: float) -> list[str]:
    words = [draws.choose(SIZE_WORDS[_SIZES[size]])] if not draws.chance(drop) else []
    if colour is not None and not draws.chance(drop):
        words.append(draws.choose(COLOUR_WORDS[_COLOURS[colour]]))
    if not draws.chance(drop):
        words.append(draws.choose(MATERIAL_WORDS[_MATERIALS[material]]))
    return [*words, draws.choose(BALL)]


def _with_article(words: list[str]) -> str:
    return " ".join(["an" if words[0][0] in "aeio" else "a", *words])


def _shuffled(draws: _Draws, balls: list[T]) -> list[T]:
    return balls[::-1] if draws.chance(0.5) else balls
