import random
import weakref
from dataclasses import make_dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement.at_rest import evaluating


def network(generator=0):
    torch.manual_seed(generator)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4)
    )


@pytest.fixture
def model():
    return network()


@pytest.fixture
def data():
    torch.manual_seed(1)
    labels = torch.arange(90) % 4
    return TensorDataset(torch.randn(90, 8) + labels[:, None], labels)


def loader(data, **options):
    return DataLoader(data, batch_size=32, **options)


def features_of(model, data):
    model.eval()
    with torch.no_grad():
        return model[:4](data.tensors[0])


def test_one_pass_equals_features_measured_directly(model, data):
    report = nc.measure(model, loader(data), test_loader=loader(data))
    direct = nc.measure_features(
        features_of(model, data), data.tensors[1], model[4].weight, model[4].bias
    )
    assert set(direct) == {name for name in report if not name.startswith("test_")}
    for name, value in direct.items():
        assert report[name] == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert report[f"test_{name}"] == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_a_second_pass_gives_the_same_when_features_do_not_fit(model, data):
    kept = nc.measure(model, loader(data))
    for budget in (0, 5000):  # no batch fits; the first fits
        assert nc.measure(model, loader(data), feature_budget=budget) == kept
    shuffled = nc.measure(model, loader(data, shuffle=True), feature_budget=0)
    for name, value in kept.items():
        assert shuffled[name] == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_the_network_runs_once(model, data):
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    nc.measure(model, loader(data))
    assert len(passes) == 3


def test_nothing_is_left_behind(model, data):
    model.train()
    model[1].eval()  # a frozen normalisation layer stays frozen
    modes = [module.training for module in model.modules()]
    buffers = {name: value.clone() for name, value in model.named_buffers()}

    def states():
        return torch.get_rng_state().tolist(), np.random.rand()  # noqa: NPY002

    broken = [*loader(data, shuffle=True), "not a batch"]
    for fail in (False, True):
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        if fail:
            with pytest.raises(NeuralCollapseError):
                nc.measure(model, broken)
        else:
            nc.measure(model, loader(data, shuffle=True))
        after = states()
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        assert after == states()
        assert [module.training for module in model.modules()] == modes
        assert all(not module._forward_hooks for module in model.modules())
        assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
        assert all(parameter.requires_grad for parameter in model.parameters())


def test_python_random_state_is_restored_too(model):
    # By itself: the type checker of the test run draws from it when `measure` returns.
    random.seed(5)
    with evaluating(model, None):
        inside = random.random()
    assert random.random() == inside


def test_autocast_changes_features_not_statistics(model, data):
    exact = nc.measure(model, loader(data))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = nc.measure(model, loader(data))
        half = torch.cat([model[:4](x) for x, _ in loader(data)]).detach()
    assert half.dtype == torch.bfloat16
    assert report["nc1_pinv"] == pytest.approx(exact["nc1_pinv"], rel=0.05)
    assert report["nc1_pinv"] != exact["nc1_pinv"]


def test_mapping_batches_and_own_unpacking(model, data):
    expected = nc.measure(model, loader(data))
    mappings = [{"input": x, "labels": y} for x, y in loader(data)]
    assert nc.measure(model, mappings) == expected
    triples = [(y, x, None) for x, y in loader(data)]
    assert nc.measure(model, triples, unpack=lambda batch: (batch[1], batch[0])) == expected


def test_absent_classes_are_named_and_left_out(model, data):
    inputs, labels = data.tensors
    kept = labels != 2
    part = TensorDataset(inputs[kept], labels[kept])
    report = nc.measure(model, loader(part), class_names=["ape", "bee", "cat", "dog"])
    assert report.absent == ["cat"]
    assert "Absent classes, left out: cat" in str(report)
    table = report.per_class.set_index("class")
    assert table.loc["cat", "samples"] == 0
    assert np.isnan(table.loc["cat", "margin_min"])
    direct = nc.measure_features(features_of(model, data)[kept], labels[kept])
    assert report["nc1_pinv"] == pytest.approx(direct["nc1_pinv"], rel=1e-5)


class Fails(nn.Module):
    def forward(self, x):
        return torch.where(x > 1e9, float("nan"), x)


def test_a_bad_batch_is_named(data):
    torch.manual_seed(0)
    model = nn.Sequential(Fails(), nn.Linear(8, 4))
    inputs, labels = data.tensors
    inputs = inputs.clone()
    inputs[40, 3] = 1e10
    with pytest.raises(NonFiniteError, match="features in batch 1: expected finite numbers, got 1"):
        nc.measure(model, loader(TensorDataset(inputs, labels)))


