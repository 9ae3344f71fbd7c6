"""What the perturbation operators share: a symmetric linear map on changes of H0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from neuralcollapse.validation import check_choice, check_shape, finite_matrix

Variant = Literal["exact", "first-order"]


def known_variant(variant: str) -> str:
    """Return the variant, or refuse another word."""
    check_choice("variant", variant, ("exact", "first-order"))
    return variant


class FeatureResponse(ABC):
    """How minimising features and head respond to a small change of H0."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(N, d) of H0."""

    @abstractmethod
    def _features(self, change: Tensor) -> Tensor:
        """Return the change of the features, (N, d), for a change of H0."""

    @abstractmethod
    def _head(self, change: Tensor) -> Tensor:
        """Return the change of the head, (K, d), for a change of H0."""

    def apply(self, dH0: Any) -> Float[Tensor, "N d"]:
        """Map a change of H0 to the change of the minimising features.

        Parameters
        ----------
        dH0
            (N, d) change of H0, rows in the order of the labels.

        Returns
        -------
        Tensor of shape (N, d)
            Change of the features. At collapsed H0 nothing larger than dH0 is formed.

        Raises
        ------
        NeuralCollapseError
            If the shape is not that of H0.
        NonFiniteError
            If an entry is NaN or infinite.
        """
        return self._features(self._checked(dH0))

    def classifier_response(self, dH0: Any) -> Float[Tensor, "K d"]:
        """Map a change of H0 to the change of the minimising head.

        Parameters
        ----------
        dH0
            (N, d) change of H0, rows in the order of the labels.

        Returns
        -------
        Tensor of shape (K, d)
            Change of the head.

        Raises
        ------
        NeuralCollapseError
            If the shape is not that of H0.
        NonFiniteError
            If an entry is NaN or infinite.
        """
        return self._head(self._checked(dH0))

    def as_linear_operator(self) -> LinearOperator:
        """Return the map on vec(H) = H.reshape(-1), which for class-major rows is the paper's.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of size N d, symmetric.
        """

        def product(vector: np.ndarray) -> np.ndarray:
            return self.apply(vector.reshape(self.shape)).numpy().ravel()

        size = self.shape[0] * self.shape[1]
        return LinearOperator((size, size), matvec=product, rmatvec=product, dtype=np.float64)

    def _checked(self, dH0: Any) -> Tensor:
        change = finite_matrix("dH0", dH0).cpu()
        check_shape("dH0", change, self.shape, "pass one row per label")
        return change
