"""All alarms: states of a training run that its loss does not show, in plain words."""

from __future__ import annotations

from collections.abc import Callable

from neuralcollapse.runs.alarms.generalization import low_recall, no_generalization, overfitting
from neuralcollapse.runs.alarms.head_mean import head_mean_kept
from neuralcollapse.runs.alarms.minority import minority_collapse
from neuralcollapse.runs.alarms.rank import concentration, loss_of_rank
from neuralcollapse.runs.alarms.samples import (
    absent_class,
    negative_margins,
    stubborn_samples,
    values_dropped,
)
from neuralcollapse.runs.alarms.situation import Alarm, Situation

ALARMS: dict[str, Callable[[Situation], str | None]] = {
    function.__name__: function
    for function in (
        absent_class,
        low_recall,
        minority_collapse,
        negative_margins,
        stubborn_samples,
        overfitting,
        no_generalization,
        loss_of_rank,
        concentration,
        head_mean_kept,
        values_dropped,
    )
}


def find_alarms(situation: Situation) -> list[Alarm]:
    """Return the alarms of a situation.

    Parameters
    ----------
    situation
        The measurement of an epoch, and what came before.
    """
    messages = {kind: check(situation) for kind, check in ALARMS.items()}
    return [Alarm(kind, message) for kind, message in messages.items() if message is not None]
