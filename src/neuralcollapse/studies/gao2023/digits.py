"""The trained network that the claims are held against: a perceptron on the digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from neuralcollapse.metrics import cross_entropy_losses, margin_min, margin_scale, sample_margins
from neuralcollapse.moments import ClassMoments
from neuralcollapse.training import MLP, TrainConfig, load_dataset, sgd_epochs

EPOCHS = 60
ALL, HALF = 139, 50  # images of each class: as many as the smallest has, and some of them
NOTE = f"perceptron on {10 * ALL} digits, {EPOCHS} epochs"


def all_digits() -> tuple[Tensor, Tensor]:
    """Return the images and labels of the digits, training images first, then test images."""
    data = load_dataset("digits")
    images, labels = (
        torch.cat(parts) for parts in zip(data.train.tensors, data.test.tensors, strict=True)
    )
    return images, labels


@dataclass(frozen=True)
class EpochOutcome:
    """The training set as a network sees it after an epoch.

    Attributes
    ----------
    accuracy
        In [0, 1].
    losses
        (N,) cross-entropies.
    margin
        p_min.
    scale
        tau.
    feature_norm, head_norm
        Frobenius norms of the features, and of the centred head, both with the bias.
    """

    accuracy: float
    losses: Tensor
    margin: float
    scale: float
    feature_norm: float
    head_norm: float


@dataclass(frozen=True)
class TrainedDigits:
    """A trained network in evaluation mode, its data, and how it came about.

    Attributes
    ----------
    network
        With ``features`` and ``head``.
    inputs, labels
        Those it was trained on.
    fresh_inputs, fresh_labels
        Training images of the data set that it was not trained on.
    test_inputs, test_labels
        Test images.
    history
        One outcome for each epoch.
    """

    network: MLP
    inputs: Tensor
    labels: Tensor
    fresh_inputs: Tensor
    fresh_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    history: tuple[EpochOutcome, ...]

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last features of these inputs, in float64."""
        with torch.no_grad():
            return self.network.features(inputs).double()


@lru_cache(maxsize=2)
def trained_digits(per_class: int = ALL) -> TrainedDigits:
    """Train on the first images of each class: classes of equal size, as the theory has them."""
    data = load_dataset("digits")
    images, labels = data.train.tensors
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for k in range(data.num_classes):
        chosen[torch.nonzero(labels == k)[:per_class, 0]] = True
    config = TrainConfig(epochs=EPOCHS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = MLP(64, [256] * 3, data.num_classes)
    part = TensorDataset(images[chosen], labels[chosen])
    history = []
    for _ in sgd_epochs(network, part, config):
        network.eval()
        history.append(_outcome(network, *part.tensors))
    test_images, test_labels = data.test.tensors
    return TrainedDigits(
        network.eval(), images[chosen], labels[chosen], images[~chosen], labels[~chosen],
        test_images, test_labels, tuple(history),
    )  # fmt: skip


def _outcome(network: MLP, inputs: Tensor, labels: Tensor) -> EpochOutcome:
    with torch.no_grad():
        features = network.features(inputs).double()
    weight, bias = network.head.weight.detach().double(), network.head.bias.detach().double()
    logits = features @ weight.T + bias
    moments = ClassMoments(len(weight), features.shape[1], scatter=False).update(features, labels)
    head = torch.cat([weight, bias[:, None]], 1)
    return EpochOutcome(
        accuracy=float((sample_margins(logits, labels) > 0).double().mean()),
        losses=cross_entropy_losses(logits, labels),
        margin=margin_min(logits, labels),
        scale=margin_scale(moments, weight, bias),
        feature_norm=float((features.square().sum() + len(features)).sqrt()),
        head_norm=float((head - head.mean(0)).norm()),
    )
