"""How class means of features without classes vary: V = diag(1/n_k), and CVC about their mean."""

from __future__ import annotations

import numpy as np

from neuralcollapse.metrics.setting import Setting

REPRESENTATIVES = 128  # class sizes among which pairs are averaged


def scatter_of_means(s: Setting) -> tuple[float, float]:
    """Return tr CVC and tr (CVC)^2."""
    v, K = s.mean_variances, s.num_classes
    return float(v.sum() * (1 - 1 / K)), float((v**2).sum() * (1 - 2 / K) + v.sum() ** 2 / (K * K))


def representatives(values: np.ndarray) -> np.ndarray:
    """Return a few of the values that stand for all: pairs of thousands are millions."""
    if len(values) <= REPRESENTATIVES:
        return values
    index = np.linspace(0, len(values) - 1, REPRESENTATIVES).round().astype(int)
    return np.sort(values)[index]
