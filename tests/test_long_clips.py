"""Long and large clips are measured piece by piece, with the results of measuring them whole."""

import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional

from duet_av.av_models.media import open_video
from duet_av.av_models.media.read import Window
from duet_av.av_models.metrics.loudness import measure_loudness
from duet_av.av_models.metrics.motion_events import MotionMeter, _select_events
from duet_av.av_models.metrics.onsets import detect_onsets
from duet_av.av_models.metrics.score import score_file
from duet_av.av_models.metrics.sound_meter import SoundMeter
from duet_av.av_models.metrics.windows import Windows
from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.benchmarks.odd_files import make_odd_file

RATE = 8_000


def noisy_clicks(seconds, channels=2):
    rng = np.random.default_rng(0)
    wave = 0.02 * rng.standard_normal((channels, round(seconds * RATE)))
    for begin in range(RATE // 3, wave.shape[1] - RATE // 10, RATE):
        wave[:, begin : begin + 400] += 0.4 * rng.standard_normal((channels, 400)) * np.exp(-np.arange(400) / 80)
    return torch.from_numpy(wave).float().clamp(-1, 1)


def measured(wave, piece):
    meter = SoundMeter(RATE)
    for part in wave.split(piece, dim=1):
        meter.add(part)
    return meter.finish(1000)


@pytest.mark.parametrize("seconds", [0.05, 2, 20.3, 30.05, 65])
@pytest.mark.parametrize("piece", [1024, 70_001])
def test_audio_in_pieces_is_measured_as_whole(seconds, piece):
    wave = noisy_clicks(seconds)
    health, onsets, envelope = measured(wave, piece)
    whole, whole_onsets, whole_envelope = measured(wave, wave.shape[1])
    assert vars(health) == pytest.approx(vars(whole), rel=1e-9, abs=1e-9) and health.loudness == measure_loudness(wave, RATE)
    np.testing.assert_array_equal(onsets, whole_onsets)
    np.testing.assert_allclose(envelope, whole_envelope, atol=1e-6)


def test_short_audio_is_measured_as_one_piece():
    wave = noisy_clicks(12, channels=1)
    health, onsets, envelope = measured(wave, 1024)
    mono = wave[0].numpy() - wave[0].numpy().mean()
    np.testing.assert_array_equal(onsets, detect_onsets(mono, RATE))
    np.testing.assert_array_equal(envelope, np.abs(mono).reshape(-1, 80).max(1))
    assert (health.samples, health.channels, health.surplus) == (96_000, 1, 95_000)


def test_audio_is_not_kept():
    windows, held = Windows(100, before=10, after=20), []
    for _ in range(1000):
        list(windows.add(np.zeros((1, 7))))
        held.append(sum(piece.shape[1] for piece in windows._pieces))
    assert max(held) <= 140


def test_windows_cover_the_audio_once_with_their_surroundings():
    wave = np.arange(257)[None]
    windows = Windows(100, before=10, after=20)
    found = [window for piece in np.split(wave, [3, 90, 240], axis=1) for window in windows.add(piece)]
    found += windows.finish()
    assert [(window.begin, window.lead, window.samples[0, 0], window.samples[0, -1]) for window in found] == [
        (0, 0, 0, 119), (100, 10, 90, 219), (200, 10, 190, 256),
    ]  # fmt: skip


def test_the_envelope_is_that_of_audio_without_dc():
    clean = noisy_clicks(45, channels=1) * 0.5
    wave = clean + 0.25
    _, onsets, envelope = measured(wave, 1024)
    mono = wave[0].numpy() - wave[0].numpy().mean()
    np.testing.assert_allclose(envelope, np.abs(mono).reshape(-1, 80).max(1), atol=1e-6)
    np.testing.assert_allclose(onsets, measured(clean, 1024)[1], atol=0.003)


@pytest.mark.parametrize("shape", [(64, 64, 3), (48, 80, 3), (1, 1, 3), (2, 9, 1), (300, 2, 4), (360, 640, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_frames_are_reduced_as_torch_does(shape, dtype):
    """The meter calls torch's functions for one channel at a time; the values are those for all channels."""
    frames = [torch.rand(*shape) for _ in range(2)]
    frames = [(255 * frame).byte() if dtype == torch.uint8 else frame.to(dtype) for frame in frames]
    meter = MotionMeter(Fraction(25))
    for frame in frames:
        meter.add(frame)
    sharp = [_reduced(frame) for frame in frames]
    assert meter.amount[1] == float((sharp[1] - sharp[0]).abs().mean())
    assert meter.change[1] == float((_blurred(sharp[1]) - _blurred(sharp[0])).square().mean().sqrt())


def _reduced(frame):
    step = max(1, max(frame.shape[:2]) // 256)
    picture = frame[::step, ::step]
    picture = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
    return _pooled(picture.permute(2, 0, 1), 64)


def _blurred(picture):
    blurred = _pooled(picture, 16)[None]
    for _ in range(5):
        blurred = functional.avg_pool2d(blurred, 3, stride=1, padding=1, count_include_pad=False)
    return blurred[0]


def _pooled(picture, longer):
    height, width = picture.shape[1:]
    shrink = longer / max(height, width)
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    return picture if shrink >= 1 else functional.adaptive_avg_pool2d(picture, size)


def test_an_hour_of_events_is_chosen_from_at_once():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, 3600, 10_000))
    began = time.process_time()
    chosen = _select_events(times, rng.uniform(0, 1, 10_000))
    assert time.process_time() - began < 5 and np.diff(chosen).min() >= 0.12 and len(chosen) > 5_000


@pytest.mark.parametrize("name", ["trimmed.mp4", "latevideo.mkv", "lateaudio.mp4", "changes.ts", "ch16.mkv", "opus.mp4"])
def test_audio_taken_while_frames_are_read_is_all_of_it(name, tmp_path):
    path = make_odd_file(name, tmp_path)
    for window in (Window(), Window(0.3, 0.7)):
        with open_video(path, window) as file:
            list(file.read_frames())
            whole, _ = file.read_audio()
        with open_video(path, window) as file:
            parts, held = [], []
            for _ in file.read_frames():
                parts += file.take_audio()
                held.append(sum(part.shape[1] for part in file._waveform._parts))
            parts += file.take_audio(is_last=True)
            assert max(held) < 1.6 * file.sample_rate
        assert torch.equal(whole, torch.cat(parts, dim=1))


def test_audio_of_an_unsupported_rate_is_one_line(tmp_path):
    write_clip(tmp_path / "low.mkv", Pictures(size=(16, 16), frames=5), Sound("flac", rate=2_000, seconds=0.2, click=0.1))
    with pytest.raises(ValueError, match=r"low.mkv has audio of 2000 Hz; convert it to 4000 to 768000 Hz$"):
        score_file(tmp_path / "low.mkv")
