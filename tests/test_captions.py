import time

import numpy as np

from duet_av.bounce.world import captions as words
from duet_av.bounce.world.world import COLOURS, MATERIALS, SIZES, simulate

WORLDS = simulate(400, "train", seed=0)
COLOUR_WORDS = {word for synonyms in words.COLOUR_WORDS.values() for word in synonyms}
MOTION_WORDS = {word for forms in words.MOTIONS for word in forms} - {word for form in words.ANY_SOUND for word in form}
SOUND_WORDS = {word for forms in words.SOUNDS.values() for form in forms for word in form}


def test_attribute_words_match_the_simulator():
    assert (tuple(words.COLOUR_WORDS), tuple(words.SIZE_WORDS), tuple(words.MATERIAL_WORDS)) == (COLOURS, SIZES, MATERIALS)
    assert set(words.SOUNDS) == set(MATERIALS)


def test_captions_use_exactly_the_vocabulary():
    pictures, sounds = words.captions(simulate(3000, "train", seed=0), seed=0)
    used = {word for caption in pictures + sounds for word in caption.split(" ")}
    assert used == set(words.VOCABULARY)
    assert list(words.VOCABULARY) == sorted(set(words.VOCABULARY)) and 60 <= len(words.VOCABULARY) <= 90
    assert all(word.isalpha() and word.islower() for word in words.VOCABULARY)


def test_no_word_names_two_attributes():
    tables = [*words.COLOUR_WORDS.values(), *words.SIZE_WORDS.values(), *words.MATERIAL_WORDS.values()]
    every = [word for synonyms in tables for word in synonyms]
    assert len(every) == len(set(every))


def test_sounds_name_no_colour_and_pictures_no_sound():
    pictures, sounds = words.captions(WORLDS, seed=1)
    assert not any(set(caption.split()) & (COLOUR_WORDS | MOTION_WORDS) for caption in sounds)
    assert not any(set(caption.split()) & SOUND_WORDS for caption in pictures)


def test_named_attributes_are_true():
    for captions, tables in zip(words.captions(WORLDS, seed=2), ((0, 1, 2), (1, 2))):
        for row, caption in enumerate(captions):
            for which in tables:
                assert _named(caption, which) <= _true(row, which), caption


def test_without_drop_all_attributes_are_named():
    pictures, sounds = words.captions(WORLDS, seed=3, drop=0)
    for row, (picture, sound) in enumerate(zip(pictures, sounds)):
        assert all(_named(picture, which) == _true(row, which) for which in (0, 1, 2)), picture
        assert all(_named(sound, which) == _true(row, which) for which in (1, 2)), sound


def test_some_attributes_are_omitted():
    pictures, _ = words.captions(WORLDS[WORLDS.count == 1], seed=4)
    silent = np.mean([not _named(picture, 0) for picture in pictures])
    assert 0.05 < silent < 0.2


def test_more_clips_begin_with_the_same_captions():
    for few, many in zip(words.captions(WORLDS[:50], seed=5), words.captions(WORLDS, seed=5)):
        assert few == many[:50]
    assert words.captions(WORLDS, seed=5) != words.captions(WORLDS, seed=6)


def test_one_caption_depends_on_its_generator_only():
    first, second = (words.picture_caption(np.random.default_rng(7), [0, 4], [0, 1], [0, 1]) for _ in range(2))
    assert first == second
    assert words.sound_caption(np.random.default_rng(7), [0], [0]).split()


def test_plain_captions():
    world = simulate(1, "train", seed=0, balls=1)
    colour, size = COLOURS[world.colour[0, 0]], SIZES[world.size[0, 0]]
    material = words.MATERIAL_WORDS[MATERIALS[world.material[0, 0]]][0]
    (picture,), (sound,) = words.plain_captions(world)
    assert picture == f"a {size} {colour} {material} ball bouncing"
    assert sound.startswith(f"a {size} {material} ball ")


def test_an_before_vowels():
    pictures, sounds = words.captions(WORLDS, seed=8)
    for caption in pictures + sounds:
        for article, word in zip(caption.split(), caption.split()[1:]):
            if article in ("a", "an"):
                assert (article == "an") == (word[0] in "aeio"), caption


def test_fast():
    start = time.process_time()
    words.captions(WORLDS, seed=9)
    assert (time.process_time() - start) / len(WORLDS) < 1e-3


def _named(caption, which):
    table = (words.COLOUR_WORDS, words.SIZE_WORDS, words.MATERIAL_WORDS)[which]
    return {name for name, synonyms in table.items() if set(synonyms) & set(caption.split())}


def _true(row, which):
    values, names = ((WORLDS.colour, COLOURS), (WORLDS.size, SIZES), (WORLDS.material, MATERIALS))[which]
    return {names[value] for value in values[row][WORLDS.exists[row]]}
