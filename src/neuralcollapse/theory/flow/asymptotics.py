"""Where the flow goes beyond double precision: the errors of collapse in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.flow.collapse_errors import CollapseErrors
from neuralcollapse.theory.layer_peeled import LayerPeeledModel
from neuralcollapse.theory.separation_certificate import positive_margin
from neuralcollapse.theory.sufficient_statistics import class_means
from neuralcollapse.validation import as_tensor, finite_matrix

SQUARE_ROOTS = ("within_class", "equinorm_rows", "cosines_rows")  # fall like (log t)^(-1/2)


@dataclass(frozen=True)
class FlowAsymptotics:
    """The leading order of each error of collapse, as log t grows.

    Attributes
    ----------
    coefficients
        Each error times sigma = sqrt(n) q, q the minimum margin; those of `SQUARE_ROOTS` times
        sqrt(sigma).
    num_classes, per_class
        K and n.

    Examples
    --------
    >>> from neuralcollapse.theory import flow_asymptotics
    >>> late = flow_asymptotics([[3.0, 0.0], [-2.0, 0.5]], [[2.0, 0.0], [-2.0, 1.0]], [0, 1])
    >>> bool(late.errors(1000.0).self_duality < late.errors(100.0).self_duality)
    True
    """

    coefficients: CollapseErrors
    num_classes: int
    per_class: int

    def margin(self, log_t: Any) -> Float[Tensor, "*t"]:
        r"""Return the minimum margin q at large log t.

        .. math:: q = \log t + \log(N (K-1)) + \log\frac{2 q}{(K-1) \sqrt n}
        """
        log_t = as_tensor("log_t", log_t).to(torch.float64)
        pairs = self.num_classes * self.per_class * (self.num_classes - 1)
        shift = math.log(2 * pairs / ((self.num_classes - 1) * math.sqrt(self.per_class)))
        margin = log_t
        for _ in range(50):  # contracts by 1/q each time
            margin = log_t + shift + margin.log()
        return margin

    def errors(self, log_t: Any) -> CollapseErrors:
        """Return the errors at each log t, to a relative O(1 / log t)."""
        sigma = math.sqrt(self.per_class) * self.margin(log_t)
        errors = {
            name: value / (sigma.sqrt() if name in SQUARE_ROOTS else sigma)
            for name, value in vars(self.coefficients).items()
        }
        return CollapseErrors(**errors)


def flow_asymptotics(W: Any, H: Any, labels: Any) -> FlowAsymptotics:
    r"""Return the errors of collapse that the gradient flow from (W, H) tends to.

    With C = W less its mean row, :math:`C V_1 = \sqrt\sigma E (I + Q_{11} / 4\sigma)` and class
    means :math:`\sqrt{\sigma/n}\, E (I - Q_{11} / 4\sigma)`, where E has orthonormal columns,
    V_1 spans the rows of C, V_2 the complement, and :math:`Q_{ij} = V_i^\top (C^\top C - H^\top H)
    V_j` is conserved. So every error between class means and centred head falls like 1 / log t, and
    the within-class error like its square root: what H has in V_2 stays as it is. So do the errors
    of the head's own rows, since its mean row is conserved. The frames are read off the given
    state, which should be late: they are right to O(1 / log t).

    Parameters
    ----------
    W
        (K, d) head of a state late in the flow, d >= K - 1.
    H
        (N, d) its features, each class with the same number n.
    labels
        (N,) class indices 0..K-1 in any order.

    Returns
    -------
    FlowAsymptotics
        Coefficients, and the errors at any log t.

    Raises
    ------
    NeuralCollapseError
        If the classes differ in size, a margin is not positive, or shapes do not fit.
    NonFiniteError
        If an entry is NaN or infinite.

    References
    ----------
    Ours. Ji et al. 2022 state O(1 / log t) for each error (Figure 2); within classes it is the
    square root, O((log t)^{-1/2}), by this measure.

    Examples
    --------
    >>> from neuralcollapse.theory import flow_asymptotics
    >>> W, H = [[3.0, 0.0], [-3.0, 0.0]], [[2.0, 0.0], [-2.0, 0.0]]
    >>> limit = flow_asymptotics(W, H, [0, 1])
    >>> float(limit.errors(1e12).equinorm_head)
    0.000000
    """
    W, H = finite_matrix("W", W).cpu(), finite_matrix("H", H).cpu()
    num_classes, dim = W.shape
    model = LayerPeeledModel(labels, dim, num_classes)
    positive_margin(model, W, H)
    sizes = torch.bincount(model.labels)
    if (sizes != sizes[0]).any():
        got = f"sizes {sizes.tolist()}"
        remedy = "only balanced classes have the closed form; follow the flow instead"
        raise NeuralCollapseError("labels", "classes of one size", got, remedy)
    head = W - W.mean(0)
    left, _, right = torch.linalg.svd(head)
    span, rest = right[: num_classes - 1].T, right[num_classes - 1 :].T
    frame = left[:, : num_classes - 1]  # E up to a rotation, which V_1 shares
    balance = head.T @ head - H.T @ H
    within, across = span.T @ balance @ span, span.T @ balance @ rest
    tilt = frame @ within @ frame.T / 4
    ratio = num_classes / (num_classes - 1)
    stretch = ratio * tilt.diagonal()
    gram = ratio * frame @ frame.T
    cosines = ratio * (2 * tilt) - gram * (stretch[:, None] + stretch[None, :])
    cosine = cosines.fill_diagonal_(0.0).abs().sum() / (num_classes * (num_classes - 1))
    equinorm = stretch.std(correction=0)
    shear = within - within.trace() / (num_classes - 1) * torch.eye(num_classes - 1)
    duality = (shear.square().sum() / 4 + across.square().sum()) / (num_classes - 1)
    # |w_k|^2 = |c_k|^2 + 2 c_k . mean row + ..., c_k = sqrt(sigma) e_k V_1^T, |e_k|^2 = (K-1)/K
    lean = ratio * frame @ (span.T @ W.mean(0))
    pairs = lean[:, None] + lean[None, :]
    cosine_rows = ratio * pairs.fill_diagonal_(0.0).abs().sum() / (num_classes * (num_classes - 1))
    frozen = (H - class_means(H, model.labels, sizes)[model.labels]) @ rest
    coefficients = CollapseErrors(
        equinorm_means=equinorm,
        equinorm_head=equinorm,
        equinorm_rows=lean.std(correction=0),
        within_class=frozen.norm(dim=1).mean() * math.sqrt(ratio * int(sizes[0])),
        cosines_means=cosine,
        cosines_head=cosine,
        cosines_rows=cosine_rows,
        self_duality=duality.sqrt(),
    )
    return FlowAsymptotics(coefficients, num_classes, int(sizes[0]))
