import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.training import FixedHead, PerceptronConfig, train_ensemble
from neuralcollapse.training.ensemble import CHUNK
from neuralcollapse.training.perceptron import batch_order, initial_means, initial_weights

K, P = 4, 6


def perceptron(seed, head, config):
    """The network as a torch module, with the weights of the seed."""
    layers = []
    weights, biases = initial_weights(seed, P, config)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        linear = nn.Linear(*weight.shape, dtype=config.dtype)
        linear.load_state_dict({"weight": weight.T, "bias": bias[0]})
        layers.append(linear)
        if config.relu_features or layer < len(weights) - 1:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers, FixedHead(head, dtype=config.dtype))


def train_alone(model, inputs, labels, seed, order, config):
    """One network, by torch's own optimiser; returns the first epoch without an error."""
    optimizer = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay
    )
    fitted, wrong, seen, epoch = float("nan"), 0, 0, 0
    for rows in batch_order(seed, order, len(labels), config):
        logits = model(inputs[rows])
        wrong += int((logits.argmax(1) != labels[rows]).sum())
        optimizer.zero_grad()
        cross_entropy(logits, labels[rows]).backward()
        optimizer.step()
        seen += len(rows)
        if seen == len(labels):
            seen, epoch = 0, epoch + 1
            if not wrong and fitted != fitted:
                fitted = epoch
            wrong = 0
    return fitted


@pytest.fixture
def problem(generator):
    labels = torch.arange(30) % K
    centers = torch.randn(K, P, generator=generator, dtype=torch.float64)
    noise = torch.randn(30, P, generator=generator, dtype=torch.float64)
    return centers[labels] + 0.3 * noise, labels


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_every_network_is_as_if_trained_alone(problem, relu, decay, generator):
    inputs, labels = problem
    config = PerceptronConfig((8, 7), 12, relu, 0.02, 0.9, decay, 8, 25, torch.float64)
    runs = [(seed, order) for seed in (3, 5) for order in (0, 1)] * 2
    heads = torch.stack([5 * simplex_etf(K, 12, generator=generator) for _ in runs])
    seeds, orders = zip(*runs, strict=True)
    together = train_ensemble(inputs, labels, heads, seeds, orders, config)
    logits = together.logits(inputs)
    fitted = []
    for r, (seed, order) in enumerate(runs):
        alone = perceptron(seed, heads[r], config)
        fitted.append(train_alone(alone, inputs, labels, seed, order, config))
        torch.testing.assert_close(logits[r], alone(inputs).detach(), atol=1e-10, rtol=0)
        for layer, linear in enumerate(m for m in alone if isinstance(m, nn.Linear)):
            if layer < 3:
                weight = together.weights[layer][r].T
                torch.testing.assert_close(weight, linear.weight.detach(), atol=1e-10, rtol=0)
        right = (alone(inputs).argmax(1) == labels).double().mean()
        assert together.accuracy(inputs, labels)[r] == right
    expected = torch.tensor(fitted, dtype=torch.float64)
    torch.testing.assert_close(together.epochs_to_fit, expected, equal_nan=True)
    assert expected.isfinite().any()


def test_a_network_does_not_depend_on_its_company(problem, generator):
    inputs, labels = problem
    config = PerceptronConfig((8,), 5, batch_size=7, epochs=3, dtype=torch.float64)
    count = CHUNK + 3
    heads = torch.stack([simplex_etf(K, 5, generator=generator) for _ in range(count)])
    seeds = [r % 4 for r in range(count)]
    orders = [r % 3 for r in range(count)]
    together = train_ensemble(inputs, labels, heads, seeds, orders, config)
    for r in (0, CHUNK - 1, CHUNK, count - 1):
        alone = train_ensemble(inputs, labels, heads[r : r + 1], [seeds[r]], [orders[r]], config)
        torch.testing.assert_close(alone.weights[0][0], together.weights[0][r], atol=1e-12, rtol=0)
        assert alone.accuracy(inputs, labels)[0] == together.accuracy(inputs, labels)[r]


def test_seed_and_order_key_weights_and_batches():
    config = PerceptronConfig((8,), 5, epochs=2, batch_size=4)
    first = [batch.tolist() for batch in batch_order(0, 0, 10, config)]
    assert [len(batch) for batch in first] == [4, 4, 2] * 2
    assert sorted([row for batch in first[:3] for row in batch]) == list(range(10))
    assert first == [batch.tolist() for batch in batch_order(0, 0, 10, config)]
    others = [(0, 1), (1, 0), (1, 1)]
    streams = [[batch.tolist() for batch in batch_order(*key, 10, config)] for key in others]
    assert all(stream != first for stream in streams)
    assert not torch.equal(initial_weights(0, P, config)[0][0], initial_weights(1, P, config)[0][0])


def test_initial_means_are_those_of_the_untrained_network(problem):
    inputs, labels = problem
    config = PerceptronConfig((8, 7), 5, dtype=torch.float64)
    features = perceptron(2, torch.zeros(K, 5), config)[:-1](inputs)
    means = initial_means(2, inputs, labels, config)
    for k in range(K):
        torch.testing.assert_close(means[k], features[labels == k].mean(0).detach())


def test_a_network_that_diverged_has_nothing_right(problem):
    inputs, labels = problem
    config = PerceptronConfig((8,), 5, False, lr=1e6, epochs=20)
    heads = 1e6 * torch.stack([simplex_etf(K, 5)] * 2)
    trained = train_ensemble(inputs, labels, heads, [0, 1], [0, 0], config)
    assert not trained.logits(inputs).isfinite().any()
    assert trained.accuracy(inputs, labels).tolist() == [0, 0]
    assert trained.epochs_to_fit.isnan().all()


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PerceptronConfig(dim=0), "dim: expected at least 1, got 0"),
        (lambda: PerceptronConfig(epochs=math.nan), "epochs: expected a whole number of at least"),
        (lambda: PerceptronConfig(batch_size=2.5), "batch_size: expected a whole number of at le"),
        (lambda: PerceptronConfig(widths=(4, 0)), r"widths\[1\]: expected at least 1"),
        (lambda: PerceptronConfig(momentum=1.0), r"momentum: expected a number in \[0, 1\), got 1"),
        (
            lambda: PerceptronConfig(weight_decay=-1.0),
            r"weight_decay: expected a number in \[0, inf",
        ),
        (lambda: PerceptronConfig(lr=0.0), "lr: expected a finite number above 0"),
        (
            lambda: _train(heads=torch.ones(2, 3, 5)),
            r"heads: expected shape \(R, K, d\) = \(2, 2, 5",
        ),
        (lambda: _train(orders=[0]), "and 1 orders; pass one head"),
        (lambda: _train(labels=[0, 0, 2, 2]), r"labels: expected a sample of each of 3 classes"),
        (lambda: _train(labels=[0, 1]), "labels: expected 4 labels, one per row"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="heads: expected finite numbers, got 20 NaN"):
        _train(heads=torch.full((2, 2, 5), float("nan")))


def _train(heads=None, orders=(0, 1), labels=(0, 1, 0, 1)):
    heads = torch.ones(2, 2, 5) if heads is None else heads
    config = PerceptronConfig((3,), 5, epochs=1)
    return train_ensemble(torch.ones(4, 3), labels, heads, [0, 1], orders, config)
