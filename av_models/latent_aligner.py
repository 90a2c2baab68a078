"""Diffusion latent aligner (Seeing and Hearing, CVPR 2024, arXiv 2402.17723): matches video and audio of separate models.

It needs no training. After each step the clean estimate is decoded, a frozen binder measures the distances between video, audio
and prompts, and the latent moves against the gradient of these distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .aligner_settings import GENERATED, PAIRS, AlignerSettings
from .alignment import Alignment
from .binders.base import MIN_SECONDS, SILENCE_RMS, Binder, Embedded, Modality, Track, embed_audio, embed_text_for, embed_video
from .binders.ensemble import list_binders
from .clip_decoding import ClipDecoding, ModelDecoding
from .joint_model import JointModel
from .latent_moves import rms
from .shapes import AVShape


@dataclass(frozen=True)
class Reference:
    """The video, image or audio that a clip is aligned to. B is the latents' batch size, or 1.

    video: [B, F, H, W, 3] in 0..1 at `fps` frames per second.
    image: [B, H, W, 3] in 0..1.
    audio: [B, C, samples] in −1..1 at `sample_rate` Hz.
    """

    video: Tensor | None = None
    fps: float = 0.0
    image: Tensor | None = None
    audio: Tensor | None = None
    sample_rate: int = 0

    def describe(self, modality: str, binder: Binder) -> list[str]:
        """Return one line in numbers on how each binder changes this reference; none if it is missing or the binder cannot say."""
        given = getattr(self, modality)
        if given is None or given.numel() == 0:
            return []
        if modality == "video":
            size: tuple[float, ...] = (*given.shape[1:4], self.fps)
        else:
            size = given.shape[1:3] if modality == "image" else (*given.shape[1:3], self.sample_rate)
        parts = [part for part in list_binders(binder) if hasattr(part, f"describe_{modality}")]
        return [f"{modality} for {part.name}: {getattr(part, f'describe_{modality}')(*size)}" for part in parts]


@dataclass(frozen=True, kw_only=True)
class Aligner(AlignerSettings):
    """Aligns clips with given settings."""

    def begin(self, model: JointModel, shape: AVShape, texts: tuple[str, str], reference: Reference = Reference()) -> Alignment:
        """Start the alignment of one clip.

        shape: the shape of the clip. texts: the prompts of video and audio; an empty one is not used.
        reference: for the tasks "v2a", "a2v" and "i2a".
        Raises ValueError if there is nothing to align to, or if the reference is missing, empty, too short or silent.
        """
        return self.begin_with(ModelDecoding(model, shape), texts, reference)

    def begin_with(self, decoding: ClipDecoding, texts: tuple[str, str], reference: Reference = Reference()) -> Alignment:
        """As `begin`, for clips that `decoding` decodes."""
        known, tracks = _embed_known(self, texts, reference)
        compared = (self.other or self.timing) and len(known) + len(GENERATED[self.task]) > 1
        if not compared and not any(name.endswith("_text") for name in known):
            raise ValueError("there is nothing to align to; give prompts, or set a weight for video and audio")
        self.check_tracks(*tracks)
        return Alignment(self, decoding, known, tracks)


@torch.no_grad()
def _embed_known(aligner: Aligner, texts: tuple[str, str], reference: Reference) -> tuple[dict[str, Tensor], tuple[Track, ...]]:
    """Return the embeddings of the prompts ("video_text", "audio_text") and of the reference, and the tracks of the reference."""
    binder, known = aligner.binder, {}
    tracks: tuple[Track, ...] = ()
    for made, text in zip(("video", "audio"), texts):
        if made in GENERATED[aligner.task] and text.strip() and aligner.prompt_weight(made):
            known[f"{made}_text"] = embed_text_for(binder, [text], made)
    for modality in reference_modalities(aligner.task):
        given = getattr(reference, modality)
        if given is None:
            needed = f"{aligner.task} needs {_ARTICLE[modality]} as its reference"
            raise ValueError(f"{needed}; connect one to the aligner, or encode one into the latent")
        embedded = _embed_reference(binder, modality, given, reference, aligner.timing > 0)
        known[modality], tracks = embedded.embedding, embedded.tracks
    return known, tracks


def reference_modalities(task: str) -> set[Modality]:
    """Return what a task needs as its reference."""
    return {modality for pair in PAIRS[task] for modality in pair} - {"text", *GENERATED[task]}


_ARTICLE = {"video": "a video", "image": "an image", "audio": "a sound"}


def _embed_reference(binder: Binder, modality: str, given: Tensor, reference: Reference, times: bool) -> Embedded:
    if not bool(given.isfinite().all()) or given.numel() == 0:
        raise ValueError(f"the reference {modality} is empty or has NaN; use another one")
    if modality == "image":
        return Embedded(binder.embed_image(given))
    if modality == "video":
        return embed_video(binder, given, reference.fps, times)
    seconds = given.shape[-1] / reference.sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(f"the reference audio lasts {seconds:.3f} s; use one of at least {MIN_SECONDS:g} s")
    if not bool((rms(given) > SILENCE_RMS).all()):
        raise ValueError("the reference audio is silent; use another one")
    return embed_audio(binder, given, reference.sample_rate, times)
