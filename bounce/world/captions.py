"""Bounce, the words: one caption for the picture, one for the sound, both silent about when anything happens.

A picture's caption never names a sound, and a sound's never a colour. Captions are lower-case words and single spaces.
This file stands alone: prompts can be read and written without the simulator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

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
JUST_BOUNCING, A_BALL_BOUNCING = "bouncing", "a ball bouncing"  # no attribute named; the first names no number either
JOINTS = ("and", "and", "and", "with", "beside")
GRAMMAR = ("a", "an", "the", "of", "two", "and")

_COLOURS, _SIZES, _MATERIALS = tuple(COLOUR_WORDS), tuple(SIZE_WORDS), tuple(MATERIAL_WORDS)
DROP = 0.12  # chance that an attribute of a ball goes unsaid
_DRAWS = 32  # random numbers a caption may use; a fixed number, so that more clips begin with the same captions


def _vocabulary() -> tuple[str, ...]:
    words = {*GRAMMAR, *JOINTS, *BALL, *PLURAL.values()}
    for table in (COLOUR_WORDS, SIZE_WORDS, MATERIAL_WORDS):
        words.update(word for synonyms in table.values() for word in synonyms)
    for forms in (MOTIONS, ANY_SOUND, *SOUNDS.values()):
        words.update(word for form in forms for word in form)
    return tuple(sorted(words))


VOCABULARY: tuple[str, ...] = _vocabulary()


class _Draws:
    """Uniform numbers drawn once, handed out one by one."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._next: Iterator[float] = iter(numbers)

    def one_of(self, choices: Sequence):
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
    """What is seen, of one or two balls given by their indices into colours, sizes and materials, in random order.

    `drop`: the chance of each attribute to go unsaid; 0 names them all.
    """
    balls = list(zip(colours, sizes, materials))
    return _picture(_Draws(rng.random(_DRAWS).tolist()), balls, drop)


def sound_caption(rng: np.random.Generator, sizes: Sequence[int], materials: Sequence[int], drop: float = DROP) -> str:
    """What is heard, of one or two balls, in random order. `drop` as for `picture_caption`."""
    return _sound(_Draws(rng.random(_DRAWS).tolist()), list(zip(sizes, materials)), drop)


def captions(worlds, seed: int, drop: float = DROP) -> tuple[list[str], list[str]]:
    """Picture and sound captions of every clip; the first captions do not depend on how many clips follow.

    `worlds` has `exists`, `colour`, `size`, `material`, each [N, 2].
    """
    numbers = np.random.Generator(np.random.Philox(seed)).random((len(worlds.exists), 2, _DRAWS)).tolist()
    attributes = np.stack([worlds.colour, worlds.size, worlds.material], -1).tolist()
    pictures, sounds = [], []
    for (of_picture, of_sound), both, exists in zip(numbers, attributes, worlds.exists.tolist()):
        balls = [ball for ball, there in zip(both, exists) if there]
        pictures.append(_picture(_Draws(of_picture), balls, drop))
        sounds.append(_sound(_Draws(of_sound), [ball[1:] for ball in balls], drop))
    return pictures, sounds


def plain_captions(worlds) -> tuple[list[str], list[str]]:
    """The same without synonyms, chance or omissions: "a small red metal ball bouncing", "a small metal ball clanging"."""
    pictures, sounds = [], []
    for row in range(len(worlds.exists)):
        balls = [
            (_COLOURS[worlds.colour[row, b]], _SIZES[worlds.size[row, b]], _MATERIALS[worlds.material[row, b]])
            for b in np.flatnonzero(worlds.exists[row])
        ]
        pictures.append(" and ".join(_with_article([s, c, MATERIAL_WORDS[m][0], "ball bouncing"]) for c, s, m in balls))
        sounds.append(" and ".join(_with_article([s, MATERIAL_WORDS[m][0], "ball", SOUNDS[m][0][0]]) for _, s, m in balls))
    return pictures, sounds


def _picture(draws: _Draws, balls: list, drop: float) -> str:
    order = _shuffled(draws, balls)
    things = [_thing(draws, *ball, drop) for ball in order]
    ing, verb = draws.one_of(MOTIONS)
    if len(things) == 1:
        return f"{things[0]} {ing if draws.chance(0.5) else verb}"
    other_ing, other_verb = draws.one_of(MOTIONS)
    return draws.one_of(
        (
            f"{things[0]} {ing} and {things[1]} {other_ing}",
            f"{things[0]} {verb} and {things[1]} {other_verb}",
            f"{things[0]} {draws.one_of(JOINTS)} {things[1]} {ing}",
        )
    )


def _sound(draws: _Draws, balls: list, drop: float) -> str:
    if len(balls) == 2 and balls[0] == balls[1] and draws.chance(0.5):
        return _alike(draws, *balls[0], drop)
    parts = [_one_sound(draws, *ball, drop) for ball in _shuffled(draws, balls)]
    return " and ".join(parts)


def _one_sound(draws: _Draws, size: int, material: int, drop: float) -> str:
    thing = _thing(draws, None, size, material, drop)
    ing, verb, noun = _sound_words(draws, material)
    return draws.one_of((f"{thing} {ing}", f"{thing} {verb}", f"the {noun} of {thing}", f"the {ing} of {thing}"))


def _alike(draws: _Draws, size: int, material: int, drop: float) -> str:
    *said, ball = _attributes(draws, None, size, material, drop)
    things = " ".join(["two", *said, PLURAL[ball]])
    ing, _, noun = _sound_words(draws, material)
    return draws.one_of((f"{things} {ing}", f"the {noun} of {things}", f"the {ing} of {things}"))


def _sound_words(draws: _Draws, material: int) -> tuple[str, str, str]:
    """A quarter of the sounds are named by no material's word, so that adjectives must be read too."""
    forms = ANY_SOUND if draws.chance(0.25) else SOUNDS[_MATERIALS[material]]
    return draws.one_of(forms)


def _thing(draws: _Draws, colour: int | None, size: int, material: int, drop: float) -> str:
    return _with_article(_attributes(draws, colour, size, material, drop))


def _attributes(draws: _Draws, colour: int | None, size: int, material: int, drop: float) -> list[str]:
    words = [draws.one_of(SIZE_WORDS[_SIZES[size]])] if not draws.chance(drop) else []
    if colour is not None and not draws.chance(drop):
        words.append(draws.one_of(COLOUR_WORDS[_COLOURS[colour]]))
    if not draws.chance(drop):
        words.append(draws.one_of(MATERIAL_WORDS[_MATERIALS[material]]))
    return [*words, draws.one_of(BALL)]


def _with_article(words: list[str]) -> str:
    return " ".join(["an" if words[0][0] in "aeio" else "a", *words])


def _shuffled(draws: _Draws, balls: list) -> list:
    return balls[::-1] if draws.chance(0.5) else balls
