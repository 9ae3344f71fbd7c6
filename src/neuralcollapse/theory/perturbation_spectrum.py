"""Eigenvalues of the response of the near-features minimiser to a change of collapsed features."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.collapsed_minimizer import minimizing_radius, orthonormal_frame
from neuralcollapse.theory.feature_response import Variant, known_variant
from neuralcollapse.theory.regularized import balanced_counts
from neuralcollapse.validation import decay_strength, finite_matrix, integer_labels


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


class PerturbationSpectrum:
    """All that the eigenvalues of the perturbation operator tell, without any vector.

    Parameters, attributes, errors and warnings are those of `PerturbationOperator`.
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
        self.lambda_w = lambda_w = decay_strength("lambda_w", lambda_w)
        self.lambda_h = lambda_h = decay_strength("lambda_h", lambda_h)
        self.beta = beta = decay_strength("beta", beta)
        self.frame, self.start_radius = orthonormal_frame(finite_matrix("means", means).cpu())
        self.labels = integer_labels("labels", labels, None, len(self.frame)).cpu()
        self.counts = balanced_counts(self.labels)
        if len(self.counts) != len(self.frame):
            raise NeuralCollapseError(
                "labels", f"{len(self.frame)} classes", f"{len(self.counts)}", "match the means"
            )
        self.radius = minimizing_radius(self.start_radius, lambda_w, lambda_h, beta)
        self.head_scale = self.radius / (self.radius**2 + lambda_w)
        self.variant = known_variant(variant)
        rates = self._rates()
        if variant == "exact":
            self._gains = {name: beta / (beta + rate) for name, rate in rates.items()}
        else:
            self._gains = {name: 1 - rate / beta for name, rate in rates.items()}
            if beta <= max(rates.values()):
                warnings.warn(
                    f"first-order operator at beta = {beta:.4g}, not above max lambda = "
                    f"{max(rates.values()):.4g}: use variant='exact' or a larger beta",
                    stacklevel=2,
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

    def block_singular_values(self, k: int, j: int) -> tuple[Multiple, ...]:
        r"""Return the singular values of the block that maps changes of class j to class k.

        The block of two classes has rank 1: it sends :math:`\mathbf 1 \otimes r_k` to
        :math:`\mathbf 1 \otimes r_j`, negatively, where r are the rows of the frame.

        Parameters
        ----------
        k, j
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
        least value needs n >= 2, and beta >= g at first order), are ours.
        """
        (num_classes, dim), n = self.frame.shape, int(self.counts[0])
        for argument, label in (("k", k), ("j", j)):
            if not 0 <= label < num_classes:
                raise NeuralCollapseError(
                    argument, f"a class in 0..{num_classes - 1}", str(label), "choose another"
                )
        free, turned, stretched, out, inside = self._gains.values()
        if k != j:
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
