"""A whole joint model of no size: toy networks, codecs that repeat pixels and samples, a vocabulary of a few words."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from duet_av.av_models.codecs.base import Codec
from duet_av.av_models.conditioning import JointTextConditioner
from duet_av.av_models.contract import Condition
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.shapes import AudioStride, VideoShape, VideoStride
from duet_av.av_models.text import WordEncoder
from duet_av.tests.toy import AUDIO_CHANNELS, TEXT_WIDTH, VIDEO_CHANNELS, ToyJoint

WORDS = ["a", "ball", "bouncing", "metal", "red"]


class TinyVideoCodec(Codec):
    stride = VideoStride(time=4, space=8, channels=VIDEO_CHANNELS)

    def encode(self, frames: Tensor) -> Tensor:
        small = avg_pool3d(frames.movedim(-1, 1), (1, 8, 8))[:, :, ::4]
        return torch.cat([small, small[:, :1]], 1)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        frames = torch.sigmoid(latent[:, :3]).permute(0, 2, 3, 4, 1)
        frames = frames.repeat_interleave(8, 2).repeat_interleave(8, 3)
        return torch.cat([frames[:, :1], frames[:, 1:].repeat_interleave(4, 1)], dim=1)


class TinyAudioCodec(Codec):
    stride = AudioStride(samples=250, channels=AUDIO_CHANNELS)
    sample_rate, channels = 8000, 1

    def encode(self, waveform: Tensor) -> Tensor:
        length = self.stride.latent_length(waveform.shape[-1]) * self.stride.samples
        padded = pad(waveform, (0, length - waveform.shape[-1]))
        return padded.unflatten(-1, (-1, self.stride.samples)).mean(-1).expand(-1, AUDIO_CHANNELS, -1)

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        return torch.tanh(latent[:, :1]).repeat_interleave(250, -1)


class TinyText(WordEncoder):
    """The toy networks divide by the number of words: there is always one, if only an empty one."""

    def forward(self, prompts: list[str]) -> Condition:
        text = super().forward(prompts)
        mask = text.mask.clone()
        mask[:, 0] = True
        return Condition(text.tokens, mask)


def tiny_model(trained: bool = True) -> JointModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        texts = [TinyText(WORDS, length=5, width=TEXT_WIDTH, layers=1, heads=2).eval() for _ in range(2)]
    card = {"name": "Tiny", "trained": trained}
    codecs = TinyVideoCodec(), TinyAudioCodec()
    return JointModel(card, ToyJoint(), *codecs, JointTextConditioner(*texts), clip=VideoShape(32, 16, 16, Fraction(16)))
