"""Fidelity is high for simulated clips and lower for damaged ones; the Fréchet distance matches its closed form."""

from __future__ import annotations

import numpy as np
import pytest

from duet_av.av_models.metrics.frechet import frechet_distance
from duet_av.bounce.measure.fidelity import fidelity
from duet_av.bounce.world.render import render
from duet_av.bounce.world.world import FRAMES, simulate


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    return render(simulate(6, "val", seed=8), 64)[:, :FRAMES] / np.float32(255)


def test_simulated_clips_have_high_fidelity(clips):
    assert all(fidelity(clip) > 20 for clip in clips)


def test_blurred_faded_and_doubled_balls_have_lower_fidelity(clips):
    for clip in clips:
        blurred = sum(np.roll(clip, (dy, dx), (1, 2)) for dy in (-2, 0, 2) for dx in (-2, 0, 2)) / 9
        faded = 0.6 * clip + 0.4 * clip.mean((1, 2), keepdims=True)
        ghost = np.where(np.roll(clip, 12, 2) != clip, 0.5 * (clip + np.roll(clip, 12, 2)), clip)
        assert max(map(fidelity, (blurred, faded, ghost))) < fidelity(clip) - 2


def test_without_a_ball_fidelity_is_zero():
    assert fidelity(np.full((4, 64, 64, 3), 0.3, np.float32)) == 0.0


def test_frechet_distance_of_normal_distributions():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, (40_000, 3)) * [1, 2, 3]
    b = rng.normal(0, 1, (40_000, 3)) * [2, 2, 1] + [1, 0, 0]
    assert frechet_distance(a, b) == pytest.approx(1 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2, rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_needs_more_rows_than_columns():
    with pytest.raises(ValueError, match=r"features have shape \[3, 5\]; give more rows \(samples\) than columns"):
        frechet_distance(np.zeros((3, 5)), np.zeros((9, 5)))
