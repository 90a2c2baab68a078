"""ImageBind-huge (Girdhar et al., CVPR 2023, arXiv 2305.05665): picture, moving picture, sound and text in one space.

Modules are named as in the published checkpoint, so that its weights load as they are. They are licensed for
non-commercial use only (CC-BY-NC-SA 4.0).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..checkpoint import load_checkpoint, load_into
from .imagebind_features import BINS, COLUMNS, FRAMES, SIDE, audio_features, image_features, video_features

CONTEXT, WORDS = 77, 49408
LICENCE = "ImageBind's weights: CC-BY-NC-SA 4.0, non-commercial use only"
EPS = 1e-6


class PatchEmbedding(nn.Module):
    """Patches to tokens: `proj` as in the checkpoint, one layer or the second of a sequence."""

    def __init__(self, proj: nn.Module, width: int | None = None) -> None:
        super().__init__()
        self.proj = proj
        self.norm_layer = nn.LayerNorm(width) if width else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.proj(x).flatten(2).transpose(1, 2)
        return self.norm_layer(tokens) if self.norm_layer else tokens


class PositionEmbedding(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))


class PatchTokens(nn.Module):
    """A picture's or a spectrogram's tokens behind one class token."""

    def __init__(self, stem: PatchEmbedding, patches: int, width: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.rgbt_stem = stem
        self.pos_embedding_helper = PositionEmbedding(patches + 1, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.rgbt_stem(x)
        return torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + self.pos_embedding_helper.pos_embed


class TextTokens(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(WORDS, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, CONTEXT, width))
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -torch.inf).triu(1))

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.pos_embed


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, bias=True, add_bias_kv=bias_kv, batch_first=True)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.mlp = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = self.norm_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, *, bias_kv: bool = False, norm_first: bool = False) -> None:
        super().__init__()
        if norm_first:
            self.pre_transformer_layer = nn.Sequential(nn.LayerNorm(width, eps=EPS))
        self.norm_first = norm_first
        self.blocks = nn.ModuleList(Block(width, heads, bias_kv) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Blocks are checkpointed where a gradient is wanted: their activations are made again on the way back."""
        if self.norm_first:
            x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = checkpoint(block, x, mask, use_reentrant=False) if x.requires_grad else block(x, mask)
        return x


class TextHead(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=EPS), nn.Linear(width, out, bias=False))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """At the last token, whose number is the highest."""
        return self.proj(x[torch.arange(len(x)), ids.argmax(-1)])


class ImageBind(nn.Module):
    """`tokenize`: texts to CLIP's token ids [B, 77]; without it there is no text. Sizes are those of ImageBind-huge."""

    name, licence = "ImageBind", LICENCE

    def __init__(
        self,
        tokenize: Callable[[list[str]], Tensor] | None = None,
        *,
        out: int = 1024,
        vision: tuple[int, int, int] = (1280, 32, 16),
        text: tuple[int, int, int] = (1024, 24, 16),
        audio: tuple[int, int, int] = (768, 12, 12),
    ) -> None:
        """vision, text, audio: width, depth and heads of each trunk."""
        super().__init__()
        self.tokenize = tokenize
        self.modalities = frozenset({"video", "image", "audio"} | ({"text"} if tokenize else set()))
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
        return self._mean_of_clips("vision", video_features(frames, fps))

    def embed_image(self, image: Tensor) -> Tensor:
        features = image_features(image)
        return F.normalize(self._embed("vision", features[:, :, None].expand(-1, -1, FRAMES, -1, -1)), dim=-1)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self._mean_of_clips("audio", audio_features(waveform, sample_rate))

    def embed_text(self, texts: list[str]) -> Tensor:
        ids = self.tokenize(texts).to(self.modality_preprocessors["text"].mask.device)
        tokens = self.modality_preprocessors["text"](ids)
        hidden = self.modality_trunks["text"](tokens, self.modality_preprocessors["text"].mask)
        return F.normalize(self.modality_heads["text"](hidden, ids), dim=-1)

    def _mean_of_clips(self, name: str, clips: Tensor) -> Tensor:
        """[B, clips, …] to [B, D]: each clip's embedding is normed, then their mean is."""
        each = F.normalize(self._embed(name, clips.flatten(0, 1)), dim=-1).unflatten(0, clips.shape[:2])
        return F.normalize(each.mean(1), dim=-1)

    def _embed(self, name: str, x: Tensor) -> Tensor:
        head = self.modality_heads[name]
        hidden = self.modality_trunks[name](self.modality_preprocessors[name](x.to(head[2].weight.device)))
        return head[2](head[0](hidden)[:, 0])


def load_imagebind(path: str | Path, tokenizer: str | Path | None = None) -> ImageBind:
    """ImageBind-huge from its converted safetensors file.

    tokenizer: a folder with CLIP's tokenizer (vocab.json, merges.txt); without it texts cannot be embedded.
    """
    tensors, _ = load_checkpoint(path)
    binder = ImageBind(clip_tokenizer(tokenizer) if tokenizer else None)
    return load_into(binder, tensors, Path(path)).eval().requires_grad_(False)


def clip_tokenizer(folder: str | Path) -> Callable[[list[str]], Tensor]:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    return lambda texts: tokenizer(texts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids


def select_used_tensors(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published checkpoint's tensors that are used here: not depth, heat and motion, nor the scales of its logits."""
    used = ("vision", "text", "audio")
    return {
        key: value.contiguous()
        for key, value in published.items()
        if key.split(".")[1:2] in ([name] for name in used) and not key.startswith("modality_postprocessors")
    }
