"""VCI: within-class variability as a linear classifier sees it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.metrics.between import EPS, KNOWN, between_whitener, weighted_means
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import check_choice

FLOAT32_PRODUCT = 2.0**-25  # round-off of a scatter in float32, over the variance of a feature
LEAST_PIVOT = 1e-5  # of the largest pivot: below it the scatter is numerically singular
LEAST_RATIO = 1e-9  # of the largest eigenvalue: below it, round-off of the larger ones would show


def vci(moments: ClassMoments, rank: Literal["numerical", "full"] = "numerical") -> float:
    r"""Return the variability collapse index.

    .. math:: 1 - \mathrm{tr}(\Sigma_T^+ \Sigma_B) / \mathrm{rank}(\Sigma_B)

    Invariant to every invertible linear map of the features. Computed as the mean of x/(1+x) over
    the eigenvalues x, relative to the between-class scatter, of the within-class scatter without
    the part that other directions predict, so that nothing cancels near collapse.

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
        If fewer than two classes have samples, the moments hold no scatter, or the rank is unknown.

    References
    ----------
    Xu & Liu 2023, "Quantifying the variability collapse of neural networks".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import vci
    >>> features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    >>> vci(ClassMoments(2, 1).update(features, [0, 0, 1, 1]))  # 1 - 4/5
    0.200000
    """
    check_choice("rank", rank, ("numerical", "full"))
    directions = len(between_whitener(moments, "balanced", "class_mean"))  # whatever the weights
    if not directions:
        return float("nan")
    scatter = moments.within_scatter("pooled")
    relative = _by_cholesky(scatter, moments, directions)
    if relative is None:
        relative = _by_projection(scatter, moments)
    if not len(relative):  # weighted by their samples, the means are too near to tell apart
        return float("nan")
    full = min(moments.dim, int(moments.present.sum()) - 1)
    missing = 0 if rank == "numerical" else full - directions
    total = float((relative / (1 + relative)).sum()) + missing
    return total / (len(relative) + missing)


def loses_digits(moments: ClassMoments) -> bool:
    r"""Return whether a direction varies too little for the features or their products to resolve.

    If classes differ along such a direction, VCI can take any value, 0 included. Features that
    never vary are ignored; other directions without variance cannot be told from weak ones. Of
    float64 features only directions count along which classes differ. Each feature is taken in
    units of its own spread, in which a strong one costs others no digits.

    Parameters
    ----------
    moments
        Moments with a scatter.

    Examples
    --------
    >>> loses_digits(ClassMoments(2, 1).update(torch.tensor([[0.0], [1.0], [2.0]]), [0, 0, 1]))
    False
    """
    if moments.num_samples <= moments.dim + 1:
        return False
    scatter = moments.within_scatter("pooled")
    units, varying = _units(scatter), scatter.diagonal() > 0
    products = FLOAT32_PRODUCT if moments.coarse else moments.dim * EPS
    floor = KNOWN * max(products, _added(moments, scatter))
    scaled = (scatter / units / units[:, None])[varying][:, varying]
    if not len(scaled):
        return False
    factor, failed = torch.linalg.cholesky_ex(scaled)
    # The sum of the inverse gives at most the least variance.
    if not failed and 1 / float(torch.cholesky_inverse(factor).diagonal().sum()) >= floor:
        return False
    if moments.narrow:
        return True
    values, directions = torch.linalg.eigh(scaled)
    rows = (weighted_means(moments, "pooled", "sample_mean") / units)[:, varying]
    along, weak = (rows @ directions).square().sum(0), values < floor
    # A direction is known to round-off over its variance: so much of the others' is seen along it.
    seen = along * (moments.dim * EPS * values[-1] / values).square()
    known = float(seen[~weak].sum()) + _added(moments, scatter)
    return bool((along[weak] > KNOWN**2 * known).any())


def _by_cholesky(scatter: Tensor, moments: ClassMoments, directions: int) -> Tensor | None:
    r"""Return the eigenvalues x by Sigma_W = L L^T, None if it is too close to singular.

    1/x are the largest eigenvalues of L^-1 Sigma_B L^-T: a fifth of the time of `_by_projection`.
    """
    units = _units(scatter)
    factor, failed = torch.linalg.cholesky_ex(scatter / units / units[:, None])
    least, most = torch.aminmax(factor.diagonal())
    if failed or not least > LEAST_PIVOT * most:
        return None
    if not _least_variance(factor) > _added(moments, scatter):
        return None
    if int(moments.present.sum()) <= moments.dim:
        rows = weighted_means(moments, "pooled", "sample_mean").div_(units)
        half = torch.linalg.solve_triangular(factor, rows.T, upper=False)
        small = half.T @ half
    else:
        between = moments.between_scatter("pooled", "sample_mean") / units / units[:, None]
        half = torch.linalg.solve_triangular(factor, between, upper=False)
        small = torch.linalg.solve_triangular(factor, half.T, upper=False)
    apart = torch.linalg.eigvalsh(small)[-directions:]
    return 1 / apart if apart[0] > LEAST_RATIO * apart[-1] else None


def _units(scatter: Tensor) -> Tensor:
    """Return the spread of each feature: in such units, a strong one costs others no digits."""
    spread = scatter.diagonal().sqrt()
    return spread.where(spread > 0, 1.0)


def _least_variance(factor: Tensor) -> float:
    """Return the least eigenvalue of L L^T, or a little more, by inverse iteration."""
    row = torch.linspace(1, 2, len(factor), dtype=factor.dtype, device=factor.device).sin()[:, None]
    for _ in range(3):
        row = torch.cholesky_solve(row / row.norm(), factor)
    return 1 / float(row.norm())


def _added(moments: ClassMoments, scatter: Tensor) -> float:
    """Return the largest variance that rounding of the features adds, each in its `_units`."""
    present, units = moments.present, _units(scatter).square()
    squares = moments.class_weights("pooled")[present] @ moments.means[present].square()
    return moments.rounding * float(((squares + scatter.diagonal()) / units).sum())


def _by_projection(scatter: Tensor, moments: ClassMoments) -> Tensor:
    """Return the eigenvalues x for a scatter of any rank."""
    whitener = between_whitener(moments, "pooled", "sample_mean")
    directions = len(whitener)
    # With V the span of the means, Sigma_T^+ restricted to it is the inverse of
    # Sigma_B + S, S the Schur complement of the within-class scatter.
    inside, triangular = torch.linalg.qr(whitener.T, mode="complete")
    rotated = inside.T @ scatter @ inside
    head = rotated[:directions, :directions]
    cross = rotated[directions:, :directions]
    floor = max(moments.dim * EPS * float(rotated.diagonal().max()), moments.feature_round_off)
    schur = head - _predicted(rotated[directions:, directions:], cross, floor)
    root = triangular[:directions]
    return torch.linalg.eigvalsh(root.T @ schur @ root).clamp_min(0)


def _predicted(scatter: Tensor, cross: Tensor, floor: float) -> Tensor:
    """Return cross^T scatter^- cross for a positive semidefinite scatter of any rank.

    A variance of at most the floor is round-off of the directions that were turned away from, and
    its inverse would predict anything.
    """
    from scipy.linalg import solve_triangular  # a tenth of a second to import, and seldom needed
    from scipy.linalg.lapack import dpstrf

    there = scatter.diagonal() > floor  # LAPACK judges all pivots but the first
    scatter, cross = scatter[there][:, there], cross[there]
    if not scatter.numel():
        return torch.zeros(cross.shape[1], cross.shape[1], dtype=cross.dtype, device=cross.device)
    # Pivoted Cholesky: a generalised inverse at a tenth of the cost of an eigendecomposition.
    factor, pivots, rank, _ = dpstrf(scatter.cpu().numpy(), lower=1, tol=floor)
    half = solve_triangular(
        factor[:rank, :rank], cross.cpu().numpy()[pivots[:rank] - 1], lower=True
    )
    return torch.from_numpy(np.asarray(half.T @ half)).to(cross.device)
