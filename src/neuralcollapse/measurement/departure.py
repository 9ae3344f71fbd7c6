"""Departure: how far means and head of unequal classes are from the shape theory predicts.

Lengths, angles and Gram matrix are each compared entry by entry: the spread of the lengths alone
says little where they should not be equal. For equal classes these are the NC2 metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from neuralcollapse.measurement.prediction import predicted
from neuralcollapse.metrics.chance.chance import Chance, chi_bar

METRICS = ("nc2_equinorm", "nc2_equiangular", "nc2_etf")
ENTRIES = 2_000_000  # of random vectors that are drawn for the chance values
FEWEST, MOST = 3, 200  # draws


class Departure(NamedTuple):
    """A distance from the predicted shape, and the same for random vectors."""

    distance: float
    chance: Chance


def departures(
    rows: Tensor,
    weight: Tensor | None,
    sizes: tuple[int, ...],
    bias: bool,
    measured_sizes: tuple[int, ...] | None = None,
) -> Mapping[str, Departure]:
    """Return the departure that each NC2 metric is graded by; empty for equal classes.

    Parameters
    ----------
    rows, weight
        (K, d) class means and rows of the head, of the classes that have samples.
    sizes, bias
        Class sizes of the training data, and whether the head has a bias: what the shape is
        predicted from.
    measured_sizes
        Samples behind each class mean, if the rows are of other data.
    """
    dim = rows.shape[1]
    shape = predicted(sizes, dim, bias)
    if shape is None or len(set(sizes)) == 1 or len(sizes) != len(rows):
        return {}
    parts = {"": (rows, shape.means)}
    if weight is not None:
        parts["_head"] = (weight, shape.W)
    found = {}
    for suffix, (measured, target) in parts.items():
        counts = () if suffix else (measured_sizes or sizes)
        distances = _distances(measured.detach().cpu().double()[None], target)
        by_chance = _chance(sizes, dim, bias, counts)
        for name, distance, chance in zip(METRICS, distances, by_chance, strict=True):
            found[name + suffix] = Departure(float(distance), chance)
    return found


@lru_cache(maxsize=16)
def _chance(
    sizes: tuple[int, ...], dim: int, bias: bool, counts: tuple[int, ...]
) -> tuple[Chance, ...]:
    """Return the mean over random vectors, and its error bar from that of the chi of its spread.

    Class means vary as their counts say; without counts, all rows vary alike, as those of a head.
    """
    shape = predicted(sizes, dim, bias)
    assert shape is not None
    draws = min(max(ENTRIES // (len(sizes) * dim), FEWEST), MOST)
    rows = torch.randn(
        draws, len(sizes), dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    if counts:
        rows /= torch.tensor(counts, dtype=torch.float64).sqrt()[:, None]
    found = []
    for values in _distances(rows, shape.means if counts else shape.W):
        mean, variance = float(values.mean()), float(values.var())
        found.append(Chance(mean, mean * chi_bar(max(mean**2 / (2 * variance), 1.0))))
    return tuple(found)


def _distances(rows: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return distances of lengths, angles and Gram matrices of (B, K, d) rows."""
    (lengths, cosines, gram), wanted = _shape(rows), _shape(target[None])
    off = ~torch.eye(len(target), dtype=torch.bool)
    return (
        (lengths - wanted[0]).square().mean(1).sqrt(),
        (cosines - wanted[1])[:, off].abs().mean(1),
        torch.linalg.matrix_norm(gram - wanted[2]),
    )


def _shape(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = rows - rows.mean(1, keepdim=True)
    gram = rows @ rows.mT
    lengths = gram.diagonal(dim1=1, dim2=2).sqrt()
    cosines = gram / lengths[:, :, None] / lengths[:, None]
    return (
        lengths / lengths.mean(1, keepdim=True),
        cosines,
        gram / torch.linalg.matrix_norm(gram, keepdim=True),
    )
