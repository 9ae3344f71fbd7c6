"""The second moment of features about any point, from class moments."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from neuralcollapse.moments.checked_moments import checked_moments
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.validation import check_shape, finite_tensor


def second_moment(moments: ClassMoments, about: Tensor | None = None) -> Float[Tensor, "d d"]:
    r"""Return the mean of (x - o)(x - o)^T over all samples, without a second pass over them.

    .. math:: \mathrm{E}\,(x-o)(x-o)^\top = \Sigma_W + \Sigma_B + (\mu_G-o)(\mu_G-o)^\top

    with both scatters weighted by n_k/N. About the mean of all samples, the total covariance is
    exactly within plus between.

    Parameters
    ----------
    moments
        Moments with a scatter.
    about
        (d,) the point o; the mean of all samples if omitted.

    Returns
    -------
    Tensor of shape (d, d), float64
        The second moment; the covariance with 1/N if `about` is omitted.

    Raises
    ------
    NeuralCollapseError
        If the moments hold no scatter, or no sample.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import second_moment
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[1.0], [3.0], [5.0]]), [0, 0, 1])
    >>> second_moment(moments)  # mean 3: (4 + 0 + 4) / 3
    tensor([[2.6667]], dtype=torch.float64)
    """
    moments = checked_moments(moments)
    total = moments.within_scatter("pooled") + moments.between_scatter("pooled", "sample_mean")
    if about is None:
        return total
    point = finite_tensor("about", about).to(total.device)
    check_shape("about", point, total.shape[:1], "pass one point (d,)")
    offset = moments.center("sample_mean") - point
    return total.addr_(offset, offset)
