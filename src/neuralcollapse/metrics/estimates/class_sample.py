"""ClassSample: class means with what is known of their noise, in the K x K space they span."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from neuralcollapse.metrics.estimates.sample_groups import Left
from neuralcollapse.metrics.pairs import unit_of
from neuralcollapse.moments.class_moments import ClassMoments


@dataclass(frozen=True, eq=False)
class PooledScatter:
    r"""The within-class scatter S of all samples, and the traces of powers of the true one.

    .. math:: t_1 = \mathrm{tr}\, S, \quad
        t_2 = \tfrac{\nu^2}{(\nu-1)(\nu+2)} \bigl(\mathrm{tr}\, S^2 - t_1^2 / \nu\bigr), \quad
        t_3 = \tfrac{\nu^2}{\nu^2 + 3\nu + 4} \bigl(\mathrm{tr}\, S^3
        - 3 \tfrac{\nu+1}{\nu^2} t_1 t_2 - t_1^3 / \nu^2\bigr)

    unbiased for normal samples (t_3 to first order in 1/nu). The plain traces of S^2 and S^3 are
    far too large where there are fewer samples than features.

    Attributes
    ----------
    matrix
        (d, d), the sum of (x - mu_y)(x - mu_y)^T over nu.
    nu
        N - K, the degrees of freedom.
    """

    matrix: Tensor
    nu: float

    @cached_property
    def t1(self) -> float:
        """Unbiased for tr Sigma."""
        return float(self.matrix.trace())

    @cached_property
    def t2(self) -> float:
        """Unbiased for tr Sigma^2 of normal samples."""
        nu, square = self.nu, float(self.matrix.square().sum())
        return max(nu**2 / ((nu - 1) * (nu + 2)) * (square - self.t1**2 / nu), 0.0)

    @cached_property
    def t3(self) -> float:
        """Nearly unbiased for tr Sigma^3 of normal samples."""
        nu, cube = self.nu, float((self.matrix @ self.matrix).mul_(self.matrix).sum())
        known = 3 * (nu + 1) / nu**2 * self.t1 * self.t2 + self.t1**3 / nu**2
        return max(nu**2 / (nu**2 + 3 * nu + 4) * (cube - known), 0.0)


@dataclass(frozen=True, eq=False)
class ClassSample:
    r"""A sample of each class, as corrected estimators take it.

    Means about their mean are the rows M; their noise has covariance v_k / n_k in all, spread
    as the pooled scatter S is: with C = P diag(c) P, c_k = v_k / (t_1 n_k), P the centring,

    .. math:: G^* = M M^\top - P\, \mathrm{diag}(v_k / n_k)\, P, \qquad
        A^* = M S M^\top - t_2 C

    are unbiased for the Gram matrix of the true means, and for how Sigma sees them.

    Attributes
    ----------
    rows
        (P, d) means of the classes that have samples, about their mean.
    sizes, spreads
        (P,) n_k, and v_k with n_k - 1; of a class with one sample the pooled t_1.
    pooled
        The scatter of all samples.
    head
        (P, d) rows of the head about their mean, or None.
    moments
        What it was made of, with the sums of each group of samples, if these were kept.
    whole
        The sample that this one is a part of: what S sees of the true means is taken from it.
    left
        Its classes without a group, if it is a part.
    unit
        What all lengths are divided by, a power of two; 1 but for very large or small features.

    References
    ----------
    Ours; the moments of Wishart matrices are in Letac & Massam 2004.
    """

    rows: Tensor
    sizes: Tensor
    spreads: Tensor
    pooled: PooledScatter
    head: Tensor | None = None
    moments: ClassMoments | None = None
    whole: ClassSample | None = None
    left: Left | None = None
    unit: float = 1.0

    @classmethod
    def of(cls, moments: ClassMoments, head: Tensor | None = None) -> ClassSample:
        """Return the sample of moments with a scatter, of more samples than classes."""
        present = moments.present
        sizes = moments.counts[present].double()
        nu = float(sizes.sum()) - len(sizes)
        pooled = PooledScatter(moments.within_scatter("pooled") * (float(sizes.sum()) / nu), nu)
        squares = moments.trace_variances[present] * sizes
        rows = moments.centered_means()
        spreads = _spreads(squares / (sizes - 1), pooled)
        return cls(rows, sizes, spreads, pooled, head, moments)._to_scale()

    def _to_scale(self) -> ClassSample:
        """Return it in a unit in which cubes of variances fit in float64."""
        size = max(float(self.rows.norm()), math.sqrt(self.pooled.t1))
        if (unit := unit_of(size)) == 1:
            return self
        pooled = replace(self.pooled, matrix=self.pooled.matrix / unit**2)
        rows, spreads = self.rows / unit, self.spreads / unit**2
        return replace(self, rows=rows, spreads=spreads, pooled=pooled, unit=unit)

    def without(self, left: Left) -> ClassSample:
        """Return the sample without a group."""
        steps = (left.steps - left.steps.mean(0)) / self.unit
        return replace(
            self,
            rows=self.rows + steps,
            sizes=left.sizes,
            spreads=_spreads(left.spreads / self.unit**2, self.pooled),
            whole=self,
            left=left,
        )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def kurtosis(self) -> float:
        r"""How much longer the tails are than normal ones, all directions together; 0 if normal.

        .. math:: \hat\kappa = \frac{\widehat{\mathrm{Var}}\, r^2 / (E r^2)^2 - 2 t_2 / t_1^2}
            {1 + 2 t_2 / t_1^2}

        of r = \|x - \mu_y\|, as far as sums of r^2 over groups of samples tell: 2/(df - 4) for a
        multivariate t, positive too where classes are spread unequally. 0 without groups.
        """
        moments, normal = self.moments, 2 * self.pooled.t2 / self.pooled.t1**2
        if moments is None or not moments.groups:
            return 0.0
        present = moments.present
        mean_squares = moments.trace_variances[present]
        pooled = float(mean_squares @ self.share)
        squares = samples = 0.0
        for count, _, square in moments.by_group():
            own = count[present].double()
            squares += float(((square[present] - own * mean_squares) / pooled).square().sum())
            samples += float((own * (1 - own / self.sizes)).sum())
        between = float(self.share @ (mean_squares / pooled - 1).square())
        return (_ratio(squares, samples) + between - normal) / (1 + normal)

    @property
    def rank(self) -> int:
        """R = K - 1."""
        return len(self.rows) - 1

    @cached_property
    def share(self) -> Tensor:
        """pi_k = n_k / N, (P,)."""
        return self.sizes / self.sizes.sum()

    @cached_property
    def noise(self) -> Tensor:
        """v_k / n_k, (P,), the expected square that noise adds to a mean."""
        return self.spreads / self.sizes

    @cached_property
    def c(self) -> Tensor:
        """c_k = v_k / (t_1 n_k), (P,)."""
        return self.noise / self.pooled.t1

    @cached_property
    def lengths(self) -> Tensor:
        """Squared length of each row, (P,)."""
        return self.rows.square().sum(1)

    @cached_property
    def clean_lengths(self) -> Tensor:
        """The diagonal of G*, (P,)."""
        return self.lengths - _centered_diagonal(self.noise)

    @cached_property
    def total(self) -> float:
        """T = tr G*."""
        return float(self.clean_lengths.sum())

    @cached_property
    def gram(self) -> Tensor:
        """G*, (P, P)."""
        return self.rows @ self.rows.T - centered(self.noise)

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (r,) of M M^T and their vectors (P, r), without the direction of all ones."""
        values, vectors = torch.linalg.eigh(self.rows @ self.rows.T)
        return values[1:], vectors[:, 1:]

    @cached_property
    def squared_gram(self) -> float:
        """Tr G*^2, through the smaller of K x K and d x d."""
        rows, noise = self.rows, self.noise
        small = rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T
        cross = 2 * float(self.lengths @ noise)
        return float(small.square().sum()) - cross + _square(noise)

    @cached_property
    def seen(self) -> Tensor:
        """M S, (P, d)."""
        return self.rows @ self.pooled.matrix

    @cached_property
    def clean_seen(self) -> Tensor:
        """The diagonal of A*, (P,)."""
        if self.whole is not None:
            return self.whole.clean_seen
        plain = (self.seen * self.rows).sum(1)
        return (plain - self.pooled.t2 * _centered_diagonal(self.c)).clamp_min(0)

    @cached_property
    def gram_seen(self) -> Tensor:
        """A*, (P, P)."""
        if self.whole is not None:
            return self.whole.gram_seen
        return self.seen @ self.rows.T - self.pooled.t2 * centered(self.c)

    @cached_property
    def variance_of_total(self) -> float:
        """V(T) = 4 tr(A* C) + 2 t_2 tr C^2, of T."""
        return 4 * float(self.clean_seen @ self.c) + 2 * self.pooled.t2 * _square(self.c)

    @cached_property
    def variance_of_gram(self) -> float:
        """V(G) = 2 tr(A* C) + 2 tr A* tr C + t_2 (tr C^2 + (tr C)^2), of G* in all entries."""
        seen, trace = self.clean_seen, float(_centered_diagonal(self.c).sum())
        own = 2 * float(seen @ self.c) + 2 * float(seen.sum()) * trace
        return own + self.pooled.t2 * (_square(self.c) + trace**2)


def _ratio(numerator: float, denominator: float) -> float:
    """Divide; 0 where there is nothing, as of groups that hold whole classes."""
    return numerator / denominator if denominator else 0.0


def centered(diagonal: Tensor) -> Tensor:
    """Return P diag(x) P, (K, K)."""
    half = diagonal / len(diagonal)
    matrix = half.mean() - half[:, None] - half
    matrix.diagonal().add_(diagonal)
    return matrix


def _centered_diagonal(x: Tensor) -> Tensor:
    """Return the diagonal of P diag(x) P."""
    return x * (1 - 2 / len(x)) + x.mean() / len(x)


def _square(x: Tensor) -> float:
    """Return tr (P diag(x) P)^2."""
    return float((1 - 2 / len(x)) * x.square().sum() + x.mean().square())


def _spreads(spreads: Tensor, pooled: PooledScatter) -> Any:
    return torch.where(torch.isfinite(spreads), spreads, pooled.t1)
