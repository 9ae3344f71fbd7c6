"""Measure an epoch by a pass of its own: the network at rest, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations.epoch_tally import EpochMeasurement, EpochTally
from neuralcollapse.measurement.feature_pass import FeaturePass, Unpack, evaluating, unpack_batch
from neuralcollapse.measurement.feature_tap import FeatureTap

FEATURE_BUDGET = 2**30  # bytes of features kept, so that NC4 needs no second pass


def measure_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    test_loader: Iterable[Any] | None = None,
    *,
    head: nn.Module | str | None = None,
    details: bool = False,
    unpack: Unpack | None = None,
    feature_budget: int = FEATURE_BUDGET,
) -> EpochMeasurement:
    """Measure a network as `measure` does, where each process may hold a part of the data.

    Parameters
    ----------
    model
        The network, not wrapped for several processes.
    loader, test_loader
        This process's part of training and validation data.
    head, unpack, feature_budget
        As in `measure`.
    details
        Whether to count right decisions for each class.

    Returns
    -------
    EpochMeasurement
        Of the data of all processes. A sampler that fills up the last part with samples seen
        already, as that of torch does, has these counted twice.

    Raises
    ------
    NeuralCollapseError
        As `measure`.
    """
    unpack = unpack or unpack_batch
    with evaluating(model, None) as device, FeatureTap(model, head) as tap:
        data = FeaturePass(model, loader, tap, device, unpack)
        tally: EpochTally | None = None
        kept: list[tuple[Tensor, Tensor, Tensor]] | None = []
        room = feature_budget
        for features, logits, labels in data:
            tally = tally or EpochTally(tap.head)
            tally.add(features, labels)
            room -= features.nbytes + logits.nbytes
            if room >= 0 and kept is not None:
                kept.append((features, logits, labels))
            elif kept is not None:
                kept = None
                data.require_rereadable(feature_budget)
        if tally is None:
            raise NeuralCollapseError(
                "loader", "at least one batch of training data", "none", "check the data set"
            )
        means = tally.moments().means
        train = EpochTally(tap.head, means, details)
        for features, logits, labels in data if kept is None else kept:
            train.add(features, labels, logits)
        test = None
        if test_loader is not None:
            test = EpochTally(tap.head, means)
            for features, logits, labels in FeaturePass(model, test_loader, tap, device, unpack):
                test.add(features, labels, logits)
        return train.measurement(test)
