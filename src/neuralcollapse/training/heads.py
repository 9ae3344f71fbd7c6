"""Fixed heads: a simplex ETF that is not trained, and how it is placed before training."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import align, orthant_margins, simplex_etf
from neuralcollapse.geometry.orthant_margin import OrthantMargins
from neuralcollapse.geometry.simplex_etf import Orientation
from neuralcollapse.validation import class_rows, finite_matrix, integer_labels, positive


class UnfittableHeadWarning(UserWarning):
    """A fixed head behind a ReLU has a class that no non-negative features can win.

    Examples
    --------
    >>> import warnings
    >>> from neuralcollapse.training import UnfittableHeadWarning
    >>> warnings.simplefilter("error", UnfittableHeadWarning)  # let training with one fail
    """


class FixedHead(nn.Linear):
    """A linear layer without bias whose weight is a buffer: saved and moved, never trained.

    Being an `nn.Linear`, it is found as the head by `measure` and by Lightning's callbacks.

    Parameters
    ----------
    weight
        (K, d), one row per class, K >= 2.
    nonnegative
        Whether the features that enter are non-negative, such as those behind a ReLU. Then a
        head that cannot be fitted (see `orthant_margins`) raises a warning.
    dtype
        Of the buffer; torch's default dtype if omitted.

    Raises
    ------
    NeuralCollapseError
        If the weight is no matrix of at least 2 rows.
    NonFiniteError
        If an entry is NaN or infinite.

    Warns
    -----
    UnfittableHeadWarning
        If `nonnegative` and the orthant margin of a class is 0.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.training import FixedHead
    >>> head = FixedHead(torch.eye(3))
    >>> list(head.parameters()), list(head.state_dict())
    ([], ['weight'])
    """

    def __init__(
        self, weight: Any, nonnegative: bool = False, dtype: torch.dtype | None = None
    ) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make parameters
        matrix = class_rows("weight", weight, "one row per class, two classes or more")
        self.out_features, self.in_features = matrix.shape
        self.nonnegative = nonnegative
        self.register_buffer("weight", matrix.to(dtype or torch.get_default_dtype(), copy=True))
        self.register_parameter("bias", None)
        if nonnegative:
            _warn_if_unfittable(self.orthant)

    def reset_parameters(self) -> None:
        """Do nothing: `nn.Linear` would draw a new weight here, and this one is fixed."""

    @property
    def orthant(self) -> OrthantMargins:
        """The orthant margins of the head, see `orthant_margins`."""
        return orthant_margins(self.weight)

    def permuted(self, permutation: Any) -> FixedHead:
        """Return the head whose class k has the row of class ``permutation[k]``.

        Parameters
        ----------
        permutation
            (K,) each of 0..K-1 once.

        Raises
        ------
        NeuralCollapseError
            If it is no permutation.
        """
        order = integer_labels("permutation", permutation, self.out_features)
        if sorted(order.tolist()) != list(range(self.out_features)):
            expected, got = f"each of 0..{self.out_features - 1} once", str(order.tolist())
            raise NeuralCollapseError("permutation", expected, got, "use torch.randperm")
        return self._placed(self.weight[order])

    def rotated(self, rotation: Any) -> FixedHead:
        """Return the head with every row m_k turned into R m_k.

        Parameters
        ----------
        rotation
            (d, d) orthogonal R, such as `random_isometry` draws.

        Raises
        ------
        NeuralCollapseError
            If it is not orthogonal, or of another size.
        """
        turn = finite_matrix("rotation", rotation)
        identity = torch.eye(self.in_features, dtype=turn.dtype, device=turn.device)
        if turn.shape != identity.shape or not torch.allclose(turn @ turn.T, identity, atol=1e-6):
            expected = f"an orthogonal {self.in_features} x {self.in_features} matrix"
            got = f"shape {tuple(turn.shape)} with R R^T not the identity"
            raise NeuralCollapseError("rotation", expected, got, "draw one with random_isometry")
        return self._placed(self.weight.double() @ turn.to(self.weight.device).T)

    def aligned(self, means: Any, rule: str) -> FixedHead:
        """Return the head aligned with the class means of the untrained network's features.

        Parameters
        ----------
        means
            (K, d) class means.
        rule
            See `align`.
        """
        return self._placed(align(self.weight, means, rule))

    def _placed(self, weight: Tensor) -> FixedHead:
        return FixedHead(weight, self.nonnegative, self.weight.dtype).to(self.weight.device)


def etf_head(
    num_classes: int,
    dim: int,
    orientation: Orientation = "haar",
    scale: float = 1.0,
    nonnegative: bool = False,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> FixedHead:
    """Return a fixed head that is a simplex ETF.

    Parameters
    ----------
    num_classes, dim, orientation, generator
        See `simplex_etf`.
    scale
        Norm of every row, > 0.
    nonnegative
        Whether the features are; see `FixedHead`.
    dtype
        Of the weight; torch's default dtype if omitted.

    Returns
    -------
    FixedHead
        To be the last layer of a classifier.

    Raises
    ------
    NeuralCollapseError
        If there is no such ETF, or the scale is not above 0.

    References
    ----------
    Yang et al. 2022, "Inducing neural collapse in imbalanced learning".

    Examples
    --------
    >>> from neuralcollapse.training import etf_head
    >>> etf_head(10, 20, "block", nonnegative=True).orthant.least > 1
    True
    """
    vertices = simplex_etf(num_classes, dim, orientation, generator)
    return FixedHead(positive("scale", scale) * vertices, nonnegative, dtype)


def dot_regression(
    features: Float[Tensor, "n d"], labels: Any, weight: Float[Tensor, "K d"], radius: float = 1.0
) -> Float[Tensor, ""]:
    r"""Return the dot-regression loss of features, first brought to one norm, on a fixed head.

    .. math:: \frac1n \sum_i \frac{1}{2 \|m_{y_i}\| r}
        \bigl( \langle m_{y_i}, r h_i / \|h_i\| \rangle - \|m_{y_i}\| r \bigr)^2

    It pulls each feature to the row of its class and, unlike cross-entropy, pushes it from no
    other. Zero exactly where every feature points along its class's row.

    Parameters
    ----------
    features
        (n, d), as the network gives them; of norm 0 they stay 0.
    labels
        (n,) in 0..K-1.
    weight
        (K, d) of the fixed head, no row zero.
    radius
        r > 0, the norm that the features are brought to.

    Returns
    -------
    Tensor, scalar
        Mean over the samples, in [0, 2 r times the largest norm of a row].

    Raises
    ------
    NeuralCollapseError
        If the labels do not fit, or the radius is not above 0.

    References
    ----------
    Yang et al. 2022, "Inducing neural collapse in imbalanced learning", the dot-regression loss.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.training import dot_regression
    >>> weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> dot_regression(torch.tensor([[3.0, 0.0], [2.0, 0.0]]), [0, 1], weight)  # (0 + 2) / 2
    tensor(1.)
    """
    true = integer_labels("labels", labels, len(features), len(weight)).to(features.device)
    rows = weight[true]
    target = positive("radius", radius) * rows.norm(dim=1)
    reached = radius * (rows * normalize(features, dim=1)).sum(1)
    return ((reached - target).square() / (2 * target)).mean()


def _warn_if_unfittable(orthant: OrthantMargins) -> None:
    hopeless = orthant.unfittable.nonzero().flatten().tolist()
    if hopeless:
        margins = ", ".join(f"{margin:.3g}" for margin in orthant.margins.tolist())
        warnings.warn(
            f"non-negative features cannot fit the classes {hopeless} of this fixed head: their "
            f"orthant margins are 0 (all: {margins}); use orientation='block', another rotation "
            "(fittable_etf), more dimensions, or features without a ReLU",
            UnfittableHeadWarning,
            stacklevel=4,
        )
