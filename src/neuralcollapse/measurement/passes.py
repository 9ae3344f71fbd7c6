"""The passes of a measurement: gather, settle, then test data; on one or several processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import evaluating
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_pass import FeaturePass
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.layer_moments import LayerMoments
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.samples import Samples
from neuralcollapse.measurement.sampling import sampling_notes
from neuralcollapse.measurement.split_report import SplitReport, value_names
from neuralcollapse.metrics.catalogue import own_metrics
from neuralcollapse.metrics.head import Head
from neuralcollapse.metrics.over_ranks import (
    one_refuses_all_refuse,
    over_ranks,
    shared,
)
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.validation import check_class_names, integer_labels

Check = Callable[[int, Sequence[str]], None]


def measured_passes(
    model: Any,
    loader: Iterable[Any],
    test_loader: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    options: PassOptions | None = None,
    *,
    show: bool = False,
    merged: bool = False,
) -> CollapseReport:
    """Run a network over its data, and report its collapse.

    Parameters
    ----------
    model, loader, test_loader
        As in `measure`.
    options
        The other options of `measure`.
    show
        Whether to show a progress bar.
    merged
        Whether to merge the data of all processes, if there are several. Every process must call;
        its part of the data may be empty. An error on one process is raised on all.

    Returns
    -------
    CollapseReport
        The same on every process, if merged.

    Raises
    ------
    NeuralCollapseError
        As `measure`.
    """
    options = options or PassOptions()
    tests, own = _named(test_loader), own_metrics(options.metrics)
    with (
        evaluating(model, options.device, loader, *tests.values()) as where,
        FeatureTap(model, options.head) as tap,
        LayerMoments(model, options.layers) as layers,
    ):
        measuring = _Passes(model, tap, layers, where, options, show, merged)
        train, head = measuring.train(loader)
        names = check_class_names(options.class_names, train.moments.num_classes)
        means = train.moments.means
        weight, bias = (None, None) if head is None else (head.weight, head.bias)
        values, before = measuring.layer_values(""), layers.last
        splits = {}
        for name, data in tests.items():
            state = measuring.test(name, data, means)
            splits[name] = SplitReport.of(state, weight, bias, own, lenient=name)
            for layer, tested in measuring.layer_values(f"{name}_").items():
                values[layer] |= tested
    return CollapseReport(
        SplitReport.of(train, weight, bias, own),
        names,
        weight,
        bias,
        splits.pop("test", None),
        own,
        others=splits,
        layers=values,
        before=before,
        notes=[*measuring.notes(tested=bool(tests)), *sampling_notes(loader)],
    )


def rehearse(
    model: Any,
    loader: Any,
    options: PassOptions,
    test_loader: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    check: Check | None = None,
) -> None:
    """Measure one batch of each loader and discard it, so that errors show before training.

    Nothing is done for a loader that can be read only once, or a network with uninitialised (lazy)
    parameters.

    Parameters
    ----------
    model, loader, test_loader
        As in `measure`.
    options
        Those of the measurements to come.
    check
        Is told the number of classes and the names of the values to come, to refuse them.

    Raises
    ------
    NeuralCollapseError
        As `measure`, as far as one batch can show.
    """
    with one_refuses_all_refuse():
        _rehearse(model, loader, options, _named(test_loader), check)


def _rehearse(
    model: Any, loader: Any, options: PassOptions, tests: Mapping[str, Any], check: Check | None
) -> None:
    own = own_metrics(options.metrics)
    lazy = any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters())
    if lazy or _read_once(loader):
        return
    with (
        evaluating(model, options.device, loader, *tests.values()) as where,
        FeatureTap(model, options.head) as tap,
        LayerMoments(model, options.layers) as layers,
    ):
        samples = options.samples(model)
        for data in (loader, *(test for test in tests.values() if not _read_once(test))):
            for features, logits, labels in FeaturePass(
                model, data, tap, where, samples, max_batches=1, layers=layers
            ):
                num_classes, dim = tap.sizes
                state = CollapseState(num_classes, dim, bool(options.scatter))
                state.gather(features, labels, logits)
                if data is loader and check is not None:
                    names = value_names(state, tap.weight, tap.bias, own)
                    parts = ("", *(f"{part}_" for part in tests))
                    check(num_classes, [f"{part}{name}" for part in parts for name in names])


def _read_once(loader: Any) -> bool:
    return isinstance(loader, Iterator) or isinstance(getattr(loader, "dataset", None), Iterator)


def reading_notes(
    name: str, samples: Samples, decisive: bool, cosine: bool, dense: bool
) -> Iterator[str]:
    """Yield remarks on what is read of every batch, in a pass and of training batches alike.

    Parameters
    ----------
    name
        Name of the head.
    samples
        How batches are read.
    decisive, dense
        As in `FeatureTap`.
    cosine
        Whether the head scales its features to norm 1.

    Examples
    --------
    >>> list(reading_notes("head", Samples(), decisive=True, cosine=False, dense=False))
    []
    """
    if not decisive:
        yield (
            f"The network does not return the logits of {name!r}, nor any that rank the classes "
            "alike: accuracy, margins and agreement are those of this head alone."
        )
    if cosine:
        yield "Features are scaled to norm 1 before they are measured, as the cosine head does."
    if samples.shift_labels:
        yield "Labels are shifted: each position is judged by the token after it."
    if dense:
        yield (
            "Each position counts as a sample. Those of one input depend on each other: intervals "
            "and bounds for new data take them as independent, and may be too narrow."
        )


@dataclass
class _Passes:
    """The passes of one measurement, over one data set after another."""

    model: nn.Module
    tap: FeatureTap
    layers: LayerMoments
    where: torch.device
    options: PassOptions
    show: bool
    merged: bool
    among: Tensor | None = field(default=None)  # classes with enough samples
    dense: bool = field(default=False)  # whether samples are positions of longer inputs
    confident: bool = field(default=False)  # whether the logits of the head are those returned
    decisive: bool = field(default=True)  # or at least rank the classes alike
    cosine: bool = field(default=False)  # whether the head scales its features to norm 1

    def train(self, loader: Iterable[Any]) -> tuple[CollapseState, Head | None]:
        """Return the settled state of all training samples, and the head."""
        with one_refuses_all_refuse(self.merged):
            state = self._gathered(self._run(loader, "measuring", self.layers))
            head = None if state is None else self.tap.read()
        found = None
        if state is not None:
            same = self.tap.confident, self.tap.decisive
            found = (*self.tap.sizes, self.tap.dense, *same, head and head.copy())
        found = shared(found) if self.merged else found
        if found is None:
            raise NeuralCollapseError(
                "loader", "at least one batch with samples", "none", "check the data set"
            )
        num_classes, dim, self.dense, self.confident, self.decisive, head = found
        self.cosine = head is not None and head.scale is not None
        self.layers.num_classes = num_classes
        state = state or self._empty(num_classes, dim)
        total = self._together(state)
        counts = total.moments.counts
        if bool(((counts > 0) & (counts < self.options.min_samples)).any()):
            self.among = self.layers.among = counts >= self.options.min_samples
            if int(self.among.sum()) < 2:
                expected, most = "a number that two classes reach", int(counts.max())
                got = f"{self.options.min_samples}, of classes with at most {most} samples"
                raise NeuralCollapseError("min_samples", expected, got, "lower it")
            with one_refuses_all_refuse(self.merged):
                data = self._run(loader, "measuring (frequent classes)", self.layers)
                data.require_rereadable("classes with at least min_samples")
                state = self._gathered(data)
            state = state or self._empty(num_classes, dim)
            total = self._together(state)
        means = total.moments.means
        with one_refuses_all_refuse(self.merged):
            again = self._run(loader, "deciding (second pass)")
            state.settle(means, self._frequent(again), total.moments)
        return self._together(state), head

    def test(self, name: str, loader: Iterable[Any], means: Tensor) -> CollapseState:
        """Return the state of all test samples, compared with the means of the training data."""
        num_classes, dim = means.shape
        budget = self.options.feature_budget
        known = {"centers": means, "confidences": self.confident}
        state = self._empty(num_classes, dim, feature_budget=budget, **known)
        with one_refuses_all_refuse(self.merged):
            data = self._run(loader, f"measuring {name.replace('_', ' ')} data", self.layers)
            for features, logits, labels in self._frequent(data):
                state.gather(features, labels, logits)
                del logits
        if state.moments.groups:  # otherwise nothing remains to be found
            state.look_again(self._together(state).moments)
        return self._together(state)

    def layer_values(self, prefix: str) -> dict[str, dict[str, float]]:
        """Return the values of the layers in the last pass, their names with a prefix."""
        if self.merged:
            self.layers.merge()
        return {
            layer: {f"{prefix}{name}": value for name, value in values.items()}
            for layer, values in self.layers.values().items()
        }

    def notes(self, tested: bool) -> Iterator[str]:
        """Yield remarks on how samples were read, where there was a choice."""
        if tested and not self.confident:
            yield (
                "The network does not return the logits of its head at their own scale: "
                "confidences of test samples are not kept, so that no calibration is shown."
            )
        samples = self.options.samples(self.model)
        yield from reading_notes(self.tap.name, samples, self.decisive, self.cosine, self.dense)
        if self.among is not None:
            yield f"Classes with fewer than {self.options.min_samples} samples are left out."

    def _run(
        self, loader: Iterable[Any], title: str, layers: LayerMoments | None = None
    ) -> FeaturePass:
        return FeaturePass(
            self.model, loader, self.tap, self.where, self.options.samples(self.model),
            self.show, title, self.options.max_batches, layers,
        )  # fmt: skip

    def _gathered(self, data: FeaturePass) -> CollapseState | None:
        """Gather the samples of a pass; None if it has none."""
        state: CollapseState | None = None
        whole, budget = True, self.options.feature_budget
        for features, logits, labels in self._frequent(data):
            if state is None:
                num_classes, dim = self.tap.sizes
                state = self._empty(num_classes, dim, feature_budget=budget)
            state.gather(features, labels, logits)
            if whole and not state.whole:
                whole = False
                data.require_rereadable(f"at most {budget:,} bytes of features")
            del logits  # which may be larger than all else, before the next are computed
        return state if state is not None and state.moments.num_samples else None

    def _empty(self, num_classes: int, dim: int, **options: Any) -> CollapseState:
        options |= {"keep": True, "intervals": self.options.intervals}
        return CollapseState(num_classes, dim, self.options.scatter, **options)

    def _frequent(self, data: FeaturePass) -> Iterable[tuple[Tensor, Tensor, Any]]:
        if self.among is None:
            return data
        return itertools.starmap(partial(_of_classes, self.among), data)

    def _together(self, state: CollapseState) -> CollapseState:
        return over_ranks(state) if self.merged else state


def _of_classes(
    among: Tensor, features: Tensor, logits: Tensor, labels: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the samples of some classes (K,) alone."""
    true = integer_labels("labels", labels, None, len(among))
    keep = among.to(true.device)[true]
    here = keep.to(features.device)
    return features[here], logits[here], true[keep]


def _named(
    loaders: Iterable[Any] | Mapping[str, Iterable[Any]] | None,
) -> dict[str, Iterable[Any]]:
    """Return test loaders by the first part of the names of their values."""
    if loaders is None:
        return {}
    if not isinstance(loaders, Mapping):
        return {"test": loaders}
    return {f"test_{name}": loader for name, loader in loaders.items()}
