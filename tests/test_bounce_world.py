import numpy as np
import pytest

from duet_av.bounce.world import world as bounce
from duet_av.bounce.world.render import render
from duet_av.bounce.world.sound import SAMPLE_RATE, gain, render_sound
from duet_av.bounce.world.world import FPS, FRAMES, PX, simulate

FINE = 16  # steps per frame, to check the motion between frames


@pytest.fixture(scope="module")
def worlds():
    return simulate(150, "val", seed=0)


def _contacts(worlds):
    """Yields (row, ball, is wall, time, speed) of each contact."""
    for row, column in np.argwhere(np.isfinite(worlds.contact_time)):
        names = ("contact_ball", "contact_wall", "contact_time", "contact_speed")
        yield (row, *(getattr(worlds, name)[row, column] for name in names))


def _fine(balls, monkeypatch):
    """Simulates 40 worlds, the same worlds with FINE positions per frame, and their times. Small blocks save memory."""
    kept = []
    acceptable = bounce._acceptable
    monkeypatch.setattr(bounce, "_BLOCK", 256)
    monkeypatch.setattr(bounce, "_acceptable", lambda *a: kept.append(acceptable(*a)) or kept[-1])
    coarse = simulate(40, "val", seed=0, balls=balls)
    kept = iter(kept)
    monkeypatch.setattr(bounce, "_acceptable", lambda *a: next(kept))
    monkeypatch.setattr(bounce, "FPS", FPS * FINE)
    fine = simulate(40, "val", seed=0, balls=balls, frames=(FRAMES + 1) * FINE)
    monkeypatch.undo()
    return coarse, fine, np.arange((FRAMES + 1) * FINE) / (FPS * FINE)


def test_contacts_per_clip_and_their_distance(worlds):
    real = np.isfinite(worlds.contact_time)
    assert real.sum(1).min() >= 2 and real.sum(1).max() <= 6
    times = np.where(real, worlds.contact_time, np.nan)
    assert np.nanmin(np.diff(times, axis=1)) >= bounce.CONTACT_GAP
    assert np.nanmin(times) >= bounce.FIRST_CONTACT and np.nanmax(times) <= bounce.LAST_CONTACT


def test_every_ball_is_heard(worlds):
    for row in range(len(worlds)):
        assert set(worlds.contact_ball[row][np.isfinite(worlds.contact_time[row])]) == set(np.flatnonzero(worlds.exists[row]))


def test_a_ball_touches_floor_or_wall_at_its_contacts_and_turns(monkeypatch):
    """Before a contact the ball has the given speed; after it, the restitution times that speed."""
    restitution = [bounce.RESTITUTION[name] for name in bounce.MATERIALS]
    for balls in (1, 2):
        coarse, fine, times = _fine(balls, monkeypatch)
        for row, ball, wall, time, speed in _contacts(coarse):
            path = fine.position[row, ball, :, 0 if wall else 1]
            k = np.searchsorted(times, time)
            before, after = (path[k - 1] - path[k - 3]) / (times[k - 1] - times[k - 3]), path[k + 2] - path[k]
            after /= times[k + 2] - times[k]
            slack = 3 * bounce.GRAVITY / (FPS * FINE)
            assert abs(abs(before) - speed) < slack
            bounced = abs(after + restitution[coarse.material[row, ball]] * before) < 2 * slack
            stopped = not wall and abs(after) < 1e-9
            assert bounced or stopped
            edge = bounce.FLOOR - coarse.radius[row, ball]
            if wall:
                edge = bounce.WALLS[1] - coarse.radius[row, ball] if before > 0 else bounce.WALLS[0] + coarse.radius[row, ball]
            assert abs(path[k] - edge) <= speed / (FPS * FINE)


