"""The law of data separation: the fuzziness of a layer's classes falls by one factor per layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

MIN_LAYERS = 3  # through two points there is always a line


@dataclass(frozen=True)
class SeparationLaw:
    r"""A straight line through the logarithms of the separation fuzziness against depth.

    .. math:: \log D_\ell \approx \log D_0 + \ell \log \rho, \qquad \ell = 1, \dots, L

    Attributes
    ----------
    ratio
        rho, the factor of the fuzziness per layer; below 1 if classes separate with depth.
    initial
        D_0, the line's value before the first layer.
    r_squared
        Share of the variance of the logarithms that the line explains, in [0, 1].
    layers
        Number of layers that the line was fitted to.

    Examples
    --------
    >>> from neuralcollapse.measurement.separation_law import fit_separation_law
    >>> law = fit_separation_law([8.0, 4.0, 2.0, 1.0])
    >>> round(law.ratio, 12), round(law.initial, 12), round(law.r_squared, 12)
    (0.5, 16.0, 1.0)
    """

    ratio: float
    initial: float
    r_squared: float
    layers: int

    def at(self, depth: float) -> float:
        """Return the fuzziness on the line at a depth; the first layer has depth 1.

        Parameters
        ----------
        depth
            Number of the layer.
        """
        return self.initial * self.ratio**depth


def fit_separation_law(fuzziness: Sequence[float]) -> SeparationLaw | None:
    """Fit the law by least squares in the logarithm.

    Parameters
    ----------
    fuzziness
        D of the layers 1, 2, ..., see `separation_fuzziness`. Values without a finite logarithm (0,
        infinite, undefined) are skipped, but keep their depth.

    Returns
    -------
    SeparationLaw or None
        None if fewer than three layers are left.

    References
    ----------
    He & Su 2023, "A law of data separation in deep learning", Equation 2.
    """
    values = np.asarray(fuzziness, dtype=np.float64)
    depths = np.arange(1, len(values) + 1)
    usable = np.isfinite(values) & (values > 0)
    if usable.sum() < MIN_LAYERS:
        return None
    logs = np.log(values[usable])
    line = linregress(depths[usable], logs)
    # A level profile has no variance to explain; its line is exact.
    r_squared = 1.0 if np.ptp(logs) == 0 else float(line.rvalue) ** 2
    ratio, initial = math.exp(line.slope), math.exp(line.intercept)
    return SeparationLaw(ratio, initial, r_squared, int(usable.sum()))
