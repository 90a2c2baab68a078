"""Evaluates Bounce clips: synchronisation, attributes and motion. Works on clips from any source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.codecs.base import AudioCodec, VideoCodec
from ...av_models.metrics import intervals, matching
from ..detect.attributes import Observation, observe
from ..world.render import render
from ..world.sound import SAMPLE_RATE, render_sound
from ..world.world import COLOURS, FPS, FRAMES, MATERIALS, SECONDS, SIZES, Worlds

Clip = tuple[Tensor | np.ndarray, Tensor | np.ndarray, int]
"""Frames [F, H, W, 3] in 0..1, waveform [channels, samples] in −1..1, and sample rate in Hz."""
ATTRIBUTES = ("colour", "size", "count", "count_every_frame", "material_heard", "size_heard")
SHUFFLES = 50
SIZE = 64  # pixels
BATCH = 8


def evaluate(
    clips: Iterable[Clip],
    requested: Worlds,
    reference: Iterable[Clip] | None = None,
    fps: float = FPS,
) -> dict:
    """Computes the figures of `duet eval` that depend on the clips only. The result can be saved as JSON.

    clips: one per row of `requested`, the simulated worlds whose attributes the prompts name.
    reference: the simulated clips of the same rows, encoded and decoded by the codecs; they give the ceiling.
    Raises ValueError if the numbers of clips and of prompts differ.
    """
    made = [observe(*clip, fps) for clip in clips]
    if len(made) != len(requested):
        raise ValueError(f"{len(made)} clips for {len(requested)} prompts; use one clip per prompt")
    figures = {
        "n": len(made),
        **measure_sync(made),
        **_attribute_figures(made, requested),
        "motion_residual": motion_residual(made, SIZE),
    }
    figures["motion_residual_ci"] = _rounded(intervals.median_interval(_residuals(made, SIZE)))
    figures["detector"] = measure_detectors(requested)
    figures |= {"ceiling": None, "ceiling_ci": None, "sync_normalised": None, "sync_normalised_ci": None, "reference": None}
    if reference is not None:
        true = [observe(*clip, fps) for clip in reference]
        counts = sync_counts(true)
        figures["ceiling"] = _rounded(matching.f1(counts.sum(0)))
        figures["ceiling_ci"] = _rounded(intervals.f1_interval(counts))
        figures |= _normalise_sync(figures)
        figures["reference"] = {**_attribute_figures(true, requested), "motion_residual": motion_residual(true, SIZE)}
    return figures


def measure_sync(clips: Sequence[Observation]) -> dict:
    """Matches contacts in the video to onsets in the audio.

    Returns the F1 over all clips with its 95 % interval, the F1 of shuffled pairs (`chance`), the median offset and counts.
    """
    matchings = [matching.match(clip.contacts, clip.onsets) for clip in clips]
    counts = _counts(matchings)
    return {
        "sync_f1": _rounded(matching.f1(counts.sum(0))),
        "sync_ci": _rounded(intervals.f1_interval(counts)),
        "chance": _rounded(shuffled_f1(clips)),
        "offset_ms": _rounded(matching.median_offset_ms(matchings)),
        "contacts_seen": int(counts[:, 1].sum()),
        "onsets_heard": int(counts[:, 2].sum()),
    }


def _normalise_sync(figures: dict) -> dict:
    """Computes (F1 − chance) / (ceiling − chance): 0 for shuffled pairs, 1 for simulated clips.

    Returns no figures if the ceiling is not above chance.
    """
    chance, ceiling = figures["chance"], figures["ceiling"]
    if None in (chance, ceiling, figures["sync_f1"]) or ceiling <= chance:
        return {}
    low, high = figures["sync_ci"]
    points = [_rounded((f1 - chance) / (ceiling - chance)) for f1 in (figures["sync_f1"], low, high)]
    return {"sync_normalised": points[0], "sync_normalised_ci": points[1:]}


def sync_counts(clips: Sequence[Observation]) -> np.ndarray:
    """Returns [N, 3]: matches, contacts and onsets of each clip."""
    return _counts([matching.match(clip.contacts, clip.onsets) for clip in clips])


def shuffled_f1(clips: Sequence[Observation], shuffles: int = SHUFFLES, seed: int = 0) -> float:
    """Computes the sync F1 of each video with the audio of another clip, over `shuffles` random pairings."""
    if len(clips) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    total = np.zeros(3)
    for _ in range(shuffles):
        order = rng.permutation(len(clips))
        for a, b in zip(order, np.roll(order, 1)):
            total += matching.match(clips[a].contacts, clips[b].onsets).counts
    return float(matching.f1(total))


def measure_detectors(worlds: Worlds) -> dict:
    """Measures the F1 of the detectors on the simulated clips of `worlds`, without codecs, against the true contact times."""
    true = [[t for t in times if t < SECONDS] for times in worlds.contact_time]
    seen, heard = [], []
    for times, (frames, wave, rate) in zip(true, true_clips(worlds)):
        clip = observe(frames, wave, rate, FPS)
        seen.append(matching.match(times, clip.contacts))
        heard.append(matching.match(times, clip.onsets))
    return {
        "contacts_f1": _rounded(matching.f1(_counts(seen).sum(0))),
        "onsets_f1": _rounded(matching.f1(_counts(heard).sum(0))),
    }


def attributes(clip: Observation, balls: Sequence[tuple[str, str, str]]) -> dict[str, bool]:
    """Returns which attributes of `clip` match the requested `balls`, given as (colour, size, material) words.

    colour: the colours of the most visible balls, as many as requested. size: the size of the ball of each colour.
    count: the most frequent number of balls per frame. count_every_frame: the number of balls in every frame.
    material_heard, size_heard: the sets of materials and sizes in the audio.
    """
    seen = dict(clip.seen[: len(balls)])
    return {
        "colour": set(seen) == {colour for colour, _, _ in balls},
        "size": all(seen.get(colour) == size for colour, size, _ in balls),
        "count": clip.count == len(balls),
        "count_every_frame": bool((clip.counts == len(balls)).all()),
        "material_heard": {material for material, _ in clip.heard} == {material for _, _, material in balls},
        "size_heard": {size for _, size in clip.heard} == {size for _, size, _ in balls},
    }


def requested_balls(worlds: Worlds, row: int) -> list[tuple[str, str, str]]:
    """Returns (colour, size, material) of each ball of one clip."""
    return [
        (COLOURS[worlds.colour[row, b]], SIZES[worlds.size[row, b]], MATERIALS[worlds.material[row, b]])
        for b in np.flatnonzero(worlds.exists[row])
    ]


def motion_residual(clips: Sequence[Observation], pixels: int) -> float | None:
    """Computes the RMS distance to the ballistic path, as the median over clips, in pixels of a frame `pixels` wide."""
    rms = _residuals(clips, pixels)
    return _rounded(np.median(rms)) if rms else None


def _residuals(clips: Sequence[Observation], pixels: int) -> list[float]:
    """Returns the RMS distance of each clip that has any."""
    return [pixels * float(np.sqrt(np.mean(clip.residual**2))) for clip in clips if len(clip.residual)]


def true_clips(
    worlds: Worlds,
    video_codec: VideoCodec | None = None,
    audio_codec: AudioCodec | None = None,
    size: int = SIZE,
) -> Iterator[Clip]:
    """Renders the clip of each row of `worlds`. With codecs, the frames and the audio are encoded and decoded.

    size: frame size in pixels. Raises ValueError if the video codec needs more frames than were simulated.
    """
    for start in range(0, len(worlds), BATCH):
        part = worlds[start : start + BATCH]
        frames = _reconstruct_video(torch.from_numpy(render(part, size)).float() / 255, video_codec)
        waves = _reconstruct_audio(torch.from_numpy(render_sound(part))[:, None], audio_codec)
        for picture, wave in zip(frames, waves):
            yield picture, wave, SAMPLE_RATE


def _reconstruct_video(frames: Tensor, codec: VideoCodec | None) -> Tensor:
    if codec is None:
        return frames[:, :FRAMES]
    needed = codec.stride.frames(codec.stride.latent_frames(FRAMES))
    if frames.shape[1] < needed:
        raise ValueError(f"the worlds have {frames.shape[1]} frames, the codec needs {needed}; call simulate with frames={needed}")
    return codec.decode(codec.encode(frames[:, :needed]))[:, :FRAMES]


def _reconstruct_audio(waves: Tensor, codec: AudioCodec | None) -> Tensor:
    return waves if codec is None else codec.decode(codec.encode(waves))[..., : waves.shape[-1]]


def _attribute_figures(clips: Sequence[Observation], requested: Worlds) -> dict:
    """Computes the share of clips with the requested attributes, for all clips and for combinations excluded from training."""
    right = [attributes(clip, requested_balls(requested, row)) for row, clip in enumerate(clips)]
    unseen = [r for r, held_out in zip(right, requested.held_out()) if held_out]
    return {
        "attributes": _shares(right),
        "attributes_ci": {
            name: _rounded(intervals.proportion_interval(sum(r[name] for r in right), len(right))) for name in ATTRIBUTES
        },
        "held_out": {"n": len(unseen), **_shares(unseen)},
    }


def _shares(right: Sequence[dict[str, bool]]) -> dict[str, float]:
    return {name: _rounded(np.mean([r[name] for r in right])) for name in ATTRIBUTES} if right else {}


def _counts(matchings: Sequence[matching.Matching]) -> np.ndarray:
    return np.array([m.counts for m in matchings], int).reshape(-1, 3)


def _rounded(value: Any) -> Any:
    """Rounds a float, or a tuple of floats, to four digits. NaN and infinity become None."""
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    return round(float(value), 4) if np.isfinite(value) else None
