"""Socket types, and the values that travel on the wires between Duet's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from torch import Tensor

from ..av_models.contract import AVCondition
from ..av_models.guidance import Guidance
from ..av_models.shapes import AVShape
from .host import io
from .stream_prompts import encode_streams, is_pair

if TYPE_CHECKING:
    from ..av_models.joint_model import JointModel
    from ..av_models.latent_aligner import Aligner, Reference
    from ..av_models.published.expert_options import ExpertOptions
    from ..av_models.published.joint.comfyui_text import TextEmbedding

JointModelSocket = io.Custom("DUET_MODEL")
VideoExpertSocket = io.Custom("DUET_VIDEO_EXPERT")
AudioExpertSocket = io.Custom("DUET_AUDIO_EXPERT")
PromptsSocket = io.Custom("DUET_PROMPTS")
AnyModelSocket = io.Custom("DUET_MODEL,MODEL")  # ComfyUI's notation for several types
GuidanceSocket = io.Custom("DUET_GUIDANCE")
AlignerSocket = io.Custom("DUET_ALIGNER")


@dataclass(frozen=True)
class Prompts:
    """Positive and negative prompts for video and audio, or an image to start from.

    words: ((video, audio), (video, audio)), the positive pair first.
    picture: the image [H, W, C] for models that take one.
    encoded: both pairs as encoded by the model `encoder`; None if encoding needs the size of the clip.
    embedded: both pairs as a text encoder of ComfyUI has encoded them, () if the model's own has; None for a stream whose `words`
        the model's own encodes.
    """

    words: tuple[tuple[str, str], tuple[str, str]]
    picture: Tensor | None = None
    encoded: tuple[AVCondition, AVCondition] | None = None
    encoder: ReferenceType[JointModel] | None = None
    embedded: tuple[tuple[TextEmbedding | None, ...], ...] = ()

    def encoded_by(self, model: JointModel) -> bool:
        """Whether `model` has encoded the prompts."""
        return bool(self.encoded and self.encoder and self.encoder() is model)

    def conditions(self, model: JointModel, shape: AVShape) -> list[AVCondition]:
        """Returns the positive and the negative condition for `model`.

        Raises ValueError if the prompts are for a model of another kind (image or text).
        """
        if model.takes_image != (self.encoded is None):
            raise ValueError(f"prompts were encoded for a different model than {model.name}; connect the same model to both nodes")
        if self.encoded_by(model):
            return list(self.encoded or ())
        positive, negative = self.words[0], model.negative_words(*self.words[1])
        if self.embedded:
            return [encode_embeddings(model, *each) for each in zip(self.embedded, (positive, negative))]
        return [model.encode(*positive, self.picture, shape), model.encode(*negative, None, shape)]

    def image_change(self, model: JointModel, shape: AVShape | None = None) -> list[str]:
        """Returns a line that says in numbers how the image is scaled and cropped for a clip of `shape`, or none if it is not.

        shape: None means as in the model's training.
        """
        from ..av_models.media.fit import change_line

        return [] if self.picture is None else change_line("image", model.fit_image(self.picture, shape))


def encode_embeddings(model: JointModel, pair: Sequence[TextEmbedding | None], words: tuple[str, str]) -> AVCondition:
    """Returns the condition of an embedding for each modality; of one that is None, the model's own text encoder encodes the words.

    Raises ValueError as `encode_embedding` does.
    """
    if is_pair(model):
        return encode_streams(model, pair, words)
    video, audio = pair
    if video is None or audio is None:
        raise ValueError(f"prompts were encoded for a different model than {model.name}; connect the same model to both nodes")
    encoded = encode_embedding(model, video)
    return encoded if audio is video else AVCondition(encoded.video, encode_embedding(model, audio).audio)


def encode_embedding(model: JointModel, embedding: TextEmbedding) -> AVCondition:
    """Returns the condition of an embedding. Raises ValueError if the model takes none of other text encoders, or of this width."""
    encode = getattr(model.conditioner, "from_embeddings", None)
    if encode is None:
        raise ValueError(f"{model.name} takes no CONDITIONING; connect Prompts for Video and Audio instead")
    return encode(embedding.tokens, embedding.mask, embedding.pooled)


@dataclass(frozen=True)
class GuidanceInput:
    """A guidance strategy, and the bad model for autoguidance: a Duet model, or a ComfyUI MODEL for the native guider.

    open_scales: the names of the scales that the sampled model decides; until then they have the defaults of the method.
    open_skip: whether the sampled model decides `negative_skip_block`.
    """

    strategy: Guidance
    bad_model: Any = None
    open_scales: frozenset[str] = frozenset()
    open_skip: bool = True

    @property
    def has_duet_bad_model(self) -> bool:
        """Whether the bad model is a Duet model."""
        return hasattr(self.bad_model, "denoiser")

    def require_duet_model(self) -> None:
        """Raises ValueError if the bad model is a ComfyUI MODEL."""
        if self.bad_model is not None and not self.has_duet_bad_model:
            raise ValueError("the guidance's bad_model is a ComfyUI MODEL; connect a Duet model, or use Joint Guider")


@dataclass(frozen=True)
class AlignerInput:
    """An aligner, and the video, image or audio to match."""

    aligner: Aligner
    reference: Reference


@dataclass(frozen=True)
class ExpertFile:
    """The file and model card of an expert. Tensors are read when it is joined, so that each joint model has its own copy.

    options: how it is loaded, and the files of its other parts; for published experts.
    """

    path: Path
    card: dict[str, Any]
    options: ExpertOptions | None = None
