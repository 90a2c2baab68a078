import pytest
import torch

from duet_av.av_models.codecs.patch_video import PatchVideoCodec
from duet_av.av_models.codecs.spectrogram import BINS, HOP, SpectrogramCodec
from duet_av.av_models.shapes import AudioShape, VideoShape
from duet_av.tests import small


def frames(count: int = 9, height: int = 16, width: int = 24, rows: int = 2) -> torch.Tensor:
    return torch.rand(rows, count, height, width, 3, generator=torch.Generator().manual_seed(3))


def sound(samples: int = 4000, rows: int = 2) -> torch.Tensor:
    return torch.rand(rows, 1, samples, generator=torch.Generator().manual_seed(4)) - 0.5


def tone(samples: int = 4000) -> torch.Tensor:
    return 0.4 * torch.sin(torch.arange(samples) * 0.2)[None]


# Picture.


@pytest.mark.parametrize("count", [1, 5, 9])
def test_video_shapes_are_those_that_the_stride_promises(count):
    codec, clip = small.video_codec(), frames(count)
    latent = codec.encode(clip)
    assert latent.shape == (2, *codec.stride.latent_shape(VideoShape(count, 16, 24, 16)))
    decoded = codec.decode(latent)
    assert decoded.shape == clip.shape
    assert 0 <= float(decoded.min()) and float(decoded.max()) <= 1


