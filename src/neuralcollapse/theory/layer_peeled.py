"""The unconstrained layer-peeled model: cross-entropy over free features and a free head.

The four functions on numpy arrays are the kernels; the class checks its arguments and calls them.
Everything is computed in the log domain: near collapse the loss is e^{-margin}, and P - Y formed
by subtraction would be rounding noise long before the flow is interesting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from neuralcollapse.validation import (
    Array,
    check_shape,
    finite_matrix,
    occupied_labels,
    whole_number,
)

Pair = tuple[Tensor, Tensor]


def margins(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Return each sample's minimum margin, its own logit minus the largest other one."""
    return -advantages(logits, labels).max(1)


def residual(logits: Array, labels: NDArray[np.int64]) -> tuple[float, Array]:
    r"""Return log L and the normalised residual (P - Y) / L, both (N, K) rows, at any margin.

    Each entry of the residual lies in [-1, 1], and its rows sum to zero. Weights below e^-350 of
    the largest are zero: denormal numbers would make every product with them ten times slower.
    """
    ahead = advantages(logits, labels)
    # By hand, not scipy's logsumexp: ten times as fast, and its exponentials serve again below.
    strongest = ahead.max(1)
    ghat = _exp_or_zero(ahead - strongest[:, None])
    others = strongest + np.log(ghat.sum(1))
    log_partition = np.logaddexp(0.0, others)
    # log log(1 + e^S) = S - e^S / 2 + O(e^{2S}), where log(1 + e^S) itself may underflow.
    small = np.minimum(others, -30.0)
    log_losses = np.where(
        others < -30.0,
        small - np.exp(small) / 2,
        np.log(np.logaddexp(0.0, np.maximum(others, -30.0))),
    )
    log_loss = float(log_losses.max() + np.log(np.exp(log_losses - log_losses.max()).sum()))
    ghat *= _exp_or_zero(strongest - log_partition - log_loss)[:, None]
    _close_rows(ghat, labels)
    return log_loss, ghat


