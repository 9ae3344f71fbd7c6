"""CollapseValues: the values of one measurement, and how to read each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.departure import Departure, departures
from neuralcollapse.measurement.prediction import predicted, setting_of
from neuralcollapse.measurement.readings import both, training_only
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.metrics.estimates.estimate import Estimate, estimates
from neuralcollapse.metrics.metric import Metric, Reading
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.theory.predicted_geometry import PredictedGeometry


@dataclass(frozen=True, eq=False)
class CollapseValues(Mapping[str, float]):
    """The data behind text, tables, figures and files of a report, see `CollapseReport`.

    The attributes are described there.
    """

    train: SplitReport
    class_names: Sequence[str]
    weight: Tensor | None = None
    bias: Tensor | None = None
    test: SplitReport | None = None
    own: Mapping[str, Metric] = field(default_factory=dict)
    others: Mapping[str, SplitReport] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    before: ClassMoments | None = None
    notes: Sequence[str] = ()
    _values: dict[str, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = dict(self.train.values)
        if self.test is not None:
            values |= {f"test_{name}": value for name, value in self.test.values.items()}
        for part, split in self.others.items():
            values |= {f"{part}_{name}": value for name, value in split.values.items()}
        object.__setattr__(self, "_values", values)

    def __getitem__(self, name: str) -> float:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise KeyError(f"no metric {name!r} was measured; there are: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def tested(self) -> SplitReport | None:
        """The test data, if it has samples of at least two classes."""
        few = self.test is None or int(self.test.moments.present.sum()) < 2
        return None if few else self.test

    @cached_property
    def setting(self) -> Setting:
        """What values of the training data are judged against."""
        return setting_of(self.train.moments, self.weight, self.bias)

    @cached_property
    def predicted(self) -> PredictedGeometry | None:
        """The geometry that theory predicts for these class sizes; None for K > d + 1.

        Compare it with the measured Gram matrix, lengths and cosines; see
        `theory.predicted_geometry`.
        """
        return predicted(self.setting.class_sizes, self.setting.dim, self.bias is not None)

    @property
    def departures(self) -> Mapping[str, Departure]:
        """How far lengths, angles and Gram matrices are from the predicted ones, and by chance.

        By the name of the metric whose grade it decides; empty for equal classes.
        """
        return self._departures[0]

    @cached_property
    def estimates(self) -> Mapping[str, Estimate]:
        """Corrected values with 95 % intervals, by the names of the values.

        They estimate the value for the distribution that the samples come from, that is for
        unlimited fresh samples; shares, how fresh samples are decided by these class means and
        this head. For the samples themselves the plain value is exact. Of normal samples that we
        simulated, the intervals shown cover 92 to 100 %, near the limits where none are shown 89 %;
        below 20 samples of a class with the tails of a multivariate t of 5 degrees of freedom 84 %.
        """
        found: dict[str, Estimate] = {}
        tests = {"test": self.test, **self.others}
        for part, split in {"": self.train, **tests}.items():
            if split is None or int(split.moments.present.sum()) < 2:
                continue
            fresh = bool(part)
            every = estimates(split.state, split.values, self.weight, self.bias, fresh)
            found |= {f"{part}_{name}" if part else name: each for name, each in every.items()}
        return found

    def metric(self, name: str) -> Metric:
        """Return the row of the catalogue for a name."""
        return self.own.get(name) or metric_named(name)

    def reading(self, name: str) -> Reading:
        """Return the grade of a value, its words, its target and its value by chance.

        Parameters
        ----------
        name
            Of a metric; the words cover test data too, if there are any.

        Raises
        ------
        KeyError
            If the metric was not measured.

        Examples
        --------
        >>> import torch
        >>> from neuralcollapse.measurement import measure_features
        >>> noise = torch.randn(100, 2048, generator=torch.Generator().manual_seed(0))
        >>> report = measure_features(noise, torch.arange(100) % 10)
        >>> report.reading("nc2_etf").words, report.reading("vci").words
        ('no better than chance', 'N ≤ d + 1: 0 for any features')
        """
        metric, of_head = self.metric(name), name.endswith("_head")
        if name not in self.train.values:
            known = ", ".join(self.train.values)
            raise KeyError(f"no metric {name!r} was measured on training data; there are: {known}")
        train = metric.read(self.train.values[name], self.setting, self._departures[0].get(name))
        if self.tested is None:
            return train
        test, value = None, self.tested.values.get(name)
        if value is not None:
            test = metric.read(value, self._test_setting, self._departures[1].get(name))
        return both(train, test, self.apart > 0, of_head)

    @cached_property
    def apart(self) -> float:
        """How many times larger NC1 is on test data, see `training_only`; 0 without test data."""
        if self.tested is None:
            return 0.0
        return training_only(self, {name: each.numbers() for name, each in self.estimates.items()})

    @cached_property
    def _test_setting(self) -> Setting | None:
        if self.tested is None:
            return None
        return setting_of(self.tested.moments, self.weight, self.bias, self.train.moments)

    @cached_property
    def _departures(self) -> list[Mapping[str, Departure]]:
        """Departures of the training data, and of the test data if there are any."""
        found = []
        for part in filter(None, (self.train, self.tested)):
            present = part.moments.present
            head = None if self.weight is None else self.weight[present.to(self.weight.device)]
            rows, counts = part.moments.centered_means(), part.moments.counts[present]
            sizes, bias = self.setting.class_sizes, self.bias is not None
            found.append(departures(rows, head, sizes, bias, tuple(counts.tolist())))
        return found

    @property
    def absent(self) -> list[str]:
        """Names of the classes without a sample; no metric counts them."""
        missing = (~self.train.moments.present).nonzero().squeeze(1).tolist()
        return [self.class_names[k] for k in missing]

    @property
    def margins(self) -> Tensor:
        """Margin of every training sample, (N,); empty without a head."""
        return self.train.state.margins

    def to_dict(self) -> dict[str, float]:
        """Return the values by name, a flat dictionary of floats."""
        return dict(self._values)

    def to_record(self) -> dict[str, Any]:
        """Return the values, and the sizes they are judged against, to store and read back."""
        record: dict[str, Any] = {**self._values, "setting": self.setting.to_record()}
        if self._test_setting is not None:
            record["test_setting"] = self._test_setting.to_record()
        every = {name: each.numbers() for name, each in self.estimates.items()}
        estimated = {name: numbers for name, numbers in every.items() if numbers}
        if estimated:
            record["estimates"] = estimated
        if self.own:
            record["own_metrics"] = list(self.own)
        return record


def checked_report(argument: str, report: Any) -> None:
    """Refuse what is no report, such as the moments in one."""
    if not isinstance(report, CollapseValues):
        got, remedy = type(report).__name__, "pass what measure or measure_features returned"
        raise NeuralCollapseError(argument, "a report", got, remedy)
