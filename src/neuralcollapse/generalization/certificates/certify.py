"""From held-out margins, or from a report, to a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.cantelli import cantelli_plug_in, cantelli_upper
from neuralcollapse.generalization.certificates.certificate import ErrorCertificate
from neuralcollapse.generalization.certificates.class_distance import cdnv_error_bound
from neuralcollapse.generalization.certificates.clopper_pearson import clopper_pearson_upper
from neuralcollapse.generalization.certificates.floor import distribution_free_floor
from neuralcollapse.generalization.certificates.held_out import (
    check_never_trained_on,
    finite_margins,
)
from neuralcollapse.generalization.certificates.margin_ramp import margin_ramp_upper
from neuralcollapse.generalization.certificates.per_class import class_uppers
from neuralcollapse.measurement import CollapseReport
from neuralcollapse.measurement.collapse_values import checked_report
from neuralcollapse.moments import ClassMoments

HEADLINE, RAMP, CANTELLI = "Clopper-Pearson", "margin ramp", "Cantelli, clipped"
RAMP_HALVINGS = 4  # thresholds: the median training margin, and its half, ..., its sixteenth
NO_COVERAGE = "population identity, plug-in, no coverage"


def error_certificate(
    margins: Any,
    confidence: float = 0.95,
    *,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    train_margins: Any = None,
    moments: ClassMoments | None = None,
    held_out_ids: Any = None,
    train_ids: Any = None,
    tolerance: float | None = None,
) -> ErrorCertificate:
    """Certify the error of a classifier from its margins on samples it was not trained on.

    The headline is `clopper_pearson_upper` of the count of margins that are not above zero. Beside
    it stand the bounds that use more of the margins, `margin_ramp_upper` and `cantelli_upper`,
    whose thresholds come from the training margins alone; and, as explanation only, what the
    spread of margins and classes would allow if the sample were the population.

    Parameters
    ----------
    margins
        (n,) margins of held-out samples, independent draws of the data the classifier will meet,
        which training, early stopping and selection never saw; see `sample_margins`.
    confidence
        Probability in (0, 1) at which each statement holds.
    labels
        (n,) their classes 0..K-1, for a bound on each class.
    class_names
        (K,) names of the classes; the labels themselves if omitted.
    train_margins
        Margins of the training samples, for the methods that need a scale.
    moments
        Moments of the held-out features, for the row of the CDNV.
    held_out_ids, train_ids
        Names of the held-out samples (n,) and of all training samples, to be refused if they meet.
    tolerance
        Error in (0, 1), chosen without a look at the held-out sample, below which each class is
        tested to be, by Holm's steps at the joint level; needs labels.

    Returns
    -------
    ErrorCertificate
        To print, tabulate or plot.

    Raises
    ------
    NeuralCollapseError
        If there is no margin, the confidence is not in (0, 1), labels or names do not fit, there
        are fewer than two classes, or the held-out sample meets the training sample.
    NonFiniteError
        If a margin is NaN or infinite.

    References
    ----------
    Clopper & Pearson 1934, for the headline; the other rows name theirs.

    Examples
    --------
    >>> from neuralcollapse.generalization import error_certificate
    >>> certificate = error_certificate([2.0, 3.0, 1.0, 2.0] * 50, train_margins=[4.0])
    >>> certificate.table["upper"].round(4).to_dict()  # doctest: +ELLIPSIS
    {'Clopper-Pearson': 0.0149, 'margin ramp': 0.0228, 'Cantelli, clipped': ...
    """
    held_out = finite_margins("margins", margins, axes=1)
    n, errors = len(held_out), int((held_out <= 0).sum())
    check_never_trained_on(held_out_ids, train_ids, n)
    upper = clopper_pearson_upper(errors, n, confidence)
    rows = [(HEADLINE, upper, True, "held-out samples, drawn as new ones are")]
    scale = None if train_margins is None else _scale(held_out, train_margins)
    refused = {}
    if scale is None or scale <= 0:
        reason = (
            "its scale is the median training margin, and train_margins is missing"
            if scale is None
            else f"its scale is the median training margin, which is {scale:.4g}, not above 0"
        )
        refused = {RAMP: reason, CANTELLI: reason}
    else:
        thresholds = scale / 2.0 ** np.arange(RAMP_HALVINGS + 1)
        ramp = margin_ramp_upper(held_out, thresholds, confidence)
        rows.append((RAMP, ramp, True, "the same, and training margins; cannot beat the count"))
        if n < 2:
            refused[CANTELLI] = "a variance needs at least two samples"
        else:
            value = cantelli_upper(held_out, scale, confidence)
            rows.append((CANTELLI, value, True, "the same, and training margins"))
    rows.append(("Cantelli, plug-in", cantelli_plug_in(held_out), False, NO_COVERAGE))
    if moments is not None:
        meaning = f"{NO_COVERAGE}; of the nearest class mean"
        rows.append(("CDNV, plug-in", cdnv_error_bound(moments), False, meaning))
    classes = None
    if labels is not None:
        classes = class_uppers(held_out, labels, class_names, confidence, tolerance)
    elif tolerance is not None:
        raise NeuralCollapseError(
            "tolerance", "labels beside it", "none", "pass labels=, to test each class"
        )
    return ErrorCertificate(
        upper,
        float(confidence),
        errors,
        n,
        distribution_free_floor(n, confidence),
        pd.DataFrame(rows, columns=["method", "upper", "covers", "assumes"]).set_index("method"),
        classes,
        refused,
        tolerance,
        int((held_out == 0).sum()),
    )


def certify_report(
    report: CollapseReport, confidence: float = 0.95, tolerance: float | None = None
) -> ErrorCertificate:
    """Certify the error of a measured classifier from the test data of its report.

    Everything is in the report already: margins and labels of every test sample, training margins
    for the scale, moments of the test features.

    Parameters
    ----------
    report
        Of ``measure(model, loader, test_loader=...)`` or ``measure_features(...,
        test_features=...)``, whose test data training, early stopping and selection never saw.
    confidence
        Probability in (0, 1) at which each statement holds.
    tolerance
        As in `error_certificate`.

    Returns
    -------
    ErrorCertificate
        With a bound on each class.

    Raises
    ------
    NeuralCollapseError
        If the report has no test data or no head, or the confidence is not in (0, 1).

    Examples
    --------
    >>> import neuralcollapse as nc
    >>> import torch
    >>> from neuralcollapse.generalization import certify_report
    >>> x, y = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1]
    >>> head = torch.tensor([[-1.0], [1.0]])
    >>> report = nc.measure_features(x, y, head, test_features=0.9 * x, test_labels=y)
    >>> certify_report(report)
    ErrorCertificate(upper=0.5271, confidence=0.95, errors=0, n=4)
    """
    checked_report("report", report)
    test = report.test
    if test is None or not len(test.state.margins):
        got = "no test data" if test is None else "no margins"
        remedy = "measure with test_loader or test_features, and with the head"
        raise NeuralCollapseError("report", "test data and a head", got, remedy)
    return error_certificate(
        test.state.margins,
        confidence,
        labels=test.state.labels.cpu(),
        class_names=report.class_names,
        train_margins=report.margins,
        moments=test.moments,
        tolerance=tolerance,
    )


def _scale(held_out: np.ndarray, train_margins: Any) -> float:
    """Return the median training margin, if the training margins are not the held-out ones."""
    train = finite_margins("train_margins", train_margins, axes=1)
    if len(held_out) > 1 and np.array_equal(train, held_out):
        expected = "margins of samples that were not trained on"
        remedy = "certify on a held-out sample: nothing follows from the training sample"
        raise NeuralCollapseError("margins", expected, "the training margins", remedy)
    return float(np.median(train))
