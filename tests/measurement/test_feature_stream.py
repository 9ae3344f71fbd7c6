"""Features of any framework, extracted or streamed, give the report of `measure`."""

import numpy as np
import pytest
import torch
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(90) % 3
    inputs = torch.randn(90, 6, generator=generator) + labels[:, None]
    return list(zip(inputs.split(30), labels.split(30), strict=True))


def close(report, wanted):
    assert set(report) == set(wanted)
    for name, value in wanted.items():
        assert report[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_extracted_features_are_the_arguments_of_measure_features(network, batches, tmp_path):
    arrays = nc.extract_features(network, batches)
    inputs = torch.cat([x for x, _ in batches])
    torch.testing.assert_close(arrays["features"], network[:2](inputs).detach())
    close(nc.measure_features(**arrays), nc.measure(network, batches))
    nc.measurement.write_features(tmp_path / "f.npz", **arrays)
    read = nc.measurement.read_features(tmp_path / "f.npz")
    close(nc.measure_features(**read), nc.measure(network, batches))
    assert len(nc.extract_features(network, batches, max_batches=2)["labels"]) == 60
    with pytest.raises(NeuralCollapseError, match="at least one batch with samples"):
        nc.extract_features(network, [])


class Stream:
    """Makes its batches as it is read, in arrays of numpy."""

    def __init__(self, arrays, logits):
        self.arrays, self.logits, self.times = arrays, logits, 0

    def __iter__(self):
        self.times += 1
        x, y, w, b = (
            self.arrays[name].numpy() for name in ("features", "labels", "weight", "bias")
        )
        for start in range(0, len(x), 16):
            rows, true = x[start : start + 16], y[start : start + 16]
            yield (rows, true, rows @ w.T + b) if self.logits else (rows, true)


@pytest.mark.parametrize("budget", [2**20, 0])
@pytest.mark.parametrize("logits", [True, False])
def test_a_stream_gives_the_report_of_the_whole(network, batches, logits, budget):
    arrays = nc.extract_features(network, batches)
    stream, wanted = Stream(arrays, logits), nc.measure_features(**arrays)
    head = (arrays["weight"], arrays["bias"])
    report = nc.measure_features(stream, None, *head, feature_budget=budget, test_features=stream)
    close(report.train.values, wanted)
    assert stream.times == (2 if budget else 3)
    assert report["test_nc1_pinv"] == pytest.approx(report["nc1_pinv"])
    if logits:
        alone = nc.measure_features(stream)
        assert alone["accuracy"] == pytest.approx(wanted["accuracy"])
        assert alone["nc4_agreement"] == pytest.approx(wanted["nc4_agreement"])


def test_streams_that_do_not_tell_enough_are_refused():
    rows = (np.ones((2, 3)), np.array([0, 1]))
    with pytest.raises(NeuralCollapseError, match="one name per class, for a stream without"):
        nc.measure_features([rows])
    with pytest.raises(
        NeuralCollapseError, match=r"batches \(features, labels\) or .* got ndarray"
    ):
        nc.measure_features(np.ones((2, 3)), class_names="ab")
    with pytest.raises(NeuralCollapseError, match="a stream that can be read only once"):
        nc.measure_features(iter([rows]), class_names="ab", feature_budget=0)
    with pytest.raises(NeuralCollapseError, match="at least one batch, got none"):
        nc.measure_features([], class_names="ab")


@pytest.mark.parametrize("name", ["logits", "test_logits", "test_labels"])
def test_what_a_stream_would_not_read_is_refused(name):
    features, labels = torch.randn(6, 2), torch.arange(6) % 3
    with pytest.raises(NeuralCollapseError, match=f"{name}: expected none beside a stream"):
        nc.measure_features([(features, labels)], weight=torch.randn(3, 2), **{name: labels})


@pytest.mark.parametrize("weight", [None, torch.eye(3, 2)])
def test_logits_of_some_batches_alone_are_refused(weight):
    features, labels, logits = torch.randn(6, 2), torch.arange(6) % 3, torch.randn(6, 3)
    stream = [(features, labels, logits), (features, labels)]
    with pytest.raises(NeuralCollapseError, match="expected logits in every batch, or in none"):
        nc.measure_features(stream, weight=weight)
