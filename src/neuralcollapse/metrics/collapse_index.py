"""VCI: variability as any linear classifier would see it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from neuralcollapse.metrics.between import between_whitener
from neuralcollapse.moments.class_moments import ClassMoments


def vci(moments: ClassMoments, rank: Literal["numerical", "full"] = "numerical") -> float:
    r"""Return the variability collapse index.

    .. math:: 1 - \mathrm{tr}(\Sigma_T^+ \Sigma_B) / \mathrm{rank}(\Sigma_B)

    Invariant to every invertible linear map of the features. Computed as the mean of x/(1+x) over
    the eigenvalues x of the within-class scatter, its part that other directions predict taken
    out, relative to the between-class scatter: so nothing cancels near collapse.

    Parameters
    ----------
    moments
        Moments with a scatter.
    rank
        ``"numerical"``: the rank of the class means; ``"full"``: min(d, K-1), K the
        number of present classes.

    Returns
    -------
    float
        In [0, 1]; 0 when collapsed. NaN if all class means are equal.

    Raises
    ------
    NeuralCollapseError
        If fewer than two classes have samples, or the moments hold no scatter.

    References
    ----------
    Xu & Liu 2023, "Quantifying the variability collapse of neural networks".

    Examples
    --------
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> vci(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))  # 1 - 4/5
    0.200000
    """
    whitener = between_whitener(moments, "pooled", "sample_mean")
    directions = len(whitener)
    if not directions:
        return float("nan")
    # With V the span of the means, Sigma_T^+ restricted to it is the inverse of
    # Sigma_B + S, S the Schur complement of the within-class scatter.
    scatter = moments.within_scatter("pooled")
    inside, triangular = torch.linalg.qr(whitener.T, mode="complete")
    rotated = inside.T @ scatter @ inside
    head = rotated[:directions, :directions]
    cross = rotated[directions:, :directions]
    schur = head - _predicted(rotated[directions:, directions:], cross)
    root = triangular[:directions]
    relative = torch.linalg.eigvalsh(root.T @ schur @ root).clamp_min(0)
    full = min(moments.dim, int(moments.present.sum()) - 1)
    missing = 0 if rank == "numerical" else full - directions
    return float(((relative / (1 + relative)).sum() + missing) / (directions + missing))


def _predicted(scatter: Tensor, cross: Tensor) -> Tensor:
    """Return cross^T scatter^- cross for a positive semidefinite scatter of any rank."""
    if not scatter.numel():
        return torch.zeros(cross.shape[1], cross.shape[1], dtype=cross.dtype, device=cross.device)
    # Pivoted Cholesky: a generalised inverse at a tenth of the cost of an eigendecomposition.
    factor, pivots, rank, _ = dpstrf(scatter.cpu().numpy(), lower=1)
    if rank == 0:
        return torch.zeros(cross.shape[1], cross.shape[1], dtype=cross.dtype, device=cross.device)
    half = solve_triangular(
        factor[:rank, :rank], cross.cpu().numpy()[pivots[:rank] - 1], lower=True
    )
    return torch.from_numpy(np.asarray(half.T @ half)).to(cross.device)
