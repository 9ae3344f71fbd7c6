"""Centred class vectors, with the quantities that several metrics share, computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.shifted_sums import PART
from neuralcollapse.moments.upper_product import add_upper_product, mirror
from neuralcollapse.validation import check_shape, check_squares, finite_matrix, finite_tensor


class ClassVectors:
    """Centred float64 rows (K, d); lengths and second moment are computed on first use.

    Parameters
    ----------
    rows
        (K, d) centred float64 rows; do not write to them.
    second_moment
        Function that returns the (d, d) second moment R^T R, if there is a cheaper way to it.
    norms
        (K,) of the rows, if they are known.

    Examples
    --------
    >>> ClassVectors.of(torch.tensor([[1.0], [3.0]])).norms
    tensor([1., 1.], dtype=torch.float64)
    """

    def __init__(
        self,
        rows: Float[Tensor, "K d"],
        second_moment: Callable[[], Tensor] | None = None,
        norms: Float[Tensor, " K"] | None = None,
    ) -> None:
        self.rows = rows
        self._norms = norms
        self._second_moment = second_moment

    @classmethod
    def of(cls, vectors: Any, center: Any = None) -> ClassVectors:
        """Return class vectors unchanged, or make them of an array, see `centered_rows`."""
        return vectors if isinstance(vectors, cls) else cls(centered_rows(vectors, center))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def norms(self) -> Float[Tensor, " K"]:
        """Length of each row."""
        return torch.linalg.vector_norm(self.rows, dim=1) if self._norms is None else self._norms

    @property
    def norm(self) -> Float[Tensor, ""]:
        """Frobenius norm."""
        return self.norms.norm()

    @cached_property
    def total(self) -> Float[Tensor, " d"]:
        """Sum of the rows, zero to round-off if they are centred about their mean."""
        return self.rows.sum(0)

    @cached_property
    def second_moment(self) -> Float[Tensor, "d d"]:
        """R^T R, whose Frobenius norm is that of the Gram matrix R R^T, which is K x K."""
        if self._second_moment is not None:
            return self._second_moment()
        total = self.rows.new_zeros(self.rows.shape[1], self.rows.shape[1])
        for part in self.rows.split(PART):  # a product of all rows takes several times as long
            add_upper_product(total, part)
        return mirror(total)


def unit_rows(rows: Float[Tensor, "K d"]) -> Float[Tensor, "K d"]:
    """Return rows at length 1, however short they are; zero rows, without a direction, stay zero.

    torch's ``normalize`` and ``cosine_similarity`` have a least length, and so a unit of their own.

    Parameters
    ----------
    rows
        (K, d) vectors.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3e-20, 4e-20], [0.0, 0.0]]).double())
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]], dtype=torch.float64)
    """
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / norms.where(norms > 0, 1.0)


def pair_cosines(rows: Float[Tensor, "K d"]) -> Float[Tensor, " pairs"]:
    """Return the cosines of all pairs i < j, (1, 2), (1, 3), ..., by a K x K product.

    Parameters
    ----------
    rows
        (K, d) vectors; zero rows are at right angles to all.

    Examples
    --------
    >>> pair_cosines(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]]))
    tensor([ 0., -1.,  0.])
    """
    directions = unit_rows(rows)
    i, j = torch.triu_indices(len(rows), len(rows), offset=1, device=rows.device)
    return (directions @ directions.T)[i, j]


def centered_rows(vectors: Any, center: Any = None) -> Float[Tensor, "K d"]:
    """Return class vectors minus a centre, in float64.

    Parameters
    ----------
    vectors
        (K, d) class means or head weights, K >= 2.
    center
        (d,); the mean of the rows if omitted (of head weights, softmax does not see it).

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two rows, the centre has another width, or squares leave float64.
    NonFiniteError
        If an entry is not finite, such as the mean of an absent class.

    Examples
    --------
    >>> centered_rows(torch.tensor([[1.0], [3.0]]))
    tensor([[-1.],
            [ 1.]], dtype=torch.float64)
    """
    rows = finite_matrix("vectors", vectors)
    if len(rows) < 2:
        raise NeuralCollapseError(
            "vectors", "at least 2 class vectors", str(len(rows)), "pass one vector per class"
        )
    if center is not None:
        point = finite_tensor("center", center).to(rows)
        check_shape(
            "center",
            point,
            rows.shape[1:],
            "pass one point, or omit it for the mean of the vectors",
        )
        rows = rows - point
    else:
        rows = rows - rows[:1]  # so that equal rows become exactly zero
        rows.sub_(rows.mean(0))
    check_squares("vectors", rows)
    return rows
