"""What a run measures of its network, on training and test data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import CollapseReport, FeatureTap, measure
from neuralcollapse.measurement.layer_choice import checked_layers
from neuralcollapse.training.batches import loss_labels, on_device
from neuralcollapse.training.import_path import failed
from neuralcollapse.validation import integer_labels

# Samples in a forward pass: activations that stay in a CPU's cache, or that fill a GPU. Those of a
# perceptron are few: small batches would make more calls than work.
CPU_BATCH, LARGE_BATCH = 128, 1024


class RunMeasurement:
    """Measure a network on training and test data, any number of its layers in the same passes.

    In evaluation mode and float32, also of a run that trains in bfloat16: its rounding, a part in
    256, would hide how far features have collapsed.

    Parameters
    ----------
    model
        The network, as the user knows it and not wrapped for training.
    train, test
        Data sets of inputs and labels.
    device
        Where the model is.
    layers
        Names of modules to measure besides the features.
    workers
        As in `Batches`.
    class_names
        One a class, if the data names them.

    Attributes
    ----------
    report
        The last measurement.

    Raises
    ------
    NeuralCollapseError
        If a layer is not in the model, labels are no whole numbers from 0 to the number of logits
        less one, or those of the training data are all the same.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Dataset,
        test: Dataset,
        device: torch.device,
        layers: Sequence[str] = (),
        workers: int = 0,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.report: CollapseReport
        self._model, self._layers = model, tuple(layers)
        convolves = any(parameter.ndim > 2 for parameter in model.parameters())
        size = CPU_BATCH if device.type == "cpu" and convolves else LARGE_BATCH
        self._train, self._test = (_loader(part, device, workers, size) for part in (train, test))
        self.num_classes = _num_classes(model, self._train, device)
        # A given network may have more logits than the data has classes.
        named = class_names is not None and len(class_names) == self.num_classes
        self._names = class_names if named else None
        if layers:
            checked_layers(model, layers)
        for name, part in (("train", train), ("test", test)):
            if isinstance(part, TensorDataset):
                self._check_labels(name, part.tensors[1])

    def _check_labels(self, name: str, given: Tensor) -> None:
        labels = given
        if given.ndim == 1:
            labels = integer_labels(f"{name} labels", given, len(given))
            if name == "train" and bool((labels == labels[:1]).all()):
                got = f"class {int(labels[0])} alone" if len(labels) else "no labels"
                expected, remedy = "samples of at least 2 classes", "collapse compares classes"
                raise NeuralCollapseError(f"{name} labels", expected, got, remedy)
        elif given.shape[1:] != (self.num_classes,):
            expected = f"shape (n,), or a row of {self.num_classes} for each sample"
            got, remedy = str(tuple(given.shape)), "pass the number of the class of each sample"
            raise NeuralCollapseError(f"{name} labels", expected, got, remedy)
        highest = int(labels.max())
        if highest >= self.num_classes:
            expected = f"labels below {self.num_classes}, the number of logits"
            got = f"{highest} among the {name} labels"
            raise NeuralCollapseError("data", expected, got, "give the head one row per class")

    def record(self) -> dict[str, Any]:
        """Measure, and return the values."""
        self.report = measure(
            self._model,
            self._train,
            test_loader=self._test,
            class_names=self._names,
            layers=self._layers,
            merge=False,  # one process measures all of the data
            progress=False,
        )
        return self.report.to_record()


def _loader(data: Dataset, device: torch.device, workers: int, size: int) -> Iterable[Any]:
    """Return the batches of a data set, those of tensors as views without a copy."""
    data = on_device(data, device)
    if isinstance(data, TensorDataset):
        parts = (tensor.split(size) for tensor in data.tensors)
        return list(zip(*parts, strict=True))
    return DataLoader(data, size, num_workers=workers)


def _num_classes(model: nn.Module, loader: Iterable[Any], device: torch.device) -> int:
    """Return the number of logits, from two samples' way through the network."""
    inputs, labels = next(iter(loader))
    loss_labels(labels)
    some = inputs[:2].to(device)
    model.eval()
    with torch.no_grad(), FeatureTap(model) as tap:
        try:
            model(some)
        except (RuntimeError, TypeError) as error:
            kind = f"{some.dtype} of shape {tuple(some.shape[1:])}".removeprefix("torch.")
            remedy = "convert the inputs, or correct the network"
            raise failed("data", f"inputs that the network takes: {kind}", error, remedy) from error
        tap.take()
        return tap.sizes[0]
