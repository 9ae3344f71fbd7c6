"""How the near-features minimiser answers a small change of collapsed features."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import helmert
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.regularized import balanced_counts
from neuralcollapse.theory.sufficient_statistics import class_means
from neuralcollapse.validation import finite_matrix, integer_labels, positive

Variant = Literal["exact", "first-order"]


class Multiple(NamedTuple):
    """A value and how often it occurs."""

    value: float
    multiplicity: int


@dataclass(frozen=True)
class Eigenspace:
    """An eigenspace of the perturbation operator.

    Attributes
    ----------
    name
        ``"mean orthogonal"``: shifts of class means out of their span; ``"mean rotation"`` and
        ``"mean stretch"``: antisymmetric and symmetric changes within it; ``"within orthogonal"``
        and ``"within parallel"``: within-class deviations out of that span and in it.
    value
        The eigenvalue: by how much a change of H0 reappears in the minimiser.
    multiplicity
        Dimension of the space.
    """

    name: str
    value: float
    multiplicity: int


class PerturbationOperator:
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
        turns changes round.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Theorems 4.1 and 4.2; Equation 5 is the first-order variant.
    The eigenspaces, and any radius, are ours; so is the condition beta >> sqrt(lambda_h /
    lambda_w), where the paper has beta >> max(1, lambda_h).

    Examples
    --------
    >>> means = torch.eye(3, 5).double() * (math.sqrt(0.5 / 0.02) - 0.5) ** 0.5
    >>> operator = PerturbationOperator(means, [0, 0, 1, 1, 2, 2], 0.5, 0.02, beta=1.0)
    >>> [(e.name, round(e.value, 4), e.multiplicity) for e in operator.spectrum()]
    [('mean orthogonal', 1.0, 6), ('mean rotation', 1.0, 3), ('mean stretch', 0.9328, 6),
     ('within orthogonal', 0.9804, 6), ('within parallel', 0.8333, 9)]
    """

    def __init__(
        self,
        means: Any,
        labels: Any,
        lambda_w: float,
        lambda_h: float,
        beta: float,
        variant: Variant = "exact",
    ) -> None:
        self.lambda_w = lambda_w = positive("lambda_w", lambda_w)
        self.lambda_h = lambda_h = positive("lambda_h", lambda_h)
        self.beta = beta = positive("beta", beta)
        self.frame, self.start_radius = _frame_of(finite_matrix("means", means).cpu())
        length = torch.as_tensor(labels).shape[0]
        self.labels = integer_labels("labels", labels, length, len(self.frame)).cpu()
        self.counts = balanced_counts(self.labels)
        if len(self.counts) != len(self.frame):
            raise NeuralCollapseError(
                "labels", f"{len(self.frame)} classes", f"{len(self.counts)}", "match the means"
            )
        self.radius = _radius(self.start_radius, lambda_w, lambda_h, beta)
        self.head_scale = self.radius / (self.radius**2 + lambda_w)
        self.variant = variant
        rates = self._rates()
        if variant == "exact":
            self._gains = {name: beta / (beta + rate) for name, rate in rates.items()}
        elif variant == "first-order":
            self._gains = {name: 1 - rate / beta for name, rate in rates.items()}
            if beta <= max(rates.values()):
                warnings.warn(
                    f"first-order operator at beta = {beta:.4g}, not above max lambda = "
                    f"{max(rates.values()):.4g}: use variant='exact' or a larger beta",
                    stacklevel=2,
                )
        else:
            raise NeuralCollapseError(
                "variant", "'exact' or 'first-order'", repr(variant), "choose one of the two"
            )

    def _rates(self) -> dict[str, float]:
        squared = self.radius**2 + self.lambda_w
        w = self.head_scale
        # Exactly beta (h0 - h) / h: without the cancellation of lambda_h against its neighbour.
        turning = self.beta * (self.start_radius - self.radius) / self.radius
        return {
            "mean orthogonal": turning,
            "mean rotation": turning,
            "mean stretch": self.lambda_h + w**2 - (2 * w * self.radius - 1) ** 2 / squared,
            "within orthogonal": self.lambda_h,
            "within parallel": self.lambda_h + w**2,
        }

    def apply(self, dH0: Any) -> Float[Tensor, "N d"]:
        """Map a change of H0 to the change of the minimising features.

        Parameters
        ----------
        dH0
            (N, d) change of H0, rows in the order of the labels.

        Returns
        -------
        Tensor of shape (N, d)
            Change of the features. Nothing larger than dH0 is formed.

        Raises
        ------
        NeuralCollapseError
            If the shape is not that of H0.
        NonFiniteError
            If an entry is NaN or infinite.
        """
        change = checked_change(dH0, len(self.labels), self.frame.shape[1])
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

    def classifier_response(self, dH0: Any) -> Float[Tensor, "K d"]:
        """Map a change of H0 to the change of the minimising head.

        Parameters
        ----------
        dH0
            (N, d) change of H0, rows in the order of the labels.

        Returns
        -------
        Tensor of shape (K, d)
            Change of the head.

        Raises
        ------
        NeuralCollapseError
            If the shape is not that of H0.
        NonFiniteError
            If an entry is NaN or infinite.
        """
        means = class_means(self.apply(dH0), self.labels, self.counts)
        coordinates = self.frame @ means.T
        fit = self.head_scale * self.radius
        inside = ((1 - fit) * coordinates.T - fit * coordinates) @ self.frame
        outside = means - coordinates.T @ self.frame
        return inside / (self.radius**2 + self.lambda_w) + (1 - fit) / self.lambda_w * outside

    def spectrum(self) -> tuple[Eigenspace, ...]:
        """Return the five eigenspaces, which together fill the space of all (N, d) changes.

        Returns
        -------
        tuple of Eigenspace
            Those of dimension 0 included.
        """
        (num_classes, dim), n = self.frame.shape, int(self.counts[0])
        dimensions = (
            num_classes * (dim - num_classes),
            num_classes * (num_classes - 1) // 2,
            num_classes * (num_classes + 1) // 2,
            (dim - num_classes) * num_classes * (n - 1),
            num_classes**2 * (n - 1),
        )
        return tuple(
            Eigenspace(name, gain, size)
            for (name, gain), size in zip(self._gains.items(), dimensions, strict=True)
        )

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
            If there is no eigenspace of this name.
        """
        if name not in self._gains:
            raise NeuralCollapseError(
                "name", f"one of {', '.join(self._gains)}", repr(name), "see spectrum()"
            )
        vectors = [v / v.norm() for v in itertools.islice(self._directions(name), count)]
        shape = (len(self.labels), self.frame.shape[1])
        return torch.stack(vectors) if vectors else torch.zeros(0, *shape, dtype=torch.float64)

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

    def block_singular_values(self, k: int, l: int) -> tuple[Multiple, ...]:  # noqa: E741
        r"""Return the singular values of the block that maps changes of class l to class k.

        The block of two classes has rank 1: it sends :math:`\mathbf 1 \otimes r_k` to
        :math:`\mathbf 1 \otimes r_l`, negatively, where r are the rows of the frame.

        Parameters
        ----------
        k, l
            Classes, 0..K-1.

        Returns
        -------
        tuple of Multiple
            Values in falling order with their multiplicities, which add up to n d.

        Raises
        ------
        NeuralCollapseError
            If there is no such class.

        References
        ----------
        Tirer, Huang & Niles-Weed 2023, Theorem 4.2. Every value, and its condition (the paper's
        least value needs n >= 2, and beta >= g at first order), ours.
        """
        (num_classes, dim), n = self.frame.shape, int(self.counts[0])
        for argument, label in (("k", k), ("l", l)):
            if not 0 <= label < num_classes:
                raise NeuralCollapseError(
                    argument, f"a class in 0..{num_classes - 1}", str(label), "choose another"
                )
        free, turned, stretched, out, inside = self._gains.values()
        if k != l:
            values = [(abs(turned - stretched) / 2, 1), (0.0, n * dim - 1)]
        else:
            values = [
                (abs(free), dim - num_classes),
                (abs(turned + stretched) / 2, num_classes - 1),
                (abs(stretched), 1),
                (abs(out), (dim - num_classes) * (n - 1)),
                (abs(inside), num_classes * (n - 1)),
            ]
        return tuple(Multiple(*pair) for pair in sorted(values, reverse=True) if pair[1])

    def within_ratio(self, within: Any = None) -> float:
        r"""Predict Tr Sigma_W of the minimiser over that of H0, near collapse.

        .. math:: \pi q^2 + (1 - \pi) p^2, \qquad
            \pi = \mathrm{Tr}(R \Sigma_W R^\top) / \mathrm{Tr}\, \Sigma_W

        with p and q the gains of within-class deviations out of the span of the means and in it.

        Parameters
        ----------
        within
            (d, d) within-class scatter of H0, up to scale; isotropic if omitted.

        Returns
        -------
        float
            The ratio.

        Raises
        ------
        NeuralCollapseError
            If the scatter is not (d, d) of positive trace.
        """
        parallel = self._parallel_share(within)
        *_, out, inside = self._gains.values()
        return parallel * inside**2 + (1 - parallel) * out**2

    def elasticities(self, within: Any = None) -> tuple[float, float]:
        r"""Return the relative change of the within ratio per relative change of each lambda.

        For exact gains at the optimal radius, which moves along with the lambdas, and a scatter
        that keeps its share in the span of the means:

        .. math::
            \frac{\partial \ln}{\partial \ln \lambda_H} =
            - \frac{a g / (\beta + g) + 2 b \lambda_H / (\beta + \lambda_H)}{a + b}, \qquad
            \frac{\partial \ln}{\partial \ln \lambda_W} = \frac{a g / (\beta + g)}{a + b},

        with :math:`a = \pi q^2`, :math:`b = (1 - \pi) p^2`: within the span of the means, both
        act equally strongly and oppositely; outside it lambda_w does nothing.

        Parameters
        ----------
        within
            (d, d) within-class scatter of H0, up to scale; isotropic if omitted.

        Returns
        -------
        lambda_w, lambda_h : float
            The two elasticities.

        Raises
        ------
        NeuralCollapseError
            If the class means of H0 are not at the optimal radius, or the variant is not exact.
        """
        optimal = math.sqrt(self.lambda_w / self.lambda_h) - self.lambda_w
        if self.variant != "exact" or not math.isclose(self.start_radius**2, optimal, rel_tol=1e-8):
            raise NeuralCollapseError(
                "means",
                f"squared norm {optimal:.6g}, and the exact variant",
                f"squared norm {self.start_radius**2:.6g}, variant {self.variant!r}",
                "take the means of regularized_mse_minimizer",
            )
        parallel = self._parallel_share(within)
        g = math.sqrt(self.lambda_h / self.lambda_w)
        inside = parallel * self._gains["within parallel"] ** 2
        out = (1 - parallel) * self._gains["within orthogonal"] ** 2
        pull = inside * g / (self.beta + g)
        decay = 2 * out * self.lambda_h / (self.beta + self.lambda_h)
        return pull / (inside + out), -(pull + decay) / (inside + out)

    def as_linear_operator(self) -> LinearOperator:
        """Return the operator on vec(H) = H.reshape(-1), which for class-major rows is the paper's.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of size N d, symmetric.
        """
        return linear_operator(self, len(self.labels), self.frame.shape[1])

    def _parallel_share(self, within: Any) -> float:
        num_classes, dim = self.frame.shape
        if within is None:
            return num_classes / dim
        scatter = finite_matrix("within", within).cpu()
        if scatter.shape != (dim, dim) or not float(scatter.trace()) > 0:
            raise NeuralCollapseError(
                "within",
                f"a scatter of shape ({dim}, {dim}) and positive trace",
                f"shape {tuple(scatter.shape)}",
                "pass the within-class scatter of H0",
            )
        return float(((self.frame @ scatter) * self.frame).sum() / scatter.trace())


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


def _frame_of(means: Tensor) -> tuple[Tensor, float]:
    """Split class means into orthonormal rows and their common norm."""
    norm = float(means.norm()) / math.sqrt(len(means))
    defect = (means @ means.T - norm**2 * torch.eye(len(means), dtype=torch.float64)).abs().max()
    if norm == 0 or float(defect) > 1e-8 * norm**2:
        raise NeuralCollapseError(
            "means",
            "orthogonal class means of equal norm above 0",
            f"a Gram matrix off by {float(defect):.3g} from {norm**2:.3g} times the identity",
            "use GeneralPerturbationOperator",
        )
    return means / norm, norm


def _radius(start: float, lambda_w: float, lambda_h: float, beta: float) -> float:
    """Norm h of the minimiser's class means, from the stationary points of its loss in h."""
    # (mu h - beta h0) (h^2 + lambda_w)^2 = lambda_w h
    mu = lambda_h + beta
    cubic = np.polynomial.Polynomial([lambda_w, 0, 1]) ** 2
    line = np.polynomial.Polynomial([-beta * start, mu])
    slope = line * cubic - np.polynomial.Polynomial([0, lambda_w])
    roots = slope.roots()
    radii = roots[(abs(roots.imag) < 1e-9 * (1 + abs(roots))) & (roots.real > 0)].real

    def loss(h: float) -> float:
        return lambda_w / (h * h + lambda_w) + lambda_h * h * h + beta * (h - start) ** 2

    radius = float(min(radii, key=loss))
    for _ in range(3):  # eigenvalues of a companion matrix lose a few digits: Newton restores them
        radius -= float(slope(radius) / slope.deriv()(radius))
    return radius
