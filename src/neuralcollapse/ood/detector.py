"""Detector: what all scores of familiarity share: chunks, checks, the logits of the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.head import checked_bias, checked_head
from neuralcollapse.metrics.nearest_center import LONGEST
from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import (
    as_tensor,
    check_shape,
    check_squares,
    finite_matrix,
    whole_number,
)

CHUNK_ROWS = 4096  # features converted to float64 at once


class Detector(ABC):
    """A score of features, higher where they look more like those of the training data.

    Parameters
    ----------
    moments
        Class moments of the training features that enter the head.
    weight, bias
        (K, d) and (K,) of the head, for the scores that need its logits or its rows.

    Raises
    ------
    NeuralCollapseError
        If the head does not fit the moments, or is missing where the score needs it.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import Detector
    >>> class Norm(Detector):  # a score of your own
    ...     needs_head = False
    ...
    ...     def score(self, features):
    ...         return features.norm(dim=1)
    >>> Norm(ClassMoments(2, 2))(torch.tensor([[3.0, 4.0], [0.0, 0.5]])).tolist()
    [5.0, 0.5]
    """

    needs_head = True
    needs_training_data = True  # more of the moments than their sizes
    needs_train_features = False  # the features themselves, beside their moments

    def __init__(self, moments: ClassMoments, weight: Any = None, bias: Any = None) -> None:
        if weight is None and self.needs_head:
            expected = f"the head, which {type(self).__name__} needs"
            remedy = "pass the weight (and bias) of the last linear layer"
            raise NeuralCollapseError("weight", expected, "none", remedy)
        self.dim, self.device = checked_moments(moments).dim, moments.device
        self._weight = None if weight is None else checked_head(moments, weight)
        self._bias = (
            None if bias is None or self._weight is None else checked_bias(bias, self._weight)
        )

    def __call__(self, features: Any) -> Float[Tensor, " n"]:
        """Return the score of each row of features (n, d), float64.

        Raises
        ------
        NonFiniteError
            If a feature is NaN or infinite.
        NeuralCollapseError
            If the width differs from that of the training features.
        """
        chunks = self.matrix("features", features).split(CHUNK_ROWS)
        return torch.cat([self.score(self._readable(part)) for part in chunks])

    def _readable(self, features: Tensor) -> Tensor:
        rows = finite_matrix("features", features).to(self.device)
        check_squares("features", rows, least=0.0, most=LONGEST)
        return rows

    def matrix(self, argument: str, features: Any) -> Tensor:
        """Return features in their own dtype, their width checked, but not their values."""
        rows = as_tensor(argument, features)
        remedy = "pass the features that enter the head, one row per sample"
        check_shape(argument, rows, ("n", self.dim), remedy)
        return rows.detach()

    def components(self, given: int | None, usual: int, remedy: str) -> int:
        """Return how many principal components to use: 1 to d - 1, the usual number if None."""
        if self.dim < 2:
            expected = f"at least 2 dimensions, of which {type(self).__name__} leaves some out"
            raise NeuralCollapseError("features", expected, "1", "use another method")
        number = usual if given is None else whole_number("num_components", given, 0)
        if not 1 <= number < self.dim:
            expected = f"1 to d - 1 = {self.dim - 1}"
            raise NeuralCollapseError("num_components", expected, str(number), remedy)
        return number

    @abstractmethod
    def score(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the score of rows that are float64 and finite."""

    def logits(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n K"]:
        """Return the logits of the head."""
        assert self._weight is not None  # see needs_head
        logits = features @ self._weight.T
        return logits if self._bias is None else logits + self._bias


def over(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide; 0 where the denominator is 0, as for a zero vector, which has no direction."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)
