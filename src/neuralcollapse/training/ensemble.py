"""Many small perceptrons with fixed heads, trained at once: one tensor axis over the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from rich.progress import Progress
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.training.perceptron import PerceptronConfig, batch_order, initial_weights
from neuralcollapse.validation import as_tensor, finite_matrix, integer_labels, occupied_labels

CHUNK = 24  # networks at a time: their weights and velocities then stay in the cache


@dataclass(frozen=True)
class Ensemble:
    """Trained perceptrons with fixed heads, in the order in which they were asked for.

    Attributes
    ----------
    weights, biases
        One tensor a layer, (R, in, out) and (R, 1, out).
    heads
        (R, K, d), never trained.
    epochs_to_fit
        (R,) first epoch in which every sample was classified right as its batch came; NaN if
        there was none.
    config
        How they were trained.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.training import PerceptronConfig, train_ensemble
    >>> config = PerceptronConfig((8,), dim=4, epochs=1)
    >>> inputs, labels = torch.rand(6, 5), torch.arange(6) % 2
    >>> heads = torch.randn(3, 2, 4)  # three networks, each with a head of its own
    >>> ensemble = train_ensemble(inputs, labels, heads, [0, 0, 1], [0, 1, 0], config)
    >>> ensemble.features(inputs).shape, ensemble.accuracy(inputs, labels).shape
    (torch.Size([3, 6, 4]), torch.Size([3]))
    """

    weights: list[Float[Tensor, "R _ _"]]
    biases: list[Float[Tensor, "R 1 _"]]
    heads: Float[Tensor, "R K d"]
    epochs_to_fit: Float[Tensor, " R"]
    config: PerceptronConfig

    def features(self, inputs: Any) -> Float[Tensor, "R n d"]:
        """Return the features that every network gives the same (n, p) inputs."""
        data = finite_matrix("inputs", inputs).to(self.config.dtype)
        batch = data.expand(len(self.heads), -1, -1)
        return _activations(batch, self.weights, self.biases, self.config)[-1]

    def logits(self, inputs: Any) -> Float[Tensor, "R n K"]:
        """Return the logits that every network gives the same (n, p) inputs."""
        return torch.bmm(self.features(inputs), self.heads.transpose(1, 2))

    def accuracy(self, inputs: Any, labels: Any) -> Float[Tensor, " R"]:
        """Return the share of samples that every network classifies right.

        A network that diverged, to logits that are not finite, has none right.
        """
        true = integer_labels("labels", labels, len(inputs), self.heads.shape[1])
        shares = []
        for part in self._parts():
            logits = part.logits(inputs)
            right = _right(logits, true.expand(len(logits), -1)) & logits.isfinite().all(2)
            shares.append(right.double().mean(1))
        return torch.cat(shares)

    def _parts(self) -> Iterator[Ensemble]:
        """Yield the networks a chunk at a time, to bound the memory of what is computed."""
        for first in range(0, len(self.heads), CHUNK):
            rows = slice(first, first + CHUNK)
            yield Ensemble(
                [weight[rows] for weight in self.weights],
                [bias[rows] for bias in self.biases],
                self.heads[rows],
                self.epochs_to_fit[rows],
                self.config,
            )


def train_ensemble(
    inputs: Any,
    labels: Any,
    heads: Any,
    seeds: Sequence[int],
    orders: Sequence[int],
    config: PerceptronConfig,
    progress: bool = False,
) -> Ensemble:
    """Train R perceptrons with fixed heads at once by stochastic gradient descent.

    Each network has its own head, initial weights and order of batches, and the arithmetic of
    one is that of training it alone. Layers are batched products over a leading axis of networks,
    so that the cost of calling is shared; the gradient of cross-entropy is written out.

    Parameters
    ----------
    inputs, labels
        (n, p) and (n,) of the training data, every class there.
    heads
        (R, K, d) fixed heads, scale included.
    seeds
        (R,) of the initial weights, see `initial_weights`.
    orders
        (R,) of the batches, which seed and order determine together, see `batch_order`. Networks
        of one seed and order see the same batches whatever their heads.
    config
        What all networks share.
    progress
        Show a progress bar.

    Returns
    -------
    Ensemble
        The trained networks, in the order given.

    Raises
    ------
    NeuralCollapseError
        If shapes or lengths do not fit each other.
    NonFiniteError
        If an input or an entry of a head is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.training import PerceptronConfig, train_ensemble
    >>> config = PerceptronConfig((8,), dim=4, epochs=1)
    >>> inputs, labels = torch.rand(6, 5), torch.arange(6) % 2
    >>> trained = train_ensemble(inputs, labels, torch.randn(3, 2, 4), [0, 0, 1], [0, 1, 0], config)
    >>> trained.logits(inputs).shape
    torch.Size([3, 6, 2])
    """
    data = finite_matrix("inputs", inputs).to(config.dtype)
    true = occupied_labels("labels", labels)
    integer_labels("labels", true, len(data))
    fixed = _checked_heads(heads, seeds, orders, int(true.max()) + 1, config)
    parts = []
    with Progress(disable=not progress, transient=True) as bar:
        task = bar.add_task("training", total=len(fixed) * config.epochs)
        for first in range(0, len(fixed), CHUNK):
            rows = slice(first, first + CHUNK)
            keys = list(zip(seeds[rows], orders[rows], strict=True))
            epoch_done = partial(bar.advance, task, len(keys))
            parts.append(_train_chunk(data, true, fixed[rows], keys, config, epoch_done))
    layers = range(len(config.widths) + 1)
    return Ensemble(
        [torch.cat([part.weights[layer] for part in parts]) for layer in layers],
        [torch.cat([part.biases[layer] for part in parts]) for layer in layers],
        fixed,
        torch.cat([part.epochs_to_fit for part in parts]),
        config,
    )


def _train_chunk(
    data: Tensor,
    labels: Tensor,
    heads: Tensor,
    keys: list[tuple[int, int]],
    config: PerceptronConfig,
    epoch_done: Callable[[], None],
) -> Ensemble:
    """Train networks with these heads and (seed, order) keys, all at the same time."""
    drawn = {seed: initial_weights(seed, data.shape[1], config) for seed, _ in keys}
    weights, biases = (
        [torch.stack(layer) for layer in zip(*(drawn[seed][part] for seed, _ in keys), strict=True)]
        for part in (0, 1)
    )
    momenta = [torch.zeros_like(tensor) for tensor in (*weights, *biases)]
    heads_t = heads.transpose(1, 2).contiguous()
    epochs_to_fit = torch.full((len(keys),), float("nan"), dtype=torch.float64)
    batches_per_epoch = -(-len(labels) // config.batch_size)
    wrong = torch.zeros(len(keys), dtype=torch.int64)
    for step, rows in enumerate(_batches(keys, len(labels), config)):
        outputs = _activations(data[rows], weights, biases, config)
        logits, true = torch.bmm(outputs[-1], heads_t), labels[rows]
        wrong += (~_right(logits, true)).sum(1)
        # Gradient of the mean cross-entropy by the logits: probabilities minus one-hot labels.
        # (torch's softmax over few classes takes four times as long.)
        gradient = (logits - logits.amax(2, keepdim=True)).exp_()
        gradient.div_(gradient.sum(2, keepdim=True))
        gradient.scatter_add_(2, true[..., None], gradient.new_full((*true.shape, 1), -1.0))
        gradient = torch.bmm(gradient.div_(rows.shape[1]), heads)
        _update(gradient, outputs, weights, biases, momenta, config)
        if (step + 1) % batches_per_epoch == 0:
            epoch = (step + 1) // batches_per_epoch
            epochs_to_fit[(wrong == 0) & epochs_to_fit.isnan()] = epoch
            wrong.zero_()
            epoch_done()
    return Ensemble(weights, biases, heads, epochs_to_fit, config)


def _right(logits: Float[Tensor, "R n K"], labels: Int[Tensor, "R n"]) -> Bool[Tensor, "R n"]:
    margins, _ = decide(logits.flatten(0, 1), labels.flatten())
    return margins.view(labels.shape) > 0


def _batches(
    keys: list[tuple[int, int]], samples: int, config: PerceptronConfig
) -> Iterator[Int[Tensor, "R b"]]:
    """Yield, step by step, the rows of the batch of every network."""
    streams = list(dict.fromkeys(keys))
    stream = torch.tensor([streams.index(key) for key in keys])
    orders = (batch_order(seed, order, samples, config) for seed, order in streams)
    for batches in zip(*orders, strict=True):
        yield torch.stack(batches)[stream]


def _activations(
    inputs: Float[Tensor, "R n p"],
    weights: list[Tensor],
    biases: list[Tensor],
    config: PerceptronConfig,
) -> list[Float[Tensor, "R n _"]]:
    """Return the inputs and the output of every layer; the last are the features."""
    outputs = [inputs]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        output = torch.baddbmm(bias, outputs[-1], weight)
        rectified = config.relu_features or layer < len(weights) - 1
        outputs.append(output.relu_() if rectified else output)
    return outputs


def _update(
    gradient: Float[Tensor, "R n d"],
    outputs: list[Tensor],
    weights: list[Tensor],
    biases: list[Tensor],
    momenta: list[Tensor],
    config: PerceptronConfig,
) -> None:
    """Propagate the gradient by the features backwards and step every layer, in place."""
    last = len(weights) - 1
    for layer in range(last, -1, -1):
        if config.relu_features or layer < last:
            gradient = gradient * outputs[layer + 1].sign()  # of a ReLU, its derivative: 0 or 1
        by_weight, by_bias = momenta[layer], momenta[last + 1 + layer]
        by_weight.baddbmm_(outputs[layer].transpose(1, 2), gradient, beta=config.momentum)
        by_bias.mul_(config.momentum).add_(gradient.sum(1, keepdim=True))
        if layer:
            gradient = torch.bmm(gradient, weights[layer].transpose(1, 2))
        for parameter, momentum in ((weights[layer], by_weight), (biases[layer], by_bias)):
            if config.weight_decay:
                momentum.add_(parameter, alpha=config.weight_decay)
            parameter.add_(momentum, alpha=-config.lr)


def _checked_heads(
    heads: Any,
    seeds: Sequence[int],
    orders: Sequence[int],
    num_classes: int,
    config: PerceptronConfig,
) -> Float[Tensor, "R K d"]:
    stacked = as_tensor("heads", heads)
    shape = (len(seeds), num_classes, config.dim)
    if tuple(stacked.shape) != shape or len(orders) != len(seeds) or not len(seeds):
        expected = f"shape (R, K, d) = {shape} and R orders, R >= 1"
        got = f"shape {tuple(stacked.shape)} and {len(orders)} orders"
        remedy = "pass one head, one seed and one order for every network"
        raise NeuralCollapseError("heads", expected, got, remedy)
    flat = finite_matrix("heads", stacked.reshape(len(seeds), -1))
    return flat.reshape(shape).to(config.dtype)
