"""Distances to the nearest class mean: Euclidean, and in units of the within-class spread."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.detector import Detector
from neuralcollapse.validation import real_number


class NearestMean(Detector):
    r"""Score features by minus their distance to the nearest class mean, :math:`-\min\|x-\mu_k\|`.

    Higher is more familiar; at most 0, the value of every training sample at collapse.

    Parameters
    ----------
    moments
        Moments of the training features; only the class means are used.
    weight, bias
        Not used.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import NearestMean
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [4.0]]), [0, 1])
    >>> NearestMean(moments)(torch.tensor([[4.0], [9.0]]))
    tensor([-0., -5.], dtype=torch.float64)
    """

    needs_head = False

    def __init__(self, moments: ClassMoments, weight: Any = None, bias: Any = None) -> None:
        super().__init__(moments, weight, bias)
        self._means = moments.means[moments.present]

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return minus the least distance."""
        return -_least_distance(features, self._means)


class Mahalanobis(Detector):
    r"""Score features by minus their squared Mahalanobis distance to the nearest class mean.

    .. math:: -\min_k \; (x - \mu_k)^\top \Sigma_W^{+} (x - \mu_k)

    with one within-class covariance for all classes (tied). Higher is more familiar. Near collapse
    the covariance is singular: directions whose variance is below `rtol` of the largest, which is
    round-off, are left out, so a sample that differs only in these goes unnoticed.

    Parameters
    ----------
    moments
        Moments of the training features, with a scatter.
    weight, bias
        Not used.
    shrinkage
        Share in [0, 1] of the scatter to replace by its mean variance in every direction;
        ``"oas"`` for the oracle approximating shrinkage, which suits few samples of many features.
        Directions then stay above the cut-off, and the pseudo-inverse becomes an inverse.
    rtol
        Relative cut-off of the pseudo-inverse; if omitted, d times the precision of float32, the
        usual dtype of features.

    Raises
    ------
    NeuralCollapseError
        If there is no within-class variance at all, or the shrinkage is out of range.

    References
    ----------
    Lee et al. 2018, Equations 1 and 2; Chen, Wiesel, Eldar & Hero 2010 (OAS).

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import Mahalanobis
    >>> train = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])  # spread 1 about 0 and 10
    >>> Mahalanobis(ClassMoments(2, 1).update(train, [0, 0, 1, 1]))(torch.tensor([[10.0], [13.0]]))
    tensor([-0., -9.], dtype=torch.float64)
    """

    needs_head = False

    def __init__(
        self,
        moments: ClassMoments,
        weight: Any = None,
        bias: Any = None,
        *,
        rtol: float | None = None,
        shrinkage: float | str | None = None,
    ) -> None:
        super().__init__(moments, weight, bias)
        variances, directions = torch.linalg.eigh(moments.within)
        cutoff = moments.dim * torch.finfo(torch.float32).eps
        if rtol is not None:
            cutoff = real_number("rtol", rtol)
            if not 0 <= cutoff < 1:
                raise NeuralCollapseError("rtol", "a number in [0, 1)", str(rtol), "omit it")
        if shrinkage is not None:
            share = _oas(variances, moments.num_samples) if shrinkage == "oas" else shrinkage
            if isinstance(share, str) or not 0 <= real_number("shrinkage", share) <= 1:
                raise NeuralCollapseError(
                    "shrinkage", "a share in [0, 1], or 'oas'", repr(shrinkage), "try 'oas'"
                )
            variances = (1 - share) * variances.clamp_min(0) + share * variances.mean()
        kept = variances > cutoff * variances[-1]
        if not kept.any():
            remedy = "the features have collapsed exactly: use the nearest mean, NECO or NCI"
            raise NeuralCollapseError("moments", "some variance within the classes", "none", remedy)
        self._whitener = directions[:, kept] * variances[kept].rsqrt()
        self._means = moments.means[moments.present] @ self._whitener

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return minus the least squared distance."""
        return -_least_distance(features @ self._whitener, self._means).square()


def _least_distance(rows: Tensor, means: Tensor) -> Tensor:
    # By differences: |x|^2 + |mu|^2 - 2 x.mu would cancel where a sample is at its mean.
    return torch.cdist(rows, means, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


def _oas(variances: Tensor, num_samples: int) -> float:
    """Return the shrinkage of the oracle approximating estimator, as in scikit-learn's OAS."""
    dim, mean = len(variances), float(variances.mean())
    alpha = float(variances.square().sum()) / dim**2  # mean square of all entries
    denominator = (num_samples + 1) * (alpha - mean**2 / dim)
    return 1.0 if denominator <= 0 else min(1.0, (alpha + mean**2) / denominator)
