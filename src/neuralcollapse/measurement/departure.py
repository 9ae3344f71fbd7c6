"""Departure: how far means and head of unequal classes are from the shape theory predicts.

Lengths, angles and Gram matrix are each compared entry by entry: the spread of the lengths alone
says little where they should not be equal. For equal classes these are the NC2 metrics. Where head
and means are not predicted to be parallel, their distance passes the predicted one on its way to 0,
whatever the shape: so the Gram matrix of both is compared, too.
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
DUALITY = "nc3_self_duality"
PARALLEL = 0.1  # the largest value of it that means a head in line with the class means
ENTRIES = 2_000_000  # of random vectors that are drawn for the chance values
FEWEST, MOST = 3, 200  # draws


class Departure(NamedTuple):
    """A distance from the predicted shape, and the same for random vectors.

    A metric is graded by it `alone`, or is called collapsed only where this distance is, too.
    """

    distance: float
    chance: Chance
    alone: bool = True


def departures(
    rows: Tensor,
    weight: Tensor | None,
    sizes: tuple[int, ...],
    bias: bool,
    measured_sizes: tuple[int, ...] | None = None,
) -> Mapping[str, Departure]:
    """Return the departure that each metric is graded by; empty for equal classes.

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
    means, head = (target := _both(shape.means, shape.W)).chunk(2)
    if weight is not None and torch.linalg.matrix_norm(head - means) > PARALLEL:
        both = _both(*(each.detach().cpu().double()[None] for each in (rows, weight)))
        *_, distance = _distances(both, target)
        chance = _chance_of_both(sizes, dim, bias, measured_sizes or sizes)
        found[DUALITY] = Departure(float(distance), chance, alone=False)
    return found


@lru_cache(maxsize=16)
def _chance(
    sizes: tuple[int, ...], dim: int, bias: bool, counts: tuple[int, ...]
) -> tuple[Chance, ...]:
    """Return the chance value of each NC2 metric: of class means, or without counts of a head."""
    shape = predicted(sizes, dim, bias)
    assert shape is not None
    rows, target = _random(sizes, dim, counts), shape.means if counts else shape.W
    return tuple(map(_mean, _distances(rows, target)))


@lru_cache(maxsize=16)
def _chance_of_both(
    sizes: tuple[int, ...], dim: int, bias: bool, counts: tuple[int, ...]
) -> Chance:
    shape = predicted(sizes, dim, bias)
    assert shape is not None
    rows = _random(sizes, dim, counts)
    head = _random(sizes, dim, ()).roll(1, 0)  # of another draw, so that it knows none of them
    return _mean(_distances(_both(rows, head), _both(shape.means, shape.W))[2])


def _random(sizes: tuple[int, ...], dim: int, counts: tuple[int, ...]) -> Tensor:
    """Draw class means that vary as their counts say; without counts, all rows vary alike."""
    draws = min(max(ENTRIES // (len(sizes) * dim), FEWEST), MOST)
    rows = torch.randn(
        draws, len(sizes), dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    if counts:
        rows /= torch.tensor(counts, dtype=torch.float64).sqrt()[:, None]
    return rows


def _mean(values: Tensor) -> Chance:
    """Return the mean over random vectors, and its error bar from that of the chi of its spread."""
    mean, variance = float(values.mean()), float(values.var())
    return Chance(mean, mean * chi_bar(max(mean**2 / (2 * variance), 1.0)))


def _both(rows: Tensor, head: Tensor) -> Tensor:
    """Return class means and rows of the head, each centred and scaled to norm 1, as (2K, d)."""
    centred = (each - each.mean(-2, keepdim=True) for each in (rows, head))
    return torch.cat([each / torch.linalg.matrix_norm(each, keepdim=True) for each in centred], -2)


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
