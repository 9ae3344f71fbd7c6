"""What the test data certifies about the error on new data."""

from __future__ import annotations

from typing import Any

from neuralcollapse.generalization import error_certificate
from neuralcollapse.report.html.wording import number, share
from neuralcollapse.runs.snapshots import Snapshot

CONFIDENCE = 0.95


def certificate_data(shot: Snapshot) -> dict[str, Any] | None:
    """Certify the error from the test margins of a snapshot.

    Parameters
    ----------
    shot
        With test margins.

    Returns
    -------
    dict or None
        Sentence, table of methods and the least certain classes; None without test margins.
    """
    if shot.held_out_margins is None or not len(shot.held_out_margins):
        return None
    found = error_certificate(
        shot.held_out_margins,
        CONFIDENCE,
        labels=shot.held_out_labels,
        class_names=shot.class_names,
        train_margins=None if shot.margin_median is None else [shot.margin_median],
    )
    methods = [
        {
            "name": str(name),
            "upper": share(row["upper"]),
            "covers": bool(row["covers"]),
            "assumes": str(row["assumes"]),
        }
        for name, row in found.table.iterrows()
    ]
    classes = [] if found.per_class is None else found.per_class.to_dict(orient="records")
    return {
        "upper": share(found.upper),
        "confidence": share(CONFIDENCE),
        "errors": number(found.errors),
        "n": number(found.n),
        "floor": share(found.floor),
        "methods": methods,
        "classes": [
            {
                "name": str(row["class"]),
                "n": int(row["n"]),
                "errors": int(row["errors"]),
                "upper": share(row["upper"]),
            }
            for row in classes
        ],
    }
