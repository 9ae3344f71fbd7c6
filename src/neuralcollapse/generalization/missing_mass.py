"""The probability of what a sample has not seen, cell by cell of a partition."""

from __future__ import annotations

import math

from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.validation import whole_number


def expected_missing_mass_bound(num_cells: int, num_samples: int) -> float:
    r"""Bound the expected probability of the cells of a partition that a sample leaves empty.

    .. math:: E\,U = \sum_{c=1}^{C} q_c (1 - q_c)^n \;\le\; \frac{C}{2(n+1)}

    whatever the probabilities q_c. With cells of *diameter* at most eps (balls of radius eps / 2)
    and a classifier that is right within eps of every training point, U bounds its error.

    Parameters
    ----------
    num_cells
        C >= 1, all classes together.
    num_samples
        n >= 1 independent samples.

    Returns
    -------
    float
        An upper bound, with equality for n = 1, C = 2 and q = 1/2; above 1 it says nothing.

    Raises
    ------
    NeuralCollapseError
        If an argument is below 1.

    References
    ----------
    Gao et al. 2023, Theorem 4.8, has C / (2n) with balls of radius eps; the constant is that of
    q (1-q)^n at its maximum, q = 1 / (n+1).

    Examples
    --------
    >>> from neuralcollapse.generalization import expected_missing_mass_bound
    >>> expected_missing_mass_bound(2, 1)  # two cells of 1/2: the other one is missed
    0.5
    """
    cells, n = whole_number("num_cells", num_cells), whole_number("num_samples", num_samples)
    return cells / (2 * (n + 1))


def missing_mass_bound(num_cells: int, num_samples: int, confidence: float = 0.95) -> float:
    r"""Bound the probability of the cells that a sample leaves empty, with confidence.

    .. math:: U \;\le\; \frac{C}{2(n+1)} + \sqrt{\frac{\ln(1/\delta)}{n}}

    Parameters
    ----------
    num_cells, num_samples
        As in `expected_missing_mass_bound`.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    float
        An upper bound with probability at least 1 - delta over the sample.

    Raises
    ------
    NeuralCollapseError
        If an argument is out of range.

    References
    ----------
    Berend & Kontorovich 2013, "On the concentration of the missing mass":
    P(U > E U + t) <= exp(-n t^2).

    Examples
    --------
    >>> from neuralcollapse.generalization import missing_mass_bound
    >>> round(missing_mass_bound(50, 1000), 4)
    0.0797
    """
    expected = expected_missing_mass_bound(num_cells, num_samples)
    return expected + math.sqrt(-math.log(failure_probability(confidence)) / num_samples)
