"""Small real joint denoisers for tests: one of networks, one whose answer is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind
from duet_av.av_models.path import FLOW

VIDEO_CHANNELS, AUDIO_CHANNELS, TEXT_WIDTH = 4, 3, 6
ALL_KINDS = frozenset(CouplingKind)


def toy_condition(seed: int, rows: int = 1, length: int = 5) -> AVCondition:
    """Random text for both modalities; the last token of the audio text is masked."""
    generator = torch.Generator().manual_seed(seed)

    def text(masked: int) -> Condition:
        mask = torch.ones(rows, length, dtype=torch.bool)
        mask[:, length - masked :] = False
        return Condition(torch.randn(rows, length, TEXT_WIDTH, generator=generator), mask)

    return AVCondition(text(0), text(1))


def plain_condition(value: float, rows: int = 1) -> AVCondition:
    """Text whose first number is `value`: what `GaussianJoint` is asked for."""
    text = Condition(torch.full((rows, 1, TEXT_WIDTH), value), torch.ones(rows, 1, dtype=torch.bool))
    return AVCondition(text, text)


class Counting:
    """Notes the rows of every network call."""

    paths = (FLOW, FLOW)
    prediction = "flow"
    kinds = ALL_KINDS
    skippable = 0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def count(self, latent: AVLatent) -> None:
        self.calls.append(latent.rows)


class Tower(nn.Module):
    """An expert of one modality: [B, C, ...] -> [B, C, ...], attention over its own cells and a text.

    Told the timestep, 0 to 1000, as diffusers' experts are.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.text = nn.Linear(TEXT_WIDTH, width)
        self.time = nn.Linear(2, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, channels)

    def hidden(self, x: Tensor, timestep: Tensor, text: Condition) -> Tensor:
        weight = text.mask / text.mask.sum(1, keepdim=True)
        words = self.text(torch.einsum("bl,bld->bd", weight, text.tokens))
        clock = self.time(torch.stack([torch.sin(timestep / 160), torch.cos(timestep / 160)], dim=-1))
        h = self.embed(x.flatten(2).transpose(1, 2)) + (words + clock)[:, None]
        return silu(h + scaled_dot_product_attention(*self.qkv(h).chunk(3, dim=-1)))

    def finish(self, h: Tensor, like: Tensor) -> Tensor:
        return self.head(h).transpose(1, 2).reshape(like.shape)

    def forward(self, x: Tensor, timestep: Tensor, text: Condition) -> Tensor:
        return self.finish(self.hidden(x, timestep, text), x)


class ToyJoint(nn.Module, Counting):
    """Two towers and one joint attention between them, which is its block 0.

    `FULL` attends to both modalities' cells, `CUT` to one's own with the same weights, `REMOVED` skips that attention:
    the towers alone. `cross=False`: a model with no cross-modal path. Predicts flow velocity.
    """

    skippable = 1

    def __init__(self, seed: int = 0, width: int = 16, cross: bool = True) -> None:
        nn.Module.__init__(self)
        Counting.__init__(self)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.video, self.audio = Tower(VIDEO_CHANNELS, width), Tower(AUDIO_CHANNELS, width)
            self.joint_video, self.joint_audio = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.cross = cross
        self.requires_grad_(False)

    def predict(self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds, skip=None) -> AVLatent:
        self.count(latent)
        kinds = [CouplingKind.REMOVED if s == 0 else k for k, s in zip(kinds, skip or kinds)]
        h_v = self.video.hidden(latent.video, 1000 * t.video, cond.video)
        h_a = self.audio.hidden(latent.audio, 1000 * t.audio, cond.audio)
        for kind in set(kinds) - {CouplingKind.REMOVED}:
            rows = torch.tensor([i for i, k in enumerate(kinds) if k is kind])
            h_v[rows], h_a[rows] = self._joint(h_v[rows], h_a[rows], kind is CouplingKind.FULL and self.cross)
        return AVLatent(self.video.finish(h_v, latent.video), self.audio.finish(h_a, latent.audio))

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: str, skip=None) -> Tensor:
        return {"video": self.video, "audio": self.audio}[stream](latent, 1000 * t, cond)

    def _joint(self, h_v: Tensor, h_a: Tensor, coupled: bool) -> tuple[Tensor, Tensor]:
        q_v, k_v, v_v = self.joint_video(h_v).chunk(3, dim=-1)
        q_a, k_a, v_a = self.joint_audio(h_a).chunk(3, dim=-1)
        if coupled:
            k_v = k_a = torch.cat([k_v, k_a], dim=1)
            v_v = v_a = torch.cat([v_v, v_a], dim=1)
        return h_v + scaled_dot_product_attention(q_v, k_v, v_v), h_a + scaled_dot_product_attention(q_a, k_a, v_a)


class GaussianJoint(Counting):
    """The exact denoiser of data N(m, std²): every guided sample is known in closed form.

    m is the text's first number, plus `cross` if the row is fully coupled (what the other modality says). The flow's
    velocity (x_t − x̂_0)/t has x̂_0 = m + (1−t) std² / ((1−t)² std² + t²) · (x_t − (1−t) m); its ODE takes noise ε to
    m + std · ε. Velocities of one std are affine in m, so guidance extrapolates m.
    """

    def __init__(self, std: float = 0.5, cross: float = 0.75) -> None:
        super().__init__()
        self.std, self.cross = std, cross

    def predict(self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds) -> AVLatent:
        self.count(latent)
        shift = torch.tensor([self.cross if kind is CouplingKind.FULL else 0.0 for kind in kinds])
        means = [text.tokens[:, 0, 0] + shift for text in (cond.video, cond.audio)]
        return AVLatent(self.flow(latent.video, t.video, means[0]), self.flow(latent.audio, t.audio, means[1]))

    def flow(self, x: Tensor, t: Tensor, mean: Tensor) -> Tensor:
        t, mean = (value.view(-1, *[1] * (x.ndim - 1)) for value in (t, mean))
        gain = (1 - t) * self.std**2 / ((1 - t) ** 2 * self.std**2 + t**2)
        return (x - mean - gain * (x - (1 - t) * mean)) / t
