"""What the size and the length of a clip mean for a model: what is cropped, and what is longer than in its training."""

from __future__ import annotations

from ..av_models.shapes import AVShape


def size_lines(model, shape: AVShape) -> list[str]:
    """Returns a line if the model makes more than a clip of `shape`, with the nearest sizes that need no cropping."""
    video, full = shape.video, model.video_stride.representable(shape.video)
    if (full.width, full.height) == (video.width, video.height):
        return []
    patch = model.video_stride.space * model.video_stride.multiple
    near = dict.fromkeys((_nearest(video.width, patch, up), _nearest(video.height, patch, up)) for up in (False, True))
    return [
        f"{video.width}×{video.height} is cropped from {full.width}×{full.height}, because {model.name} makes multiples of {patch}"
        f"; nearest sizes: {' and '.join(f'{width}×{height}' for width, height in near)}"
    ]


def length_lines(model, shape: AVShape) -> list[str]:
    """Returns a line if a clip of `shape` is longer than those that the model was trained on."""
    seconds, trained = shape.video.seconds, model.clip.seconds
    if shape.video.frames <= model.clip.frames or not model.trained:
        return []
    return [f"{seconds:.4g} s is longer than the {trained:.3g} s of {model.name}'s training"]


def _nearest(size: int, patch: int, up: bool) -> int:
    return max(patch, (-(-size // patch) if up else size // patch) * patch)
