"""Whether the confidence of a classifier in held-out samples can be trusted."""

from __future__ import annotations

from typing import Any

from neuralcollapse.generalization.top_label import TopLabelCalibration, top_label_calibration
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.wording import at_least, at_most, count, share


def calibration_data(shot: Snapshot) -> dict[str, Any] | None:
    """Measure the calibration of the class decided for, on the test samples of a snapshot.

    Parameters
    ----------
    shot
        With test margins and confidences.

    Returns
    -------
    dict or None
        As `trust_data`; None without test samples.
    """
    margins, logs = shot.held_out_margins, shot.held_out_confidences
    if margins is None or logs is None or not len(margins):
        return None
    return trust_data(top_label_calibration(logs, margins))


def trust_data(found: TopLabelCalibration) -> dict[str, Any]:
    """Return what a page says of a calibration.

    Parameters
    ----------
    found
        From `calibration`, or of the class decided for alone.

    Returns
    -------
    dict
        ``sentence``; ``quantities``, names with values in words; ``bins``, one row a bin of
        confidence in words; ``points``, the same as numbers to draw.
    """
    rows = found.bins.to_dict(orient="records")
    return {
        "sentence": found.sentence,
        "quantities": list(found.table()["value"].items()),
        "level": at_least(found.confidence),
        "points": rows,
        "bins": [
            {
                "n": count(row["n"]),
                "confidence": share(row["confidence"]),
                "accuracy": share(row["accuracy"]),
                "between": f"{at_least(row['lower'])} to {at_most(row['upper'])}",
            }
            for row in rows
        ],
    }
