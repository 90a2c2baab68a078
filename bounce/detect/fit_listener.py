"""Fits the classifier of `listener.py` on simulated training clips: `python -m duet_av.bounce.detect.fit_listener`."""

from __future__ import annotations

import json

import numpy as np

from ..checkout import require_checkout
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import MATERIALS, SECONDS, SIZES, Worlds, simulate
from . import listener

CLIPS, SEED = 3000, 90_000
NOISE_DB = (-70, -30)  # level of added white noise relative to the peak; makes the fit ignore inaudible detail
TIME_ERROR = 0.004  # largest error in seconds that is added to the onset times
MIN_WEIGHT = 0.5  # strikes with a smaller weight are left out
DIGITS = 3


def main() -> None:
    require_checkout("fit_listener")
    features, kinds = collect_strikes(simulate(CLIPS, "train", SEED), np.random.default_rng(0))
    fitted = listener.fit_discriminant(features, kinds)
    numbers = {"weight": fitted.weight.round(DIGITS).tolist(), "bias": fitted.bias.round(DIGITS).tolist()}
    listener.PARAMETERS.write_text(json.dumps(numbers) + "\n")


def collect_strikes(worlds: Worlds, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features [K, D] and kinds [K] of all distinct contacts of `worlds`, with noise and time errors added."""
    order = {kind: index for index, kind in enumerate(listener.KINDS)}
    features, kinds = [], []
    for row, wave in enumerate(render_sound(worlds)):
        struck = worlds.contact_time[row] < SECONDS
        times = worlds.contact_time[row][struck] + rng.uniform(-TIME_ERROR, TIME_ERROR, struck.sum())
        added, weight = listener.strike_features(_add_noise(wave, rng), SAMPLE_RATE, times)
        clear = weight >= MIN_WEIGHT
        features.append(added[clear])
        for ball in worlds.contact_ball[row][struck][clear]:
            kinds.append(order[MATERIALS[worlds.material[row, ball]], SIZES[worlds.size[row, ball]]])
    return np.concatenate(features), np.array(kinds)


def _add_noise(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    level = 10 ** (rng.uniform(*NOISE_DB) / 20) * np.abs(wave).max()
    return wave + level * rng.standard_normal(len(wave)).astype(np.float32)


if __name__ == "__main__":
    main()
