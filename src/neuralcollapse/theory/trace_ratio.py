"""When one step towards least loss makes features more collapsed, whatever they are."""

from __future__ import annotations

from neuralcollapse.validation import decay_strength


def trace_ratio_falls_from(lambda_w: float, lambda_h: float) -> float:
    r"""Return the beta from which the near-features minimiser is more collapsed than H0.

    For every H0 of balanced classes whose class means differ and whose within-class scatter is
    not zero, :math:`\beta + \lambda_H \ge 1 / (2 \lambda_W)` implies
    :math:`\mathrm{Tr}\, \Sigma_W / \mathrm{Tr}\, \Sigma_B` is smaller at every stationary point
    of the near-features model than at H0.

    Parameters
    ----------
    lambda_w, lambda_h
        Strengths of the regularisation, above 0.

    Returns
    -------
    float
        The least such beta, at least 0 (any positive beta will do where it is 0).

    Raises
    ------
    NeuralCollapseError
        If a strength is not positive.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Corollary 3.2, whose "large enough" this makes explicit; ours.

    Examples
    --------
    >>> from neuralcollapse.theory import trace_ratio_falls_from
    >>> trace_ratio_falls_from(lambda_w=0.5, lambda_h=0.25)
    0.75
    """
    return max(
        0.0, 1 / (2 * decay_strength("lambda_w", lambda_w)) - decay_strength("lambda_h", lambda_h)
    )
