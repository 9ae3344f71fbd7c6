"""Alarms about single samples: absent, wrong late, wrong throughout, or not finite."""

from __future__ import annotations

import math

from neuralcollapse.runs.alarms.situation import Situation
from neuralcollapse.wording import number, share

# Rules of thumb of this library, not thresholds of theory.
LATE = 0.8  # of the epochs
OFTEN = 10  # measurements in a row
SETTLED_LATER = ("ncc_accuracy", "nc4_agreement")  # from training batches, in the second epoch
FEW = 0.02  # of the other training samples: where more are wrong, the network is yet to learn


def absent_class(situation: Situation) -> str | None:
    """Warn of classes without a training sample."""
    missing = (~situation.measured.train.moments.present).nonzero().flatten().tolist()
    if not missing:
        return None
    return (
        f"no training sample of class {situation.listed(missing)}: no metric counts it; "
        "check the data set and the order of class_names"
    )


def negative_margins(situation: Situation) -> str | None:
    """Warn late in training where training samples are still wrong."""
    values, last = situation.measured, situation.last
    late = last is not None and situation.epoch >= LATE * last
    if not late or not values.get("margin_min", math.nan) <= 0:
        return None
    return (
        f"{share(1 - values['accuracy'])} of the training samples are still wrong at epoch "
        f"{situation.epoch} of {last} (minimum margin {number(values['margin_min'])}): "
        "the phase that collapse is about begins when none is; train longer or check these labels"
    )


def stubborn_samples(situation: Situation) -> str | None:
    """Name the training samples that stay wrong while nearly all others are learned."""
    if situation.still_wrong is None:
        return None
    indices, measurements, total = situation.still_wrong
    others = total - len(indices)
    learned = situation.measured["accuracy"] * total >= (1 - FEW) * others
    if not indices or measurements < OFTEN or others < len(indices) or not learned:
        return None
    shown = ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
    return (
        f"{len(indices):,} of {total:,} training samples stayed wrong at each of the last "
        f"{measurements} measurements (numbers {shown} in the order of the loader): they may be "
        "labelled wrongly; look at them"
    )


def values_dropped(situation: Situation) -> str | None:
    """Warn where a metric has no value, which records as null."""
    names = [
        name
        for name, value in situation.measured.items()
        if not math.isfinite(value) and name not in SETTLED_LATER
    ]
    if not names:
        return None
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return (
        f"{shown}: no finite value, so nothing is drawn of it; class means that coincide, or "
        "classes of one sample, do that"
    )
