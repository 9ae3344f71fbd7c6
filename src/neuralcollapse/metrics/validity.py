"""When a metric says nothing, and why, in plain words."""

from __future__ import annotations

from neuralcollapse.metrics.chance.decisions import own_nearest_mean
from neuralcollapse.metrics.setting import Setting

CERTAIN = (
    0.9  # accuracy by chance from which the nearest mean says nothing of the samples it includes
)


def spread(s: Setting) -> str | None:
    """Refuse classes of one sample, which have no spread."""
    if s.num_samples == s.num_classes:
        return "one sample per class has no spread"
    return None


def linear_spread(s: Setting) -> str | None:
    """Refuse fewer samples than features, which any labels separate."""
    if s.num_samples <= s.dim + 1:
        return "N ≤ d + 1: 0 for any features"
    return spread(s)


def means(s: Setting) -> str | None:
    """Refuse two classes, whose means always form an ETF, and more classes than fit."""
    return _simplex(s.num_classes, s.dim)


def head(s: Setting) -> str | None:
    """Refuse a head of two rows, or of more rows than fit."""
    return _simplex(s.rows, s.dim)


def product(s: Setting) -> str | None:
    """Refuse two classes, whose centred logits are only a sign, and more than fit."""
    if s.num_classes == 2:
        return "for two classes it is only a sign"
    return _too_many(s.num_classes, s.dim)


def predicted(s: Setting) -> str | None:
    """Refuse unequal classes that no simplex-encoded optimum fits."""
    return None if s.equal else _too_many(s.num_classes, s.dim)


def nearest_mean(s: Setting) -> str | None:
    """Refuse samples that are nearest to their own mean because they are counted in it."""
    if not s.fresh and own_nearest_mean(s.class_sizes, s.dim) >= CERTAIN:
        return "too few samples for d: each is near its own mean"
    return None


def _simplex(num_vectors: int, dim: int) -> str | None:
    if num_vectors == 2:
        return "two vectors are always an ETF"
    return _too_many(num_vectors, dim)


def _too_many(num_vectors: int, dim: int) -> str | None:
    if num_vectors > dim + 1:
        return "K > d + 1: no ETF fits"
    return None
