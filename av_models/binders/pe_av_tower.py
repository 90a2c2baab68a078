"""The transformers of PE-AV over time, and the heads of its embeddings. Names of modules are those of transformers' classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .pe_av_vision import rotate


class RMSNorm(nn.RMSNorm):
    """RMSNorm that computes in float32, also in half precision."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()).to(x.dtype)


class Attention(nn.Module):
    """Self-attention over time, with normalized queries and keys."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.size, bias = config.head_dim, config.attention_bias
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        shared = config.num_key_value_heads * config.head_dim
        self.q_proj, self.o_proj = nn.Linear(width, inner, bias), nn.Linear(inner, width, bias)
        self.k_proj, self.v_proj = nn.Linear(width, shared, bias), nn.Linear(width, shared, bias)
        self.q_norm, self.k_norm = (RMSNorm(self.size, config.rms_norm_eps) for _ in range(2))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        q, k, v = (proj(x).unflatten(-1, (-1, self.size)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(self.q_norm(q).transpose(1, 2), angles), rotate(self.k_norm(k).transpose(1, 2), angles)
        v = v.transpose(1, 2).to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])
        return self.o_proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """A SwiGLU layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), FeedForward(config.hidden_size, config.intermediate_size)
        self.input_layernorm, self.post_attention_layernorm = (RMSNorm(config.hidden_size, config.rms_norm_eps) for _ in range(2))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), angles)
        return x + self.mlp(self.post_attention_layernorm(x))


class ConvolutionBlock(nn.Module):
    """A normalized convolution over time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groupnorm, self.project = nn.GroupNorm(1, width), nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.silu(self.groupnorm(x)))


class ResidualBlock(nn.Module):
    """Two convolutions beside a residual: [B, T, width] to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block1, self.block2 = ConvolutionBlock(width), ConvolutionBlock(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(self.block1(x.transpose(1, 2))).transpose(1, 2)


class PatchEmbedder(nn.Module):
    """Put the class token before the steps, and mix neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnet_block = ResidualBlock(width)
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.resnet_block(torch.cat([self.class_embedding.expand(len(x), -1, -1), x], 1))


class Tower(nn.Module):
    """A transformer over time. Subclasses add `embedder`, which makes its input."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        if config.hidden_act != "silu":
            raise ValueError(f"its hidden_act is {config.hidden_act!r}, and Duet knows 'silu'")
        self.size, self.base = config.head_dim, float(config.rope_parameters["rope_theta"])
        self.patch_embedder = PatchEmbedder(width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm, self.output = RMSNorm(width, config.rms_norm_eps), nn.Linear(width, width, bias=False)

    def run(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state of the class token [B, width] and those of all steps [B, T, width] of an input [B, T, width].

        When a gradient is needed, gradient checkpointing recomputes activations to save memory.
        """
        x = self.patch_embedder(x)
        places = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
        steps = torch.arange(0, self.size, 2, device=x.device, dtype=torch.float32)
        angles = places[:, None] * self.base ** -(steps / self.size)
        for layer in self.layers:
            x = checkpoint(layer, x, angles, use_reentrant=False) if x.requires_grad else layer(x, angles)
        states = self.output(self.norm(x))
        return states[:, 0], states[:, 1:]


class Head(nn.Module):
    """Project a state into the space of the embeddings."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layer_norm, self.proj = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.layer_norm(x))
