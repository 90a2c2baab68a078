"""A set of Bounce clips as latents and captions, encoded once and kept in a cache file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..bounce.captions import captions
from ..bounce.render import render
from ..bounce.sound import render_sound
from ..bounce.world import Worlds, simulate
from ..checkpoint import load_checkpoint, save_checkpoint
from ..contract import Condition
from ..loading import load_codec

CHUNK, AT_ONCE = 64, 4  # clips that are rendered together, and of these those that are encoded together: a cache holds them


@dataclass(frozen=True)
class LatentSet:
    """Latents of either modality, [N, …] in fp16, or None where not asked for; of Bounce's clips also what their captions
    say, and the truth about each; of videos for published experts what these are told of each first frame."""

    video: Tensor | None
    audio: Tensor | None
    video_captions: list[str]
    audio_captions: list[str]
    worlds: Worlds | None
    pictures: Condition | None = None

    def __len__(self) -> int:
        return len(self.audio if self.video is None else self.video)

    def with_sound(self, coupling: str, seed: int) -> LatentSet:
        """The same clips with their own sound ("tight"), with it turned round in time by chance, so that it tells nothing of
        when ("delayed"), or with another clip's and its caption ("absent": what is seen is not heard)."""
        if coupling == "tight":
            return self
        rng = np.random.default_rng(seed)
        if coupling == "delayed":
            steps = self.audio.shape[-1]
            shift = torch.from_numpy(rng.integers(steps // 8, steps - steps // 8, len(self)))
            index = (torch.arange(steps)[None] - shift[:, None]) % steps
            return replace(self, audio=self.audio.gather(2, index[:, None].expand_as(self.audio)))
        if coupling == "absent":
            order = rng.permutation(len(self))
            heard = [self.audio_captions[row] for row in order] if self.audio_captions else []
            return replace(self, audio=self.audio[torch.from_numpy(order)], audio_captions=heard)
        raise ValueError(f"sound is {coupling!r}; give 'tight', 'delayed' or 'absent'")


def latent_set(
    video_codec: Path | None,
    audio_codec: Path | None,
    clips: int,
    size: int,
    seed: int,
    cache: Path,
    on_clip: Callable[[int, int], None] | None = None,
) -> LatentSet:
    """`clips` training clips of `seed`, encoded by the codecs given; read from `cache` where they were encoded before."""
    worlds = simulate(clips, "train", seed)

    def pictures(part: Worlds) -> Tensor:
        return torch.from_numpy(render(part, size)).float() / 255

    def sounds(part: Worlds) -> Tensor:
        return torch.from_numpy(render_sound(part))[:, None]

    def latents(codec: Path | None, make: Callable[[Worlds], Tensor]) -> Tensor | None:
        return _cached(codec, make, worlds, f"{size}_{seed}", cache, on_clip) if codec else None

    return LatentSet(latents(video_codec, pictures), latents(audio_codec, sounds), *captions(worlds, seed), worlds)


def _cached(codec: Path, make: Callable[[Worlds], Tensor], worlds: Worlds, name: str, cache: Path, on_clip) -> Tensor:
    """The latents of `worlds`; a larger set begins with the same clips, so its file serves too."""
    stem = f"{codec.stem}_{encoder_key(codec)}_{name}"
    for path in cache.glob(f"{stem}_*.safetensors"):
        if int(path.stem.rsplit("_", 1)[1]) >= len(worlds):
            return load_checkpoint(path)[0]["latents"][: len(worlds)]
    latents = _encode(codec, make, worlds, on_clip)
    save_checkpoint(cache / f"{stem}_{len(worlds)}.safetensors", {"latents": latents}, {"kind": "latents"})
    return latents


def encoder_key(codec: Path) -> str:
    """Changes with whatever latents depend on: a decoder trained on leaves them valid, and so does −0 for 0."""
    tensors, _ = load_checkpoint(codec)
    kept = ((tensors[name] + 0).numpy().tobytes() for name in sorted(tensors) if "decoder" not in name)
    return hashlib.sha256(b"".join(kept)).hexdigest()[:12]


@torch.no_grad()
def _encode(codec: Path, make: Callable[[Worlds], Tensor], worlds: Worlds, on_clip) -> Tensor:
    encode, out = load_codec(codec).encode, []
    chunks = [worlds[i : i + CHUNK] for i in range(0, len(worlds), CHUNK)]
    with ThreadPoolExecutor(1) as ahead:  # renders the next chunk while this one is encoded
        coming = ahead.submit(make, chunks[0])
        for index in range(len(chunks)):
            clips = coming.result()
            if index + 1 < len(chunks):
                coming = ahead.submit(make, chunks[index + 1])
            out.append(torch.cat([encode(part) for part in clips.split(AT_ONCE)]).half())
            if on_clip:
                on_clip(sum(map(len, out)), len(worlds))
    return torch.cat(out).contiguous()  # as the cache gives them
