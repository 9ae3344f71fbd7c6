"""Whether float32 products can hold a scatter, told from a few of its rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SAMPLE_ROWS = 64
LEAST_ROWS = 16  # fewer differences say nothing of a spectrum
LEAST_RATIO = 1e-5  # of the variance of a typical direction to that of the strongest


def drowns(rows: Float[Tensor, "n d"], norms: Float[Tensor, " n"]) -> bool | None:
    r"""Tell whether the round-off of a few strong directions would drown all the others.

    A float32 product errs in every direction by some 1e-9 of the strongest variance, however small
    the variance in that direction is. With directions of standard deviation 1e4 among others of
    0.01, as the massive activations of transformers are, nothing is left of the others. The
    spectrum of the Gram matrix of a sample of rows tells: its largest eigenvalue is that of the
    strongest direction, and its median that of a typical one.

    Parameters
    ----------
    rows
        (n, d) features relative to the shifts of their classes.
    norms
        (n,) of them.

    Returns
    -------
    bool or None
        Whether float64 is needed; None if there are too few differences to tell.

    Examples
    --------
    >>> rows = torch.randn(500, 40, generator=torch.Generator().manual_seed(0))
    >>> drowns(rows, rows.norm(dim=1))
    False
    >>> rows[:, 0] *= 1e4
    >>> drowns(rows, rows.norm(dim=1))
    True
    """
    count = len(rows)
    spread = torch.arange(0, count, max(1, count // SAMPLE_ROWS), device=rows.device)[:SAMPLE_ROWS]
    different = spread[norms[spread] > 0]
    if len(different) < LEAST_ROWS:
        return None
    sample = rows[different].to(torch.float64)
    size = len(sample)
    # A single row can be all of the strongest direction: it counts as one of n, not of the sample.
    longest = rows[norms.argmax()].to(torch.float64) * (size / count) ** 0.5
    sample = torch.cat([sample, longest[None]])
    spectrum = torch.linalg.eigvalsh(sample @ sample.T).flip(0)
    dim = rows.shape[1]
    typical = spectrum[min(size, dim) // 2] / max(size, dim)
    return bool(typical < LEAST_RATIO * spectrum[0] / size)
