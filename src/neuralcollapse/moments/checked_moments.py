"""checked_moments: refuse what is no class moments, such as the report that holds them."""

from __future__ import annotations

from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.moments.class_moments import ClassMoments


def checked_moments(moments: Any) -> ClassMoments:
    """Return class moments; refuse anything else.

    Raises
    ------
    NeuralCollapseError
        If they are not class moments.

    Examples
    --------
    >>> checked_moments(ClassMoments(2, 1)).num_classes
    2
    """
    if isinstance(moments, ClassMoments):
        return moments
    remedy = "pass report.train.moments, or ClassMoments(num_classes, dim).update(features, labels)"
    raise NeuralCollapseError("moments", "class moments", type(moments).__name__, remedy)
