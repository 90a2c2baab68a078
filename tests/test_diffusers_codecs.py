"""The real experts' codecs, on small random models of the same classes."""

import torch

from duet_av.av_models.checkpoint import save_checkpoint
from duet_av.av_models.codecs.oobleck import OobleckCodec
from duet_av.av_models.codecs.wan_vae import WanCodec
from duet_av.av_models.load_parts import load_codec
from duet_av.av_models.shapes import AudioShape, VideoShape

WAN = {
    "base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "latents_mean": [0.5] * 4, "latents_std": [2.0] * 4,
}  # fmt: skip
OOBLECK = {
    "encoder_hidden_size": 8, "downsampling_ratios": [2, 4], "channel_multiples": [1, 2], "decoder_channels": 8,
    "decoder_input_channels": 4, "audio_channels": 2, "sampling_rate": 8000,
}  # fmt: skip


def test_wan_latents_have_the_stride_and_the_norm_of_its_pipelines():
    codec, frames = WanCodec(**WAN).eval(), torch.rand(1, 5, 16, 24, 3)
    latent = codec.encode(frames)
    assert latent.shape[1:] == codec.stride.latent_shape(VideoShape(5, 16, 24, 8))
    raw = codec.vae.encode(frames.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert torch.allclose(latent, (raw - 0.5) / 2)
    decoded = codec.decode(latent)
    assert decoded.shape == frames.shape and 0 <= decoded.min() and decoded.max() <= 1


def test_oobleck_pads_to_whole_steps_and_keeps_its_channels():
    codec, waveform = OobleckCodec(**OOBLECK).eval(), torch.rand(1, 2, 61) - 0.5
    latent = codec.encode(waveform)
    assert latent.shape[1:] == codec.stride.latent_shape(AudioShape(61, 8000, 2))
    assert codec.decode(latent).shape == (1, 2, 64)


def test_both_load_by_the_name_in_their_card(tmp_path):
    for codec in (WanCodec(**WAN), OobleckCodec(**OOBLECK)):
        path = tmp_path / f"{type(codec).__name__}.safetensors"
        save_checkpoint(path, codec.state_dict(), {"architecture": type(codec).__name__, "config": codec.config})
        loaded = load_codec(path)
        assert type(loaded) is type(codec)
        assert all(torch.equal(value, codec.state_dict()[key]) for key, value in loaded.state_dict().items())
