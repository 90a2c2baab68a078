"""ImageBind-huge (Girdhar et al., CVPR 2023, arXiv 2305.05665): one embedding space for images, video, audio and text.

Module names match the published checkpoint, so its weights load without renaming. The weights are licensed for non-commercial
use only (CC-BY-NC-SA 4.0).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..build_from_card import build
from .base import Modality
from .imagebind_features import (
    AUDIO_CLIPS,
    BINS,
    CLIP_SECONDS,
    COLUMNS,
    FRAMES,
    RATE,
    SIDE,
    audio_features,
    clip_frames,
    clip_times,
    image_features,
    short_side_size,
    video_features,
)

CONTEXT, VOCABULARY = 77, 49408  # tokens
LICENCE = "ImageBind's weights: CC-BY-NC-SA 4.0, non-commercial use only"
EPS = 1e-6


class PatchEmbedding(nn.Module):
    """Convert patches to tokens [B, N, width]. `proj`: a convolution, or a sequence that ends with one, as in the checkpoint."""

    def __init__(self, proj: nn.Module, width: int | None = None) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = nn.LayerNorm(width) if width else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.proj(x).flatten(2).transpose(1, 2)
        return self.norm_layer(tokens) if self.norm_layer else tokens


class PositionEmbedding(nn.Module):
    """Holds learned position embeddings [1, tokens, width]."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))


class PatchTokens(nn.Module):
    """The class token, followed by the patch tokens of an image clip or a spectrogram, with position embeddings."""

    def __init__(self, stem: PatchEmbedding, patches: int, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rgbt_stem = stem
        self.pos_embedding_helper = PositionEmbedding(patches + 1, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.rgbt_stem(x)
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + self.pos_embedding_helper.pos_embed


class TextTokens(nn.Module):
    """Token and position embeddings of text: ids [B, 77] to [B, 77, width]. `mask`: the causal attention mask."""

    mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, CONTEXT, width))
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.pos_embed


class FeedForward(nn.Module):
    """Two linear layers with GELU between them; the hidden size is 4 · width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block. `bias_kv`: adds a learned key and value, as the audio encoder has."""

    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, bias=True, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = self.norm_1(x)
        x = x + self.attn(h, h, h, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm_2(x))


