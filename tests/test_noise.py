import time

import pytest
import torch

from duet_av.av_models.noise import AUDIO, MAX_SEED, VIDEO, audio_noise, step_generator, video_noise

SHAPES = [(video_noise, (2, 4, 6, 3, 5)), (audio_noise, (2, 3, 40)), (audio_noise, (2, 3, 10, 8))]


@pytest.mark.parametrize("draw, shape", SHAPES)
def test_same_seed_same_noise_and_another_seed_another(draw, shape):
    noise = draw(shape, 7)
    assert noise.shape == shape and noise.dtype == torch.float32
    assert torch.equal(noise, draw(shape, 7))
    assert not torch.equal(noise, draw(shape, 8))
    assert not torch.equal(noise, draw(shape, 7 + 2**32))


@pytest.mark.parametrize("draw, shape", SHAPES)
def test_a_longer_clip_keeps_the_noise_of_the_shared_part(draw, shape):
    longer = (*shape[:2], shape[2] + 5, *shape[3:])
    assert torch.equal(draw(longer, 3)[:, :, : shape[2]], draw(shape, 3))


@pytest.mark.parametrize("draw, shape", SHAPES)
def test_row_zero_of_a_batch_is_the_batch_of_one(draw, shape):
    batch = draw(shape, 3)
    assert torch.equal(batch[:1], draw((1, *shape[1:]), 3))
    assert not torch.equal(batch[0], batch[1])


@pytest.mark.parametrize("draw, shape", SHAPES)
def test_rows_with_seeds_of_their_own_get_what_each_would_get_alone(draw, shape):
    one = (1, *shape[1:])
    assert torch.equal(draw(shape, [3, 8]), torch.cat([draw(one, 3), draw(one, 8)]))


@pytest.mark.parametrize("draw, shape", SHAPES)
def test_what_a_step_draws_is_new_and_grows_with_the_clip_as_well(draw, shape):
    fresh, longer = draw(shape, 3, 1), draw((*shape[:2], shape[2] + 5, *shape[3:]), 3, 1)
    assert torch.equal(longer[:, :, : shape[2]], fresh)
    assert not torch.isin(fresh, torch.cat([draw(shape, 3).flatten(), draw(shape, 3, 2).flatten()])).any()


def test_modalities_and_frames_of_one_seed_differ():
    video, audio = video_noise((1, 3, 50, 1, 1), 5), audio_noise((1, 3, 50), 5)
    assert not torch.equal(video.flatten(), audio.flatten())
    assert len({tuple(frame.tolist()) for frame in audio[0].T}) == 50


def test_noise_is_standard_normal_and_uncorrelated_between_frames():
    noise = video_noise((1, 8, 40, 32, 32), 0)[0].movedim(1, 0).flatten(1)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    correlation = torch.corrcoef(noise) - torch.eye(40)
    assert correlation.abs().max() < 0.06  # 5.4 σ of 8192 independent values


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, float("nan"), "7", None])
def test_a_bad_seed_is_named(seed):
    with pytest.raises(ValueError, match="^seed is .*; use a whole number from 0 to 18446744073709551615$"):
        video_noise((1, 1, 1, 1, 1), seed)


def test_the_largest_seeds_are_told_apart():
    batch_generator = [video_noise((1, 4, 1, 1, 1), seed) for seed in (MAX_SEED, MAX_SEED - 1)]
    assert batch_generator[0].isfinite().all() and not torch.equal(*batch_generator)


def test_a_schedulers_own_noise_differs_between_modalities():
    batch_generator = [torch.randn(4, generator=step_generator(1, modality)) for modality in (VIDEO, AUDIO, VIDEO)]
    assert torch.equal(batch_generator[0], batch_generator[2]) and not torch.equal(batch_generator[0], batch_generator[1])
    assert torch.equal(torch.randn(4, generator=step_generator([9, 1], VIDEO)[1]), batch_generator[0])


def test_a_thousand_frames_are_cheap():
    def seconds() -> float:
        start = time.perf_counter()
        audio_noise((1, 16, 1000), 0)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.05  # a few ms on an idle core
