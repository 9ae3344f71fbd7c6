"""What the test data certifies about the error on new data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuralcollapse.generalization import clopper_pearson_upper, error_certificate
from neuralcollapse.generalization.certificates.certificate import (
    ASSUMPTION,
    JOINT_LEVEL,
    ErrorCertificate,
)
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.wording import at_least, at_most, count

CONFIDENCE = 0.95


@dataclass(frozen=True)
class CertifiedError:
    """What a page says of a certificate, in words.

    Attributes
    ----------
    upper, confidence
        The bound on the error, and at which level.
    errors, n, of
        Misclassified samples, of how many that were kept, of how many tested (None if unknown).
    floor
        What no method can go below with so many samples.
    sentence, assumption, picked
        What is certified; what it rests on; what holds of the best of several runs, or "".
    methods, classes, joint
        Bounds by method and by class, and the level at which those of all classes hold.
    remarks
        What else a reader should know.
    """

    upper: str
    confidence: str
    errors: str
    n: str
    of: str | None
    floor: str
    sentence: str
    assumption: str
    picked: str
    methods: list[dict[str, Any]]
    classes: list[dict[str, str]]
    joint: str
    remarks: Sequence[str]


def certificate_data(shot: Snapshot, runs: int = 1) -> CertifiedError | None:
    """Certify the error from the test margins of a snapshot.

    Parameters
    ----------
    shot
        With test margins.
    runs
        How many runs the reader may pick the best of.

    Returns
    -------
    CertifiedError or None
        None without test margins.
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
    picked = "" if runs == 1 else _picked(found, runs, 1 - (1 - CONFIDENCE) / runs)
    return in_words(found, shot.held_out_total, picked)


def in_words(
    found: ErrorCertificate,
    total: int | None = None,
    picked: str = "",
    remarks: Sequence[str] = (),
) -> CertifiedError:
    """Return what a page says of a certificate.

    Parameters
    ----------
    found
        The certificate.
    total
        How many samples were tested, where not all were kept.
    picked, remarks
        See `CertifiedError`.
    """
    classes, confidence = found.per_class, at_least(found.confidence)
    return CertifiedError(
        upper=at_most(found.upper),
        confidence=confidence,
        errors=count(found.errors),
        n=count(found.n),
        of=None if total is None else count(total),
        floor=at_least(found.floor),
        sentence=found.sentence,
        assumption=ASSUMPTION,
        picked=picked,
        methods=method_rows(found.table),
        classes=[] if classes is None else class_rows(classes),
        joint="" if classes is None else JOINT_LEVEL.format(
            confidence=confidence, classes=count(len(classes))
        ),
        remarks=remarks,
    )  # fmt: skip


def _picked(found: ErrorCertificate, runs: int, confidence: float) -> str:
    """Say what holds of the run that was picked of several for its test data."""
    upper = clopper_pearson_upper(found.errors, found.n, confidence)
    return (
        f"If you pick this run as the best of the {runs} here, it is at most {at_most(upper)} at "
        f"{at_least(CONFIDENCE)} confidence: the bounds of all {runs} then have to hold, each at "
        f"{at_least(confidence)}."
    )


def method_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of the methods in words."""
    return [
        {
            "name": str(name),
            "upper": at_most(row["upper"]),
            "covers": bool(row["covers"]),
            "assumes": str(row["assumes"]),
        }
        for name, row in table.iterrows()
    ]


def class_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the rows of the classes in words; of one without a sample nothing is known."""
    return [
        {
            "name": str(row["class"]),
            "n": count(row["n"]) if row["n"] else "none",
            "errors": count(row["errors"]) if row["n"] else "",
            "upper": at_most(row["upper"]) if row["n"] else "nothing known",
        }
        for row in table.to_dict(orient="records")
    ]
