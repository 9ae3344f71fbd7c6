"""Whether the confidence of a classifier in held-out samples can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuralcollapse.generalization.top_label import TopLabelCalibration, top_label_calibration
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.wording import at_least, at_most, count, share


@dataclass(frozen=True)
class Trust:
    """What a page says of a calibration.

    Attributes
    ----------
    sentence
        What it comes to.
    quantities
        Names with values in words.
    level
        Confidence of the intervals of all bins together.
    bins
        One row a bin of confidence, in words.
    points
        The same as numbers, to draw.
    """

    sentence: str
    quantities: list[tuple[str, str]]
    level: str
    bins: list[dict[str, str]]
    points: Sequence[Mapping[Any, Any]]


def calibration_data(shot: Snapshot) -> Trust | None:
    """Measure the calibration of the predicted class, on the test samples of a snapshot.

    Parameters
    ----------
    shot
        With test margins and confidences.

    Returns
    -------
    Trust or None
        None without test samples.
    """
    margins, logs = shot.held_out_margins, shot.held_out_confidences
    if margins is None or logs is None or not len(margins):
        return None
    return trust_data(top_label_calibration(logs, margins))


def trust_data(found: TopLabelCalibration) -> Trust:
    """Return what a page says of a calibration.

    Parameters
    ----------
    found
        From `calibration`, or of the predicted class alone.
    """
    rows = found.bins.to_dict(orient="records")
    bins = [
        {
            "n": count(row["n"]),
            "confidence": share(row["confidence"]),
            "accuracy": share(row["accuracy"]),
            "between": f"{at_least(row['lower'])} to {at_most(row['upper'])}",
        }
        for row in rows
    ]
    quantities = [(str(name), str(value)) for name, value in found.table()["value"].items()]
    return Trust(found.sentence, quantities, at_least(found.confidence), bins, rows)
