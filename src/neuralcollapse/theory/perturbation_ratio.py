"""What the perturbation operator does to the within-class scatter, and which strength does it."""

from __future__ import annotations

import math
from typing import Any, Literal

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.theory.perturbation_spectrum import PerturbationSpectrum
from neuralcollapse.validation import check_choice, finite_matrix

Start = Literal["moving", "fixed"]


class PerturbationRatio(PerturbationSpectrum):
    """The trace of the within-class scatter after one layer over that before.

    Parameters, attributes, errors and warnings are those of `PerturbationOperator`.
    """

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

    def elasticities(self, within: Any = None, start: Start = "moving") -> tuple[float, float]:
        r"""Return the relative change of the within ratio per relative change of each lambda.

        For exact gains and a scatter that keeps its share in the span of the means. With H0 moving
        along with the lambdas at the optimal radius,

        .. math::
            \frac{\partial \ln}{\partial \ln \lambda_H} =
            - \frac{a g / (\beta + g) + 2 b \lambda_H / (\beta + \lambda_H)}{a + b}, \qquad
            \frac{\partial \ln}{\partial \ln \lambda_W} = \frac{a g / (\beta + g)}{a + b},

        with :math:`a = \pi q^2`, :math:`b = (1 - \pi) p^2`: within the span of the means, both
        act equally strongly and oppositely; outside it lambda_w does nothing. With H0 fixed, at
        any radius, :math:`q = \beta / (\mu + w^2)`, :math:`p = \beta / \mu` change with
        :math:`\mu = \lambda_H + \beta` and the head's scale w alone, by the implicit derivatives
        of :math:`\mu h - \lambda_W h / (h^2 + \lambda_W)^2 = \beta h_0`, w = h / (h^2 + lambda_W).

        Parameters
        ----------
        within
            (d, d) within-class scatter of H0, up to scale; isotropic if omitted.
        start
            ``"moving"``: H0 stays the optimum of the lambdas; ``"fixed"``: H0 stays as it is.

        Returns
        -------
        lambda_w, lambda_h : float
            The two elasticities.

        Raises
        ------
        NeuralCollapseError
            If the variant is not exact, the start is unknown, or it is moving and the class means
            of H0 are not at the optimal radius.
        """
        check_choice("start", start, ("moving", "fixed"))
        optimal = math.sqrt(self.lambda_w / self.lambda_h) - self.lambda_w
        away = start == "moving" and not math.isclose(self.start_radius**2, optimal, rel_tol=1e-8)
        if self.variant != "exact" or away:
            expected = f"squared norm {optimal:.6g}, and the exact variant"
            got = f"squared norm {self.start_radius**2:.6g}, variant {self.variant!r}"
            remedy = "take the means of regularized_mse_minimizer, or start='fixed'"
            raise NeuralCollapseError("means", expected, got, remedy)
        parallel = self._parallel_share(within)
        inside = parallel * self._gains["within parallel"] ** 2
        out = (1 - parallel) * self._gains["within orthogonal"] ** 2
        inner = self.beta + self.lambda_h + self.head_scale**2  # beta / q
        outer = self.beta + self.lambda_h  # beta / p
        by_w, by_h = self._head_slopes() if start == "fixed" else self._moving_head_slopes()
        by_inner = (by_w, 1 + by_h)  # derivatives of `inner`; those of `outer` are 0 and 1
        total = inside + out
        return (
            -2 * self.lambda_w * inside * by_inner[0] / inner / total,
            -2 * self.lambda_h * (inside * by_inner[1] / inner + out / outer) / total,
        )

    def _moving_head_slopes(self) -> tuple[float, float]:
        """Differentiate w^2 = g - lambda_h by the lambdas, at the optimal radius."""
        g = math.sqrt(self.lambda_h / self.lambda_w)
        return -g / (2 * self.lambda_w), g / (2 * self.lambda_h) - 1

    def _head_slopes(self) -> tuple[float, float]:
        """Differentiate w^2 by the lambdas, at fixed H0."""
        h, w, squared = self.radius, self.head_scale, self.radius**2 + self.lambda_w
        stiffness = self.beta / self._gains["mean stretch"]
        radius_by_w = h * (squared - 2 * self.lambda_w) / squared**3 / stiffness
        radius_by_h = -h / stiffness
        along = (self.lambda_w - h * h) / squared**2  # dw / dh
        return 2 * w * (along * radius_by_w - h / squared**2), 2 * w * along * radius_by_h

    def _parallel_share(self, within: Any) -> float:
        num_classes, dim = self.frame.shape
        if within is None:
            return num_classes / dim
        scatter = finite_matrix("within", within).cpu()
        if scatter.shape != (dim, dim) or not float(scatter.trace()) > 0:
            expected = f"a scatter of shape ({dim}, {dim}) and positive trace"
            remedy = "pass the within-class scatter of H0"
            raise NeuralCollapseError("within", expected, f"shape {tuple(scatter.shape)}", remedy)
        return float(((self.frame @ scatter) * self.frame).sum() / scatter.trace())