BAD = {
    "empty": ([], {}, "loader: expected at least one batch with samples, got none"),
    "no labels": ([torch.ones(2, 8)], {}, r"batches \(inputs, labels\).*got Tensor; pass unpack="),
    "triple": ([(1, 2, 3)], {}, "got tuple of length 3"),
    "mapping": ([{"input": torch.ones(2, 8)}], {}, "a mapping with keys 'input'"),
    "range": (
        [(torch.ones(2, 8), torch.tensor([0, 4]))],
        {},
        "below 4, the number of .* got labels",
    ),
    "length": ([(torch.ones(2, 8), torch.tensor([0]))], {}, "labels: expected 2 labels"),
    "one class": ([(torch.randn(2, 8), torch.tensor([1, 1]))], {}, "samples of at least 2 classes"),
    "names": (
        [(torch.ones(2, 8), torch.tensor([0, 1]))],
        {"class_names": ["a"]},
        "4 names, one per",
    ),
}


@pytest.mark.parametrize(("batches", "options", "message"), BAD.values(), ids=BAD)
def test_bad_loaders_are_refused(model, batches, options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure(model, batches, **options)


def test_an_iterator_is_read_once_or_refused(model, data):
    report = nc.measure(model, iter(list(loader(data))))
    assert report == nc.measure(model, loader(data))
    with pytest.raises(NeuralCollapseError, match="a loader that can be read only once"):
        nc.measure(model, iter(list(loader(data))), feature_budget=0)


def test_a_loader_that_changes_is_noticed(model, data):
    class Shrinking:
        def __init__(self):
            self.batches = list(loader(data))

        def __iter__(self):
            batches, self.batches = self.batches, self.batches[:1]
            return iter(batches)

    with pytest.raises(NeuralCollapseError, match="the same 90 samples in the second pass, got 32"):
        nc.measure(model, Shrinking(), feature_budget=0)


def test_progress_is_shown_on_request(model, data, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    nc.measure(model, loader(data), progress=True)
    assert "measuring" in capsys.readouterr().err
    nc.measure(model, loader(data), progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("batches", [0, 1])
def test_a_report_with_empty_test_data_is_printed_drawn_and_written(batches, tmp_path):
    x, y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with pytest.warns(UserWarning, match="test data has samples of 0 classes"):
        report = nc.measure(model, [(x, y)], test_loader=[(x[:0], y[:0])] * batches)
    assert "test data of 0 samples" in str(report)
    assert report.per_class["test_distance_to_center"].isna().all()
    report.plot(tmp_path / "r.png")
    report.to_csv(tmp_path / "r.csv")


SCALED = "does not return the logits of its head at their own scale: confidences of test samples"


@pytest.mark.parametrize(
    ("classes", "after", "kept"),
    [
        (4, lambda z: z, True),
        (4, lambda z: z.softmax(1), True),
        (4, lambda z: z.log_softmax(1), True),
        (4, lambda z: z - z.amax(1, keepdim=True), True),
        (4, lambda z: {"logits": z.float().clone(), "loss": z.sum()}, True),
        (4, lambda z: 16 * z, False),
        (4, lambda z: (z / 0.3).softmax(1), False),
        (4, torch.sigmoid, False),
        (1, torch.sigmoid, True),
        (1, lambda z: 3 * z, False),
        (1, lambda z: (3 * z).sigmoid(), False),
    ],
)
def test_confidences_are_those_that_the_network_has(classes, after, kept):
    """Softmax of the head's logits is the network's confidence only if it returns these logits."""

    class Returning(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.fc = nn.Linear(8, 6), nn.Linear(6, classes)

        def forward(self, inputs):
            return after(self.fc(self.body(inputs).relu()))

    torch.manual_seed(0)
    model, inputs = Returning(), torch.randn(60, 8)
    batches = [(inputs, torch.arange(60) % max(classes, 2))]
    report = nc.measure(model, batches, test_loader=batches)
    logs = report.test.state.samples.confidences
    assert any(SCALED in note for note in report.notes) is not kept
    if not kept:
        assert not len(logs)
        return
    logits = model.fc(model.body(inputs).relu())
    sure = logits.softmax(1) if classes > 1 else torch.cat([logits, -logits], 1).sigmoid()
    torch.testing.assert_close(logs.exp(), sure.amax(1), rtol=1e-5, atol=1e-6)
    assert not any(SCALED in note for note in nc.measure(model, batches).notes)


class Reusing:
    """A loader that writes each batch into the memory of the last one."""

    def __init__(self, x, y, form):
        self.x, self.y, self.form = x, y, form

    def __iter__(self):
        buffer, labels = np.zeros((10, self.x.shape[1]), np.float32), torch.zeros(10).long()
        for start in range(0, len(self.x), 10):
            buffer[...] = self.x[start : start + 10]
            labels[...] = self.y[start : start + 10]
            yield self.form(torch.from_numpy(buffer), labels)


def test_a_loader_may_reuse_the_memory_of_its_batches():
    """Features that are the inputs themselves are looked at again, once class means are known."""
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    x[:, 0] += 2 * y
    head = nn.Linear(5, 3)
    truth = nc.measure(head, [(x, y)])["ncc_accuracy"]
    for form in (lambda x, y: (x, y), lambda x, y: {"input": x, "labels": y}):
        assert nc.measure(head, Reusing(x, y, form))["ncc_accuracy"] == truth
    fields = make_dataclass("Fields", ["x", "y"], slots=True)
    for form in (fields, lambda x, y: fields(x.numpy(), y)):
        loader, run = Reusing(x, y, form), lambda model, batch: model(torch.as_tensor(batch.x))
        assert nc.measure(head, loader, forward=run)["ncc_accuracy"] == truth
    pair = Reusing(x, y, lambda x, y: (x, y))
    arrays = nc.extract_features(head, pair)
    assert torch.equal(arrays["features"], x)
    assert torch.equal(arrays["labels"], y)
    assert nc.measure_layers(head, pair, layers=[""])["ncc_accuracy"][-1] == truth
    stream = Reusing(x, y, lambda x, y: (x, y))
    for batches in (stream, iter(stream)):
        again = nc.measure_features(batches, weight=head.weight, bias=head.bias)
        assert again["ncc_accuracy"] == truth


class Static(nn.Module):
    """Writes what enters its head into the same memory in every forward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mixing, self.head = nn.Parameter(torch.randn(5, 4)), nn.Linear(4, 3)
        self.room = torch.zeros(20, 4)

    def forward(self, x):
        with torch.no_grad():
            return self.head(torch.mm(x, self.mixing, out=self.room))


def test_the_logits_of_a_batch_are_gone_before_the_next_are_computed(data):
    """With many classes they are larger than all else; features wait in a copy."""

    logits: list = []

    class Head(nn.Linear):
        def forward(self, x):
            assert all(known() is None for known in logits)
            array = x.numpy() @ self.weight.detach().numpy().T
            logits.append(weakref.ref(array))
            return torch.from_numpy(array)

    network = nn.Sequential(nn.Flatten(), Head(8, 4, bias=False)).eval()
    for budget in (2**20, 0):
        nc.measure(
            network, loader(data), test_loader=loader(data), feature_budget=budget, intervals=False
        )
    assert len(logits) == 3 * (2 + 3)


def test_a_network_may_reuse_the_memory_of_its_features():
    x, y = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
    model, batches = Static(), [*zip(x.split(20), y.split(20), strict=True)]
    features = (x @ model.mixing).detach()
    truth = nc.measure_features(features, y, model.head.weight, model.head.bias)
    report = nc.measure(model, batches, test_loader=batches)
    for name, value in truth.items():
        assert report[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    torch.testing.assert_close(nc.extract_features(model, batches)["features"], features)
    last = nc.measure_layers(model, batches, layers=["head"])  # and what enters it
    assert last["ncc_accuracy"][-1] == truth["ncc_accuracy"]


@pytest.mark.parametrize("options", [{"max_batches": 2}, {}])
def test_a_second_pass_sees_the_samples_of_the_first(options):
    """A shuffled loader that leaves some out: means and decisions are of the same ones."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 6, generator=generator), torch.arange(300) % 3
    model = nn.Linear(6, 3)
    found = []
    for budget in (2**30, 0):
        torch.manual_seed(1)
        loader = DataLoader(TensorDataset(x, y), shuffle=True, batch_size=70, drop_last=True)
        found.append(nc.measure(model, loader, feature_budget=budget, **options))
    for name in ("ncc_accuracy", "nc4_agreement", "accuracy"):
        assert found[0][name] == found[1][name]


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"device": "abc"}, "device: expected a device of torch that is here, got 'abc'"),
        ({"unpack": 3}, "unpack: expected a function, or None, got int"),
        ({"forward": "call"}, "forward: expected a function, or None, got str"),
    ],
)
def test_options_that_cannot_be_used_are_named(model, data, option, message):
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure(model, loader(data), **option)
