"""measure_layers: the collapse of every layer of a network, in one forward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement.at_rest import bare, evaluating
from neuralcollapse.measurement.batch_parts import moved
from neuralcollapse.measurement.feature_pass import read
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.layer_choice import checked_layers
from neuralcollapse.measurement.layer_layout import Layout
from neuralcollapse.measurement.layer_pool import Pool
from neuralcollapse.measurement.layer_profile import LayerProfile, LayerValues
from neuralcollapse.measurement.layer_tap import LayerTap
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.samples import Forward, Samples, Unpack
from neuralcollapse.metrics.ranks import effective_rank
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.metrics.variability import nc1_pinv, nc1_trace_ratio, separation_fuzziness
from neuralcollapse.validation import byte_budget


def measure_layers(
    model: Any,
    loader: Iterable[Any],
    layers: Sequence[str] | None = None,
    *,
    pool: Pool = "mean",
    layout: Layout | None = None,
    head: nn.Module | str | None = None,
    num_classes: int | None = None,
    device: torch.device | str | None = None,
    scatter_budget: int = 2**31,
    feature_budget: int = 2**29,
    unpack: Unpack | None = None,
    forward: Forward | None = None,
    ignore_index: int = -100,
    shift_labels: bool | None = None,
    class_names: Sequence[Any] | None = None,
    max_batches: int | None = None,
    progress: bool | None = None,
) -> LayerProfile:
    """Measure how far the classes have collapsed at every layer, from the first to the head.

    The network runs once over the data, in evaluation mode and without gradients. Of each layer
    only class moments are kept, (d, d) numbers whatever the size of the data, and, within the
    budget, the features, which the nearest-mean accuracy needs once the class means are known.

    Parameters
    ----------
    model
        The classifier.
    loader
        As in `measure`.
    layers
        Names of modules, as in ``model.named_modules()``, in any order. If omitted: the blocks of
        a network that repeats any, otherwise its activations (see `default_layers`), as far as
        they run before the head. The input of the head is added as the last layer, unless it is
        the last of these already, or no head is found.
    pool
        How to reduce outputs with more than two axes. ``"mean"`` or ``"max"``: over all
        positions of a map or of tokens; positions that a mask of the batch leaves out do not
        count. ``"cls"``, ``"last"``: the first position, or the last that is there.
        ``"flatten"``: every position is a feature of its own. Or a function from the output to
        (n, d). Where each position has a label, each is a sample.
    layout
        The axis of the features: ``"channels_first"``, ``"channels_last"`` (as for tokens) or
        ``"sequence_first"`` (T, n, d). If omitted, it is found from the layers that ran before; an
        error asks for it if they do not tell.
    head, device
        As in `measure`; a network without a head is measured too.
    num_classes
        K, for a network without a head; if omitted, the loader is first read for the highest
        label.
    scatter_budget
        Bytes that the moments of all layers together may take.
    feature_budget
        Bytes of features to keep; beyond this, there is no nearest-mean accuracy.
    unpack, forward, ignore_index, shift_labels, class_names, max_batches, progress
        As in `measure`.

    Returns
    -------
    LayerProfile
        ``print`` it, ``.plot("layers.png")``, or look at ``.to_frame()`` and ``.law``.

    Raises
    ------
    NonFiniteError
        If the output of a layer is NaN or infinite; the message says which layer and batch.
    NeuralCollapseError
        If a name is not in the model, an output is not a tensor with one row per sample, the
        moments need more than their budget, a layer is not called equally often in every batch,
        or as in `measure`.

    References
    ----------
    He & Su 2023, "A law of data separation in deep learning" (the fuzziness and its law); Tirer,
    Huang & Niles-Weed 2023, Section 5 (NC1 by depth). Averages over positions are ours.

    Examples
    --------
    Each layer of this linear network halves the deviation of the features from the class means.

    >>> import torch
    >>> from torch import nn
    >>> from neuralcollapse import measure_layers
    >>> halve = torch.diag(torch.tensor([1.0, 0.5]))
    >>> model = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(5)])
    >>> for layer in model:
    ...     _ = layer.weight.data.copy_(halve)
    >>> means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).repeat(2, 1)
    >>> features = means + torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    >>> profile = measure_layers(model, [(features, torch.tensor([0, 1, 0, 1]))])
    >>> [round(value, 6) for value in profile["nc1_trace_ratio"]]
    [0.25, 0.0625, 0.015625, 0.003906]
    """
    names = checked_layers(model, layers)
    show = sys.stderr.isatty() if progress is None else progress
    options = PassOptions(
        head=head,
        unpack=unpack,
        forward=forward,
        ignore_index=ignore_index,
        shift_labels=shift_labels,
        class_names=class_names,
        max_batches=max_batches,
    )
    samples, network = options.samples(model), bare(model)
    sums: _LayerSums | None = None
    with (
        evaluating(model, device, loader) as where,
        FeatureTap(model, head, optional=True) as tap,
        LayerTap(model, names, pool, layout) as outputs,
    ):
        for batch in read(loader, options.max_batches, show, "measuring layers"):
            inputs, labels, mask = samples.split(batch)
            if not len(labels):
                continue
            outputs.expect(*samples.expected(labels, mask))
            inputs = moved(inputs, where)
            output = samples.run(network, inputs)
            entered, classes = None, num_classes or len(options.class_names or ()) or None
            if tap.found:
                entered, classes = tap.take(output)[0].clone(), tap.sizes[0]
            labels = samples.settled(labels, entered, classes)
            number = samples.expected(labels, None)[0] if entered is None else len(entered)
            before = tap.tick if layers is None else None
            found = outputs.take(number, before, getattr(labels, "ndim", 2) > 1)
            if sums is None:
                ends = entered is None or (found and _same([*found.values()][-1], entered))
                classes = classes or _highest_label(loader, samples, options.max_batches) + 1
                sums = _LayerSums(classes, scatter_budget, feature_budget)
            if not ends and entered is not None:
                found[f"input of {tap.name or 'the model'}"] = entered
            rows = {name: samples.rows(part, part, labels, mask) for name, part in found.items()}
            true = next((part[2] for part in rows.values()), labels)
            sums.update({name: part[0] for name, part in rows.items()}, true)
        if sums is None or not sums.num_samples:
            raise NeuralCollapseError(
                "loader", "at least one batch with samples", "none", "check the data set"
            )
        return sums.profile()


def _highest_label(loader: Iterable[Any], samples: Samples, max_batches: int | None) -> int:
    """Return the highest label of a loader."""
    if isinstance(loader, Iterator):
        expected = (
            "the number of classes, for a network without a head and a loader that is read once"
        )
        raise NeuralCollapseError("num_classes", expected, "none", "pass num_classes=")
    highest = 0
    for batch in read(loader, max_batches):
        labels = samples.split(batch)[1]
        if isinstance(labels, PackedSequence):
            labels = labels.data
        elif samples.expected(labels, None)[2] is None:  # one-hot
            return labels.shape[1] - 1
        highest = max([highest, *labels.flatten().long().tolist()])
    return highest


class _LayerSums:
    """Class moments of every layer, and its features within a budget."""

    def __init__(self, num_classes: int, scatter_budget: int, feature_budget: int) -> None:
        self._num_classes = num_classes
        self._budget = byte_budget("scatter_budget", scatter_budget)
        self._room = byte_budget("feature_budget", feature_budget)
        self._states: dict[str, CollapseState] = {}

    @property
    def num_samples(self) -> int:
        return next((state.moments.num_samples for state in self._states.values()), 0)

    def update(self, found: dict[str, Tensor], labels: Tensor) -> None:
        """Add a batch."""
        if not self._states:
            self._require_room(found)
            for name, features in found.items():
                sizes = (self._num_classes, features.shape[1])
                self._states[name] = CollapseState(*sizes, feature_budget=self._room)
        if found.keys() != self._states.keys():
            expected = "the same calls of layers in every batch"
            got = ", ".join(sorted(found.keys() ^ self._states.keys())) + " in some only"
            raise NeuralCollapseError("layers", expected, got, "leave these layers out")
        self._room -= sum(features.nbytes for features in found.values())
        for name, features in found.items():
            state = self._states[name]
            try:
                state.gather(features, labels)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"layer {name}", error.expected, error.got, error.remedy
                ) from error
            if self._room < 0:  # one budget for all layers
                state.drop_features()

    def profile(self) -> LayerProfile:
        layers = tuple(_values(name, state) for name, state in self._states.items())
        present = int(next(iter(self._states.values())).moments.present.sum())
        return LayerProfile(layers, self.num_samples, present)

    def _require_room(self, found: dict[str, Tensor]) -> None:
        needs = {name: 8 * features.shape[1] ** 2 for name, features in found.items()}
        total = sum(needs.values())
        if total > self._budget:
            widest = max(needs, key=lambda name: needs[name])
            expected = f"at least {total:,} bytes for the scatters of {len(needs)} layers"
            remedy = (
                f"the widest is {widest} with {found[widest].shape[1]:,} features: use "
                "pool='mean', fewer layers, or a larger budget"
            )
            raise NeuralCollapseError("scatter_budget", expected, f"{self._budget:,}", remedy)


def _values(name: str, state: CollapseState) -> LayerValues:
    moments = state.moments
    covariance = moments.within + moments.between_scatter("pooled", "sample_mean")
    if state.whole:
        state.settle(moments.means)
    return LayerValues(
        layer=name,
        dim=moments.dim,
        separation_fuzziness=separation_fuzziness(moments),
        nc1_pinv=nc1_pinv(moments),
        nc1_trace_ratio=nc1_trace_ratio(moments),
        effective_rank=effective_rank(torch.linalg.eigvalsh(covariance)),
        ncc_accuracy=state.ncc_accuracy,
    )


def _same(left: Tensor, right: Tensor) -> bool:
    """Whether two layers have the same features, up to the rounding of an average."""
    return left.shape == right.shape and torch.allclose(left, right, rtol=1e-4, atol=1e-6)
