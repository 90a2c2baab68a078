"""Conversion between prediction types, for any noise schedule x_t = α x_0 + σ ε.

    flow: ε − x_0      epsilon: ε      v: α ε − σ x_0      x0: x_0

The rectified-flow path has α = 1 − t, σ = t (Liu et al., arXiv 2209.03003); v is Salimans & Ho, arXiv 2202.00512, §4.
"""

from __future__ import annotations

from torch import Tensor

from .contract import AVLatent, Prediction

Level = tuple[float, float]  # α and σ


def add_noise(x0: AVLatent, noise: AVLatent, video: Level, audio: Level) -> AVLatent:
    """Compute x = α x_0 + σ ε for both modalities, each with its own (α, σ)."""
    parts = zip((x0.video, x0.audio), (noise.video, noise.audio), (video, audio))
    return AVLatent(*(alpha * clean + sigma * epsilon for clean, epsilon, (alpha, sigma) in parts))


def to_prediction(x0: Tensor, noise: Tensor, alpha: float | Tensor, sigma: float | Tensor, kind: Prediction) -> Tensor:
    """Compute the prediction of type `kind` from the clean latent and the noise. In training it is the target."""
    if kind == "flow":
        return noise - x0
    if kind == "epsilon":
        return noise
    if kind == "v":
        return alpha * noise - sigma * x0
    assert kind == "x0", kind
    return x0


def to_x0(prediction: Tensor, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor, kind: Prediction) -> Tensor:
    """Compute the clean estimate x̂_0 from a prediction of type `kind` at x_t. An ε prediction needs α > 0."""
    if kind == "flow":
        return (x_t - sigma * prediction) / (alpha + sigma)
    if kind == "epsilon":
        return (x_t - sigma * prediction) / alpha
    if kind == "v":
        return (alpha * x_t - sigma * prediction) / (alpha**2 + sigma**2)
    assert kind == "x0", kind
    return prediction


def convert(prediction: Tensor, x_t: Tensor, alpha: float, sigma: float, source: Prediction, target: Prediction) -> Tensor:
    """Convert a prediction at x_t from type `source` to type `target`; return it unchanged if both are the same. Needs σ > 0."""
    if source == target:
        return prediction
    x0 = to_x0(prediction, x_t, alpha, sigma, source)
    if target == "x0":
        return x0
    return to_prediction(x0, (x_t - alpha * x0) / sigma, alpha, sigma, target)
