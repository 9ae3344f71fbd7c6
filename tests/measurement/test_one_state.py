"""Every way in says the same of the same samples, ties and near-ties included."""

import math

import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NonFiniteError
from neuralcollapse.measurement import measure
from neuralcollapse.metrics import CollapseState, nc4_agreement, ncc_accuracy

K, D = 3, 6
DECIDED = ("accuracy", "ncc_accuracy", "nc4_agreement", "margin_min")


def blobs(num_classes=K, dim=D, per_class=40, spread=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(num_classes, dim, generator=generator)
    labels = torch.arange(num_classes).repeat(per_class)
    noise = torch.randn(len(labels), dim, generator=generator)
    return means[labels] + spread * noise, labels


def batches(features, labels, size=30):
    return list(zip(features.split(size), labels.split(size), strict=True))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(D, 8), nn.ReLU(), nn.Linear(8, K))


def every_way(model, loader):
    """Decisions of the model by measure, measure_features, watch, CollapseMetrics, functions."""
    head = model[-1]
    with torch.no_grad():
        pairs = [(model[:-1](inputs), labels) for inputs, labels in loader]
    features, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    report = nc.measure(model, loader, progress=False)
    weight, bias = head.weight.detach(), head.bias.detach()
    given = nc.measure_features(features, labels, weight, bias)
    means = report.train.moments.means
    metric = nc.CollapseMetrics(K, 8, head, means)
    for rows, own in pairs:
        metric.update(rows, own, head(rows))
    with nc.watch(model, loader, schedule="full") as watched:
        record = watched.epoch_end()
    functions = {
        "ncc_accuracy": ncc_accuracy(features, labels, means),
        "nc4_agreement": nc4_agreement(features, means, weight, bias),
    }
    twice = measure(model, loader, feature_budget=0)
    return report, record, [report, given, metric.compute(), record, functions, twice]


@pytest.mark.parametrize("zero", ["head", "all but one row", "nothing"])
def test_every_way_in_decides_alike(zero):
    model, loader = network(), batches(*blobs())
    if zero != "nothing":
        nn.init.zeros_(model[2].weight)
        nn.init.zeros_(model[2].bias)
    if zero == "all but one row":  # two classes tie wherever the third loses
        model[2].weight.data[0] = torch.randn(8)
    report, record, found = every_way(model, loader)
    for values in found:
        for name in set(DECIDED) & set(values):
            assert float(values[name]) == pytest.approx(report[name], rel=1e-6), name
    assert sum(row["accuracy"] for row in record["classes"]) / K == pytest.approx(
        report["accuracy"], abs=1e-12
    )
    if zero == "head":
        assert report["accuracy"] == report["nc4_agreement"] == 0
        assert report.train.state.ties == report.train.moments.num_samples


def test_ties_are_told_where_there_are_many():
    features, labels = blobs()
    text = " ".join(str(nc.measure_features(features, labels, torch.zeros(K, D))).split())
    assert "The largest logits of 120 of 120 samples tie." in text
    assert "accuracy by argmax may be higher by as much as 100 %" in text
    head = torch.eye(K, D)
    assert "tie" not in str(nc.measure_features(features, labels, head))
    one = torch.cat([features, torch.zeros(1, D)])
    many = str(nc.measure_features(one, torch.cat([labels, labels[:1]]), head))
    assert "The largest logits of 1 of 121 samples tie." in many


@pytest.mark.parametrize(("num_classes", "share"), [(10, 0.005), (100, 0.014), (1000, 0.030)])
def test_bfloat16_ties(num_classes, share):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, num_classes, generator=generator).bfloat16()
    state = CollapseState(num_classes, 1, scatter=False)
    state.gather(torch.randn(20_000, 1), torch.arange(20_000) % num_classes, logits)
    best = logits.amax(1, keepdim=True)
    assert state.ties == int(((logits == best).sum(1) > 1).sum())
    assert state.ties / 20_000 == pytest.approx(share, rel=0.3)


