"""Simulated clips satisfy all six laws, and violations of each law are detected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duet_av.bounce.detect.physics import Physics, measure_physics
from duet_av.bounce.world.render import render
from duet_av.bounce.world.world import FPS, FRAMES, PX, Worlds, simulate


def seen(worlds: Worlds) -> list[Physics]:
    return [measure_physics(clip[:FRAMES] / np.float32(255), FPS) for clip in render(worlds, 64)]


def moved(worlds: Worlds, change) -> Worlds:
    """Applies `change` in place to a copy of the positions [N, 2, F, 2]."""
    position = worlds.position.copy()
    change(position)
    return replace(worlds, position=position)


@pytest.fixture(scope="module")
def worlds() -> Worlds:
    return simulate(12, "val", seed=4)


@pytest.fixture(scope="module")
def one_ball() -> Worlds:
    return simulate(8, "val", seed=4, balls=1)


def broken(found: list[Physics], law: str) -> float:
    return float(np.mean([not each.laws[law] for each in found]))


def test_simulated_clips_satisfy_every_law(worlds):
    assert [each.score for each in seen(worlds)] == [6] * len(worlds)


@pytest.mark.parametrize("frame", [0, FRAMES - 1])
def test_a_still_video_satisfies_no_law_of_motion(worlds, frame):
    """It satisfies permanence and continuity only."""
    found = seen(moved(worlds, lambda p: np.copyto(p, p[:, :, frame : frame + 1])))
    assert max(each.score for each in found) == 2 and all(each.laws["permanence"] for each in found)


def test_a_bounce_away_from_floor_and_walls_is_detected(one_ball):
    """Moves the balls up by 0.15 frame widths, or scales their positions towards the middle."""
    assert broken(seen(moved(one_ball, lambda p: np.subtract(p[..., 1], 0.15, out=p[..., 1]))), "contact") == 1.0
    narrow = seen(moved(one_ball, lambda p: np.copyto(p[..., 0], 0.5 + 0.7 * (p[..., 0] - 0.5))))
    walls = one_ball.contact_wall.any(1)
    assert [each.laws["contact"] for each in narrow] == [not met for met in walls]


def test_a_weaker_gravity_is_detected(one_ball):
    """Half the speed gives a quarter of the acceleration, which violates gravity or flight."""
    slow = moved(one_ball, lambda p: np.copyto(p, p[:, :, (np.arange(p.shape[2]) // 2)]))
    found = seen(slow)
    assert broken(found, "gravity") >= 0.5 and not any(each.laws["gravity"] and each.laws["flight"] for each in found)


def test_a_hovering_ball_is_detected(one_ball):
    found = seen(moved(one_ball, lambda p: p[..., 1].fill(0.4)))
    assert broken(found, "gravity") == 1.0 and max(each.score for each in found) < 4


def test_a_trembling_ball_violates_flight(one_ball):
    noise = np.random.default_rng(0).normal(0, 2 * PX, one_ball.position.shape)
    found = seen(moved(one_ball, lambda p: np.add(p, noise, out=p)))
    assert broken(found, "flight") == 1.0


def test_a_bounce_that_increases_speed_is_detected(one_ball):
    """In a reversed clip, contacts increase the speed."""
    found = seen(moved(one_ball, lambda p: np.copyto(p[:, :, :FRAMES], p[:, :, :FRAMES][:, :, ::-1])))
    assert broken(found, "restitution") > 0.5


def test_a_ball_missing_from_one_frame_is_detected(one_ball):
    found = seen(moved(one_ball, lambda p: p[:, :, 10].fill(-1.0)))
    assert broken(found, "permanence") == 1.0 and all(each.permanence == 31 / 32 for each in found)


def test_a_jump_is_detected(one_ball):
    def jump(p):
        p[:, :, 16:, 0] = np.where(p[:, :, 16:17, 0] > 0.5, 0.1, 0.9)

    assert broken(seen(moved(one_ball, jump)), "continuity") == 1.0


def test_a_clip_without_a_ball_satisfies_no_law():
    assert measure_physics(np.full((FRAMES, 64, 64, 3), 0.5, np.float32), FPS).score == 0
