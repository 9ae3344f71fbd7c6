"""What each value means in plain words, on training data and on test data beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from neuralcollapse.measurement.departure import Departure
from neuralcollapse.measurement.prediction import targets
from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.metrics.metric import Reading
from neuralcollapse.metrics.setting import Setting

APART = 100.0  # ratio of test to training NC1 from which only the training data has collapsed
ALONE = "on training data alone"  # the words for it
TRAINED = "on training data"  # of other values that are at their target on test data as well
SPREADS = ("nc1_trace_ratio", "nc1_pinv", "cdnv")


def training_only(
    values: Mapping[str, Any], estimates: Mapping[str, Mapping[str, Any]] | None = None
) -> float:
    """Return how many times larger NC1 is on test data, if that is 100 or more; else 0.

    Parameters
    ----------
    values
        Metric name to value, of test data with the prefix ``test_``.
    estimates
        What `Estimate.numbers` returns, by the same names. Corrected values are compared if both
        exist, since few samples per class make test data look more collapsed than they are.

    Examples
    --------
    >>> values = {"cdnv": 0.001, "test_cdnv": 0.2}
    >>> training_only(values), training_only(values, {"cdnv": {"corrected": 0.1}})
    (200.0, 200.0)
    >>> training_only(values, {"cdnv": {"corrected": 0.1}, "test_cdnv": {"corrected": 0.2}})
    0.0
    """
    times = (ratio_on_test(name, values, estimates) for name in SPREADS)
    return max((ratio for ratio in times if ratio >= APART), default=0.0)


def ratio_on_test(
    name: str, values: Mapping[str, Any], estimates: Mapping[str, Mapping[str, Any]] | None
) -> float:
    """Return how many times larger one value is on test data, see `training_only`; 0 without."""
    pair = (name, f"test_{name}")
    if any(key not in values for key in pair):
        return 0.0
    corrected: list[Any] = [(estimates or {}).get(key, {}).get("corrected") for key in pair]
    train, test = (values[key] for key in pair) if None in corrected else corrected
    return test / train if train > 0 else float(test > 0) * float("inf")


def both(train: Reading, test: Reading | None, apart: bool, of_head: bool = False) -> Reading:
    """Return one reading for training and test data, which names the data where they differ.

    Parameters
    ----------
    train, test
        The reading of each; None without test data, or without this value on test data.
    apart
        Whether NC1 is far larger on test data, see `training_only`: then no value is called
        collapsed without naming the data.
    of_head
        Whether the value is of the head only, and so the same for both.

    Examples
    --------
    >>> collapsed, noise = Reading("collapsed", "collapsed"), Reading("on the way", "on the way")
    >>> both(collapsed, noise, apart=True).words
    'on training data alone'
    >>> both(collapsed, collapsed, apart=True).words
    'on training data'
    >>> both(collapsed, noise, apart=False).words
    'collapsed; test on the way'
    >>> both(noise, collapsed, apart=False).words
    'on the way'
    """
    alone = apart and train.grade == "collapsed"
    if of_head:
        return replace(train, words="at its target") if alone else train
    grades = (train.grade, None if test is None else test.grade)
    if alone or grades == ("collapsed", "no better than chance"):
        reached = test is not None and test.grade == "collapsed"
        return replace(train, grade="on the way", words=TRAINED if reached else ALONE)
    if test is None or train.words == test.words:
        return train
    if test.words == "collapsed" and train.words == train.grade:
        return train  # few samples make test data look more collapsed than they are
    return replace(train, words="; test ".join(filter(None, (train.words, test.words))))


def record_reading(
    record: Mapping[str, Any], name: str, departure: Departure | None = None
) -> Reading:
    """Return the reading of a value in a record of a run, together with that of test data.

    Parameters
    ----------
    record
        A record of a history; without its ``setting`` there is no grade.
    name
        A metric in it; with the prefix ``test_``, on test data only.
    departure
        See `Metric.read`.
    """
    metric = metric_named(name)
    train, test = recorded_setting(record), recorded_setting(record, "test_setting")
    if name.startswith("test_"):
        return metric.read(record[name], test)
    reading = metric.read(record[name], train, departure)
    other, value = None, record.get(f"test_{name}")
    if value is not None:
        other = metric.read(value, test)
    return both(reading, other, record_apart(record) > 0, name.endswith("_head"))


def record_apart(record: Mapping[str, Any]) -> float:
    """Return `training_only` of a record."""
    return training_only(record, record.get("estimates"))


def recorded_setting(record: Mapping[str, Any], key: str = "setting") -> Setting | None:
    """Return the setting of a record; that of test data has the targets of the training data."""
    if not isinstance(record.get(key), Mapping) or "setting" not in record:
        return None
    trained = Setting.from_record(record["setting"], {})
    return Setting.from_record(record[key], targets(trained.class_sizes, trained.dim, trained.bias))
