"""One sweep over all pairs of class vectors, in tiles, shared by every statistic of pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 1024
LEAF = 128  # diagonal tiles of up to so many rows are taken pair by pair, larger ones cut in four
FLOAT64_CLASSES = 4096  # up to so many, products run in float64 at no cost worth saving
PLAIN = 2.0**30  # float32 squares hold norms up to this and down to its inverse; others are scaled
CLOSE = 1e-3  # pairs of squared distance below this, relative to their norms, are computed again


@dataclass(frozen=True)
class PairTile:
    """Some pairs (i, j), i < j, of the rows of `vectors`; every pair is in one tile.

    Attributes
    ----------
    vectors
        (K, d) float64 rows.
    i, j
        Row indices, broadcastable: (a, 1) and (1, b), or both (p,) on the diagonal.
    gram
        <v_i, v_j> / unit^2 in the dtype of the sweep, shape (a, b) or (p,).
    squared_norms
        (K,) of all rows over unit^2, in the dtype of the sweep.
    unit
        A power of two: 1 unless the squares of the vectors themselves would leave float32.
    """

    vectors: Tensor
    i: Tensor
    j: Tensor
    gram: Tensor
    squared_norms: Tensor
    unit: float

    def of_pairs(self, per_row: Tensor) -> tuple[Tensor, Tensor]:
        """Return a (K,) quantity at i and at j, broadcastable to the pairs."""
        return per_row[self.i], per_row[self.j]

    @property
    def squared_distances(self) -> Tensor:
        """Squared distances of the pairs over unit^2, exact also where rows nearly coincide."""
        return self._distances[0]

    @property
    def coincide(self) -> bool:
        """Whether a pair has distance zero."""
        return self._distances[1]

    @cached_property
    def _distances(self) -> tuple[Tensor, bool]:
        a, b = self.of_pairs(self.squared_norms)
        distances = torch.sub(b, self.gram, alpha=2).add_(a)
        coincide = False
        # Most tiles have no close pair, and a least value is found faster than a mask.
        if distances.numel() and distances.amin() <= CLOSE * (a.amax() + b.amax()):
            close = (distances <= CLOSE * (a + b)).nonzero(as_tuple=True)
            i, j = (index.expand(distances.shape)[close] for index in (self.i, self.j))
            for part in torch.arange(len(i), device=i.device).split(TILE):
                apart = (self.vectors[i[part]] - self.vectors[j[part]]).div_(self.unit)
                exact = apart.square().sum(1)
                coincide = coincide or bool((exact == 0).any())
                distances[tuple(axis[part] for axis in close)] = exact.to(distances.dtype)
        return distances, coincide

    @cached_property
    def cosines(self) -> Tensor:
        """Cosines of the pairs."""
        a, b = self.of_pairs(self.squared_norms.rsqrt())
        return (self.gram * a).mul_(b)


@runtime_checkable
class PairStatistic(Protocol):
    """What a sweep feeds: something that looks at each tile once."""

    def add(self, tile: PairTile) -> None:
        """Take the pairs of one tile into account."""


def sweep_pairs(vectors: Float[Tensor, "K d"], statistics: Sequence[PairStatistic]) -> None:
    """Show all pairs of rows to the statistics, one tile at a time, in O(K d) memory.

    Parameters
    ----------
    vectors
        (K, d) rows, float64; centred, so that no common offset eats precision.
    statistics
        Objects with ``add(tile)``; the matrix product of a tile is shared by all.
    """
    for tile in _tiles(vectors):
        for statistic in statistics:
            statistic.add(tile)


def _tiles(vectors: Tensor) -> Iterator[PairTile]:
    num = len(vectors)
    dtype = torch.float64 if num <= FLOAT64_CLASSES else torch.float32
    norms = torch.linalg.vector_norm(vectors, dim=1)
    unit = unit_of(float(norms.amax())) if num and dtype == torch.float32 else 1.0
    rows = vectors.to(dtype) if unit == 1 else (vectors / unit).to(dtype)
    squared_norms = norms.div_(unit).square_().to(dtype)
    index = torch.arange(num, device=vectors.device)
    for left, right in _blocks(num):
        gram = rows[left] @ rows[right].T
        if left is not right:
            pairs = index[left, None], index[None, right]
        else:
            a, b = torch.triu_indices(len(gram), len(gram), offset=1, device=vectors.device)
            pairs, gram = (index[left][a], index[left][b]), gram[a, b]
        yield PairTile(vectors, *pairs, gram, squared_norms, unit)


def _blocks(num: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows of all pairs, each once; the same twice on the diagonal, of few rows."""
    for start in range(0, num, TILE):
        yield from _diagonal(start, min(start + TILE, num))
        for other in range(start + TILE, num, TILE):
            yield slice(start, start + TILE), slice(other, other + TILE)


def _diagonal(start: int, stop: int) -> Iterator[tuple[slice, slice]]:
    """Cut a triangle into squares, whose pairs need no list, and small triangles."""
    if stop - start <= LEAF:
        rows = slice(start, stop)
        yield rows, rows
        return
    middle = (start + stop) // 2
    yield from _diagonal(start, middle)
    yield slice(start, middle), slice(middle, stop)
    yield from _diagonal(middle, stop)


def unit_of(norm: float) -> float:
    """Return a power of two to divide vectors by: 1 unless their norm is very large or small.

    Examples
    --------
    >>> unit_of(3.0), unit_of(2.0**40)
    (1.0, 2199023255552.0)
    """
    plain = not 0 < norm < math.inf or 1 / PLAIN <= norm <= PLAIN
    return 1.0 if plain else 2.0 ** math.frexp(norm)[1]


class PairMean:
    """Mean and maximum of one value per pair, accumulated over tiles.

    Rows are summed in the dtype of the values, and these sums in float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.maximum = float("-inf")

    def add(self, values: Tensor) -> float:
        """Add the values of some pairs, and return their maximum."""
        if not values.numel():
            return float("-inf")
        self.count += values.numel()
        self.total += _sum(values)
        largest = float(values.max())
        if math.isnan(largest) or largest > self.maximum:  # a NaN stays
            self.maximum = largest
        return largest

    @property
    def mean(self) -> float:
        """Mean over pairs; NaN without pairs."""
        return self.total / self.count if self.count else float("nan")


class PairSpread:
    """Mean and variance of one value per pair, accumulated over tiles as in `PairMean`."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.total_square = 0.0

    def add(self, values: Tensor) -> None:
        """Add the values of some pairs."""
        self.count += values.numel()
        self.total += _sum(values)
        if values.ndim == 2:  # by the norms of rows, without a matrix of squares
            norms = torch.linalg.vector_norm(values, dim=1).to(torch.float64)
            self.total_square += float(norms.square().sum())
        else:
            self.total_square += _sum(values.square())

    @property
    def mean(self) -> float:
        """Mean over pairs; NaN without pairs."""
        return self.total / self.count if self.count else float("nan")

    @property
    def variance(self) -> float:
        """Population variance over pairs; NaN without pairs."""
        if not self.count:
            return float("nan")
        return max(self.total_square / self.count - self.mean**2, 0.0)  # NaN first: it stays


def _sum(values: Tensor) -> float:
    return float(values.sum(-1).to(torch.float64).sum())
