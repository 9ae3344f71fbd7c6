"""compare: how two measurements differ, with intervals for the differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_values import checked_report
from neuralcollapse.metrics.estimates.estimate import Estimate
from neuralcollapse.metrics.estimates.jackknife import interval, standard_error
from neuralcollapse.wording import between, first_names, number

if TYPE_CHECKING:
    import pandas as pd

    from neuralcollapse.measurement.collapse_report import CollapseReport
    from neuralcollapse.measurement.split_report import SplitReport


ROUND_OFF = 1e-12  # of a value: no change at all
SAME = "labels agree one by one, so these are taken as the same samples, and paired"
OTHER = "labels, or the order of classes, do not agree one by one, so these are not paired"
NO_SHARES = "a difference of shares has no interval; each has its own, in report.estimates"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two measurements beside each other.

    Attributes
    ----------
    table
        One row per value: ``a`` and ``b`` (corrected if possible, else plain, as ``corrected``
        says); ``change`` with ``lower`` and ``upper``: for spreads the ratio b / a, for all others
        the difference b - a, of signed squares where ``of`` says so. ``differs`` says whether the
        95 % interval excludes no change, and ``reason`` why there is none where one would be
        expected.
    paired
        Whether both measured the same samples in the same order, judging by their labels; for
        training and for test data.

    Examples
    --------
    >>> import torch
    >>> import neuralcollapse as nc
    >>> labels = torch.arange(40) % 4
    >>> features = torch.eye(4)[labels] + 0.1 * torch.randn(40, 4)
    >>> compared = nc.compare(*(nc.measure_features(s * features, labels) for s in (1, 2)))
    >>> compared.paired
    {'training data': True}
    >>> print(round(compared.table.loc["nc1_trace_ratio", "change"], 3))  # a scale changes nothing
    1.0
    """

    table: pd.DataFrame
    paired: dict[str, bool]

    def __str__(self) -> str:
        how = " ".join(f"{part}: {SAME if same else OTHER}." for part, same in self.paired.items())
        shown = self.table.drop(columns=["lower", "upper", "reason"])
        for column in ("corrected", "differs"):
            shown[column] = shown[column].map({True: "yes", False: "no", None: ""})
        ends = zip(self.table["lower"], self.table["upper"], strict=True)
        shown["95 % interval"] = ["" if math.isnan(low) else between(low, up) for low, up in ends]
        lines = [how, shown.to_string(float_format=number, na_rep="")]
        if any(shown["95 % interval"]):
            lines.append("Each interval holds with 95 % confidence on its own.")
        reasons = self.table["reason"]
        for reason in filter(None, reasons.unique().tolist()):
            names = reasons.index[reasons == reason].tolist()
            lines.append(f"No interval for {first_names(names)}: {reason}.")
        return "\n".join(lines)


