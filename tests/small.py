"""Small random networks of the real classes, and files of them."""

from __future__ import annotations

from pathlib import Path

import torch

from duet_av.av_models.checkpoint import save_checkpoint
from duet_av.av_models.codecs.patch_video import PatchVideoCodec
from duet_av.av_models.codecs.spectrogram import SpectrogramCodec
from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, Condition
from duet_av.av_models.joint.avfulldit import AVFullDiT
from duet_av.av_models.load_joint import BUILDERS
from duet_av.av_models.load_parts import add_prefix, build_audio_expert, build_video_expert
from duet_av.av_models.text import WordEncoder
from duet_av.bounce.binder import BounceBind

VIDEO_CHANNELS, AUDIO_CHANNELS, TEXT = 5, 6, 8
HEAD = 16
VOCABULARY = ("a", "red", "blue", "ball", "of", "metal", "wood", "bounces")
ROPE_SCALE = 1 / 8


def video_config(**changes) -> dict:
    return {
        "patch_size": [1, 2, 2], "num_attention_heads": 3, "attention_head_dim": HEAD, "in_channels": VIDEO_CHANNELS,
        "out_channels": VIDEO_CHANNELS, "text_dim": TEXT, "freq_dim": 32, "ffn_dim": 64, "num_layers": 4,
        "rope_max_seq_len": 128,
    } | changes  # fmt: skip


def audio_config(**changes) -> dict:
    return {
        "in_channels": AUDIO_CHANNELS, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": HEAD,
        "num_attention_heads": 2, "joint_attention_dim": TEXT, "pooled_projection_dim": TEXT,
        "axes_dims_rope": [8, 4, 4],
    } | changes  # fmt: skip


def svd_config() -> dict:
    return {
        "sample_size": 4, "in_channels": 2 * VIDEO_CHANNELS, "out_channels": VIDEO_CHANNELS, "block_out_channels": [32, 32],
        "layers_per_block": 1, "down_block_types": ["DownBlockSpatioTemporal"] * 2,
        "up_block_types": ["UpBlockSpatioTemporal"] * 2, "cross_attention_dim": TEXT, "num_attention_heads": 2,
        "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 24,
    }  # fmt: skip


def audioldm2_config() -> dict:
    """0, as a TOML file says None, is self-attention."""
    return {
        "sample_size": 8, "in_channels": AUDIO_CHANNELS, "out_channels": AUDIO_CHANNELS, "block_out_channels": [32, 32],
        "layers_per_block": 1, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "cross_attention_dim": [[0, TEXT], [0, TEXT]],
        "attention_head_dim": 2,
    }  # fmt: skip


def video_expert(seed: int = 0, **changes):
    return _seeded(seed, lambda: build_video_expert(video_config(**changes)))


def audio_expert(seed: int = 1, rope_scale: float = ROPE_SCALE, **changes):
    return _seeded(seed, lambda: build_audio_expert(audio_config(**changes), rope_scale))


def joint(joint_blocks: int = 3, seed: int = 2) -> AVFullDiT:
    """Both experts woven, with new heads that are anything but zero."""
    model = AVFullDiT(video_expert(), audio_expert(), joint_blocks)
    return randomised(model.new_heads, seed) and model.eval().requires_grad_(False)


def randomised(module, seed: int):
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return module


def latent(rows: int = 2, seed: int = 5, frames: int = 3, steps: int = 19) -> AVLatent:
    generator = torch.Generator().manual_seed(seed)
    return AVLatent(
        torch.randn(rows, VIDEO_CHANNELS, frames, 4, 4, generator=generator),
        torch.randn(rows, AUDIO_CHANNELS, steps, generator=generator),
    )


def times(rows: int = 2) -> AVTime:
    return AVTime(torch.linspace(0.3, 0.9, rows), torch.linspace(0.3, 0.9, rows))


def text(rows: int = 2, length: int = 7, real: int = 5, seed: int = 6) -> Condition:
    """`real` random tokens a row, then padding."""
    tokens = torch.randn(rows, length, TEXT, generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(length) < real).expand(rows, -1)
    return Condition(tokens * mask[..., None], mask)


def condition(rows: int = 2, seed: int = 6, **options) -> AVCondition:
    return AVCondition(text(rows, seed=seed, **options), text(rows, seed=seed + 1, **options))