class Transformer(nn.Module):
    """The transformer of one modality: [B, N, width] to [B, N, width]."""

    def __init__(self, width: int, depth: int, heads: int, *, bias_kv: bool = False, norm_first: bool = False) -> None:
        super().__init__()
        if norm_first:
            self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(width, eps=EPS))
        self.norm_first = norm_first
        self.blocks = nn.ModuleList(Block(width, heads, bias_kv) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Apply the blocks. When a gradient is needed, gradient checkpointing recomputes activations to save memory."""
        if self.norm_first:
            x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = checkpoint(block, x, mask, use_reentrant=False) if x.requires_grad else block(x, mask)
        return x


class TextHead(nn.Module):
    """Projects the hidden state of the end-of-text token: [B, 77, width] to [B, out]."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=EPS), nn.Linear(width, out, bias=False))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """`ids` [B, 77]: the end-of-text token has the highest id."""
        return self.proj(x[torch.arange(len(x)), ids.argmax(-1)])


class ImageBind(nn.Module):
    """ImageBind as a `Binder`: embeddings [B, out] with unit length. The default sizes are those of ImageBind-huge.

    tokenize: maps texts to CLIP's token ids [B, 77]; without it, text cannot be embedded.
    out: embedding size.
    vision, text, audio: width, number of blocks and attention heads of each transformer.
    """

    name: str = "ImageBind"
    licence: str = LICENCE
    modalities: frozenset[Modality]

    def __init__(
        self,
        tokenize: Callable[[list[str]], Tensor] | None = None,
        *,
        out: int = 1024,
        vision: tuple[int, int, int] = (1280, 32, 16),
        text: tuple[int, int, int] = (1024, 24, 16),
        audio: tuple[int, int, int] = (768, 12, 12),
    ) -> None:
        super().__init__()
        self.tokenize = tokenize
        self.modalities = frozenset(("video", "image", "audio", "text") if tokenize else ("video", "image", "audio"))
        widths = {"vision": vision[0], "text": text[0], "audio": audio[0]}
        frames = nn.Conv3d(3, widths["vision"], (FRAMES, 14, 14), (FRAMES, 14, 14), bias=False)
        banks = nn.Conv2d(1, widths["audio"], 16, 10, bias=False)
        columns = ((BINS - 16) // 10 + 1) * ((COLUMNS - 16) // 10 + 1)
        self.modality_preprocessors = nn.ModuleDict({
            "vision": PatchTokens(PatchEmbedding(nn.Sequential(nn.Identity(), frames)), (SIDE // 14) ** 2, widths["vision"]),
            "text": TextTokens(widths["text"]),
            "audio": PatchTokens(PatchEmbedding(banks, widths["audio"]), columns, widths["audio"]),
        })  # fmt: skip
        self.modality_trunks = nn.ModuleDict(
            {
                "vision": Transformer(*vision, norm_first=True),
                "text": Transformer(*text),
                "audio": Transformer(*audio, bias_kv=True),
            }
        )
        heads: dict[str, nn.Module] = {
            name: nn.Sequential(
                nn.LayerNorm(widths[name], eps=EPS), nn.Identity(), nn.Linear(widths[name], out, bias=False)
            ) for name in ("vision", "audio")
        }  # fmt: skip
        self.modality_heads = nn.ModuleDict(heads | {"text": TextHead(widths["text"], out)})

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embed frames [B, F, H, W, 3] in 0..1 at `fps` frames per second: [B, out]."""
        return self._mean_of_clips("vision", video_features(frames, fps))

    def describe_video(self, frames: int, height: int, width: int, fps: float) -> str:
        """Return in numbers what `embed_video` uses."""
        used = len({index for pair in clip_frames(frames, fps) for index in pair})
        return f"{used} of {frames} frames, {self.describe_image(height, width)} at three places"

    def describe_image(self, height: int, width: int) -> str:
        """Return in numbers what `embed_image` uses."""
        resized = short_side_size(height, width)
        return f"{width}×{height} resized to {resized[1]}×{resized[0]}, cropped to {SIDE}×{SIDE}"

    def describe_audio(self, channels: int, samples: int, sample_rate: int) -> str:
        """Return in numbers what `embed_audio` uses."""
        used, seconds = len(clip_times(samples / sample_rate, AUDIO_CLIPS)), samples / sample_rate
        parts = f"{used} parts of {CLIP_SECONDS} s" if used > 1 else f"up to {CLIP_SECONDS} s"
        return f"{parts} of {seconds:.3g} s, {sample_rate} Hz to {RATE} Hz, the first of {channels} channels"

    def embed_image(self, image: Tensor) -> Tensor:
        """Embed images [B, H, W, 3] in 0..1: [B, out]. An image is a clip of two equal frames."""
        features = image_features(image)
        return F.normalize(self._embed("vision", features[:, :, None].expand(-1, -1, FRAMES, -1, -1)), dim=-1)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed waveforms [B, C, samples] in −1..1 at `sample_rate` Hz: [B, out]. Only the first channel is used."""
        return self._mean_of_clips("audio", audio_features(waveform, sample_rate))

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embed B texts: [B, out]. Texts are truncated to 77 tokens. Raises ValueError without a tokenizer."""
        if self.tokenize is None:
            raise ValueError("ImageBind has no tokenizer, so it cannot embed text; load it with a tokenizer folder")
        embed = self.modality_preprocessors["text"]
        assert isinstance(embed, TextTokens)
        ids = self.tokenize(texts).to(embed.mask.device)
        hidden = self.modality_trunks["text"](embed(ids), embed.mask)
        return F.normalize(self.modality_heads["text"](hidden, ids), dim=-1)

    def _mean_of_clips(self, name: str, clips: Tensor) -> Tensor:
        """Embed clips [B, clips, …] and average: [B, out]. Each clip's embedding is normalized, and so is their mean."""
        each = F.normalize(self._embed(name, clips.flatten(0, 1)), dim=-1).unflatten(0, clips.shape[:2])
        return F.normalize(each.mean(1), dim=-1)

    def _embed(self, name: str, x: Tensor) -> Tensor:
        head = self.modality_heads[name]
        assert isinstance(head, nn.Sequential)
        norm, _, project = head
        assert isinstance(project, nn.Linear)
        hidden = self.modality_trunks[name](self.modality_preprocessors[name](x.to(project.weight.device)))
        return project(norm(hidden)[:, 0])


def load_imagebind(path: str | Path, tokenizer: str | Path | None = None) -> ImageBind:
    """Load ImageBind-huge from its converted safetensors file, frozen and in evaluation mode.

    tokenizer: a folder with CLIP's tokenizer (vocab.json, merges.txt); without it, text cannot be embedded.
    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or holds other tensors.
    """
    embed = clip_tokenizer(tokenizer) if tokenizer else None
    return build(path, "ImageBind", lambda: ImageBind(embed), lambda binder: {"": binder}).eval().requires_grad_(False)


def clip_tokenizer(folder: str | Path) -> Callable[[list[str]], Tensor]:
    """Load CLIP's tokenizer from a folder; return a function from B texts to token ids [B, 77]."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    return lambda texts: tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids


def select_used_tensors(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Select the vision, text and audio tensors of the published checkpoint (without depth, thermal, IMU and logit scales)."""
    used = ("vision", "text", "audio")
    return {
        key: value.contiguous()
        for key, value in published.items()
        if key.split(".")[1:2] in ([name] for name in used) and not key.startswith("modality_postprocessors")
    }
