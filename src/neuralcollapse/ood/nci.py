"""NCI: how well a feature aligns with the row of its predicted class, and how long it is."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.detector import Detector, over
from neuralcollapse.validation import finite_tensor


class NCI(Detector):
    r"""Score features by their alignment with the head's row of their predicted class.

    .. math:: \mathrm{NCI}(x) = \frac{\langle w_c, x - \mu_G \rangle}{\|x - \mu_G\|}
        + \alpha \|x\|_1, \qquad c = \arg\max_k \; \langle w_k, x \rangle + b_k

    Higher is more familiar. At collapse the centred training features are parallel to their row,
    and the first term is its length :math:`\|w_c\|`, the largest possible value. Where several
    classes have the largest logit, c is the one with the least score, whatever their order.

    Parameters
    ----------
    moments
        Moments of the training features; only their mean is used.
    weight, bias
        (K, d) and (K,) of the head.
    alpha
        >= 0, weight of the norm. With 0, the default, only the proximity counts; the paper tunes it
        on validation data.

    References
    ----------
    Liu & Qin 2025, "Detecting Out-of-Distribution Through the Lens of Neural Collapse".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import NCI
    >>> moments = ClassMoments(2, 2).update(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), [0, 1])
    >>> nci = NCI(moments, torch.tensor([[-3.0, 0.0], [3.0, 0.0]]))
    >>> nci(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    tensor([3.0000, 1.8000], dtype=torch.float64)
    """

    def __init__(
        self,
        moments: ClassMoments,
        weight: Any = None,
        bias: Any = None,
        *,
        alpha: float = 0.0,
    ) -> None:
        super().__init__(moments, weight, bias)
        self._mean = moments.center("sample_mean")
        self._alpha = float(finite_tensor("alpha", alpha))
        if self._alpha < 0:
            raise NeuralCollapseError("alpha", "at least 0", str(alpha), "0 leaves the norm out")

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return proximity plus alpha times the 1-norm; a feature at the mean has proximity 0."""
        assert self._weight is not None
        logits = self.logits(features)
        tied = logits == logits.amax(1, keepdim=True)
        # <w_c, x - mean> is the logit less that of the mean: least where the latter is largest.
        winners = self.logits(self._mean[None]).where(tied, -torch.inf).argmax(1)
        rows = self._weight[winners]
        centered = features - self._mean
        proximity = over((rows * centered).sum(1), centered.norm(dim=1))
        return torch.add(proximity, features.abs().sum(1), alpha=self._alpha)