def save_joint(folder: Path, **changes) -> Path:
    """A joint model's file with its codecs' beside it."""
    model = joint()
    texts = {m: _seeded(9, lambda: WordEncoder(list(VOCABULARY), 7, TEXT)) for m in ("video", "audio")}
    card = {
        "kind": "joint", "architecture": "AVFullDiT", "name": "Small", "prediction": "flow", "trained": False,
        "joint_blocks": 3, "codecs": {"video": "video.safetensors", "audio": "audio.safetensors"},
        "clip": {"frames": 8, "height": 32, "width": 32, "fps": 16},
        "video": {"config": video_config(), "text": texts["video"].config},
        "audio": {"config": audio_config(), "text": texts["audio"].config, "rope_scale": ROPE_SCALE},
    }  # fmt: skip
    tensors = add_prefix("denoiser", model.state_dict())
    for modality, encoder in texts.items():
        tensors |= add_prefix(f"{modality}_text", encoder.state_dict())
    save_codec(folder / "video.safetensors", video_codec())
    save_codec(folder / "audio.safetensors", audio_codec())
    save_checkpoint(folder / "small.safetensors", tensors, card | changes)
    return folder / "small.safetensors"


def save_jointdit(folder: Path) -> Path:
    """A JointDiT's file with its codecs' beside it."""
    joint = {"inputs": [1, 1], "joint_blocks": 2, "audio_rate": 0.125, "qk_width": 16, "v_width": 16, "heads": 2}
    card = {
        "kind": "joint", "architecture": "JointDiT", "name": "Small", "trained": False, "joint": joint,
        "codecs": {"video": "video.safetensors", "audio": "audio.safetensors"},
        "clip": {"frames": 8, "height": 32, "width": 32, "fps": 16}, "video": {"config": svd_config()},
        "audio": {"config": audioldm2_config() | {"cross_attention_dim": [[None, TEXT], [None, TEXT]]}, "prediction": "v",
                  "text_width": TEXT},
        "picture": {"channels": VIDEO_CHANNELS, "width": TEXT}, "edm": {"mean": 1.0, "std": 1.0}, "motion_bucket": 127,
    }  # fmt: skip
    denoiser, conditioner = _seeded(3, lambda: BUILDERS["JointDiT"](card))
    save_codec(folder / "video.safetensors", video_codec())
    save_codec(folder / "audio.safetensors", audio_codec())
    save_checkpoint(folder / "jointdit.safetensors", add_prefix("denoiser", denoiser.state_dict()) | conditioner.state_dict(), card)
    return folder / "jointdit.safetensors"


def save_binder(folder: Path) -> Path:
    binder = _seeded(4, lambda: BounceBind(list(VOCABULARY), width=32, out=8))
    card = {"kind": "binder", "architecture": "BounceBind", "config": binder.config}
    save_checkpoint(folder / "binder.safetensors", binder.state_dict(), card)
    return folder / "binder.safetensors"


def save_expert(folder: Path, kind: str, **changes) -> Path:
    """An expert's file with its text encoder; `changes` to its card."""
    expert = video_expert() if kind == "video_expert" else audio_expert()
    text = _seeded(9, lambda: WordEncoder(list(VOCABULARY), 7, TEXT))
    card = {"kind": kind, "text": text.config} | (
        {"config": video_config()} if kind == "video_expert" else {"config": audio_config(), "rope_scale": ROPE_SCALE}
    )
    path = folder / f"{kind}.safetensors"
    save_checkpoint(path, add_prefix("expert", expert.state_dict()) | add_prefix("text", text.state_dict()), card | changes)
    return path


def video_codec(channels: int = VIDEO_CHANNELS) -> PatchVideoCodec:
    return _seeded(7, lambda: PatchVideoCodec(channels, 8, 8, 16)).eval()


def audio_codec(channels: int = AUDIO_CHANNELS) -> SpectrogramCodec:
    return _seeded(8, lambda: SpectrogramCodec(channels, 16)).eval()


def save_codec(path: Path, codec) -> Path:
    save_checkpoint(path, codec.state_dict(), {"architecture": type(codec).__name__, "config": codec.config})
    return path


def _seeded(seed: int, make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
