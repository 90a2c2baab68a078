"""The codecs of Stable Video Diffusion, AudioLDM and AudioLDM2 do what their pipelines do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio

from duet_av.av_models.clip_latent import known_samples
from duet_av.av_models.codecs.mel_vae import MelCodec
from duet_av.av_models.codecs.svd_vae import SVDCodec
from duet_av.av_models.shapes import AudioShape, VideoShape
from duet_av.tests.published import audioldm2_pipeline, mel_vae, svd_pipeline, vocoder


@pytest.fixture(scope="module")
def audioldm2():
    return audioldm2_pipeline()


@pytest.fixture(scope="module")
def svd():
    return svd_pipeline()


def tacotron_mel(sound: np.ndarray) -> np.ndarray:
    """AudioLDM's TacotronSTFT: 1024 samples under a Hann window every 160, reflected at the ends; 64 of librosa's bands."""
    padded = np.pad(sound, 512, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    starts = range(0, len(padded) - 1024 + 1, 160)
    magnitude = np.abs(np.fft.rfft(np.stack([padded[start : start + 1024] * hann for start in starts])))
    bands = torchaudio.functional.melscale_fbanks(513, 0.0, 8000.0, 64, 16000, norm="slaney", mel_scale="slaney").numpy()
    return np.log(np.clip(magnitude @ bands, 1e-5, None))


def test_the_spectrogram_is_audioldms():
    codec = MelCodec(mel_vae(), vocoder(64, (5, 4, 2, 2, 2), (16, 16, 8, 4, 4)))
    assert (codec.stride.samples, codec.stride.bands, codec.sample_rate) == (320, 32, 16000)
    sound = 0.5 * np.sin(np.arange(6400) * 0.2) * np.linspace(1, 0, 6400) ** 4
    expected = tacotron_mel(sound)[:40]
    found = codec.spectrogram(torch.from_numpy(sound)[None])[0].numpy()
    assert found.shape == (40, 64) and np.abs(found - expected).max() < 1e-3 and found.min() >= np.log(1e-5) - 1e-6


def test_the_sound_is_what_the_pipeline_makes_of_the_latent(audioldm2):
    codec, latent = MelCodec(audioldm2.vae, audioldm2.vocoder).eval(), torch.randn(2, 4, 6, 4)
    with torch.no_grad():
        mel = audioldm2.vae.decode(1 / audioldm2.vae.config.scaling_factor * latent).sample
        theirs = audioldm2.mel_spectrogram_to_waveform(mel)
    ours = codec.decode(latent)
    assert theirs.shape[1] > 6 * codec.stride.samples  # the vocoder gives a little more
    assert ours.shape == (2, 1, 6 * codec.stride.samples) and torch.equal(ours[:, 0], theirs[:, : ours.shape[-1]])


def test_a_sound_becomes_bands_over_time_and_its_latent_has_a_gradient(audioldm2):
    codec = MelCodec(audioldm2.vae, audioldm2.vocoder).eval()
    sound = torch.rand(1, 1, 1013) - 0.5
    latent = codec.encode(sound)
    assert latent.shape[1:] == codec.stride.latent_shape(AudioShape(1013, 16000)) == (4, 51, 4)
    raw = codec.vae.encode(codec.spectrogram(sound[:, 0])[:, None]).latent_dist.mode()
    assert torch.allclose(latent, 0.41 * raw)
    latent.requires_grad_(True)
    codec.decode_with_grad(latent).square().sum().backward()
    assert latent.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="the audio has 2 channels, this codec takes 1; mix it down"):
        codec.encode(torch.zeros(1, 2, 1024))


def test_what_is_known_of_a_sound_fits_latents_of_bands(audioldm2):
    stride = MelCodec(audioldm2.vae, audioldm2.vocoder).stride
    known = known_samples([True] * 30 + [False] * 10, stride)
    assert known.shape == (1, 1, 2, 1) and known.flatten().tolist() == [True, False]


@pytest.mark.parametrize("chunk", [2, 8])
def test_frames_are_decoded_as_the_pipeline_does(svd, chunk):
    latent = torch.randn(1, 4, 5, 4, 4)
    with torch.no_grad():
        theirs = svd.decode_latents(latent.transpose(1, 2), 5, chunk)
        theirs = svd.video_processor.postprocess_video(theirs, output_type="pt")
    ours = SVDCodec(svd.vae, chunk).decode(latent)
    assert torch.equal(ours, theirs.movedim(2, -1))


def test_a_clip_does_not_hear_of_its_neighbour_in_the_batch(svd):
    codec, latent = SVDCodec(svd.vae, 4), torch.randn(2, 4, 3, 4, 4)
    assert torch.equal(codec.decode(latent)[1:], codec.decode(latent[1:]))


def test_frames_become_a_latent_each_and_latents_have_a_gradient(svd):
    codec, frames = SVDCodec(svd.vae, 2), torch.rand(1, 3, 16, 24, 3)
    latent = codec.encode(frames)
    assert latent.shape[1:] == codec.stride.latent_shape(VideoShape(3, 16, 24, 7)) == (4, 3, 8, 12)
    raw = svd.vae.encode(frames[0].movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert torch.allclose(latent[0].transpose(0, 1), raw * svd.vae.config.scaling_factor, atol=1e-5)
    latent.requires_grad_(True)
    codec.decode_with_grad(latent).square().sum().backward()
    assert latent.grad.abs().sum() > 0


def test_half_precision_encodes_in_full_and_stays_as_it_was(svd):
    codec = SVDCodec(svd_pipeline().vae.half())
    frames = torch.rand(1, 2, 16, 16, 3)
    assert (codec.encode(frames) - SVDCodec(svd.vae).encode(frames)).abs().max() < 0.02
    assert codec.vae.dtype == torch.float16
