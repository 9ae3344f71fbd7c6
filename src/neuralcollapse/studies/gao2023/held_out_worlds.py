"""Worlds whose error is known, to draw held-out margins from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import chi2, norm

NUM_CLASSES = 4
GAP = NUM_CLASSES / (NUM_CLASSES - 1)  # margin at the vertex of the own class of a unit ETF


@dataclass(frozen=True)
class World:
    """Features about the vertices of a unit simplex ETF, and that ETF as the head.

    The margin of a feature z = m_y + s g, g standard normal, is that of K independent scores:
    a^2 + a s (e_y - max of the others), a^2 = K/(K-1), whatever the dimension of z.

    Attributes
    ----------
    name
        For tables.
    deviation
        s, of each coordinate of a feature about its vertex.
    atoms
        Share of samples that lie on the vertex of another class, all of them misclassified.
    degrees
        Of freedom of a multivariate t distribution about the vertices, scaled to the deviation s;
        infinite if normal.
    """

    name: str
    deviation: float
    atoms: float = 0.0
    degrees: float = math.inf

    @property
    def error(self) -> float:
        """The true error, by quadrature."""
        smooth = float(_normal_error(np.array([self.deviation]))[0])
        if self.degrees < math.inf:
            log_square = np.linspace(-30, 6, 401)  # of the chi square that stretches the normal
            square = np.exp(log_square)
            errors = _normal_error(self.deviation * np.sqrt((self.degrees - 2) / square))
            smooth = float(trapezoid(errors * square * chi2.pdf(square, self.degrees), log_square))
        return self.atoms + (1 - self.atoms) * smooth

    def draw(self, replicates: int, n: int, generator: np.random.Generator) -> np.ndarray:
        """Return margins of independent held-out samples, (replicates, n)."""
        scores = generator.standard_normal((NUM_CLASSES, replicates, n))
        margins = math.sqrt(GAP) * self.deviation * (scores[0] - scores[1:].max(0))
        if self.degrees < math.inf:
            squares = generator.chisquare(self.degrees, (replicates, n))
            margins *= np.sqrt((self.degrees - 2) / squares)
        return np.where(generator.random((replicates, n)) < self.atoms, -GAP, GAP + margins)


WORLDS = (
    World("normal", 0.45),
    World("heavy tails, t3", 0.25, degrees=3),
    World("wrong-class atoms", 0.2, atoms=0.005),
    World("deep collapse", 0.02),
    World("deep collapse and atoms", 0.02, atoms=0.005),
)


def _normal_error(deviations: np.ndarray) -> np.ndarray:
    """Return 1 - P(e_y + a / s exceeds the K - 1 others), e standard normal, for each s."""
    # The trapezoidal rule is exact to round-off for what is smooth and vanishes at both ends.
    x = np.linspace(-10, 10, 401)[:, None]
    beaten = -np.expm1((NUM_CLASSES - 1) * norm.logcdf(x + math.sqrt(GAP) / deviations))
    return trapezoid(norm.pdf(x) * beaten, x, axis=0)
