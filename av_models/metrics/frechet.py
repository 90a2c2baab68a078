"""Fréchet distance between two sets of features, each modelled as a normal distribution (arXiv 1706.08500, eq. 6)."""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½) for features [N, D] and [M, D].

    0 means equal mean and covariance. Raises ValueError unless N > D and M > D, which a full-rank covariance needs.
    """
    for features in (a, b):
        if features.ndim != 2 or len(features) <= features.shape[1]:
            raise ValueError(f"features have shape {list(features.shape)}; give more rows (samples) than columns (dimensions)")
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    cov_a, cov_b = (np.cov(features, rowvar=False, ddof=1) for features in (a, b))
    return float(mean + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(_root_of_product(cov_a, cov_b)))


def _root_of_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (a^½ b a^½)^½, which has the same trace as (a b)^½, for symmetric positive semidefinite a and b."""
    root = _root(a)
    return _root(root @ b @ root)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
