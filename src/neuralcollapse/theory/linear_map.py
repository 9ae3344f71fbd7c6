"""What the perturbation operators share as linear maps on features."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_matrix


def checked_change(dH0: Any, num_samples: int, dim: int) -> Tensor:
    """Return a change of H0 as a finite float64 matrix of its shape."""
    change = finite_matrix("dH0", dH0).cpu()
    if change.shape != (num_samples, dim):
        raise NeuralCollapseError(
            "dH0",
            f"the shape of H0, ({num_samples}, {dim})",
            f"{tuple(change.shape)}",
            "pass one row per label",
        )
    return change


def linear_operator(operator: Any, num_samples: int, dim: int) -> LinearOperator:
    """Wrap a symmetric operator's ``apply`` as scipy's linear operator on H.reshape(-1)."""

    def product(vector: np.ndarray) -> np.ndarray:
        return operator.apply(vector.reshape(num_samples, dim)).numpy().ravel()

    size = num_samples * dim
    return LinearOperator((size, size), matvec=product, rmatvec=product, dtype=np.float64)
