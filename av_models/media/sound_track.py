"""Fit a waveform to the duration of a video, and encode it bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from torch import Tensor

from .audio import FADE_SECONDS, audio_frame, check_audio, encodable_rate, fit_audio, is_padding, mix_down, resample
from .settings import AudioCodec

CHUNK = 1024  # samples passed to the audio encoder at a time


@dataclass(frozen=True)
class SoundTrack:
    """Audio as long as a video.

    wave: [1 or 2, samples] at `rate` Hz; silence follows until there are `samples`.
    padded, cut: how many samples of silence follow, and how many were cut off at the end; what a codec has appended to fill
        its last block is not counted.
    mixed_channels: number of channels that were mixed to stereo; 0 if the channels are unchanged.
    """

    wave: Tensor
    samples: int
    rate: int
    padded: int
    cut: int
    mixed_channels: int

    def packets(self, stream: AudioStream, check_interrupt: Callable[[], None] | None) -> Iterator[av.Packet[AudioStream]]:
        """Encode the audio."""
        for at in range(0, self.samples, CHUNK):
            frame = audio_frame(fit_audio(self.wave[:, at : at + CHUNK], min(CHUNK, self.samples - at), "pad"), self.rate)
            frame.pts, frame.time_base = at, Fraction(1, self.rate)
            yield from stream.encode(frame)
            if check_interrupt and at >= self.wave.shape[1]:
                check_interrupt()
        yield from stream.encode(None)


def make_track(audio: Tensor, sample_rate: int, seconds: Fraction, codec: AudioCodec) -> SoundTrack:
    """Fit audio [channels, samples] to `seconds`: mixed to stereo if it has more channels, and faded out where it is cut."""
    given_rate = check_audio(audio, sample_rate)
    rate = encodable_rate(codec, given_rate)
    samples = max(1, round(seconds * rate))
    wave = resample(mix_down(audio.detach().float().cpu()).clamp(-1, 1), given_rate, rate)
    surplus = wave.shape[1] - samples
    is_rest = is_padding(audio.shape[1] - round(seconds * given_rate), audio.shape[1], given_rate)
    wave = fit_audio(wave, min(samples, wave.shape[1]), "trim" if is_rest else "fade", round(FADE_SECONDS * rate))
    mixed = len(audio) if len(audio) > 2 else 0
    return SoundTrack(wave, samples, rate, max(0, -surplus), 0 if is_rest else max(0, surplus), mixed)
