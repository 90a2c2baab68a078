"""How good Bounce's clips are: in time, as asked for, and in motion. Nothing here knows how the clips were made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
ATTRIBUTES = ("colour", "size", "count", "count_every_frame", "material_heard", "size_heard")
SHUFFLES = 50
SIZE = 64
BATCH = 8


def evaluate(
    clips: Iterable[Clip],
    wanted: Worlds,
    reference: Iterable[Clip] | None = None,
    fps: float = FPS,
) -> dict:
    """All figures of `duet eval` that depend on clips alone; JSON-ready.

    `clips`: (frames [F, H, W, 3] in 0..1, waveform [channels, samples], sample rate), one per row of `wanted`, whose
    attributes the prompt named. `reference`: the true clips of the same rows through the codecs, for the ceiling.
    """
    made = [observe(*clip, fps) for clip in clips]
    if len(made) != len(wanted):
        raise ValueError(f"{len(made)} clips for {len(wanted)} prompts; give one clip per prompt")
    figures = {"n": len(made), **sync(made), **_asked(made, wanted), "motion_residual": motion_residual(made, SIZE)}
    figures["motion_residual_ci"] = _plain(intervals.median_interval(_residuals(made, SIZE)))
    figures["detector"] = detector(wanted)
    figures |= {"ceiling": None, "ceiling_ci": None, "sync_normalised": None, "sync_normalised_ci": None, "reference": None}
    if reference is not None:
        true = [observe(*clip, fps) for clip in reference]
        counts = sync_counts(true)
        figures["ceiling"] = _plain(matching.f1(counts.sum(0)))
        figures["ceiling_ci"] = _plain(intervals.f1_interval(counts))
        figures |= _normalised(figures)
        figures["reference"] = {**_asked(true, wanted), "motion_residual": motion_residual(true, SIZE)}
    return figures


def sync(clips: Sequence[Observation]) -> dict:
    """Contacts seen against onsets heard: F1 over all clips, its interval, what shuffled pairs get, median offset."""
    matchings = [matching.match(clip.contacts, clip.onsets) for clip in clips]
    counts = _counts(matchings)
    return {
        "sync_f1": _plain(matching.f1(counts.sum(0))),
        "sync_ci": _plain(intervals.f1_interval(counts)),
        "chance": _plain(shuffled_f1(clips)),
        "offset_ms": _plain(matching.median_offset_ms(matchings)),
        "contacts_seen": int(counts[:, 1].sum()),
        "onsets_heard": int(counts[:, 2].sum()),
    }


def _normalised(figures: dict) -> dict:
    """(F1 − chance) / (ceiling − chance): 0 is what shuffled pairs get, 1 what true clips do. None where the two are alike."""
    chance, ceiling = figures["chance"], figures["ceiling"]
    if None in (chance, ceiling, figures["sync_f1"]) or ceiling <= chance:
        return {}
    low, high = figures["sync_ci"]
    points = [_plain((f1 - chance) / (ceiling - chance)) for f1 in (figures["sync_f1"], low, high)]
    return {"sync_normalised": points[0], "sync_normalised_ci": points[1:]}


def sync_counts(clips: Sequence[Observation]) -> np.ndarray:
    """[N, 3]: matches, contacts seen, onsets heard, of every clip."""
    return _counts([matching.match(clip.contacts, clip.onsets) for clip in clips])


def shuffled_f1(clips: Sequence[Observation], shuffles: int = SHUFFLES, seed: int = 0) -> float:
    """Sync F1 of each clip's picture with another clip's sound, over `shuffles` rotations of a random order."""
    if len(clips) < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    total = np.zeros(3)
    for _ in range(shuffles):
        order = rng.permutation(len(clips))
        for a, b in zip(order, np.roll(order, 1)):
            total += matching.match(clips[a].contacts, clips[b].onsets).counts
    return float(matching.f1(total))


def detector(worlds: Worlds) -> dict:
    """What the detectors themselves reach on the true clips of `worlds`, without codecs, against the true times."""
    true = [[t for t in times if t < SECONDS] for times in worlds.contact_time]
    seen, heard = [], []
    for times, (frames, wave, rate) in zip(true, true_clips(worlds)):
        clip = observe(frames, wave, rate, FPS)
        seen.append(matching.match(times, clip.contacts))
        heard.append(matching.match(times, clip.onsets))
    return {
        "contacts_f1": _plain(matching.f1(_counts(seen).sum(0))),
        "onsets_f1": _plain(matching.f1(_counts(heard).sum(0))),
    }


def attributes(clip: Observation, balls: Sequence[tuple[str, str, str]]) -> dict[str, bool]:
    """Which attributes of `clip` are as asked, of `balls` given as (colour, size, material) words.

    `colour`: the colours of as many balls as were asked for, the most often seen ones; `size`: each colour's size, as
    seen; `count`: balls in most frames; `material_heard`, `size_heard`: the set of materials or sizes that are struck.
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


