"""Scores of the logits alone: the baselines that other scores should beat."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.detector import Detector
from neuralcollapse.validation import positive


class MaxSoftmax(Detector):
    r"""Score features by the largest softmax probability, :math:`\max_k e^{s_k}/\sum_j e^{s_j}`.

    In [1/K, 1]; higher is more familiar.

    Parameters
    ----------
    moments
        Moments of the training features; only their sizes are used.
    weight, bias
        (K, d) and (K,) of the head.

    References
    ----------
    Hendrycks & Gimpel 2017.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import MaxSoftmax
    >>> MaxSoftmax(ClassMoments(2, 2), torch.eye(2))(torch.tensor([[3.0, 3.0]]))
    tensor([0.5000], dtype=torch.float64)
    """

    needs_training_data = False

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the largest probability."""
        return self.logits(features).softmax(1).amax(1)


class Energy(Detector):
    r"""Score features by minus the free energy of their logits, :math:`T \log \sum_k e^{s_k/T}`.

    Higher is more familiar.

    Parameters
    ----------
    moments
        Moments of the training features; only their sizes are used.
    weight, bias
        (K, d) and (K,) of the head.
    temperature
        T > 0.

    References
    ----------
    Liu et al. 2020, "Energy-based Out-of-distribution Detection".

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import Energy
    >>> Energy(ClassMoments(2, 2), torch.eye(2))(torch.tensor([[0.0, 0.0]]))  # log 2
    tensor([0.6931], dtype=torch.float64)
    """

    needs_training_data = False

    def __init__(
        self,
        moments: ClassMoments,
        weight: Any = None,
        bias: Any = None,
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(moments, weight, bias)
        self._temperature = positive("temperature", temperature)

    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the log-sum-exp of the logits."""
        return self._temperature * (self.logits(features) / self._temperature).logsumexp(1)
