"""measure_regression: neural collapse with vectors as targets instead of classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.between import EPS
from neuralcollapse.validation import check_shape, check_squares, finite_matrix, strength_pair
from neuralcollapse.wording import share


@dataclass(frozen=True)
class RegressionReport:
    r"""Neural regression collapse of features and a head.

    Attributes
    ----------
    values
        ``nrc1``: mean squared distance of the centred features, at norm 1, from their first n
        principal directions; ``nrc2``: from the rows of W; ``nrc3``: squared distance of the
        normalised W W^T from that predicted, at the best shift or, with ``nrc3_decay``, at the
        given decay. ``nrc1_explained`` and ``nrc2_explained``: the share of the features' variance
        in those directions. At collapse 0, and 1 for the shares.
    shift
        The c of the best :math:`(\Sigma_Y^{1/2} - c I)_+`, sqrt(lambda_H lambda_W) at the minimum
        of the regularised model.
    predicted
        (n, n) the prediction of W W^T, at norm 1.

    Examples
    --------
    >>> import torch
    >>> import neuralcollapse as nc
    >>> targets = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]])
    >>> features = targets @ torch.tensor([[3.0, 4.0]])  # all in one direction
    >>> report = nc.measure_regression(features, targets, torch.tensor([[3.0, 4.0]]))
    >>> round(report["nrc1"], 6), round(report["nrc2_explained"], 6)
    (0.0, 1.0)
    """

    values: dict[str, float]
    shift: float
    predicted: Float[Tensor, "n n"]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def __str__(self) -> str:
        value = self.values
        rows = {
            "NRC1 features on n principal directions": ("nrc1", "nrc1_explained"),
            "NRC2 features on the rows of the head": ("nrc2", "nrc2_explained"),
        }
        lines = [
            f"{title:42} {value[distance]:.4g} (0 at collapse), "
            f"{share(value[explained])} of the variance"
            for title, (distance, explained) in rows.items()
        ]
        lines.append(f"{'NRC3 head against the targets':42} {value['nrc3']:.4g} (0 at collapse)")
        return "\n".join(lines)


def measure_regression(
    features: Any, targets: Any, weight: Any, weight_decay: tuple[float, float] | None = None
) -> RegressionReport:
    r"""Measure the neural collapse of a regression.

    With n targets, the features come to lie in n dimensions, those spanned by the head's rows, and

    .. math:: W W^\top = \sqrt{\lambda_H / \lambda_W} \,
        \bigl( \Sigma_Y^{1/2} - \sqrt{\lambda_H \lambda_W}\, I \bigr)_+

    at the minimum of 1/(2N) sum_i ||W h_i + b - y_i||^2 + lambda_W/2 ||W||^2
    + lambda_H/(2N) sum_i ||h_i||^2, with :math:`\Sigma_Y` the covariance of the targets.

    Parameters
    ----------
    features
        (N, d) features of N samples.
    targets
        (N, n), not all constant.
    weight
        (n, d) head.
    weight_decay
        (lambda_W, lambda_H), if known.

    Returns
    -------
    RegressionReport
        NRC1 to NRC3, and the explained variances.

    Raises
    ------
    NeuralCollapseError
        If shapes do not fit, there are fewer than 2 samples, or all targets are constant.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Andriopoulos et al. 2024, "The prevalence of neural collapse in neural multivariate regression",
    Definitions of NRC1 to NRC3 and Theorem 4.1.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import measure_regression
    >>> generator = torch.Generator().manual_seed(0)
    >>> targets = torch.randn(100, 2, generator=generator)
    >>> features = torch.cat([targets, torch.zeros(100, 3)], 1)
    >>> report = measure_regression(features, targets, torch.eye(2, 5))
    >>> round(report["nrc1"], 6), round(report["nrc2_explained"], 6)
    (0.0, 1.0)
    """
    features, targets = finite_matrix("features", features), finite_matrix("targets", targets)
    weight = finite_matrix("weight", weight).to(features.device)
    targets = targets.to(features.device)
    if len(targets) != len(features) or len(features) < 2:
        raise NeuralCollapseError(
            "targets", f"one row for each of {len(features)} samples, at least 2",
            str(len(targets)), "pass features and targets of the same samples",
        )  # fmt: skip
    check_shape(
        "weight",
        weight,
        (targets.shape[1], features.shape[1]),
        "pass one row per target, of the layer that takes these features",
    )
    centered = targets - targets.mean(0)
    if float(centered.abs().max()) <= EPS * float(targets.abs().max()) * len(targets):
        raise NeuralCollapseError(
            "targets", "targets that vary", "constant targets", "pass targets that differ"
        )
    rows = features - features.mean(0)
    lengths = rows.norm(dim=1, keepdim=True)
    units = rows / lengths.where(lengths > 0, torch.ones_like(lengths))
    total = float(rows.square().sum())
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    values = {}
    for name, basis in {"nrc1": directions[: targets.shape[1]], "nrc2": _span(weight)}.items():
        values[name] = float((units - units @ basis.T @ basis).square().sum(1).mean())
        inside = float((rows @ basis.T).square().sum())
        values[f"{name}_explained"] = inside / total if total else float("nan")
    check_squares("targets", centered)
    gram, shape = weight @ weight.T, _PredictedGram(centered)
    shift = shape.nearest_shift(gram)
    values["nrc3"] = shape.distance(gram, shift)
    if weight_decay is not None:
        lambda_w, lambda_h = strength_pair("weight_decay", weight_decay)
        target = (lambda_h / lambda_w) ** 0.5 * shape.at((lambda_h * lambda_w) ** 0.5)
        values["nrc3_decay"] = float((gram - target).norm() / target.norm()) ** 2
    return RegressionReport(values, shift, _unit(shape.at(shift)))


class _PredictedGram:
    """The Gram matrix predicted for a head: the root of the targets' covariance, shrunk.

    Parameters
    ----------
    centered
        (N, n) targets minus their mean.
    """

    def __init__(self, centered: Tensor) -> None:
        squares, self.frame = torch.linalg.eigh(centered.T @ centered / len(centered))
        self.roots = squares.clamp_min(0).sqrt()

    def at(self, shift: float) -> Tensor:
        """Return the matrix whose eigenvalues are the roots minus a shift, cut off at 0."""
        return self.frame * (self.roots - shift).clamp_min(0) @ self.frame.T

    def distance(self, gram: Tensor, shift: float) -> float:
        """Return the squared distance of two Gram matrices, each scaled to norm 1."""
        return float((_unit(gram) - _unit(self.at(shift))).square().sum())

    def nearest_shift(self, gram: Tensor) -> float:
        """Return the shift of least distance."""
        # Not unimodal where small directions vanish one by one: between the roots it is smooth.
        knots = [0.0, *self.roots.tolist()]
        options: Any = {"xatol": 1e-12 * knots[-1]}
        found = [
            minimize_scalar(
                partial(self.distance, gram), bounds=pair, method="bounded", options=options
            )
            for pair in pairwise(knots)
            if pair[1] > pair[0]
        ]
        return float(min(found, key=lambda result: result.fun).x)


def _unit(matrix: Tensor) -> Tensor:
    norm = matrix.norm()
    return matrix / norm if norm else matrix


def _span(rows: Tensor) -> Tensor:
    """Orthonormal basis of the span of some rows."""
    _, singular, directions = torch.linalg.svd(rows, full_matrices=False)
    return directions[singular > max(rows.shape) * EPS * singular.max()]
