"""SplitReport: the measurement of one data set."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from neuralcollapse.metrics.catalogue import CATALOGUE, needed
from neuralcollapse.metrics.measured import code_needs
from neuralcollapse.metrics.metric import Metric
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.wording import counted


@dataclass(frozen=True, eq=False)
class SplitReport:
    """The measurement of one data set: of the training data, or of test data.

    Attributes
    ----------
    values
        Metric name to value.
    state
        Class moments of the features; decisions, accuracies and margins, with respect to the class
        means of the training data.
    """

    values: dict[str, float]
    state: CollapseState

    @property
    def moments(self) -> ClassMoments:
        """Class moments of the features."""
        return self.state.moments

    @classmethod
    def of(
        cls,
        state: CollapseState,
        weight: Tensor | None,
        bias: Tensor | None,
        own: Mapping[str, Metric] | None = None,
        lenient: str = "",
    ) -> SplitReport:
        """Compute the values of a state; those that need it to be settled are NaN until then.

        Parameters
        ----------
        state
            The state of the samples.
        weight, bias
            (K, d) and (K,) of the head, or None.
        own
            Metrics to compute besides the catalogue.
        lenient
            Name of a data set that may lack samples of two classes: its values are then NaN, with
            a warning. If empty, that is an error.

        Raises
        ------
        NeuralCollapseError
            If fewer than two classes have samples, unless lenient.
        """
        if lenient and int(state.moments.present.sum()) < 2:
            warnings.warn(
                f"the {lenient} data has samples of "
                f"{counted(state.moments.present.sum(), 'class', 'classes')}: its metrics are NaN",
                stacklevel=4,
            )
            names = value_names(state, weight, bias, own)
            return cls(dict.fromkeys(names, math.nan) | state.shares(), state)
        rows = [*CATALOGUE.values(), *(own or {}).values()]
        values = dict.fromkeys(_unsettled(weight), math.nan) | state.values(weight, bias, rows)
        return cls({row.name: values[row.name] for row in rows if row.name in values}, state)

    def columns(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return what is known about each class, column by column."""
        moments = self.moments
        distances = moments.counts * math.nan  # of no samples, there is no centre
        if moments.num_samples:
            distances = (moments.means - moments.center()).square().sum(1).sqrt()
        return {
            "class": list(class_names),
            "samples": moments.counts.tolist(),
            "trace_variance": moments.trace_variances.tolist(),
            "distance_to_center": distances.tolist(),
        } | {name: column.tolist() for name, column in self.state.per_class().items()}


def value_names(
    state: CollapseState,
    weight: Tensor | None,
    bias: Tensor | None,
    own: Mapping[str, Metric] | None = None,
) -> list[str]:
    """Return the names of the values of a state once it is settled and has samples of every class.

    Parameters
    ----------
    state, weight, bias, own
        As in `SplitReport.of`.
    """
    codes = set() if weight is None else code_needs(weight)
    there = {*state.measured(weight, bias).available, *_unsettled(weight), *codes}
    rows = [*CATALOGUE.values(), *(own or {}).values()]
    return [row.name for row in rows if needed(row, there)]


def _unsettled(weight: Tensor | None) -> list[str]:
    return ["ncc_accuracy"] if weight is None else ["ncc_accuracy", "nc4_agreement"]
