"""How the near-features minimiser responds to a small change of collapsed features."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from scipy.linalg import helmert
from torch import Tensor

from neuralcollapse.theory.feature_response import FeatureResponse
from neuralcollapse.theory.perturbation_ratio import PerturbationRatio
from neuralcollapse.theory.sufficient_statistics import class_means
from neuralcollapse.validation import check_choice, whole_number


class PerturbationOperator(PerturbationRatio, FeatureResponse):
    r"""The linear map from a change of collapsed H0 to that of the near-features minimiser.

    At balanced H0 whose class means are :math:`h_0 R`, R (K, d) of orthonormal rows, without
    within-class deviation, the minimiser has class means :math:`h R` and head :math:`w R` with
    :math:`w = h / (h^2 + \lambda_W)`. In
    :math:`\delta H \approx F\, \delta H_0` the operator F is symmetric and has five eigenspaces,
    of eigenvalues :math:`\beta / (\beta + \lambda)` (exact) or :math:`1 - \lambda / \beta`
    (first order in :math:`1/\beta`):

    ==================  ===================================================================
    eigenspace          :math:`\lambda`
    ==================  ===================================================================
    mean orthogonal     :math:`\lambda_H - \lambda_W / (h^2 + \lambda_W)^2`
    mean rotation       the same
    mean stretch        :math:`\lambda_H + w^2 - (2 w h - 1)^2 / (h^2 + \lambda_W)`
    within orthogonal   :math:`\lambda_H`
    within parallel     :math:`\lambda_H + w^2`
    ==================  ===================================================================

    At the optimal radius :math:`h_0^2 = \sqrt{\lambda_W / \lambda_H} - \lambda_W` these are 0, 0,
    :math:`4 \lambda_H (1 - c)`, :math:`\lambda_H` and :math:`g`, with
    :math:`c = \sqrt{\lambda_H \lambda_W}`, :math:`g = \sqrt{\lambda_H / \lambda_W}`: the first
    two are rotations of the optimum. First order needs :math:`\beta \gg \max \lambda`.

    Parameters
    ----------
    means
        (K, d) class means of H0: orthogonal, of equal norm above 0.
    labels
        (N,) class of each sample, in any order, every class the same number of times.
    lambda_w, lambda_h, beta
        Strengths of the regularisation and of the pull towards H0, above 0.
    variant
        ``"exact"`` or ``"first-order"``.

    Attributes
    ----------
    frame
        (K, d) R.
    radius, start_radius, head_scale
        h, h_0 and w.

    Raises
    ------
    NeuralCollapseError
        If the class means are not orthogonal and of equal norm (equal class means are neither),
        class sizes differ, or a strength is not positive.
    NonFiniteError
        If a number is NaN or infinite.

    Warns
    -----
    UserWarning
        If the first-order variant is asked for with beta <= max lambda, where it is singular or
        reverses changes.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Theorems 4.1 and 4.2; Equation 5 is the first-order variant.
    The eigenspaces, and any radius, are ours; so is the condition beta >> sqrt(lambda_h /
    lambda_w), where the paper has beta >> max(1, lambda_h).

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.theory import PerturbationOperator
    >>> means = torch.eye(3, 5).double() * (5 - 0.5) ** 0.5  # optimal: sqrt(0.5 / 0.02) = 5
    >>> operator = PerturbationOperator(means, [0, 0, 1, 1, 2, 2], 0.5, 0.02, beta=1.0)
    >>> [(e.name, round(e.value, 4), e.multiplicity) for e in operator.spectrum()]
    [('mean orthogonal', 1.0, 6), ('mean rotation', 1.0, 3), ('mean stretch', 0.9328, 6),
     ('within orthogonal', 0.9804, 6), ('within parallel', 0.8333, 9)]
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d) of H0."""
        return len(self.labels), self.frame.shape[1]

    def _features(self, change: Tensor) -> Tensor:
        free, turned, stretched, out, inside = self._gains.values()
        frame = self.frame
        means = class_means(change, self.labels, self.counts)
        coordinates = means @ frame.T
        stretch = (coordinates + coordinates.T) / 2
        # One pass acts on every row as if all were deviation; the class means are then put right.
        answer = torch.addmm(change, change @ frame.T, frame, beta=out, alpha=inside - out)
        along = (turned - free - inside + out) * coordinates + (stretched - turned) * stretch
        correct = (free - out) * means + along @ frame
        for rows, classes in zip(answer.split(4096), self.labels.split(4096), strict=True):
            rows += correct[classes]
        return answer

    def _head(self, change: Tensor) -> Tensor:
        means = class_means(self._features(change), self.labels, self.counts)
        coordinates = self.frame @ means.T
        fit = self.head_scale * self.radius
        inside = ((1 - fit) * coordinates.T - fit * coordinates) @ self.frame
        outside = means - coordinates.T @ self.frame
        return inside / (self.radius**2 + self.lambda_w) + (1 - fit) / self.lambda_w * outside

    def eigenvectors(self, name: str, count: int | None = None) -> Float[Tensor, "m N d"]:
        """Return orthonormal eigenvectors of one eigenspace, each a change of H0.

        Parameters
        ----------
        name
            Name of the eigenspace.
        count
            How many at most; all of them if omitted, which is N d numbers each.

        Returns
        -------
        Tensor of shape (m, N, d)
            The eigenvectors.

        Raises
        ------
        NeuralCollapseError
            If there is no eigenspace of this name, or the count is no whole number.
        """
        check_choice("name", name, self._gains, "see spectrum()")
        if count is not None:
            count = whole_number("count", count, 0)
        vectors = [v / v.norm() for v in itertools.islice(self._directions(name), count)]
        return torch.stack(vectors) if vectors else torch.zeros(0, *self.shape, dtype=torch.float64)

    def _directions(self, name: str) -> Iterator[Tensor]:
        """Orthogonal vectors of an eigenspace: patterns over the samples times directions."""
        frame = self.frame
        num_classes = len(frame)
        directions = frame
        if name.endswith("orthogonal"):
            directions = torch.linalg.qr(frame.T, mode="complete").Q[:, num_classes:].T
        indicator = (self.labels[:, None] == torch.arange(num_classes)).double()
        if name == "mean orthogonal":
            for k, direction in itertools.product(range(num_classes), directions):
                yield torch.outer(indicator[:, k], direction)
        elif name.startswith("mean"):
            sign = -1 if name == "mean rotation" else 1
            for i in range(num_classes):
                for j in range(i + (sign < 0), num_classes):
                    there = torch.outer(indicator[:, i], frame[j])
                    yield there + sign * torch.outer(indicator[:, j], frame[i])
        else:
            contrasts = torch.from_numpy(helmert(int(self.counts[0])))
            for k, contrast, direction in itertools.product(
                range(num_classes), contrasts, directions
            ):
                pattern = torch.zeros(len(self.labels), dtype=torch.float64)
                pattern[self.labels == k] = contrast
                yield torch.outer(pattern, direction)
