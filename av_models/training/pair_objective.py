"""The objective of AVFullDiT (arXiv 2512.02457, section 3) for any joint model of flow matching.

x_t = (1 − t) x_0 + t ε with one t for both modalities and independent noise, target ε − x_0, L = L_v + λ_a L_a.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor

from ..contract import AVTime, CouplingKind, JointDenoiser
from .pair_batch import PairBatch
from .random_masks import mean_unknown_error


def pair_loss(denoiser: JointDenoiser, batch: PairBatch, audio_weight: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute the loss of a batch on the model's device, and the values to log.

    Given first frames have no weight. The losses of rows that are not fully coupled are logged as `video_cut` and `audio_cut`.
    """
    given = batch.known()
    noisy, times = given.restore(batch.noisy()), given.times(AVTime(batch.t, batch.t))
    out = denoiser.predict(noisy, times, batch.cond, batch.kinds)
    clean, noise = batch.clean, batch.noise
    error_v = mean_unknown_error((out.video.float() - (noise.video - clean.video)).square(), given.known.video)
    error_a = mean_unknown_error((out.audio.float() - (noise.audio - clean.audio)).square(), given.known.audio)
    loss = error_v.mean() + audio_weight * error_a.mean()
    full = [row for row, kind in enumerate(batch.kinds) if kind is CouplingKind.FULL]
    rest = [row for row in range(len(batch.kinds)) if row not in full]
    rows: dict[str, Any] = {"video": error_v[full], "audio": error_a[full], "video_cut": error_v[rest], "audio_cut": error_a[rest]}
    parts = {"loss": loss} | {name: cast(Tensor, error).mean() for name, error in rows.items() if len(error)}
    return loss, {name: value.detach() for name, value in parts.items()}