def compare(report_a: CollapseReport, report_b: CollapseReport) -> Comparison:
    r"""Return how two measurements differ, with intervals where groups of samples were kept.

    If the samples are the same, both leave out the same groups in turn, so that what they have in
    common cancels; otherwise the errors add:

    .. math:: (b - a) \pm t_{15} \,\mathrm{se}_J(b - a), \qquad
        (b - a) \pm t_{15} \sqrt{\mathrm{se}_J(a)^2 + \mathrm{se}_J(b)^2}

    on the logarithm of spreads, so that the interval is one of the ratio, and on signed squares of
    distances. Accuracies on the same test samples are compared by the exact sign test on the
    samples that only one of the two classifies correctly; other shares have no interval. Samples
    are taken as the same where their classes agree one by one, in number and name.

    Parameters
    ----------
    report_a, report_b
        Two networks on the same data, or one network at two times or on two data sets.

    Returns
    -------
    Comparison
        ``print`` it, or look at ``.table``.

    Raises
    ------
    NeuralCollapseError
        If one is not a report, or they have no value in common.

    References
    ----------
    Shao & Tu 1995, Section 2.3, for the grouped jackknife.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse import compare
    >>> from neuralcollapse.measurement import measure_features
    >>> generator, labels = torch.Generator().manual_seed(0), torch.arange(200) % 4
    >>> noise = torch.randn(200, 8, generator=generator)
    >>> a, b = (measure_features(3 * torch.eye(4, 8)[labels] + s * noise, labels) for s in (1, 0.5))
    >>> row = compare(a, b).table.loc["nc1_trace_ratio"]
    >>> bool(row["lower"] < 0.25 < row["upper"]), bool(row["differs"])
    (True, True)
    """
    import pandas as pd

    for argument, report in (("report_a", report_a), ("report_b", report_b)):
        checked_report(argument, report)
    names = [name for name in report_a if name in report_b]
    if not names:
        raise NeuralCollapseError(
            "report_b", "a value in common", "none", "measure both in the same way"
        )
    pairs = {"training data": (report_a.train, report_b.train)}
    if report_a.test is not None and report_b.test is not None:
        pairs["test data"] = (report_a.test, report_b.test)
    classes = report_a.class_names, report_b.class_names
    paired = {part: _same_samples(*splits, *classes) for part, splits in pairs.items()}
    rows = {}
    for name in names:
        part = "test data" if name.startswith("test_") else "training data"
        one, other = report_a.estimates.get(name), report_b.estimates.get(name)
        a, b = report_a[name], report_b[name]
        rows[name] = _row(one or Estimate(a), other or Estimate(b), paired.get(part, False))
        if name.startswith("test_") and report_a.metric(name).kind == "share":
            rows[name]["reason"] = NO_SHARES
    if paired.get("test data") and "test_accuracy" in rows:
        rows["test_accuracy"] |= _sign_test(*pairs["test data"])
    return Comparison(pd.DataFrame.from_dict(rows, orient="index"), paired)


def _same_samples(
    a: SplitReport, b: SplitReport, names_a: Sequence[str], names_b: Sequence[str]
) -> bool:
    """Return whether labels agree one by one, which those of a shuffled loader would not."""
    one, other = (split.state.labels.cpu() for split in (a, b))
    same = list(names_a) == list(names_b)  # groups of samples depend on the numbers of classes
    return same and len(one) > 0 and torch.equal(one, other)


def _row(one: Estimate, other: Estimate, paired: bool) -> dict[str, Any]:
    corrected = not math.isnan(one.corrected) and not math.isnan(other.corrected)
    a, b = (one.corrected, other.corrected) if corrected else (one.plain, other.plain)
    row = {
        "a": a, "b": b, "corrected": corrected, "of": "difference", "change": b - a,
        "lower": math.nan, "upper": math.nan, "differs": None,
        "reason": one.lacks or other.lacks,
    }  # fmt: skip
    by = one.corrected_by
    if by is None or not (one.replicates and other.replicates):
        return row
    log = by.scale == "log"
    middle = other.scaled - one.scaled
    if paired:
        parts = [y - x for x, y in zip(one.replicates, other.replicates, strict=True)]
        error = standard_error(parts)
    else:
        error = math.hypot(standard_error(one.replicates), standard_error(other.replicates))
    size = 1.0 if log else max(abs(one.scaled), abs(other.scaled))
    if max(abs(middle), error) <= ROUND_OFF * size:
        middle = error = 0.0
    low, high = interval(middle, error, min(len(one.replicates), len(other.replicates)))
    differs = not low <= 0 <= high
    if log:
        middle, low, high = (math.exp(end) for end in (middle, low, high))
    of = "ratio" if log else "difference of squares"
    if by.back is not None:
        of = "difference of squared variation"
    return row | {
        "of": of,
        "change": middle,
        "lower": low,
        "upper": high,
        "differs": differs,
        "reason": "",
    }


def _sign_test(a: SplitReport, b: SplitReport) -> dict[str, Any]:
    """Test whether accuracies differ, on the samples that only one classifies correctly."""
    from scipy.stats import binomtest

    margins = [split.state.margins.cpu() for split in (a, b)]
    if not all(map(len, margins)):
        return {}
    only_a, only_b = (int(((x > 0) & (y <= 0)).sum()) for x, y in (margins, margins[::-1]))
    apart = only_a + only_b
    p = binomtest(only_a, apart).pvalue if apart else 1.0
    of = f"difference (sign test: p = {p:.2g})"
    return {"differs": p < 0.05, "of": of, "reason": ""}
