"""ood_scores: every score by name."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import signature
from typing import Any

from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.confidence import Energy, MaxSoftmax
from neuralcollapse.ood.detector import Detector
from neuralcollapse.ood.distances import Mahalanobis, NearestMean
from neuralcollapse.ood.nci import NCI
from neuralcollapse.ood.neco import NECO
from neuralcollapse.ood.vim import ViM
from neuralcollapse.validation import check_choice

METHODS: dict[str, type[Detector]] = {
    "neco": NECO,
    "nci": NCI,
    "vim": ViM,
    "nearest_mean": NearestMean,
    "mahalanobis": Mahalanobis,
    "msp": MaxSoftmax,
    "energy": Energy,
}


def ood_scores(
    moments: ClassMoments,
    weight: Any,
    bias: Any,
    features: Any,
    method: str = "nci",
    **options: Any,
) -> Float[Tensor, " n"]:
    """Return how familiar features are, from the class moments of training features and the head.

    To score many batches, build the detector itself, such as ``NECO(moments)``.

    Parameters
    ----------
    moments
        Moments of the training features that enter the head, such as ``report.train.moments``.
    weight, bias
        (K, d) and (K,) of the head; None where the method needs none.
    features
        (n, d) features to judge.
    method
        ``"neco"``, ``"nci"``, ``"vim"``, ``"nearest_mean"``, ``"mahalanobis"``, and the
        baselines ``"msp"`` and ``"energy"``.
    options
        Options of the class of the method.

    Returns
    -------
    Tensor of shape (n,), float64
        Higher is more like the training data, for every method.

    Raises
    ------
    NeuralCollapseError
        If the method is unknown, or its arguments do not fit.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import ClassMoments
    >>> from neuralcollapse.ood import ood_scores
    >>> moments = ClassMoments(2, 1).update(torch.tensor([[0.0], [4.0]]), [0, 1])
    >>> ood_scores(moments, None, None, torch.tensor([[4.0], [9.0]]), "nearest_mean")
    tensor([-0., -5.], dtype=torch.float64)
    """
    return detector_named(method, options)(moments, weight, bias, **options)(features)


def detector_named(method: str, options: Iterable[str] = ()) -> type[Detector]:
    """Return the class of a method, or refuse an unknown name, or options that it does not take."""
    check_choice("method", method, METHODS)
    found = METHODS[method]
    known = [p.name for p in signature(found).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            expected = f"options of {method!r}: {', '.join(known) or 'it has none'}"
            raise NeuralCollapseError("options", expected, repr(name), "correct or leave it out")
    return found
