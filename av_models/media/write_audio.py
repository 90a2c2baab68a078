"""Write a waveform to an audio file. A failed write leaves no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..atomic import as_path, publish, temporary_file
from .audio import check_audio
from .metadata import checked_metadata, container_tags
from .output_file import OutputFile
from .report import AudioReport
from .settings import CONTAINERS, MuxSettings
from .sound import SoundWriter


def write_audio(
    audio: Tensor,
    path: str | Path,
    sample_rate: int,
    *,
    seconds: float | Fraction | None = None,
    settings: MuxSettings = MuxSettings("wav"),
    metadata: Mapping[str, str] | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> AudioReport:
    """Write a waveform [channels, samples] in −1..1 at `sample_rate` Hz to `path`; return a report.

    seconds: the duration that the audio is fitted to, by the policy of `settings`. None: as long as it is.
    settings: the container is wav, flac, mp3 or opus. metadata: text tags; wav keeps them as JSON in its comment.
    check_interrupt: called once a second of audio.

    Raises the same errors as `write_video`.
    """
    path, tags = as_path(path), container_tags(checked_metadata(metadata), settings.container)
    if not settings.spec.is_audio:
        others = " or ".join(name for name, spec in CONTAINERS.items() if spec.is_audio)
        raise ValueError(f"container is {settings.container!r}, which is no audio file; use {others}, or write_video")
    rate = check_audio(audio, sample_rate)
    duration = Fraction(audio.shape[1], rate) if seconds is None else Fraction(seconds)
    with temporary_file(path) as part:
        file = OutputFile(part, path, settings, tags)
        with file.open():
            sound = SoundWriter(file, audio, rate)
            for second in range(1, int(duration) + 1):
                sound.advance(Fraction(second))
                if check_interrupt:
                    check_interrupt()
            facts = sound.finish(duration)
        report = AudioReport(path=path, seconds=float(duration), bytes=part.stat().st_size, **facts)
        return replace(report, path=publish(part, path))
