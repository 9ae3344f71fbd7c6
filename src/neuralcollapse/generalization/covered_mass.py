"""Which new data lie so near to training data that they must get the same decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.clopper_pearson import clopper_pearson_upper
from neuralcollapse.metrics.boundary_distance import boundary_distances
from neuralcollapse.validation import (
    as_tensor,
    finite_matrix,
    finite_tensor,
    integer_labels,
    positive,
)


@dataclass(frozen=True)
class CoveredMass:
    """How much of the data the balls about training points cover, as `covered_mass` found it.

    Attributes
    ----------
    uncovered
        Held-out points in no ball of their own class.
    num_held_out
        n of them.
    error_bound
        Upper confidence bound on the probability of a point in no ball of its class. With radii
        from a certified Lipschitz constant it bounds the error; with an estimated one it bounds
        nothing.
    confidence
        Probability, over the held-out sample, that it is right.
    radius
        Median radius of the balls.
    neighbor_distance
        Median distance of a held-out point from the nearest training point of its class.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import covered_mass
    >>> train, new = torch.tensor([[0.0], [10.0]]), torch.tensor([[0.5], [9.0], [5.0], [10.5]])
    >>> mass = covered_mass(train, [0, 1], torch.tensor([2.0, 2.0]), new, [0, 1, 0, 1])
    >>> mass.uncovered, mass.reach, mass.vacuous
    (1, 4.0, False)
    """

    uncovered: int
    num_held_out: int
    error_bound: float
    confidence: float
    radius: float
    neighbor_distance: float

    @property
    def reach(self) -> float:
        """Radius over distance to the nearest neighbour: below 1, covering explains little."""
        return self.radius / self.neighbor_distance if self.neighbor_distance else float("inf")

    @property
    def vacuous(self) -> bool:
        """Whether the bound is 1: no held-out point is covered."""
        return self.error_bound >= 1


def decision_radii(
    features: Any, labels: Any, weight: Any, bias: Any = None, *, lipschitz: float
) -> Float[Tensor, " n"]:
    r"""Return how far each input may move with its decision unchanged.

    .. math:: \epsilon_i = \frac1L \min_{j \ne y} \frac{m_{yj}(x_i)}{\|w_y - w_j\|}

    Parameters
    ----------
    features
        (n, d) of the inputs, finite.
    labels, weight, bias
        As in `boundary_distances`.
    lipschitz
        L > 0 of the map from inputs to features; certified (see `lipschitz_bound`) if the radii
        are to be.

    Returns
    -------
    Tensor of shape (n,), float64
        In the units of the inputs; negative where the sample is misclassified.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If a shape, a label or the constant is out of range.

    References
    ----------
    Gao et al. 2023, Theorem 4.8, with the minimum margin of a pair in place of each sample's own.

    Examples
    --------
    >>> from neuralcollapse.generalization import decision_radii
    >>> decision_radii([[6.0]], [0], [[1.0], [-1.0]], lipschitz=2.0)
    tensor([3.], dtype=torch.float64)
    """
    return boundary_distances(features, labels, weight, bias) / positive("lipschitz", lipschitz)


def covered_mass(
    inputs: Any,
    labels: Any,
    radii: Any,
    held_out_inputs: Any,
    held_out_labels: Any,
    confidence: float = 0.95,
) -> CoveredMass:
    r"""Certify how much of the data lies in balls about training points of its own class.

    .. math:: P(\text{error}) \;\le\; \eta = P\bigl(\nexists\, i : y_i = y,\
        \|x - x_i\| < \epsilon_i\bigr) \;\le\; \mathrm{CP}(\hat\eta)

    A point in such a ball is decided like the training point, so correctly. The probability of
    the others is bounded by counting those of a held-out sample (Clopper-Pearson). No covering
    number is needed, and no assumption.

    Parameters
    ----------
    inputs, labels
        (n, ...) and (n,) training data.
    radii
        (n,) from `decision_radii`; a ball of radius 0 or less covers nothing.
    held_out_inputs, held_out_labels
        (m, ...) and (m,), m >= 1, never used in training.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    CoveredMass
        Counts, bound, and the distances that explain them.

    Raises
    ------
    NonFiniteError
        If an entry is NaN or infinite.
    NeuralCollapseError
        If either sample is empty, the shapes differ, or the confidence is out of range.

    Notes
    -----
    Ours, in place of the covering number of Gao et al. 2023, Theorem 4.8. On real images the
    radii are a small part of the distance to the nearest neighbour: see `CoveredMass.reach`.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import covered_mass
    >>> train, labels = torch.tensor([[0.0], [10.0]]), [0, 1]
    >>> new = torch.tensor([[0.5], [9.0], [5.0], [10.5]])
    >>> mass = covered_mass(train, labels, torch.tensor([2.0, 2.0]), new, [0, 1, 0, 1])
    >>> mass.uncovered, round(mass.error_bound, 4)
    (1, 0.7514)
    """
    rows, others = (
        finite_matrix(name, inputs.flatten(1) if inputs.ndim > 1 else inputs)
        for name, inputs in (
            ("inputs", as_tensor("inputs", inputs)),
            ("held_out_inputs", as_tensor("held_out_inputs", held_out_inputs)),
        )
    )
    for name, sample in (("inputs", rows), ("held_out_inputs", others)):
        if not len(sample):
            raise NeuralCollapseError(name, "at least one sample", "none", "pass a sample")
    if rows.shape[1] != others.shape[1]:
        expected = f"{rows.shape[1]} numbers a sample, as in training"
        got = str(others.shape[1])
        raise NeuralCollapseError("held_out_inputs", expected, got, "pass inputs of the same kind")
    true = integer_labels("labels", labels, len(rows))
    new = integer_labels("held_out_labels", held_out_labels, len(others))
    reach = finite_tensor("radii", radii)
    if reach.shape != true.shape:
        expected = f"{len(rows)}, one per training sample"
        raise NeuralCollapseError("radii", expected, str(reach.numel()), "see decision_radii")
    uncovered, nearest = 0, []
    for label in new.unique():
        own, theirs = rows[true == label], others[new == label]
        if not len(own):
            uncovered += len(theirs)
            continue
        distances = torch.cdist(theirs, own, compute_mode="donot_use_mm_for_euclid_dist")
        uncovered += int((distances >= reach[true == label]).all(1).sum())
        nearest.append(distances.amin(1))
    return CoveredMass(
        uncovered,
        len(others),
        clopper_pearson_upper(uncovered, len(others), confidence),
        confidence,
        float(reach.median()),
        float(torch.cat(nearest).median()) if nearest else float("inf"),
    )
