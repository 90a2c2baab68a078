import numpy as np
import pytest
import torch

from duet_av.bounce.measure.evaluate import true_clips
from duet_av.bounce.measure.tasks import TASKS, measure_task, relative_jump, task_known_parts
from duet_av.bounce.shipped import load_joint_model
from duet_av.bounce.world.world import simulate


@pytest.fixture(scope="module")
def model():
    return load_joint_model("Bounce")


@pytest.fixture(scope="module")
def worlds():
    return simulate(3, "val", balls=1)


def test_each_task_has_its_known_parts(model, worlds):
    assert task_known_parts("t2av", model, worlds) is None
    shares = {task: task_known_parts(task, model, worlds)(0, 2).known for task in TASKS if task != "t2av"}
    assert shares["v2a"].video.all() and not shares["v2a"].audio.any()
    assert shares["a2v"].audio.all() and not shares["a2v"].video.any()
    assert shares["i2av"].video.sum() == 1 and not shares["i2av"].audio.any()
    assert 0 < shares["extend"].video.sum() < shares["extend"].video.numel()
    assert shares["extend"].audio.float().mean() == 0.5


def test_known_parts_decode_to_the_simulated_clip(model, worlds):
    frames, _ = model.decode(task_known_parts("v2a", model, worlds)(1, 2).latent, model.shape())
    true, _, _ = list(true_clips(worlds))[1]
    assert (frames[0] - true).square().mean() < 1e-3


def test_simulated_clips_continue_their_known_parts(model, worlds):
    pictures = [frames for frames, _, _ in true_clips(worlds)]
    assert measure_task("i2av", model, pictures, worlds)["first_frame_within_2px"]["share"] == 1.0
    moved = [torch.roll(frames, 5, dims=2) for frames in pictures]
    assert measure_task("i2av", model, moved, worlds)["first_frame_within_2px"]["share"] == 0.0


def test_a_jump_is_relative_to_the_median_frame_difference():
    steady = np.arange(10, dtype=np.float32)[:, None, None, None] * np.ones((10, 2, 2, 3), np.float32)
    assert relative_jump(steady, 5) == pytest.approx(1.0)
    steady[5:] += 6
    assert relative_jump(steady, 5) == pytest.approx(7.0) and relative_jump(steady, 4) == pytest.approx(1.0)
