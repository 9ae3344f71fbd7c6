"""NECO: how much of a feature lies in the principal subspace of the training features."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.detector import Detector, over
from neuralcollapse.ood.second_moment import second_moment


class NECO(Detector):
    r"""Score features by their share in the leading principal components of training features.

    .. math:: \mathrm{NECO}(x) = \|P z\| / \|z\|, \qquad z = (x - \mu_G) / \sigma

    with the rows of P the leading eigenvectors of the covariance of z, which class moments give
    exactly (within plus between). In [0, 1]; higher is more familiar. At collapse the training
    features span K - 1 dimensions and score 1, and a feature orthogonal to them scores 0.

    Parameters
    ----------
    moments
        Moments of the training features, with a scatter.
    weight, bias
        The head; needed only for `max_logit`.
    num_components
        Rows of P, 1 to d - 1: with all d of them every feature scores 1. K - 1 if omitted, the
        dimension that collapse predicts (our choice: the paper tunes it for each network), or
        d - 1 if that is less, but at least 1.
    standardize
        Divide by the standard deviation sigma of each coordinate (1 where it is 0), as the
        authors' code does for ResNets. Without it, the score is invariant to rotations.
    max_logit
        Multiply by the largest logit, as the paper does for all networks but ResNets; then the
        score is not in [0, 1].

    Raises
    ------
    NeuralCollapseError
        If there are fewer than 2 dimensions, `num_components` is out of range, or the head is
        missing for `max_logit`.

    References
    ----------
    Ammar et al. 2024, Equation 6.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import NECO
    >>> features = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    >>> neco = NECO(ClassMoments(2, 2).update(features, [0, 1]), standardize=False)
    >>> neco(torch.tensor([[5.0, 0.0], [0.0, 5.0], [3.0, 4.0]])).round(decimals=6)
    tensor([1.0000, 0.0000, 0.6000], dtype=torch.float64)
    """

    needs_head = False

    def __init__(
        self,
        moments: ClassMoments,
        weight: Any = None,
        bias: Any = None,
        *,
        num_components: int | None = None,
        standardize: bool = True,
        max_logit: bool = False,
    ) -> None:
        self.needs_head = max_logit
        super().__init__(moments, weight, bias)
        num_components = self.components(
            num_components,
            max(1, min(int(moments.present.sum()) - 1, moments.dim - 1)),
            "omit it for K - 1, the dimension of a collapsed network: with all d components "
            "every feature scores 1",
        )
        self._max_logit = max_logit
        self._mean = moments.center("sample_mean")
        covariance = second_moment(moments)
        self._scale = torch.ones_like(self._mean)
        if standardize:
            deviations = covariance.diagonal().clamp_min(0).sqrt()
            self._scale = torch.where(deviations > 0, deviations, 1.0)
        covariance = covariance / self._scale / self._scale[:, None]
        self._components = torch.linalg.eigh(covariance).eigenvectors[:, -num_components:]

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the norm of the projection over that of the feature; 0 for a zero feature."""
        standard = (features - self._mean) / self._scale
        share = over((standard @ self._components).norm(dim=1), standard.norm(dim=1))
        return share * self.logits(features).amax(1) if self._max_logit else share
