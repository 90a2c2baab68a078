"""Decodes video latents within the memory that there is: whole, else chunk by chunk, else in tiles too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .codecs.base import VideoCodec, decode_in_place
from .offload import device_of
from .out_of_memory import is_out_of_memory

CPU = torch.device("cpu")
CHUNKS = "too little memory for the whole clip at once: it was decoded in chunks of frames"
TILES = "too little memory for a chunk of whole frames: it was decoded in tiles, whose borders may show"


def ignore(text: str) -> None:
    """Say nothing."""


def decode_frames(codec: VideoCodec, latent: Tensor, say: Callable[[str], None] = ignore, whole: bool = True) -> Tensor:
    """Decode latents to frames [B, F, H, W, 3] in 0..1, on the device of the codec.

    If memory runs out, the clip is decoded again in chunks, and the frames are on the CPU. say: called then, with the reason.
    whole: try to decode the whole clip at once. Raises the error again if memory runs out for tiles of a chunk.
    """
    if whole:
        try:
            return decode_in_place(codec, latent)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
    say(CHUNKS)
    return torch.cat([chunk.to(CPU) for chunk in decode_chunks(codec, latent, say)], 1)


@torch.no_grad()
def decode_chunks(codec: VideoCodec, latent: Tensor, say: Callable[[str], None] = ignore) -> Iterator[Tensor]:
    """Decode latents chunk by chunk to frames [B, f, H, W, 3] in 0..1; in tiles if memory runs out for the first chunk."""
    latent = latent.to(device_of(codec))  # type: ignore[arg-type]  # codecs are modules
    chunks = codec.decode_chunks(latent)
    first = None
    try:
        first = next(chunks)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not hasattr(_vae(codec), "enable_tiling"):
            raise
    if first is not None:
        yield first
        yield from chunks
        return
    say(TILES)
    with _in_tiles(codec):
        yield from codec.decode_chunks(latent)


def _vae(codec: VideoCodec) -> Any:
    return getattr(codec, "vae", None)


@contextmanager
def _in_tiles(codec: VideoCodec) -> Iterator[None]:
    vae = _vae(codec)
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()
