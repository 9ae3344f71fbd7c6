"""Each alarm rings on a small run that is made for it, and on none other of these."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import neuralcollapse as nc
from neuralcollapse.runs.alarms.alarms import ALARMS

CENTERS, FIVE = 3 * torch.eye(3, 6), 3 * torch.eye(5, 6)


def blobs(labels, noise=0.5, seed=1, centers=CENTERS):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(labels)
    return centers[labels] + noise * torch.randn(len(labels), 6, generator=generator), labels


def network(width=16, classes=3, dim=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, classes))


def rung(model, train, test=None, epochs=12, lr=0.05, decay=0.0, each=None):
    """Train on the whole data, twenty steps an epoch; return what rang, in the words said first."""
    options = {} if test is None else {"val_loader": test}
    with warnings.catch_warnings(), nc.watch(model, [train], epochs=epochs, **options) as collapse:
        warnings.simplefilter("ignore")
        for epoch in range(epochs):
            optimizer = torch.optim.Adam(model.parameters(), lr=lr)
            for _ in range(20):
                optimizer.zero_grad()
                penalty = sum(p.square().sum() for p in model.parameters())
                (cross_entropy(model(train[0]), train[1]) + decay * penalty).backward()
                optimizer.step()
            if each is not None:
                each(epoch, model)
            collapse.epoch_end()
    said = {}
    for record in collapse.records:
        said |= {kind: text for kind, text in record["alarms"].items() if kind not in said}
    return said


LABELS = torch.arange(60) % 3


def healthy():
    return rung(network(), blobs(LABELS), [blobs(LABELS, seed=2)])


def overfitting():
    features, labels = blobs(LABELS, noise=2.5)
    return rung(network(64), (features, labels), [blobs(LABELS, noise=2.5, seed=2)], epochs=3)


def no_generalization():
    """Test data is noisier than the training data, whose features collapse."""
    return rung(network(), blobs(LABELS, 0.2), [blobs(LABELS, noise=2.5, seed=2)])


def low_recall():
    """In test data, class 1 looks like class 2."""
    shifted = CENTERS[[0, 2, 2]]
    return rung(network(), blobs(LABELS), [blobs(LABELS, seed=2, centers=shifted)], epochs=3)


def minority_collapse():
    """Two classes of four samples among eighty, whose centres nearly agree, under weight decay."""
    labels = torch.tensor([0] * 40 + [1] * 40 + [2] * 4 + [3] * 4)
    centers = torch.cat([CENTERS[:2], CENTERS[2:], CENTERS[2:] + 0.1])
    return rung(network(classes=4), blobs(labels, centers=centers), epochs=6, decay=3e-3)


def loss_of_rank():
    """After it has learned, all inputs but one are cut off."""

    def crushed(epoch, model):
        if epoch == 3:
            model[0].weight.data[:, 1:] = 0

    return rung(
        network(classes=5), blobs(torch.arange(60) % 5, centers=FIVE), epochs=4, each=crushed
    )


def concentration():
    """One unit is active on a single sample alone."""
    features, labels = blobs(torch.arange(60) % 5, centers=FIVE)
    features, labels = torch.cat([features, features[:1]]), torch.cat([labels, labels[:1]])
    features = torch.cat([features, torch.zeros(len(features), 1)], dim=1)
    features[-1, -1] = 100.0
    model = network(dim=7, classes=5)
    with torch.no_grad():
        model[0].weight[:, -1] = 0
        model[0].weight[0] = torch.eye(7)[-1]
        model[0].bias[0] = 0
        model[2].weight[:, 0] = 0
    return rung(model, (features, labels), epochs=4)


def stubborn_samples():
    """Two labels are wrong, and a linear network cannot learn them by heart."""
    features, labels = blobs(LABELS)
    labels = labels.clone()
    labels[[4, 17]] = (labels[[4, 17]] + 1) % 3
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Linear(6, 6), nn.Identity(), nn.Linear(6, 3))
    return rung(linear, (features, labels), epochs=12)


def negative_margins():
    return rung(network(2), blobs(LABELS, noise=2.5), epochs=4)


def values_dropped():
    """Every unit has died."""

    def dead(epoch, model):
        model[0].bias.data.fill_(-100.0)

    return rung(network(), blobs(LABELS), epochs=2, each=dead)


def absent_class():
    return rung(network(classes=4), blobs(LABELS), epochs=2)


def head_mean_kept(loss=mse_loss, decay=0.1):
    """The squared loss holds on to the mean row of a head that weight decay would take away."""
    (inputs, labels), model = blobs(LABELS), network()
    targets = nn.functional.one_hot(labels).float() if loss is mse_loss else labels
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=decay)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collapse = nc.watch(model, [(inputs, labels)], optimizer=optimizer)
        for step in (10, 200):
            for _ in range(step):
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()
            collapse.epoch_end(step)
    return collapse.records[-1]["alarms"]


MADE = {
    "overfitting": overfitting,
    "no_generalization": no_generalization,
    "low_recall": low_recall,
    "minority_collapse": minority_collapse,
    "loss_of_rank": loss_of_rank,
    "concentration": concentration,
    "stubborn_samples": stubborn_samples,
    "negative_margins": negative_margins,
    "values_dropped": values_dropped,
    "absent_class": absent_class,
    "head_mean_kept": head_mean_kept,
}


def test_there_is_a_run_for_each():
    assert set(MADE) == set(ALARMS)


def test_none_rings_on_a_healthy_run():
    assert healthy() == {}


@pytest.mark.parametrize("kind", MADE)
def test_it_rings(kind):
    assert kind in MADE[kind]()


@pytest.mark.parametrize(("loss", "decay"), [(cross_entropy, 0.1), (mse_loss, 0.0)])
def test_a_head_mean_that_decays_or_need_not_is_no_alarm(loss, decay):
    assert "head_mean_kept" not in head_mean_kept(loss, decay)
