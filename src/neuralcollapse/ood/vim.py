"""ViM: the energy of the logits minus a virtual logit, the residual off a principal subspace."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.detector import Detector
from neuralcollapse.ood.second_moment import second_moment
from neuralcollapse.validation import (
    as_tensor,
    check_finite,
    finite_matrix,
    finite_tensor,
)


class ViM(Detector):
    r"""Score features by logits and residual together.

    .. math:: \mathrm{ViM}(x) = \log \sum_k e^{s_k(x)} - \alpha \|R (x - o)\|, \qquad
        \alpha = \frac{\sum_i \max_k s_k(x_i)}{\sum_i \|R (x_i - o)\|}, \qquad o = -W^+ b

    with R the projection off the leading eigenvectors of the second moment about o, which class
    moments give exactly. Higher is more familiar; the score is a monotone function of the paper's
    probability of the virtual class. The scale alpha needs a mean of norms over training samples,
    which moments do not hold: it takes one pass over training features, or over a sample of them.

    Parameters
    ----------
    moments
        Moments of the training features, with a scatter.
    weight, bias
        (K, d) and (K,) of the head.
    num_components
        Dimension of the principal subspace, 1 to d - 1. If omitted, 1000 for d >= 2048, 512 for
        d >= 768 (the paper's choices), and d // 2 below (ours).
    train_features
        (m, d) training features from which alpha is computed.
    alpha
        The scale, if it is already known.

    Raises
    ------
    NeuralCollapseError
        If neither training features nor alpha are given, there are fewer than 2 dimensions,
        `num_components` is out of range, or the training features have no residual to scale by.

    References
    ----------
    Wang et al. 2022, "ViM: Out-of-Distribution with Virtual-logit Matching".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import ViM
    >>> train = torch.tensor([[-4.0, 1.0], [-4.0, -1.0], [4.0, 1.0], [4.0, -1.0]])
    >>> moments, head = ClassMoments(2, 2).update(train, [0, 0, 1, 1]), torch.eye(2)
    >>> vim = ViM(moments, torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), train_features=train)
    >>> vim.alpha  # the mean largest logit 4, over the mean residual 1
    4.000000
    """

    needs_train_features = True

    def __init__(
        self,
        moments: ClassMoments,
        weight: Any = None,
        bias: Any = None,
        *,
        num_components: int | None = None,
        train_features: Any = None,
        alpha: float | None = None,
    ) -> None:
        super().__init__(moments, weight, bias)
        assert self._weight is not None
        dim = moments.dim
        usual = 1000 if dim >= 2048 else 512 if dim >= 768 else dim // 2
        num_components = self.components(
            num_components, usual, "use fewer, so that a residual is left"
        )
        self._origin = torch.zeros_like(self._weight[0])
        if self._bias is not None:
            self._origin = -torch.linalg.pinv(self._weight) @ self._bias
        about = second_moment(moments, self._origin)
        check_finite("weight and bias: squares about the origin -pinv(W) b", about)
        spectrum = torch.linalg.eigh(about)
        self._residual = spectrum.eigenvectors[:, : dim - num_components]
        given = None if alpha is None else float(finite_tensor("alpha", alpha))
        self.alpha = self._scale(train_features) if given is None else given

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the energy less the virtual logit."""
        return self.logits(features).logsumexp(1) - self.alpha * self._residual_norms(features)

    def _residual_norms(self, features: Tensor) -> Tensor:
        return ((features - self._origin) @ self._residual).norm(dim=1)

    def _scale(self, train_features: Any) -> float:
        """Return alpha: the mean largest logit over the mean residual."""
        if train_features is None or not as_tensor("train_features", train_features).numel():
            expected = "training features, or alpha, which class moments do not give"
            remedy = "pass train_features=; a sample of a few thousand is enough"
            raise NeuralCollapseError("train_features", expected, "none", remedy)
        given = self.matrix("train_features", train_features)
        rows = finite_matrix("train_features", given).to(self.device)
        residual = float(self._residual_norms(rows).sum())
        # Round-off of features that lie in the principal subspace does not count as a residual.
        if residual <= 1e-12 * float(rows.norm(dim=1).sum()):
            expected = "a principal subspace that leaves a residual of the training features"
            got = f"a total residual of {residual:.2g}"
            remedy = "the features have collapsed into it: use fewer components, or NECO"
            raise NeuralCollapseError("num_components", expected, got, remedy)
        return float(self.logits(rows).amax(1).sum()) / residual