def asked_balls(worlds: Worlds, row: int) -> list[tuple[str, str, str]]:
    """(colour, size, material) of the balls of one row."""
    return [
        (COLOURS[worlds.colour[row, b]], SIZES[worlds.size[row, b]], MATERIALS[worlds.material[row, b]])
        for b in np.flatnonzero(worlds.exists[row])
    ]


def motion_residual(clips: Sequence[Observation], pixels: int) -> float | None:
    """Median over clips of the rms distance from a ballistic path between contacts, in pixels of a picture so wide."""
    rms = _residuals(clips, pixels)
    return _plain(np.median(rms)) if rms else None


def _residuals(clips: Sequence[Observation], pixels: int) -> list[float]:
    """Each clip's rms, of those that fly long enough to tell."""
    return [pixels * float(np.sqrt(np.mean(clip.residual**2))) for clip in clips if len(clip.residual)]


def true_clips(
    worlds: Worlds,
    video_codec: VideoCodec | None = None,
    audio_codec: AudioCodec | None = None,
    size: int = SIZE,
) -> Iterator[Clip]:
    """The true clip of every row of `worlds`, its picture and sound through the codecs where given."""
    for start in range(0, len(worlds), BATCH):
        part = worlds[start : start + BATCH]
        frames = _through_video(torch.from_numpy(render(part, size)).float() / 255, video_codec)
        waves = _through_audio(torch.from_numpy(render_sound(part))[:, None], audio_codec)
        for picture, wave in zip(frames, waves):
            yield picture, wave, SAMPLE_RATE


def _through_video(frames: Tensor, codec: VideoCodec | None) -> Tensor:
    if codec is None:
        return frames[:, :FRAMES]
    needed = codec.stride.frames(codec.stride.latent_frames(FRAMES))
    if frames.shape[1] < needed:
        raise ValueError(f"the codec takes {needed} frames for {FRAMES}; simulate worlds with frames={needed}")
    return codec.decode(codec.encode(frames[:, :needed]))[:, :FRAMES]


def _through_audio(waves: Tensor, codec: AudioCodec | None) -> Tensor:
    return waves if codec is None else codec.decode(codec.encode(waves))[..., : waves.shape[-1]]


def _asked(clips: Sequence[Observation], wanted: Worlds) -> dict:
    """Shares of clips that are as asked, with intervals, over all and over combinations never trained on."""
    right = [attributes(clip, asked_balls(wanted, row)) for row, clip in enumerate(clips)]
    unseen = [r for r, held_out in zip(right, wanted.held_out()) if held_out]
    return {
        "attributes": _shares(right),
        "attributes_ci": {
            name: _plain(intervals.proportion_interval(sum(r[name] for r in right), len(right))) for name in ATTRIBUTES
        },
        "held_out": {"n": len(unseen), **_shares(unseen)},
    }


def _shares(right: Sequence[dict[str, bool]]) -> dict[str, float]:
    return {name: _plain(np.mean([r[name] for r in right])) for name in ATTRIBUTES} if right else {}


def _counts(matchings: Sequence[matching.Matching]) -> np.ndarray:
    return np.array([m.counts for m in matchings], int).reshape(-1, 3)


def _plain(value):
    """A float, or a list of floats, to four digits; None where it is not a number."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return round(float(value), 4) if np.isfinite(value) else None