def test_each_latent_frame_holds_its_own_four_frames_alone():
    codec, clip = small.video_codec(), frames(13)
    latent = codec.encode(clip)
    for frame in (0, 1, 4, 5, 8, 12):
        changed = clip.clone()
        changed[:, frame] = 1 - changed[:, frame]
        differs = (codec.encode(changed) != latent).flatten(3).any(-1).any(1).any(0)
        assert differs.nonzero().flatten().tolist() == [(frame + 3) // 4]


def test_each_latent_frame_is_decoded_to_its_own_four_frames_alone():
    codec, latent = small.video_codec(), small.video_codec().encode(frames(13))
    for index in range(4):
        changed = latent.clone()
        changed[:, :, index] += 1
        differs = (codec.decode(changed) != codec.decode(latent)).flatten(2).any(-1).any(0)
        assert differs.nonzero().flatten().tolist() == ([0] if index == 0 else list(range(4 * index - 3, 4 * index + 1)))


def test_a_longer_clip_begins_with_the_latents_of_the_shorter():
    codec, clip = small.video_codec(), frames(13)
    torch.testing.assert_close(codec.encode(clip)[:, :, :3], codec.encode(clip[:, :9]), atol=1e-5, rtol=0)


def test_latents_are_scaled_by_the_codec_s_statistics_and_back():
    codec, clip = small.video_codec(), frames()
    raw, decoded = codec.encode(clip), codec.decode(codec.encode(clip))
    codec.latent_mean.fill_(0.5)
    codec.latent_std.fill_(2.0)
    torch.testing.assert_close(codec.encode(clip), (raw - 0.5) / 2)
    torch.testing.assert_close(codec.decode(codec.encode(clip)), decoded, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [2, 4, 8, 32])
def test_a_frame_count_that_does_not_fit_is_named(count):
    with pytest.raises(ValueError, match=f"^the clip has {count} frames; use 1 \\+ 4·n frames$"):
        small.video_codec().encode(frames(count))


@pytest.mark.parametrize("height, width", [(12, 16), (16, 20), (15, 15)])
def test_a_size_that_does_not_fit_is_named(height, width):
    with pytest.raises(ValueError, match=f"^the frames are {width}×{height}; use a width and height that are multiples of 8$"):
        small.video_codec().encode(frames(1, height, width))


# Sound.


@pytest.mark.parametrize("samples", [1, 500, 501, 4000])
def test_audio_shapes_are_those_that_the_stride_promises(samples):
    codec = small.audio_codec()
    latent = codec.encode(sound(samples))
    assert latent.shape == (2, *codec.stride.latent_shape(AudioShape(samples, codec.sample_rate, codec.channels)))
    waveform = codec.decode(latent)
    assert waveform.shape == (2, 1, latent.shape[2] * codec.stride.samples)
    assert float(waveform.abs().max()) <= 1


def test_the_same_latent_sounds_the_same_and_torch_s_own_randomness_is_left_alone():
    codec = small.audio_codec()
    latent = codec.encode(sound())
    torch.manual_seed(1)
    one, drawn = codec.decode(latent), torch.rand(3)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(2)
    assert torch.equal(codec.decode(latent), one) and torch.equal(drawn, expected)


def test_the_spectrogram_runs_from_silence_at_minus_one():
    codec = small.audio_codec()
    silent, loud = codec.spectrogram(torch.zeros(1, 1000)), codec.spectrogram(tone())
    assert silent.shape == (1, BINS, 8) and bool((silent == -1).all())
    assert float(loud.min()) >= -1 and 0.5 < float(loud.max()) < 1.1


def test_silence_stays_true_silence():
    codec = small.audio_codec()
    assert bool((codec.to_waveform(codec.spectrogram(torch.zeros(1, 2000))) == 0).all())


def test_a_burst_between_silences_rings_into_neither():
    codec, waveform = small.audio_codec(), torch.zeros(1, 8000)
    waveform[:, 4000:4500] = tone(500)
    out = codec.to_waveform(codec.spectrogram(waveform))
    assert bool((out[:, : 4000 - 512] == 0).all()) and bool((out[:, 4500 + 512 :] == 0).all())
    assert float(out[:, 4000:4500].abs().max()) > 0.2


def test_phases_are_found_for_a_true_spectrogram():
    codec = small.audio_codec()
    magnitude = codec.magnitude(codec.spectrogram(tone(8000)))
    again = codec.magnitude(codec.spectrogram(codec.to_waveform(codec.spectrogram(tone(8000)))))
    inner = slice(8, -8)  # away from the ends
    error = (again - magnitude)[..., inner].square().sum().sqrt() / magnitude[..., inner].square().sum().sqrt()
    assert float(error) < 0.1


def test_a_column_of_the_spectrogram_stands_at_its_time():
    click = torch.zeros(1, 4000)
    click[:, 16 * HOP] = 1.0
    assert int(small.audio_codec().spectrogram(click).sum(1).argmax()) == 16


def test_stereo_is_refused_rather_than_half_heard():
    with pytest.raises(ValueError, match="^the audio has 2 channels, this codec takes 1; mix it down$"):
        small.audio_codec().encode(sound().expand(-1, 2, -1))


# With a gradient.


def test_a_picture_is_rendered_as_it_is_decoded_and_with_a_gradient():
    codec = small.video_codec()
    latent = codec.encode(frames(5)).requires_grad_()
    rendered = codec.decode_with_grad(latent)
    assert torch.equal(rendered, codec.decode(latent)) and not codec.decode(latent).requires_grad
    rendered[:, 2].sum().backward()
    assert latent.grad[:, :, 1].abs().sum() > 0 and not latent.grad[:, :, 0].any()


def test_a_sound_is_rendered_with_the_magnitudes_that_it_is_decoded_with():
    """Nearly: its phases are rougher. They are held constant, so that a step against the gradient does what it says."""
    codec = small.audio_codec()
    latent = codec.encode(sound()).requires_grad_()
    rendered = codec.decode_with_grad(latent)
    loud, decoded = (codec.stft(x[:, 0]).abs() for x in (rendered, codec.decode(latent)))
    assert (loud - decoded).norm() < 0.25 * decoded.norm()
    energy = rendered.square().sum()
    (gradient,) = torch.autograd.grad(energy, latent)
    quieter = codec.decode_with_grad(latent.detach() - 1e-3 * gradient / gradient.norm()).square().sum()
    assert gradient.isfinite().all() and quieter < energy


@pytest.mark.parametrize("make, name", [
    (lambda: SpectrogramCodec(width=0), "width"), (lambda: SpectrogramCodec(latent_channels=-1), "latent_channels"),
    (lambda: PatchVideoCodec(middle=0), "middle"),
])  # fmt: skip
def test_a_network_without_channels_is_refused(make, name):
    with pytest.raises(ValueError, match=f"^{name} is .*; give a whole number of at least 1$"):
        make()
