"""Symmetric products X^T X in panels: of each, only the upper triangle is computed."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor


def column_panels(dim: int, whole: bool = False) -> Iterator[slice]:
    """Yield the columns of panels that make up the upper triangle; their width suits BLAS.

    Products on a GPU have one panel, the whole: half of them in pieces take longer than all in one.
    """
    width = dim if whole else min(max(64, dim // 4), 256)
    return (slice(start, min(start + width, dim)) for start in range(0, dim, width))


def add_upper_product(
    total: Float[Tensor, "d d"],
    rows: Float[Tensor, "n d"],
    weights: Float[Tensor, " n"] | None = None,
) -> None:
    """Add X^T diag(w) X to the upper triangle of a sum; what is below the panels stays as it was.

    Parameters
    ----------
    total
        The (d, d) sum so far, in the dtype of the rows.
    rows, weights
        X, (n, d), and w, (n,): ones if omitted.

    Examples
    --------
    >>> import torch
    >>> total = torch.zeros(2, 2)
    >>> add_upper_product(total, torch.tensor([[1.0, 2.0]]))
    >>> mirror(total)
    tensor([[1., 2.],
            [2., 4.]])
    """
    left = rows if weights is None else rows * weights[:, None]
    for panel in column_panels(rows.shape[1], whole=not rows.is_cpu):
        total[panel, panel.start :].addmm_(left[:, panel].T, rows[:, panel.start :])


def mirror(total: Float[Tensor, "*s d d"]) -> Float[Tensor, "*s d d"]:
    """Copy the upper triangle of a sum, or of each, onto its lower one, in place; return it."""
    for panel in column_panels(total.shape[-1]):
        below, block = slice(panel.stop, None), total[..., panel, panel]
        total[..., below, panel] = total[..., panel, below].mT
        block.copy_(block.triu() + block.triu(1).mT)
    return total