@pytest.mark.parametrize("apart", [1e-3, 3e-4, 1e-4, 1e-6])
def test_close_means_are_told_apart_in_float32(apart):
    generator = torch.Generator().manual_seed(0)
    dim, num_classes = 64, 10
    means = torch.randn(num_classes, dim, generator=generator)
    step = torch.randn(dim, generator=generator)
    means[1] = means[0] + apart * means[0].norm() * step / step.norm()
    labels = torch.arange(num_classes).repeat(50)
    spread = 1e-2 * apart * means[0].norm() / 8
    features = means[labels] + spread * torch.randn(len(labels), dim, generator=generator)
    narrow = nc.measure_features(features, labels)
    wide = nc.measure_features(features.double(), labels)
    assert narrow["ncc_accuracy"] == wide["ncc_accuracy"]
    distances = torch.cdist(
        features.double(),
        wide.train.moments.means,
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    right = distances.argmin(1) == labels
    assert narrow["ncc_accuracy"] == pytest.approx(float(right.double().mean()))
    product = 2 * features @ means.T - means.square().sum(1)
    assert apart > 3e-4 or (product.argmax(1) != labels).float().mean() > 0.02  # a trap


def test_an_outlier_does_not_blur_the_nearest_mean():
    features, labels = blobs(spread=0.1)
    features = torch.cat([features, torch.full((1, D), 1e7)])
    labels = torch.cat([labels, torch.tensor([K])])
    assert nc.measure_features(features, labels)["ncc_accuracy"] == 1
    assert nc.measure_features(features.double(), labels)["ncc_accuracy"] == 1


def test_means_that_coincide_have_no_nearest():
    features = torch.tensor([[0.0], [2.0], [0.5], [1.5], [9.0]])
    report = nc.measure_features(features, [0, 0, 1, 1, 2])
    assert report["ncc_accuracy"] == 0.2


@pytest.mark.parametrize("spoil", ["bias", "weight"])
def test_a_head_that_is_nan_decides_nothing(spoil):
    model, loader = network(), batches(*blobs())
    getattr(model[2], spoil).data[1] = math.nan
    with pytest.raises(NonFiniteError, match=r"expected (a finite margin|finite num)"):
        nc.measure(model, loader, progress=False)
    with pytest.raises(NonFiniteError, match=r"expected (a finite margin|finite num)"):
        nc.watch(model, loader).epoch_end()
    features, labels = blobs(dim=8)
    with pytest.raises(NonFiniteError):
        nc.measure_features(features, labels, model[2].weight.detach(), model[2].bias.detach())


@pytest.fixture
def far_default():
    """Make tensors by default where nothing can be computed, as far from the data as can be."""
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("budget", [0, 2**20])
def test_the_default_device_is_not_where_data_are(far_default, budget):
    with torch.device("cpu"):
        model, (inputs, labels) = network(), blobs()
        features = model[:-1](inputs).detach()
        weight, bias = model[-1].weight.detach(), model[-1].bias.detach()
        expected = nc.measure_features(features, labels, weight, bias)
    loader = batches(inputs, labels)
    report = nc.measure(model, loader, device="cpu", test_loader=loader, feature_budget=budget)
    for found in (report, nc.measure_features(features, labels, weight, bias)):
        assert found.train.values == pytest.approx(expected.train.values, rel=1e-5)
        interval = found.estimates["nc1_pinv"]
        assert interval.lower < interval.upper
        assert "interval" in str(found)
    state = CollapseState(K, features.shape[1], keep=True)
    state.gather(features, labels)
    state.settle(state.moments.means, [(features, None, labels)])
    assert state.ncc_accuracy == expected["ncc_accuracy"]
    assert state.margins.numel() == 0
    assert nc.measure_head(weight).values["nc2_etf"] == pytest.approx(expected["nc2_etf_head"])
    assert 0 <= nc.generalization.calibration(model(inputs).detach(), labels).ece <= 1
