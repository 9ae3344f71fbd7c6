"""How far one layer shrinks the within-class scatter of nearly collapsed features."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, cg

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.near_features import near_features_minimizer
from neuralcollapse.theory.near_features_objective import Expansion, NearFeaturesObjective
from neuralcollapse.theory.round_off import regular_systems
from neuralcollapse.theory.sufficient_statistics import SufficientStatistics, sufficient_statistics
from neuralcollapse.validation import check_choice


@regular_systems("lambda_w, lambda_h and beta")
def predicted_within_ratio(
    H0: Any, labels: Any, lambda_w: float, lambda_h: float, beta: float, order: Literal[0, 1] = 1
) -> float:
    r"""Predict Tr Sigma_W of the near-features minimiser over that of H0, about its own means.

    The minimiser's scatter is :math:`T \Sigma_W(H_0)\, T` exactly, with
    :math:`T = \beta (W^\top W + (\lambda_H + \beta) I)^{-1}`, and depends on H0 only through its
    class means and scatter. So the head W is expanded in the scatter about that of the class means
    alone, whatever they are. For deviations of size :math:`\varepsilon` the ratio then errs by
    :math:`O(\varepsilon^2)` at order 0 and :math:`O(\varepsilon^4)` at order 1.
    `PerturbationOperator.within_ratio` expands about collapsed means instead, which adds an error
    of the size by which those of H0 differ.

    Parameters
    ----------
    H0
        (N, d) features, or an object with ``means``, ``within`` (pooled) and ``counts``.
    labels
        (N,) class indices 0..K-1 in any order, classes of any sizes; None when moments are given.
    lambda_w, lambda_h, beta
        Strengths of the regularisation and of the pull towards H0, above 0.
    order
        Order in the scatter to which the head is taken: 0, or 1.

    Returns
    -------
    float
        The ratio.

    Raises
    ------
    NeuralCollapseError
        If the order is neither, H0 has no deviations, or as `near_features_minimizer`.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Ours; compare Tirer, Huang & Niles-Weed 2023, Section 4.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import near_features_minimizer, predicted_within_ratio
    >>> H0 = torch.tensor([[2.0, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.1, 1.0]])
    >>> found = near_features_minimizer(H0, [0, 0, 1, 1], 0.5, 0.1, beta=3.0)
    >>> predicted = predicted_within_ratio(H0, [0, 0, 1, 1], 0.5, 0.1, beta=3.0)
    >>> abs(predicted / (float(found.within.trace()) / 0.01) - 1) < 1e-4
    True
    """
    check_choice("order", order, (0, 1))
    moments = sufficient_statistics(H0, labels)
    spread = float(moments.within.trace())
    if spread <= 0:
        raise NeuralCollapseError(
            "H0", "features that deviate from their class means", "collapsed ones", "pass others"
        )
    nothing = torch.zeros_like(moments.within)
    collapsed = SufficientStatistics(moments.means, nothing, moments.counts)
    head = near_features_minimizer(collapsed, None, lambda_w, lambda_h, beta).W.numpy()
    objective = NearFeaturesObjective(moments, float(lambda_w), float(lambda_h), float(beta))
    if order == 1:
        head = head + _response(objective.expand(head))
    return float(objective.best_moments(head)[1].trace()) / spread


def _response(point: Expansion) -> np.ndarray:
    """Newton's step, which is the head's linear response to the scatter."""
    shape, size = point.argument.shape, point.argument.size

    def image(vector: np.ndarray) -> np.ndarray:
        return point.scaled_hessian(vector.reshape(shape)).ravel()

    operator = LinearOperator((size, size), matvec=image, dtype=np.float64)
    step, _ = cg(operator, -point.scaled_gradient.ravel(), rtol=1e-12)
    return point.unscale(step.reshape(shape))
