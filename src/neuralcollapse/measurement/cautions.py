"""Cautions: what to know before reading the numbers, in plain words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.measurement.prediction import implied_decay
from neuralcollapse.metrics.between import between_whitener, leaves_out_classes
from neuralcollapse.metrics.chance.decisions import own_nearest_mean
from neuralcollapse.metrics.collapse_index import loses_digits
from neuralcollapse.metrics.validity import CERTAIN
from neuralcollapse.plain_text import plain
from neuralcollapse.wording import (
    at_least,
    at_most,
    counted,
    first_names,
    no_more_than,
    number,
    share,
)

if TYPE_CHECKING:
    from neuralcollapse.moments.class_moments import ClassMoments

MOST = 0.5  # of nc1_pinv
ROUND_OFF = 1e-6  # relative: float32 rows attain the largest margin only to this
MANY = 3  # features or directions, from which a dominant one is worth a word


def cautions(report: CollapseValues, head_decay: float | None = None) -> list[str]:
    """Return what could mislead a reader of a report, the most important first.

    Parameters
    ----------
    report
        A measurement.
    head_decay
        Weight decay of its head, as torch's SGD takes it, if known.
    """
    found = [*_test_data(report), *_classes_of_tests(report), *_samples(report)]
    found += _classes(report, head_decay)
    return [*found, *concentrated(report.train.moments), *report.notes]


def _test_data(report: CollapseValues) -> Iterator[str]:
    times = report.apart
    if times:  # never without test data
        yield f"NC1 is {_times(times)} larger on test data: what collapsed is the training data."


def _classes_of_tests(report: CollapseValues) -> Iterator[str]:
    """Say which classes training data has and test data has not, and the other way round."""
    trained = report.train.moments.present.cpu()
    for part, split in {"test": report.test, **report.others}.items():
        if split is None or int(split.moments.present.sum()) < 2:
            continue
        counts, data = split.moments.counts.cpu(), f"test data{part[4:].replace('_', ' ')}"
        if bool(counts[~trained].any()):
            strangers = share(float(counts[~trained].sum() / counts.sum()))
            yield (
                f"{strangers} of the {data} are of classes without training samples, for which no "
                "class mean decides: ncc_accuracy counts them as wrong, and nc4_agreement whatever "
                "the head decides for such a class."
            )
        lacking = (trained & (counts == 0)).nonzero().flatten().tolist()
        if lacking:
            names = first_names([plain(str(report.class_names[k])) for k in lacking])
            yield f"The {data} have no sample of: {names}. Their NC1 to NC3 are of the others."


def _samples(report: CollapseValues) -> Iterator[str]:
    setting, dim = report.setting, report.train.moments.dim
    indexed = "vci" in report.train.values
    if indexed and setting.num_samples <= dim + 1:
        yield (
            f"{setting.num_samples:,} samples are too few for {dim:,} features: "
            "VCI is 0 for any features."
        )
    moments = report.train.moments
    if indexed and (loses_digits(moments) or leaves_out_classes(moments)):
        yield (
            "Some directions of the features vary too little for float32 beside the others (after "
            "a LayerNorm always one, along which no classes differ): VCI and nc1_pinv may be wrong "
            "if classes differ along them; measure float64 features to be sure."
            if moments.narrow
            else "Classes differ along directions in which the features vary too little for "
            "float64 beside the others: VCI and nc1_pinv may be wrong; to be sure, measure the "
            "features without the strongest direction."
        )
    single = sum(size == 1 for size in setting.class_sizes)
    if single:
        verb = "has" if single == 1 else "have"
        yield f"{single:,} of {setting.num_classes:,} classes {verb} one sample, so no spread."
    if single < setting.num_classes and own_nearest_mean(setting.class_sizes, dim) >= CERTAIN:
        yield (
            "So few samples in so many features are nearest to their own class mean, whatever the "
            "features are: judge NC4 on test data."
        )


def _classes(report: CollapseValues, head_decay: float | None) -> Iterator[str]:
    setting = report.setting
    if not setting.fits:
        yield (
            f"{setting.num_classes:,} classes do not fit into "
            f"{counted(setting.dim, 'dimension')} as an "
            "ETF: the target of NC2 is the least value possible."
        )
        yield from _code(report)
    elif not setting.equal and setting.num_classes > 2:
        least, most = min(setting.class_sizes), max(setting.class_sizes)
        yield (
            f"Classes have {least:,} to {counted(most, 'sample')}: theory predicts another shape "
            "than an ETF, and the targets are those of that shape."
        )
        yield from _merging(report, head_decay)


def _merging(report: CollapseValues, head_decay: float | None) -> Iterator[str]:
    """Give the decay from which the smallest classes of equal size merge (theory.unequal)."""
    setting = report.setting
    alike = [size for size, times in Counter(setting.class_sizes).items() if times > 1]
    if not alike:
        return
    size, total = min(alike), setting.num_samples
    smallest = counted(size, "sample")
    moments = report.train.moments
    implied = implied_decay(moments.counts, moments.means, report.weight, head_decay)
    if head_decay is not None and implied is not None:
        strength, merge = math.sqrt(head_decay * implied), math.sqrt(size) / total
        yield (
            f"With the head's weight decay λ_W = {number(head_decay)}, its class means imply "
            f"λ_H = {number(implied)} of the features (near a minimum): √(λ_W λ_H) is "
            f"{number(strength)}. In theory the classes of {smallest} merge from "
            f"√{size}/{total} = {number(merge)} on; it is {_beside(strength, merge)}."
        )
        return
    yield (
        f"In theory the classes of {smallest} merge where √(λ_W λ_H) is √{size}/{total} or "
        "more, with weight decay λ_W of the head and λ_H of the features (of the mean "
        f"cross-entropy): stay below {no_more_than(math.sqrt(size) / total)}."
    )


def _beside(strength: float, merge: float) -> str:
    return "above: lower the decay" if strength >= merge else "below"


def _code(report: CollapseValues) -> Iterator[str]:
    """Say how close the head is to the best code that fits."""
    values = report.train.values
    if "nc2_code_proved" not in values:
        return
    least, *most = (values[name] for name in ("nc2_code_proved", "nc2_code") if name in values)
    attained = f"{at_least(least)} to {at_most(most[0])}" if most else f"at least {at_least(least)}"
    if least > 1 - ROUND_OFF:
        attained = "100 %"
    yield (
        f"As unit rows the head has {attained} of the largest one-vs-rest margin possible; "
        f"class means are at a mean cosine of {values['nc3_code']:.3f} to the features "
        "that attain it."
    )


def concentrated(moments: ClassMoments) -> Iterator[str]:
    r"""Name the feature, or else the direction, that nc1_pinv mostly comes from.

    .. math:: \mathrm{tr}(\Sigma_W \Sigma_B^+) = \sum_{i,j} B_{ij} (B \Sigma_W)_{ij},
        \qquad B^\top B = \Sigma_B^+

    summed over directions i for a feature j, and over features for a direction: one unit that is
    active on a single sample, or a direction in which the means hardly differ, can outweigh all.
    """
    if not moments.scatter:
        return
    whitener = between_whitener(moments, "balanced", "class_mean")
    if len(whitener) < MANY:
        return
    parts = whitener * (whitener @ moments.within_scatter("pooled"))
    total = float(parts.sum())
    if not total > 0:
        return
    feature, direction = parts.sum(0).max(0), parts.sum(1).max(0)
    # What features add may cancel: a part of it all, so that no share is above 1.
    by_feature = float(feature.values) / float(parts.sum(0).abs().sum())
    if by_feature >= MOST and moments.dim >= MANY:
        yield f"{share(by_feature)} of nc1_pinv comes from feature {int(feature.indices)} alone."
    elif float(direction.values) >= MOST * total:
        yield (
            f"{share(float(direction.values) / total)} of nc1_pinv comes from one of the "
            f"{len(whitener)} directions between the classes, in which they hardly differ."
        )


def _times(ratio: float) -> str:
    return "without bound" if ratio == float("inf") else f"{float(f'{ratio:.2g}'):,.0f} times"