def test_paths_are_continuous_and_stay_inside(monkeypatch):
    _, fine, _ = _fine(2, monkeypatch)
    fastest = 180 * PX / (FPS * FINE)
    assert np.abs(np.diff(fine.position, axis=2)).max() < fastest
    radius = fine.radius[..., None]
    x, y = fine.position[..., 0], fine.position[..., 1]
    assert (x >= bounce.WALLS[0] + radius - 1e-9).all() and (x <= bounce.WALLS[1] - radius + 1e-9).all()
    assert (y <= bounce.FLOOR - radius + 1e-9).all() and (y >= radius).all()


def test_energy_is_constant_between_contacts_and_decreases_at_contacts(monkeypatch):
    coarse, fine, times = _fine(1, monkeypatch)
    step = times[1] - times[0]
    path = fine.position[:, 0]
    speed = (path[:, 2:] - path[:, :-2]) / (2 * step)
    energy = 0.5 * (speed**2).sum(-1) - bounce.GRAVITY * path[:, 1:-1, 1]
    for row in range(len(coarse)):
        contacts = coarse.contact_time[row][np.isfinite(coarse.contact_time[row])]
        edges = [0, *contacts, times[-2]]
        levels = []
        for a, b in zip(edges, edges[1:]):
            inside = energy[row][(times[1:-1] > a + 2 * step) & (times[1:-1] < b - 2 * step)]
            assert np.ptp(inside) < 1e-6
            levels.append(inside.mean())
        assert (np.diff(levels) < 0).all()


def test_balls_never_touch():
    worlds = simulate(200, "val", seed=0, balls=2)
    apart = np.linalg.norm(worlds.position[:, 0] - worlds.position[:, 1], axis=-1).min(1)
    assert (apart >= worlds.radius.sum(1) + bounce.BALL_GAP - 1e-9).all()


@pytest.mark.parametrize("split", bounce.SPLITS)
def test_two_balls_differ_in_colour(split):
    worlds = simulate(300, split, seed=0, balls=2)
    assert (worlds.colour[:, 0] != worlds.colour[:, 1]).all()


def test_held_out_combinations_are_in_test_alone():
    assert not any(simulate(1000, split, seed=0).held_out().any() for split in ("train", "val"))
    assert simulate(300, "test", seed=0).held_out().mean() > 0.25


def test_splits_and_seeds_share_no_clip():
    parts = [simulate(300, split, seed=seed) for split in bounce.SPLITS for seed in (0, 1)]
    starts = {tuple(place) for part in parts for place in part.position[:, 0, 0]}
    assert len(starts) == 300 * len(parts)


def test_more_clips_begin_with_the_same():
    few, many = simulate(5, "train", seed=3), simulate(900, "train", seed=3)[:5]
    for name in ("position", "contact_time", "colour", "radius"):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name))


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, val, test"):
        simulate(1, "trial")


def test_picture_shows_the_balls_and_nothing_else(worlds):
    some = worlds[:20]
    frames = render(some, 64)
    assert frames.shape == (20, FRAMES + 1, 64, 64, 3) and frames.dtype == np.uint8
    coloured = np.ptp(frames.astype(int), axis=-1) > 25
    y, x = np.mgrid[:64, :64] + 0.5
    for row in range(len(some)):
        near = np.zeros_like(coloured[row])
        for ball in np.flatnonzero(some.exists[row]):
            cx, cy = some.position[row, ball].T[..., None, None] * 64
            near |= np.hypot(x - cx, y - cy) < some.radius[row, ball] * 64 + 1.5
        assert not (coloured[row] & ~near).any() and (coloured[row] & near).any((1, 2)).all()


def test_sound_begins_with_the_first_contact_and_has_headroom(worlds):
    waves = render_sound(worlds)
    assert waves.shape == (150, 2 * SAMPLE_RATE) and np.abs(waves).max() < 1
    for wave, times in zip(waves, worlds.contact_time):
        first = round(times[0] * SAMPLE_RATE)
        assert not wave[:first].any() and np.abs(wave[first : first + 400]).max() > 0.01


def test_faster_contacts_are_louder():
    assert (np.diff(gain(np.linspace(0, 2, 9))) > 0).all()
