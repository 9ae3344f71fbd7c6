"""The setting of Figure 1: a collapsed optimum, and the linear map there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.studies.tirer2023.features import next_features
from neuralcollapse.theory import PerturbationOperator, regularized_mse_minimizer
from neuralcollapse.theory.feature_response import Variant

LAMBDA_W = math.sqrt(2)


@dataclass(frozen=True)
class LinearMapSetting:
    """The collapsed optimum of Figure 1, and a pull towards it."""

    lambda_h: float = 0.1
    beta: float = 100.0
    num_classes: int = 4
    per_class: int = 10
    dim: int = 10
    lambda_w: float = LAMBDA_W

    @property
    def c(self) -> float:
        """sqrt(lambda_h lambda_w)."""
        return math.sqrt(self.lambda_h * self.lambda_w)

    @property
    def g(self) -> float:
        """sqrt(lambda_h / lambda_w)."""
        return math.sqrt(self.lambda_h / self.lambda_w)

    def optimum(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return (W, H, labels) of the free model's minimiser."""
        sizes, generator = (self.num_classes, self.per_class, self.dim), torch.Generator()
        strengths = self.lambda_w, self.lambda_h
        best = regularized_mse_minimizer(*sizes, *strengths, generator.manual_seed(0))
        return best.W, best.H, best.labels

    def minimize(self, H0: Tensor, labels: Tensor) -> Tensor:
        """Return the features of the near-features minimiser."""
        return next_features(H0, labels, self.lambda_w, self.lambda_h, self.beta)

    def operator(self, variant: Variant = "exact") -> PerturbationOperator:
        """Return the structured operator at the optimum."""
        W, _, labels = self.optimum()
        return PerturbationOperator(
            W / self.g, labels, self.lambda_w, self.lambda_h, self.beta, variant
        )

    def dense(self, variant: Variant = "exact") -> np.ndarray:
        """Return the (d N, d N) matrix F as the theorem writes it, on columns of features."""
        W, H, labels = (part.numpy() for part in self.optimum())
        H, size, K = H.T, len(labels), self.num_classes
        residual = W @ H - np.eye(K)[:, labels]
        error = np.kron(residual.T, np.eye(self.dim))  # vec(dW^T E) = (E^T x I) vec(dW^T)
        order = np.arange(K * self.dim).reshape(K, self.dim).T.ravel()  # vec(dW^T) to vec(dW)
        mixed = (error[:, order] + np.kron(H.T, W.T)).T
        curvature = np.kron(H @ H.T + self.per_class * self.lambda_w * np.eye(self.dim), np.eye(K))
        Z = mixed.T @ np.linalg.solve(curvature, mixed)
        slow = self.lambda_h * np.eye(size * self.dim) + np.kron(np.eye(size), W.T @ W) - Z
        if variant == "exact":
            return np.linalg.inv(np.eye(len(slow)) + slow / self.beta)
        return np.eye(len(slow)) - slow / self.beta
