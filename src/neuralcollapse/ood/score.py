"""score: how familiar the samples of a loader are to a network, in one call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.extract_features import extract_features
from neuralcollapse.measurement.measure import measure
from neuralcollapse.measurement.measure_features import measure_features
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.ood.scores import detector_named, ood_scores


def score(
    model: Any,
    loader: Iterable[Any],
    method: str = "nci",
    *,
    train: CollapseReport | ClassMoments | Iterable[Any] | None = None,
    reading: dict[str, Any] | None = None,
    **options: Any,
) -> Float[Tensor, " n"]:
    """Return how familiar each sample of a loader is to a network; higher is more familiar.

    Parameters
    ----------
    model
        As in `measure`; it runs once over the loader, and is left unchanged.
    loader
        The samples to judge, as `measure` reads them: batches with labels, of which any will do
        (such as 0) but the ignored one, whose samples are left out.
    method
        As in `ood_scores`.
    train
        The training data: the report of a measurement, class moments, or a loader, which is then
        measured; for ``"vim"``, a loader, or ``alpha`` or ``train_features`` among the options.
        ``"msp"`` and ``"energy"`` need none.
    reading
        Arguments of `extract_features`, such as ``{"head": "fc"}``.
    options
        Options of the class of the method.

    Raises
    ------
    NeuralCollapseError
        If the method is unknown, or needs training data and there is none.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse.ood import score
    >>> _ = torch.manual_seed(0)
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> batches = [(torch.randn(30, 2), torch.arange(30) % 3) for _ in range(2)]
    >>> score(model, batches, "mahalanobis", train=batches).shape
    torch.Size([60])
    """
    if detector_named(method, options).needs_training_data and train is None:
        expected = f"the training data, which {method!r} compares with"
        remedy = "pass train=, its loader or a report of it"
        raise NeuralCollapseError("train", expected, "none", remedy)
    read = reading or {}
    arrays = extract_features(model, loader, **read)
    weight, features = arrays.get("weight"), arrays["features"]
    if isinstance(train, ClassMoments):
        moments = train
    elif isinstance(train, CollapseReport):
        moments = train.train.moments
    elif train is not None and detector_named(method).needs_train_features:
        known: dict[str, Any] = extract_features(model, train, **read)
        moments = measure_features(**known, intervals=False).train.moments
        if options.keys().isdisjoint({"train_features", "alpha"}):
            options["train_features"] = known["features"]
    elif train is not None:
        moments = measure(model, train, intervals=False, **read).train.moments
    else:
        num_classes = 1 if weight is None else len(weight)
        moments = ClassMoments(num_classes, features.shape[1])
    return ood_scores(moments, weight, arrays.get("bias"), features, method, **options)
