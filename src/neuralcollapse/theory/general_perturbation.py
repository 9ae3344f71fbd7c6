"""How the near-features minimiser responds to a small change of any features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.feature_response import FeatureResponse, Variant, known_variant
from neuralcollapse.theory.near_features import near_features_minimizer
from neuralcollapse.theory.near_features_objective import NearFeaturesObjective
from neuralcollapse.theory.sufficient_statistics import sufficient_statistics
from neuralcollapse.validation import finite_matrix, integer_labels


class GeneralPerturbationOperator(FeatureResponse):
    r"""The derivative of the near-features minimiser with respect to H0, at any H0.

    With :math:`G = (W^\top W + (\lambda_H + \beta) I)^{-1}`, residual :math:`E = H W^\top - Y`,
    :math:`\bar n = N / K` and :math:`D = \beta\, \delta H_0\, G`,

    .. math::
        \nabla^2 \varphi(W)\, \delta W &= -(W D^\top H + E^\top D) / \bar n, \\
        \delta H &= D - (E\, \delta W + H\, \delta W^\top W) G,

    where :math:`\varphi` is the reduced objective of the head, whose Kd x Kd Hessian is factored
    once. The operator is symmetric; away from collapse it can have eigenvalues above 1. To first
    order in :math:`1/\beta` (the paper's Equation 5) a d x d matrix is enough:

    .. math::
        \delta W(\delta H) &= -(W \delta H^\top H + E^\top \delta H)
            (H^\top H + \bar n \lambda_W I)^{-1}, \\
        A\, \delta H &= \delta H (W^\top W + \lambda_H I) + E\, \delta W + H \delta W^\top W,
        \qquad \delta H \approx (I - A / \beta)\, \delta H_0,

    where the exact operator is :math:`(I + A / \beta)^{-1}`.

    Parameters
    ----------
    H0
        (N, d) features.
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes.
    lambda_w, lambda_h, beta
        Strengths of the regularisation and of the pull towards H0, above 0.
    variant
        ``"exact"`` or ``"first-order"``.

    Attributes
    ----------
    minimizer
        The minimiser about which the operator expands.

    Raises
    ------
    NeuralCollapseError
        If the minimiser is degenerate (as for H0 = 0) and so has no derivative, or as
        `near_features_minimizer`.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Theorem 4.1, in exact form, and Equation 5; the reduction to
    Kd x Kd is ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import GeneralPerturbationOperator
    >>> H0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> operator = GeneralPerturbationOperator(H0, [0, 0, 1, 1], 0.5, 0.1, beta=3.0)
    >>> operator.apply(torch.zeros(4, 2)).abs().max()
    tensor(0., dtype=torch.float64)
    """

    def __init__(
        self,
        H0: Any,
        labels: Any,
        lambda_w: float,
        lambda_h: float,
        beta: float,
        variant: Variant = "exact",
    ) -> None:
        self.variant = known_variant(variant)
        features = finite_matrix("H0", H0).detach().cpu()
        self.labels = integer_labels("labels", labels, len(features)).cpu()
        self.minimizer = near_features_minimizer(features, self.labels, lambda_w, lambda_h, beta)
        if self.minimizer.status not in ("unique", "strict local minimum"):
            expected = "features whose minimiser is locally unique"
            got = f"a minimiser that is {self.minimizer.status}"
            raise NeuralCollapseError("H0", expected, got, "use a larger beta or other features")
        self.lambda_h, self.beta = float(lambda_h), float(beta)
        moments = sufficient_statistics(features, self.labels)
        objective = NearFeaturesObjective(moments, float(lambda_w), float(lambda_h), self.beta)
        self.W = self.minimizer.W.numpy()
        self.shrinkage = objective.shrinkage(self.W)
        self.features = (self.W[self.labels] + self.beta * features.numpy()) @ self.shrinkage
        self.residual = self.features @ self.W.T
        self.residual[np.arange(len(features)), self.labels.numpy()] -= 1
        size = self.W.size
        if variant == "exact":
            basis = np.eye(size).reshape(size, *self.W.shape)
            self._hessian = cho_factor(objective.expand(self.W).hessian(basis).reshape(size, size))
        else:
            gram = self.features.T @ self.features
            gram[np.diag_indices_from(gram)] += len(features) / len(self.W) * float(lambda_w)
            self._gram = cho_factor(gram)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d) of H0."""
        num_samples, dim = self.features.shape
        return num_samples, dim

    def _features(self, change: Tensor) -> Tensor:
        if self.variant == "first-order":
            return torch.from_numpy(self._first_order(change.numpy()))
        direct, dW = self._respond(change)
        indirect = self.residual @ dW + self.features @ dW.T @ self.W
        return torch.from_numpy(direct - indirect @ self.shrinkage)

    def _head(self, change: Tensor) -> Tensor:
        if self.variant == "first-order":
            return torch.from_numpy(self._head_after(self._first_order(change.numpy())))
        return torch.from_numpy(self._respond(change)[1])

    def _head_after(self, dH: np.ndarray) -> np.ndarray:
        """Change of the best head of features that change by dH."""
        force = self.W @ (dH.T @ self.features) + self.residual.T @ dH
        return -cho_solve(self._gram, force.T).T

    def _first_order(self, change: np.ndarray) -> np.ndarray:
        dW = self._head_after(change)
        pull = change @ self.W.T @ self.W + self.lambda_h * change
        return change - (pull + self.residual @ dW + self.features @ dW.T @ self.W) / self.beta

    def _respond(self, change: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the response of the features at a fixed head, and that of the head."""
        direct = self.beta * change.numpy() @ self.shrinkage
        force = (direct @ self.W.T).T @ self.features + self.residual.T @ direct
        mean_count = len(direct) / len(self.W)
        answer = cho_solve(self._hessian, -force.ravel() / mean_count)
        return direct, answer.reshape(self.W.shape)
