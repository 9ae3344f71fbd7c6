"""What a GPU does to a measurement and to training: nothing but round-off."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import neuralcollapse as nc
from neuralcollapse.training import TrainConfig, run, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CLASSES = 4


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES)
    )


@pytest.fixture
def data():
    torch.manual_seed(1)
    labels = torch.arange(90) % CLASSES
    return TensorDataset(torch.randn(90, 8) + labels[:, None], labels)


@pytest.fixture
def loader(data):
    return DataLoader(data, batch_size=32)


def same(report, expected, rel=1e-3, abs=1e-4):
    assert set(report) == set(expected)
    for name, value in expected.items():
        assert report[name] == pytest.approx(value, rel=rel, abs=abs, nan_ok=True), name


def test_a_network_on_the_cpu_is_measured_on_the_gpu_and_stays_where_it_was(model, loader):
    report = nc.measure(model, loader, test_loader=loader, device="cuda")
    assert next(model.parameters()).device.type == "cpu"
    same(report, nc.measure(model, loader, test_loader=loader))


def test_a_network_on_the_gpu_is_measured_there(model, loader):
    expected = nc.measure(model, loader)
    report = nc.measure(model.cuda(), loader)
    assert next(model.parameters()).device.type == "cuda"
    same(report, expected)


def test_features_that_do_not_fit_are_computed_again(model, loader):
    whole = nc.measure(model.cuda(), loader)
    same(nc.measure(model, loader, feature_budget=0), whole, rel=1e-5, abs=1e-6)


def test_measuring_changes_no_random_state_and_no_weight(model, loader):
    model.cuda().train()
    before, state = copy.deepcopy(model.state_dict()), torch.cuda.get_rng_state()
    nc.measure(model, loader)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_moments_of_a_stream_are_those_of_the_cpu(dtype):
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(600) % 5
    # A mean far from 0, where sums of squares in low precision lose their digits.
    features = (torch.randn(600, 12, generator=generator) + 10 + labels[:, None]).to(dtype)
    there, here = nc.ClassMoments(5, 12), nc.ClassMoments(5, 12)
    for rows in torch.arange(600).split(100):
        there.update(features[rows].cuda(), labels[rows].cuda())
        here.update(features[rows], labels[rows])
    for name in ("means", "within"):
        expected, found = getattr(here, name).double(), getattr(there, name).double().cpu()
        assert torch.linalg.norm(found - expected) <= 1e-6 * torch.linalg.norm(expected), name


def test_features_that_nearly_collapse_keep_their_digits():
    generator = torch.Generator().manual_seed(3)
    means = 5 * torch.randn(6, 32, generator=generator)
    labels = torch.arange(1200) % 6
    features = means[labels] + 1e-5 * torch.randn(1200, 32, generator=generator)
    expected = nc.measure_features(features.double(), labels, means)["nc1_pinv"]
    report = nc.measure_features(features.cuda(), labels.cuda(), means.cuda())
    assert report["nc1_pinv"] == pytest.approx(expected, rel=1e-2)


def test_logits_in_tensor_float_are_still_those_of_the_head(model, loader):
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        report = nc.measure(model.cuda(), loader)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    same(report, nc.measure(model, loader), rel=2e-2, abs=1e-2)


def test_under_autocast_a_report_is_near_that_without(model, loader):
    model.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        report = nc.measure(model, loader)
    assert report["nc1_trace_ratio"] == pytest.approx(
        nc.measure(model, loader)["nc1_trace_ratio"], rel=0.05
    )


def test_metrics_kept_on_the_gpu_are_those_of_a_measurement(model, data):
    model.cuda()
    metrics = nc.CollapseMetrics(CLASSES, 16).cuda()
    with nc.FeatureTap(model) as tap, torch.no_grad():
        model.eval()
        for inputs, labels in DataLoader(data, batch_size=32):
            model(inputs.cuda())
            metrics.update(tap.take()[0], labels.cuda())
    report = nc.measure(model, DataLoader(data, batch_size=32))
    assert float(metrics.compute()["nc1_trace_ratio"]) == pytest.approx(
        report["nc1_trace_ratio"], rel=1e-5
    )


def test_features_on_the_gpu_and_a_head_on_the_cpu_go_together(model, data):
    features, labels = torch.randn(90, 16, device="cuda"), data.tensors[1]
    weight, bias = model[4].weight.detach(), model[4].bias.detach()
    report = nc.measure_features(features, labels, weight, bias)
    same(report, nc.measure_features(features.cpu(), labels, weight, bias))


def test_a_loop_that_is_watched_on_the_gpu_trains_as_it_would_alone(model, loader):
    states = []
    begin = copy.deepcopy(model.state_dict())
    for watched in (False, True):
        model.cuda().load_state_dict(begin)
        torch.manual_seed(4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        with nc.watch(model, loader, schedule="full") as collapse:
            for _ in range(3):
                model.train()
                for inputs, labels in loader:
                    optimizer.zero_grad()
                    cross_entropy(model(inputs.cuda()), labels.cuda()).backward()
                    optimizer.step()
                if watched:
                    collapse.epoch_end()
        states.append([tensor.clone() for tensor in model.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert collapse.records[-1]["nc1_trace_ratio"] == pytest.approx(
        nc.measure(model, loader)["nc1_trace_ratio"], rel=1e-5
    )


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    config = TrainConfig(width=0.125, epochs=4, per_class=20, batch_size=50)
    options = {"accelerator": "cuda", "progress": False, "checkpoint_every": 1}
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    whole = train(config, tmp_path / "whole", **options)
    original = run.train_epoch

    def train_epoch(number, *arguments):
        if number > 2:
            raise KeyboardInterrupt
        return original(number, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train_epoch", train_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "stopped", **options)
    ended = train(config, tmp_path / "stopped", resume=True, **options)
    assert [record["epoch"] for record in ended] == [1, 2, 3, 4]
    for record, expected in zip(ended, whole, strict=True):
        assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
        assert record["nc1_trace_ratio"] == pytest.approx(expected["nc1_trace_ratio"], rel=1e-2)


@pytest.mark.parametrize("precision", ["32", "bf16", "auto"])
def test_training_lowers_the_loss_at_every_precision(tmp_path, precision):
    config = TrainConfig(
        net="resnet18", width=0.125, epochs=4, per_class=20, batch_size=50, precision=precision
    )
    records = train(config, tmp_path, accelerator="cuda", channels_last=True, progress=False)
    assert records[-1]["train_loss"] < records[0]["train_loss"]