def hessian_product(
    point: tuple[Array, Array],
    at: tuple[float, Array],
    labels: NDArray[np.int64],
    direction: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Return the Hessian of L at (W, H) along (U, V), over L; `at` is the `residual` there."""
    (W, H), (log_loss, ghat), (U, V) = point, at, direction
    logit_tangent = H @ U.T + V @ W.T
    advantage_tangent = logit_tangent - logit_tangent[np.arange(len(labels)), labels][:, None]
    mean = np.exp(log_loss) * np.einsum("nk,nk->n", ghat, advantage_tangent)
    tangent: Array = ghat * (advantage_tangent - mean[:, None])  # of P - Y, divided by L
    _close_rows(tangent, labels)
    return tangent.T @ H + ghat.T @ V, tangent @ W + ghat @ U


def advantages(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Return z_j - z_y, the advantage of each other class, and -inf at the sample's own."""
    rows = np.arange(len(labels))
    ahead: Array = logits - logits[rows, labels][:, None]
    ahead[rows, labels] = -np.inf
    return ahead


def _exp_or_zero(exponents: Array) -> Array:
    return np.exp(np.where(exponents < -350.0, -np.inf, exponents))


def _close_rows(rows_of_others: Array, labels: NDArray[np.int64]) -> None:
    """Set the own-class entry of each row so that the row sums to zero, without cancellation."""
    rows = np.arange(len(labels))
    rows_of_others[rows, labels] = 0.0
    rows_of_others[rows, labels] = -rows_of_others.sum(1)


class LayerPeeledModel:
    r"""The unconstrained layer-peeled model of N labelled samples.

    .. math:: L(W, H) = \sum_{i=1}^N -\log \frac{e^{w_{y_i} \cdot h_i}}{\sum_j e^{w_j \cdot h_i}}

    The features H are free variables beside the head W. Loss, gradient and Hessian-vector product
    are accurate to rounding at any margin: log L stays finite where L itself underflows. Rows are
    samples; the (N, K) residual is the transpose of the paper's.

    Parameters
    ----------
    labels
        (N,) class indices 0..K-1 in any order, each class with at least one sample.
    dim
        d >= 1, the dimension of the features.
    num_classes
        K >= 2; the largest label plus one if omitted.

    Attributes
    ----------
    labels : Tensor of shape (N,), int64
    dim, num_classes : int

    Raises
    ------
    NeuralCollapseError
        If labels or dim are not as described; from each method, if W or H has another shape.
    NonFiniteError
        From each method, if an entry is NaN or infinite.

    References
    ----------
    Ji et al. 2022. The log-domain formulas are ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import LayerPeeledModel
    >>> model = LayerPeeledModel([0, 1], dim=1)
    >>> W, H = torch.tensor([[1.0], [-1.0]]), torch.tensor([[500.0], [-500.0]])
    >>> model.loss(W, H), round(model.log_loss(W, H), 6)
    (0.0, -999.306853)
    >>> model.margins(W, H)
    tensor([1000., 1000.], dtype=torch.float64)
    """

    def __init__(self, labels: Any, dim: int, num_classes: int | None = None) -> None:
        self.labels = occupied_labels("labels", labels, num_classes).cpu()
        self.num_classes = int(self.labels.max()) + 1
        self.dim = whole_number("dim", dim)
        self._labels: NDArray[np.int64] = self.labels.numpy()

    def loss(self, W: Any, H: Any) -> float:
        """Return L, in nats, summed over the samples; 0 where it underflows (see `log_loss`)."""
        return float(np.exp(self.log_loss(W, H)))

    def log_loss(self, W: Any, H: Any) -> float:
        """Return log L."""
        return residual(self._logits(*self._point(W, H)), self._labels)[0]

    def residual(self, W: Any, H: Any) -> Float[Tensor, "N K"]:
        """Return (P - Y) / L, the derivative of log L by the logits; rows sum to zero."""
        return torch.from_numpy(residual(self._logits(*self._point(W, H)), self._labels)[1])

    def margins(self, W: Any, H: Any) -> Float[Tensor, " N"]:
        """Return each sample's minimum margin; all positive where (W, H) separates the classes."""
        return torch.from_numpy(margins(self._logits(*self._point(W, H)), self._labels))

    def gradient(self, W: Any, H: Any) -> Pair:
        """Return the derivatives of L by W and by H."""
        return self._gradient(W, H, of_log=False)

    def log_gradient(self, W: Any, H: Any) -> Pair:
        """Return the derivatives of log L by W and by H, nonzero where those of L underflow."""
        return self._gradient(W, H, of_log=True)

    def hvp(self, W: Any, H: Any, U: Any, V: Any) -> Pair:
        """Return the Hessian of L at (W, H) applied to the direction (U, V)."""
        return self._hvp(W, H, U, V, of_log=False)

    def log_hvp(self, W: Any, H: Any, U: Any, V: Any) -> Pair:
        """Return the Hessian of log L at (W, H) applied to the direction (U, V)."""
        return self._hvp(W, H, U, V, of_log=True)

    def _gradient(self, W: Any, H: Any, of_log: bool) -> Pair:
        w, h = self._point(W, H)
        log_loss, ghat = residual(self._logits(w, h), self._labels)
        scale = 1.0 if of_log else np.exp(log_loss)
        return torch.from_numpy(scale * (ghat.T @ h)), torch.from_numpy(scale * (ghat @ w))

    def _hvp(self, W: Any, H: Any, U: Any, V: Any, of_log: bool) -> Pair:
        w, h = self._point(W, H)
        u, v = self._point(U, V, names=("U", "V"))
        at = log_loss, ghat = residual(self._logits(w, h), self._labels)
        along_w, along_h = hessian_product((w, h), at, self._labels, (u, v))
        if of_log:
            grad_w, grad_h = ghat.T @ h, ghat @ w
            slope = np.vdot(grad_w, u) + np.vdot(grad_h, v)
            along_w, along_h = along_w - slope * grad_w, along_h - slope * grad_h
        else:
            along_w, along_h = np.exp(log_loss) * along_w, np.exp(log_loss) * along_h
        return torch.from_numpy(along_w), torch.from_numpy(along_h)

    @staticmethod
    def _logits(w: Array, h: Array) -> Array:
        return h @ w.T

    def _point(self, W: Any, H: Any, names: tuple[str, str] = ("W", "H")) -> tuple[Array, Array]:
        shapes = (self.num_classes, self.dim), (len(self.labels), self.dim)
        arrays = []
        for name, value, shape in zip(names, (W, H), shapes, strict=True):
            matrix = finite_matrix(name, value)
            check_shape(
                name, matrix, shape, "W has a row per class, H a row per label, both of dim columns"
            )
            arrays.append(matrix.detach().cpu().numpy())
        return arrays[0], arrays[1]
