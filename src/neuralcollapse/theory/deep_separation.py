"""Depth makes the simplex suboptimal: which configuration costs a chain of factors least."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from neuralcollapse.geometry.softmax_code import softmax_code
from neuralcollapse.validation import Array, whole_number

MOST_CLASSES = 4096  # whose K x K logits are decomposed
SMALL = 16  # classes up to which codes are bent to the cost; beyond, unit rows must do

Status = Literal["optimal", "best known"]


@dataclass(frozen=True)
class DeepSeparation:
    r"""The least cost of separating classes by a product of factors that all decay.

    Attributes
    ----------
    logits
        (K, K) scores of each class (row), with margins of at least 1.
    singular_values
        Of `logits`, those above zero, descending, for one sample per class.
    cost
        M sum s_i^(2/M), times n^(1/M): the least sum of squared norms of M factors with this
        product.
    name
        ``"simplex"``, ``"pairs"`` (of opposite rows), ``"polygon"``, or ``"code in d dimensions"``,
        with d from 3.
    rivals
        The cost of each configuration tried, the least first; this one is among them.
    status
        ``"optimal"`` for M <= 2, else ``"best known"``: the least of those tried.

    Examples
    --------
    >>> from neuralcollapse.theory import deep_separation
    >>> found = deep_separation(6, 3)
    >>> found.name, found.status, min(found.rivals, key=found.rivals.get)
    ('pairs', 'best known', 'pairs')
    """

    logits: Float[Tensor, "K K"]
    singular_values: Float[Tensor, " m"]
    cost: float
    name: str
    rivals: dict[str, float]
    status: Status


def deep_separation(num_classes: int, factors: int, samples_per_class: int = 1) -> DeepSeparation:
    r"""Return the configuration of least norm with which a chain of M factors separates classes.

    .. math:: \min_{Z} \; M \sum_i s_i(Z)^{2/M} \quad \text{such that} \quad
        z_{kk} - z_{kj} \ge 1, \qquad
        M \sum_i s_i^{2/M} = \min_{A_M \cdots A_1 = Z} \sum_m \|A_m\|^2

    With head and features alone, M = 2, the simplex ETF is the optimum. From M = 3 on low rank
    pays: pairs of opposite rows, codes in few dimensions and at last the polygon cost less. For an
    even K, pairs beat the simplex where M > 2 log 2 / log(2 (K - 1)/K), which is below 3 from six
    classes on.
    Samples of a class still share one feature: NC1 survives depth, NC2 does not.

    The configurations tried are the simplex, pairs (with one row alone if K is odd), the polygon,
    and from M = 3 on the softmax codes of each dimension between, up to 16 classes with rows bent
    to lower the cost. Only for M <= 2 is it known that nothing costs less.

    Parameters
    ----------
    num_classes
        K >= 2.
    factors
        M >= 1 matrices with weight decay; features without a network below count as one.
    samples_per_class
        n >= 1, which multiplies each cost by n^(1/M) and leaves their order.

    Returns
    -------
    DeepSeparation
        Logits, cost, name, and its rivals.

    Raises
    ------
    NeuralCollapseError
        If a number is too small or not whole, or there are more than 4,096 classes.

    References
    ----------
    Sukenik, Lampert & Mondelli 2024, "Neural collapse versus low-rank bias: is deep neural collapse
    really optimal?", who compare simplex and one rival; pairs and codes between are ours.

    Examples
    --------
    >>> from neuralcollapse.theory import deep_separation
    >>> [deep_separation(6, M).name for M in (2, 3, 6)]
    ['simplex', 'pairs', 'polygon']
    >>> round(deep_separation(6, 3).cost / 3, 6)
    4.762203
    """
    num_classes = whole_number("num_classes", num_classes, 2, MOST_CLASSES)
    factors = whole_number("factors", factors)
    samples = whole_number("samples_per_class", samples_per_class)
    power = 2 / factors
    tried = {"simplex": np.eye(num_classes) - 1 / num_classes}
    if num_classes > 3:
        tried |= {"pairs": _pairs(num_classes), "polygon": _code(num_classes, 2)}
        if factors > 2:
            for dim in range(3, (num_classes - 1) // 2 + 1):
                start = _code(num_classes, dim)
                bent = _bent(start, dim, power) if num_classes <= SMALL else start
                tried[f"code in {dim} dimensions"] = bent
    scale = factors * samples ** (power / 2)
    costs = {name: scale * _schatten(logits, power) for name, logits in tried.items()}
    rivals = dict(sorted(costs.items(), key=lambda rival: rival[1]))
    name, cost = next(iter(rivals.items()))
    logits = torch.from_numpy(tried[name])
    singular = torch.linalg.svdvals(logits)
    kept = singular[singular > 1e-9 * singular[0]]
    status: Status = "optimal" if factors <= 2 else "best known"
    return DeepSeparation(logits, kept, cost, name, rivals, status)


def _schatten(logits: Array, power: float) -> float:
    singular = np.linalg.svd(logits, compute_uv=False)
    kept = singular[singular > 1e-9 * singular[0]]
    return float((kept**power).sum())


def _pairs(num_classes: int) -> Array:
    """Rows e_1, -e_1, e_2, ...; a row without partner has its class alone against all."""
    pair = np.array([[1.0, -1.0], [-1.0, 1.0]])
    logits = np.kron(np.eye(num_classes // 2), pair)
    if num_classes % 2:
        logits = np.pad(logits, (0, 1))
        logits[-1] = -1 / num_classes
        logits[-1, -1] += 1
    return logits


@lru_cache(maxsize=64)
def _code(num_classes: int, dim: int) -> Array:
    """Return the scores of a softmax code at margin 1."""
    code = softmax_code(num_classes, dim)
    return (code.features @ code.vertices.T / code.margin).numpy()


def _bent(start: Array, dim: int, power: float) -> Array:
    """Lower the cost from a code, rank and margins kept, by sequential quadratic programmes."""
    num = len(start)
    left, singular, right = np.linalg.svd(start)
    root = np.sqrt(singular[:dim])
    begin = np.concatenate([(left[:, :dim] * root).ravel(), (right.T[:, :dim] * root).ravel()])
    own, other = (~np.eye(num, dtype=bool)).nonzero()
    row = np.arange(len(own))

    def split(x: Array) -> tuple[Array, Array]:
        features, rows = x.reshape(2, num, dim)
        return features, rows

    def cost(x: Array) -> tuple[float, Array]:
        features, rows = split(x)
        u, s, v = np.linalg.svd(features @ rows.T)
        u, s, v = u[:, :dim], np.maximum(s[:dim], 1e-12), v[:dim]
        slope = power * (u * s ** (power - 1)) @ v  # d cost / d logits
        return float((s**power).sum()), np.concatenate(
            [(slope @ rows).ravel(), (slope.T @ features).ravel()]
        )

    def margins(x: Array) -> Array:
        features, rows = split(x)
        gaps: Array = ((rows[own] - rows[other]) * features[own]).sum(1) - 1
        return gaps

    def slopes(x: Array) -> Array:
        features, rows = split(x)
        jacobian = np.zeros((len(own), 2, num, dim))
        jacobian[row, 0, own] = rows[own] - rows[other]
        jacobian[row, 1, own] += features[own]
        jacobian[row, 1, other] -= features[own]
        return jacobian.reshape(len(own), -1)

    least_margins: Any = {"type": "ineq", "fun": margins, "jac": slopes}
    options: Any = {"maxiter": 60, "ftol": 1e-9}
    found = minimize(
        cost, begin, jac=True, method="SLSQP", constraints=least_margins, options=options
    )
    features, rows = split(found.x)
    least = margins(found.x).min() + 1
    if not least > 0:
        return start
    logits: Array = features @ rows.T / least
    return logits if _schatten(logits, power) < _schatten(start, power) else start
