"""Measure an epoch from the batches that training itself runs, at no extra pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import is_compiled
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.feature_tap import FeatureTap
from neuralcollapse.measurement.layer_moments import LayerMoments
from neuralcollapse.measurement.pass_options import PassOptions
from neuralcollapse.measurement.passes import reading_notes
from neuralcollapse.measurement.split_report import SplitReport, value_names
from neuralcollapse.metrics.catalogue import own_metrics
from neuralcollapse.metrics.over_ranks import (
    one_refuses_all_refuse,
    over_ranks,
    several_ranks,
    shared,
)
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.runs.recorder import CollapseRecorder
from neuralcollapse.validation import check_class_names


def refuse_unheeded(mode: str, options: PassOptions, **data: Any) -> None:
    """Refuse with ``mode="batches"`` what only a pass of its own could heed.

    Parameters
    ----------
    mode
        How measurements are made.
    options
        Those of `measure`.
    data
        Loaders by the names of their arguments, None where none was given.

    Raises
    ------
    NeuralCollapseError
        If one is given with ``mode="batches"``.
    """
    fewest = options.min_samples if options.min_samples > 1 else None
    for name, given in {**data, "max_batches": options.max_batches, "min_samples": fewest}.items():
        if mode == "batches" and given is not None:
            expected = "nothing with mode='batches', which measures all that training runs"
            raise NeuralCollapseError(name, expected, "a value", "leave it out, or use mode='pass'")


class BatchObserver:
    """Capture features and logits of each training batch between `open` and `close`.

    The network changes between the batches, is in training mode, and sees augmented inputs. So
    class means are those of a changing network, and the within-class variability includes its
    drift: expect a larger NC1 than in an evaluation pass. Decisions are compared with the class
    means of the previous epoch; in the first epoch there are none, and NC4 is NaN.

    Parameters
    ----------
    model
        The network, not wrapped for several processes.
    options
        The options of `measure`; here those of the head, of reading batches, and of what to
        compute count.
    recorder
        What records the measurements. It is told the number of classes and the names of the values
        to come at the first batch, to refuse them, and knows the class means of the epoch before.

    Attributes
    ----------
    opened
        Whether hooks on head and layers are registered.
    """

    def __init__(
        self, model: nn.Module, recorder: CollapseRecorder, options: PassOptions | None = None
    ) -> None:
        options = options or PassOptions()
        if is_compiled(model):
            expected = "a network that runs eagerly, so that hooks are called, for mode='batches'"
            remedy = "use mode='pass', which runs it eagerly, or do not compile any part of it"
            raise NeuralCollapseError("mode", expected, "one that is compiled", remedy)
        self._tap = FeatureTap(model, options.head)
        self._own, self._recorder = own_metrics(options.metrics), recorder
        self._layers = LayerMoments(model, options.layers)
        self._samples, self._scatter = options.samples(model), options.scatter
        self._state: CollapseState | None = None
        self._checked = False
        self._refusal: Exception | None = None
        self._expected: tuple[Any, Tensor | None] | None = None
        self.opened = False

    def open(self) -> None:
        """Attach to head and layers before a batch; an earlier batch left open is dropped."""
        self.discard()
        self._tap.__enter__()
        self._layers.listening(afresh=False).__enter__()
        self.opened = True

    def expect(self, batch: Any) -> None:
        """Announce a batch of a loader, between `open` and the run of the network.

        Parameters
        ----------
        batch
            As the loader yields it.
        """
        with self._refusing():
            _, labels, mask = self._samples.split(batch)
            self._announce(labels, mask)

    def expect_call(self, labels: Any, inputs: Any) -> None:
        """Announce a batch by what the network is called with.

        Parameters
        ----------
        labels
            Labels of the batch.
        inputs
            What may tell which positions are there.
        """
        with self._refusing():
            labels = self._samples.read(labels)
            self._announce(labels, self._samples.mask(inputs, labels))

    def _announce(self, labels: Any, mask: Tensor | None) -> None:
        self._expected = labels, mask
        self._layers.expect(*self._samples.expected(labels, mask))

    def close(self) -> None:
        """Add the batch that ran since `open`, if it is still open, and detach.

        Raises
        ------
        NeuralCollapseError
            If no labels were announced, or their number differs.
        """
        if self.opened:
            with self._refusing():
                self._add(*self._take_expected())
            self.discard()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Detach after an error; of several processes, each raises it at the end."""
        try:
            yield
        except Exception as error:
            self.discard()
            if not several_ranks():
                raise
            self._refusal = self._refusal or error

    def _take_expected(self) -> tuple[Any, Tensor | None]:
        taken, self._expected = self._expected, None
        if taken is None:
            expected = "labels among the arguments of the model"
            remedy = "use mode='pass', which reads them from the data loader"
            raise NeuralCollapseError("labels", expected, "none", remedy)
        return taken

    def _add(self, labels: Any, mask: Tensor | None) -> None:
        # Outside of inference mode, in which the batch may have run: the state lives on.
        with torch.inference_mode(False), torch.no_grad():
            if not len(labels):
                return
            features, logits = self._tap.take()
            of_batch = self._samples.settled(labels, features, logits.shape[-1])
            features, logits, labels = self._samples.rows(features, logits, of_batch, mask)
            if len(labels) != len(features):
                expected = f"{len(features)} labels, one for each sample that ran"
                remedy = "let each training batch run through the model once, or use mode='pass'"
                raise NeuralCollapseError("labels", expected, str(len(labels)), remedy)
            if self._state is None:
                num_classes, dim = self._tap.sizes
                self._state = CollapseState(
                    num_classes, dim, self._scatter, centers=self._recorder.centers, keep=True
                )
            self._state.gather(features, labels, logits)
            if not self._checked:
                names = value_names(self._state, self._tap.weight, self._tap.bias, self._own)
                self._recorder.check(self._tap.sizes[0], names)
                self._checked = True
            self._layers.num_classes = self._tap.sizes[0]
            self._layers.add(of_batch, self._samples, mask)

    def discard(self) -> None:
        """Detach from head and layers."""
        if self.opened:
            # As if left by break: of a batch that does not count, errors do not either.
            self._tap.__exit__(GeneratorExit, None, None)
            self._layers.__exit__(GeneratorExit, None, None)
            self.opened = False

    def finish(self) -> CollapseReport:
        """Return the measurement of the batches since the last call, and start a new one.

        All processes are merged, some possibly without batches; every process must call.

        Raises
        ------
        NeuralCollapseError
            If no process had a batch.
        """
        state, self._state = self._state, None
        refusal, self._refusal = self._refusal, None
        with one_refuses_all_refuse():
            if refusal is not None:
                raise refusal
            found = None
            if state is not None:
                tap = self._tap
                found = *tap.sizes, tap.read(), tap.decisive, tap.dense
        found = shared(found)
        if found is None:
            expected = "training batches with labels between two measurements"
            remedy = "let batches go through the watched model, or use mode='pass'"
            raise NeuralCollapseError("mode", expected, "none", remedy)
        num_classes, dim, head, decisive, dense = found
        state = over_ranks(state or CollapseState(num_classes, dim, self._scatter, keep=True))
        self._layers.merge()
        layers, before = self._layers.values(), self._layers.last
        self._layers.listening()  # afresh
        weight = None if head is None else head.weight.clone()
        bias = None if head is None or head.bias is None else head.bias.clone()
        names = check_class_names(None, num_classes)
        train = SplitReport.of(state, weight, bias, self._own)
        cosine = head is not None and head.scale is not None
        notes = [*reading_notes(self._tap.name, self._samples, decisive, cosine, dense)]
        return CollapseReport(
            train, names, weight, bias, own=self._own, layers=layers, before=before, notes=notes
        )
