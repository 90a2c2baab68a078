"""Encodes simulated Bounce clips as latents and caches them in files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ...av_models.checkpoint import load_checkpoint, save_checkpoint
from ...av_models.load_parts import load_codec
from ...av_models.training.latents import LatentSet, encoder_key
from ..world.captions import captions
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import Worlds, simulate

OnClip = Callable[[int, int], None] | None
CHUNK, AT_ONCE = 64, 4  # clips that are rendered together and encoded together; small batches fit in the CPU cache


def latent_set(
    video_codec: Path | None,
    audio_codec: Path | None,
    clips: int,
    size: int,
    seed: int,
    cache: Path,
    on_clip: OnClip = None,
) -> LatentSet:
    """Encodes training clips with the given codecs, or reads the latents from the folder `cache` if they are there.

    video_codec, audio_codec: codec files; None leaves the modality out. clips: number of clips. size: frame size in pixels.
    seed: random seed of the clips. on_clip: called with (done, total).
    """
    worlds = simulate(clips, "train", seed)

    def pictures(part: Worlds) -> Tensor:
        return torch.from_numpy(render(part, size)).float() / 255

    def sounds(part: Worlds) -> Tensor:
        return torch.from_numpy(render_sound(part))[:, None]

    def latents(codec: Path | None, make: Callable[[Worlds], Tensor]) -> Tensor | None:
        return _cached(codec, make, worlds, f"{size}_{seed}", cache, on_clip) if codec else None

    return LatentSet(latents(video_codec, pictures), latents(audio_codec, sounds), *captions(worlds, seed), worlds)


def _cached(codec: Path, make: Callable[[Worlds], Tensor], worlds: Worlds, name: str, cache: Path, on_clip: OnClip) -> Tensor:
    """Reads or encodes the latents of `worlds`. The file of a larger set can be used too: it begins with the same clips."""
    stem = f"{codec.stem}_{encoder_key(codec)}_{name}"
    for path in cache.glob(f"{stem}_*.safetensors"):
        if int(path.stem.rsplit("_", 1)[1]) >= len(worlds):
            return load_checkpoint(path)[0]["latents"][: len(worlds)]
    latents = _encode(codec, make, worlds, on_clip)
    save_checkpoint(cache / f"{stem}_{len(worlds)}.safetensors", {"latents": latents}, {"kind": "latents"})
    return latents


@torch.no_grad()
def _encode(codec: Path, make: Callable[[Worlds], Tensor], worlds: Worlds, on_clip: OnClip) -> Tensor:
    encode, out = load_codec(codec).encode, []
    chunks = [worlds[i : i + CHUNK] for i in range(0, len(worlds), CHUNK)]
    with ThreadPoolExecutor(1) as ahead:  # renders the next chunk during encoding
        coming = ahead.submit(make, chunks[0])
        for index in range(len(chunks)):
            clips = coming.result()
            if index + 1 < len(chunks):
                coming = ahead.submit(make, chunks[index + 1])
            out.append(torch.cat([encode(part) for part in clips.split(AT_ONCE)]).half())
            if on_clip:
                on_clip(sum(map(len, out)), len(worlds))
    return torch.cat(out).contiguous()  # contiguous, as when read from the cache
