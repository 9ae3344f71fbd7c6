"""CDNV along the line between two class means, and what it says about few-shot learning."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuralcollapse.metrics.between import require_two_classes
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import whole_number


def directional_cdnv(moments: ClassMoments) -> Float[Tensor, "K K"]:
    r"""Return the variance of each class along the line to each other, over their distance.

    .. math:: \tilde V_{ij} = \frac{u_{ij}^\top \Sigma_i u_{ij}}{\|\mu_i - \mu_j\|^2}, \qquad
        u_{ij} = \frac{\mu_i - \mu_j}{\|\mu_i - \mu_j\|}

    Only spread along that line confuses the two classes; if most of the spread lies in other
    directions, this is far below the CDNV.

    Parameters
    ----------
    moments
        Moments with ``scatter="per_class"``.

    Returns
    -------
    Tensor of shape (K, K), float64
        Entry (i, j): class i along the line to class j. 0 when collapsed, infinite (NaN without
        spread) for coinciding means, NaN on the diagonal and for absent classes.

    Raises
    ------
    NeuralCollapseError
        If the moments have no scatter of each class, or fewer than two classes have samples.

    References
    ----------
    arXiv 2603.03530; Galanti, György & Hutter 2022 for the CDNV.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import directional_cdnv
    >>> features = torch.tensor([[-3.0, 9], [-1.0, -9], [1.0, 0], [3.0, 0]])
    >>> moments = ClassMoments(2, 2, scatter="per_class").update(features, [0, 0, 1, 1])
    >>> directional_cdnv(moments)[1, 0]  # variance 1, distance 4
    tensor(0.0625, dtype=torch.float64)
    """
    require_two_classes(moments)
    scatters = moments.class_scatters
    spread, squared = _along_lines(moments, scatters)
    values = (spread / squared.square()).masked_fill_(squared == 0, torch.inf)
    coinciding = (squared == 0) & (moments.trace_variances == 0)[:, None]
    return values.masked_fill_(coinciding, torch.nan).fill_diagonal_(torch.nan)


def few_shot_bound(moments: ClassMoments, shots: int) -> Float[Tensor, "K K"]:
    r"""Bound the error of telling two classes apart by the means of a few samples of each.

    A sample x of class i is confused with class j where it is no nearer to the mean of m samples
    of its own than to that of m of the other. With :math:`\delta = \|\mu_i - \mu_j\|` and v the
    traces of the covariances,

    .. math:: P \le \min_{0 < c < 1} \frac{s}{s + (1-c)^2/4} + \frac{v_i}{c\, m\, \delta^2},
        \qquad s = \tilde V_{ij} + \frac{\tilde V_{ji}}{m}
        + \frac{\mathrm{tr}\, \Sigma_i (\Sigma_i + \Sigma_j)}{m\, \delta^4},

    for any distributions; with many shots it tends to
    :math:`4 \tilde V_{ij} / (1 + 4 \tilde V_{ij})`. Averaged over pairs it says what frozen
    features promise for classes not trained on, if they are like these. The error among more
    classes is at most the sum over rivals.

    Parameters
    ----------
    moments
        Moments with ``scatter="per_class"``, taken as those of the distributions.
    shots
        m >= 1 samples of each class.

    Returns
    -------
    Tensor of shape (K, K), float64
        Upper bounds in [0, 1]; the row is the class of x, the column its rival. NaN on the
        diagonal and for absent classes.

    Raises
    ------
    NeuralCollapseError
        If the moments have no scatter of each class, fewer than two classes, or m < 1.

    Notes
    -----
    Half the difference of the squared distances is at least
    :math:`\delta^2/2 + L - \|\alpha\|^2/2`,
    with :math:`\alpha` the error of the own mean and L a sum of three uncorrelated terms of
    variance :math:`\delta^4 s`: Cantelli's inequality for L, Markov's for :math:`\|\alpha\|^2`.

    References
    ----------
    Galanti, György & Hutter 2022, Proposition 7, for the CDNV; arXiv 2603.03530 for the directional
    one; these constants are ours.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.metrics import few_shot_bound
    >>> features = torch.tensor([[-9.0], [-7.0], [7.0], [9.0]])
    >>> moments = ClassMoments(2, 1, scatter="per_class").update(features, [0, 0, 1, 1])
    >>> few_shot_bound(moments, shots=100)[0, 1].round(decimals=3)
    tensor(0.0180, dtype=torch.float64)
    """
    shots = whole_number("shots", shots, 1)
    require_two_classes(moments)
    scatters = moments.class_scatters
    spread, squared = _along_lines(moments, scatters)
    flat = scatters.flatten(1)
    overlap = flat @ flat.T
    variance = spread + spread.T / shots + (overlap.diagonal()[:, None] + overlap) / shots
    variance = variance / squared.square()
    missed = moments.trace_variances[:, None] / (shots * squared)
    bound = torch.ones_like(squared)
    for share in torch.linspace(0.01, 0.99, 99, dtype=torch.float64):
        bound = torch.minimum(bound, variance / (variance + (1 - share) ** 2 / 4) + missed / share)
    bound = torch.where(squared > 0, bound, bound.new_tensor(1.0))
    absent = ~moments.present
    return bound.masked_fill_(absent[:, None] | absent, torch.nan).fill_diagonal_(torch.nan)


def _along_lines(moments: ClassMoments, scatters: Tensor) -> tuple[Tensor, Tensor]:
    """Return D^T Sigma_i D and ||D||^2 for the lines D = mu_i - mu_j."""
    lines = moments.means[:, None] - moments.means
    return torch.einsum("ijd,ide,ije->ij", lines, scatters, lines), lines.square().sum(2)
