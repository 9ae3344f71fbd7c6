"""Nets of points: how many balls a sample needs, and what that tells of its support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_matrix, positive


@dataclass(frozen=True)
class CoveringNet:
    """Points of a sample that cover it, as `farthest_point_net` chose them.

    Attributes
    ----------
    indices
        (m,) rows of the sample, in the order chosen; the first is row 0.
    distances
        (n,) from each sample to the net, at most `radius`.
    separation
        Least distance between two points of the net, above `radius`; inf for a single point.
    radius
        eps.

    Examples
    --------
    >>> from neuralcollapse.generalization import farthest_point_net
    >>> net = farthest_point_net([[0.0], [1.0], [5.0], [5.5], [10.0]], radius=1.0)
    >>> net.size, net.distances.tolist()
    (3, [0.0, 1.0, 0.0, 0.5, 0.0])
    """

    indices: Int[Tensor, " m"]
    distances: Float[Tensor, " n"]
    separation: float
    radius: float

    @property
    def size(self) -> int:
        """The number of points.

        At least the least number of balls of radius eps about any points that cover the sample;
        at most the least number of balls of radius eps / 2 that cover the support: a lower bound
        on that, and no upper bound on anything beyond the sample.
        """
        return len(self.indices)


def farthest_point_net(points: Any, radius: float) -> CoveringNet:
    r"""Cover a sample with balls of this radius about points of it, greedily.

    Starting with row 0, the point farthest from the net joins it until all are within eps. So
    the net covers the sample, its points are more than eps apart, and with N(r, S) the least number
    of balls of radius r that cover S

    .. math:: N(\epsilon, \text{sample}) \;\le\; |T| \;\le\; N(\epsilon / 2, \text{support})

    Parameters
    ----------
    points
        (n, d), n >= 1, finite.
    radius
        eps > 0, in the units of the points.

    Returns
    -------
    CoveringNet
        The net.

    Raises
    ------
    NonFiniteError
        If a coordinate is NaN or infinite.
    NeuralCollapseError
        If there is no point or the radius is not above 0.

    Notes
    -----
    Gao et al. 2023, Theorem 4.8, has the covering number of the unknown support of a class. A
    sample cannot bound that from above; `covered_mass` says what can be certified instead.

    References
    ----------
    Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".

    Examples
    --------
    >>> from neuralcollapse.generalization import farthest_point_net
    >>> net = farthest_point_net([[0.0], [1.0], [5.0], [5.5], [10.0]], radius=1.0)
    >>> net.indices.tolist(), net.separation
    ([0, 4, 2], 5.0)
    """
    rows, eps = finite_matrix("points", points), positive("radius", radius)
    if not len(rows):
        raise NeuralCollapseError("points", "at least one point", "none", "pass a sample")
    chosen, separation = [0], math.inf
    distances = (rows - rows[0]).norm(dim=1)
    while float(distances.max()) > eps:
        separation = float(distances.max())  # it never rises: the last one is the least
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (rows - rows[chosen[-1]]).norm(dim=1))
    return CoveringNet(torch.tensor(chosen), distances, separation, eps)
