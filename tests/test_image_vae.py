"""Stable Diffusion's VAE as a video codec: its pipelines' latents, and a gradient that takes few frames' memory."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL

from duet_av.av_models.codecs.image_vae import ImageCodec
from duet_av.av_models.shapes import VideoShape
from duet_av.tests.pipelines import animatediff, frozen, image_vae_config


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return frozen(AutoencoderKL(**image_vae_config()))


def test_frames_are_decoded_as_animatediffs_pipeline_does():
    pipeline, latent = animatediff(), torch.randn(2, 4, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    theirs = pipeline.video_processor.postprocess_video(pipeline.decode_latents(latent, 10), "pt")
    ours = ImageCodec(pipeline.vae, 10).decode(latent)
    assert torch.equal(ours, theirs.movedim(2, -1))


def test_latents_have_the_stride_and_the_scale_of_its_pipelines(vae):
    codec, frames = ImageCodec(vae, 2), torch.rand(2, 5, 8, 12, 3)
    latent = codec.encode(frames)
    assert latent.shape[1:] == codec.stride.latent_shape(VideoShape(5, 8, 12, 8))
    one = vae.encode(frames[1, 3].movedim(-1, 0)[None] * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
    torch.testing.assert_close(latent[1, :, 3], one[0])
    assert codec.decode(latent).shape == frames.shape


def test_a_gradient_goes_a_few_frames_at_a_time_through_the_vae(vae, monkeypatch):
    """What was decoded is made again on the way back, instead of being held."""
    latent, decode, frames = torch.randn(1, 4, 5, 4, 4), vae.decode, []

    def gradient(codec: ImageCodec) -> torch.Tensor:
        x = latent.clone().requires_grad_()
        codec.decode_with_grad(x).square().sum().backward()
        return x.grad

    whole = gradient(ImageCodec(vae, 5))
    monkeypatch.setattr(vae, "decode", lambda z, **options: (frames.append(len(z)), decode(z, **options))[1])
    torch.testing.assert_close(gradient(ImageCodec(vae, 2)), whole)
    assert frames[:3] == [2, 2, 1] and sorted(frames[3:]) == [1, 2, 2]


def test_no_frame_at_once_is_refused(vae):
    with pytest.raises(ValueError, match="^chunk_size is 0; use at least 1$"):
        ImageCodec(vae, 0)
