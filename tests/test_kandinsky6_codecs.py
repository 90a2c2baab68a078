"""The codecs of Kandinsky 6 do what its pipeline does, decode in chunks, and fit the pipeline's lengths."""

from __future__ import annotations

import math

import pytest
import torch

from duet_av.av_models.codecs.hunyuan_video_vae import HunyuanVideoCodec
from duet_av.av_models.codecs.mmaudio import MMAudioCodec
from duet_av.av_models.shapes import AudioShape, AudioStride, AVShape, VideoShape
from duet_av.benchmarks.small_models.kandinsky6 import make_pipeline


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline()


@pytest.fixture
def video():
    return HunyuanVideoCodec(make_pipeline().vae)  # a new one: tiling changes it


@pytest.fixture(scope="module")
def audio(pipeline):
    return MMAudioCodec(pipeline.audio_vae, pipeline.vocoder)


@torch.no_grad()
def by_pipeline(pipeline, latent):
    pixels = pipeline.vae.decode(latent / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    return pipeline.video_processor.postprocess_video(pixels, output_type="pt").movedim(2, -1)


@pytest.mark.parametrize("length, chunks", [(1, 1), (4, 1), (5, 2), (6, 2), (8, 3), (11, 4)])
def test_frames_are_decoded_in_chunks_as_the_pipeline_does(pipeline, video, length, chunks):
    latent = torch.randn(1, 4, length, 4, 6, generator=torch.Generator().manual_seed(length))
    theirs, parts = by_pipeline(pipeline, latent), list(video.decode_chunks(latent))
    assert torch.equal(video.decode(latent), theirs) and torch.equal(torch.cat(parts, 1), theirs) and len(parts) == chunks
    assert theirs.shape[1] == video.stride.frames(length)


def test_large_frames_are_decoded_in_tiles_as_the_vae_does(pipeline, video):
    latent = torch.randn(1, 4, 6, 8, 6, generator=torch.Generator().manual_seed(1))
    whole = video.decode(latent)
    video.vae.enable_tiling(32, 32, 16, 24, 24, 12)
    pipeline.vae.enable_tiling(32, 32, 16, 24, 24, 12)
    tiled = by_pipeline(pipeline, latent)
    pipeline.vae.use_tiling = False
    assert torch.equal(video.decode(latent), tiled) and not torch.equal(tiled, whole)


def test_frames_become_latents_that_have_a_gradient(pipeline, video):
    frames = torch.rand(1, 9, 16, 24, 3)
    latent = video.encode(frames)
    assert latent.shape[1:] == video.stride.latent_shape(VideoShape(9, 16, 24, 24)) == (4, 3, 2, 3)
    raw = pipeline.vae.encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert torch.equal(latent, raw * pipeline.vae.config.scaling_factor)
    latent = torch.randn(1, 4, 6, 2, 3, requires_grad=True)
    video.decode_with_grad(latent).square().sum().backward()
    assert all(latent.grad[:, :, frame].abs().sum() > 0 for frame in range(6))
    assert torch.equal(video.decode_with_grad(latent), video.decode(latent))


@torch.no_grad()
def test_the_sound_is_what_the_pipeline_makes_of_the_latent(pipeline, audio):
    latent = torch.randn(2, 6, 7)
    mel = pipeline.audio_vae.decode(latent / pipeline.audio_vae.config.scaling_factor, return_dict=False)[0]
    theirs = pipeline.vocoder(mel, return_dict=False)[0]
    assert torch.equal(audio.decode(latent), theirs) and theirs.shape == (2, 1, 7 * 1024)


@pytest.mark.parametrize("samples", [1, 1024, 1025, 5000])
def test_a_sound_becomes_whole_latent_steps(pipeline, audio, samples):
    sound = torch.rand(1, 1, samples) - 0.5
    latent = audio.encode(sound)
    assert latent.shape[1:] == audio.stride.latent_shape(AudioShape(samples, 44100)) == (6, math.ceil(samples / 1024))
    if samples == 5000:
        padded = torch.nn.functional.pad(sound[:, 0], (0, 120))
        raw = pipeline.audio_vae.encode(padded).latent_dist.mode()
        assert torch.equal(latent, raw * pipeline.audio_vae.config.scaling_factor)


def test_latents_of_sound_have_a_gradient_and_two_channels_are_refused(audio):
    latent = torch.randn(1, 6, 4, requires_grad=True)
    audio.decode_with_grad(latent).square().sum().backward()
    assert latent.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="the audio has 2 channels, this codec takes 1; mix it down"):
        audio.encode(torch.zeros(1, 2, 4096))


def test_a_codec_in_half_precision_takes_and_gives_float32():
    half = make_pipeline().to(torch.bfloat16)
    audio, video = MMAudioCodec(half.audio_vae, half.vocoder), HunyuanVideoCodec(half.vae)
    latent, frames = audio.encode(torch.rand(1, 1, 4096) - 0.5), video.encode(torch.rand(1, 5, 16, 16, 3))
    assert {x.dtype for x in (latent, frames, audio.decode(latent), video.decode(frames))} == {torch.float32}


def test_clips_have_the_audio_length_of_the_pipeline_for_every_number_of_frames_that_it_makes():
    stride = AudioStride(1024, 20)
    for frames in range(1, 510, 4):
        samples = AVShape.of_frames(frames, 16, 16, 24, 44100).audio.samples
        assert stride.latent_length(samples) == math.ceil(frames / 24.0 * 44100 / 1024)
