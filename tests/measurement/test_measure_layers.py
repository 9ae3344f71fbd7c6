import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement.layer_profile import LayerProfile, LayerValues
from neuralcollapse.training import build_network
from neuralcollapse.training.networks import MLP


def naive(features, labels):
    """NC1, NC1~, fuzziness, effective rank and nearest-mean accuracy, class by class."""
    h, labels = features.double().numpy(), labels.numpy()
    classes = np.unique(labels)
    means = np.stack([h[labels == k].mean(0) for k in classes])
    shares = np.array([(labels == k).mean() for k in classes])
    within = sum(
        share * np.cov(h[labels == k].T, bias=True)
        for k, share in zip(classes, shares, strict=True)
    )
    spread = means - means.mean(0)
    between = spread.T @ spread / len(classes)
    apart = means - h.mean(0)
    weighted = (apart * shares[:, None]).T @ apart
    spectrum = np.linalg.eigvalsh(np.cov(h.T, bias=True)).clip(1e-300)
    spectrum = spectrum / spectrum.sum()
    nearest = ((h[:, None] - means) ** 2).sum(2).argmin(1)
    return {
        "nc1_pinv": np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(classes),
        "nc1_trace_ratio": np.trace(within) / np.trace(between),
        "separation_fuzziness": np.trace(within @ np.linalg.pinv(weighted, rcond=1e-10)),
        "effective_rank": np.exp(-(spectrum * np.log(spectrum)).sum()),
        "ncc_accuracy": (classes[nearest] == labels).mean(),
    }


def compare(layer, expected, rel=1e-4):
    for name, value in expected.items():
        assert getattr(layer, name) == pytest.approx(value, rel=rel), name


@pytest.fixture
def data(generator):
    """Unequal classes, three of them, in 6 dimensions."""
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)[torch.randperm(60, generator=generator)]
    means = 2 * torch.randn(3, 6, generator=generator)
    return means[labels] + torch.randn(60, 6, generator=generator), labels


def batches(data, size):
    return list(zip(*(part.split(size) for part in data), strict=True))


def test_every_layer_against_loops(data):
    model = MLP(6, [9, 8, 7], 3)
    model.train()(data[0])  # gives the batch norms something to remember
    profile = nc.measure_layers(model, batches(data, 25))
    hidden, expected = data[0], []
    model.eval()
    with torch.no_grad():
        for layer in model.features:
            hidden = layer(hidden.clone())
            if isinstance(layer, nn.ReLU):
                expected.append(naive(hidden, data[1]))
    assert [layer.layer for layer in profile] == ["features.3", "features.6", "features.9"]
    assert [layer.dim for layer in profile] == [9, 8, 7]
    for layer, values in zip(profile, expected, strict=True):
        compare(layer, values)
    assert (profile.num_samples, profile.num_classes) == (60, 3)


def test_the_last_layer_is_what_measure_sees(data):
    model = MLP(6, [9, 8], 3)
    report, last = nc.measure(model, [data]), list(nc.measure_layers(model, [data]))[-1]
    for name in ("nc1_pinv", "nc1_trace_ratio", "ncc_accuracy"):
        # Float32 sums, which `measure` takes by groups of samples first.
        assert getattr(last, name) == pytest.approx(report[name], rel=1e-6)


@pytest.mark.parametrize("rotate", [False, True])
def test_a_linear_network_has_the_profile_that_its_weights_say(rotate, generator):
    # Class means lie in the first two coordinates, deviations in the last three, and also in the
    # first two; every layer multiplies the last three by 0.6 and the first two by 1.5, in a basis
    # of its own. Deviations within the span of the means keep their ratio to them; the fuzziness
    # sees these only, the ratio of traces sees both.
    means = torch.tensor([[1.0, 0, 0, 0, 0], [-1.0, 1, 0, 0, 0], [0.0, -1, 0, 0, 0]])
    labels = torch.arange(300) % 3
    noise = 0.3 * torch.randn(300, 5, generator=generator)
    for k in range(3):
        noise[labels == k] -= noise[labels == k].mean(0)
    inputs = means[labels] + noise
    bases = [torch.eye(5)] + [
        torch.linalg.qr(torch.randn(5, 5, generator=generator))[0] if rotate else torch.eye(5)
        for _ in range(4)
    ]
    gain = torch.diag(torch.tensor([1.5, 1.5, 0.6, 0.6, 0.6]))
    model = nn.Sequential(*[nn.Linear(5, 5, bias=False) for _ in range(4)], nn.Linear(5, 3))
    for layer, before, after in zip(model, bases, bases[1:], strict=False):
        layer.weight.data = after @ gain @ before.T
    profile = nc.measure_layers(model, [(inputs, labels)])
    assert len(profile) == 4
    inside, outside = noise[:, :2].square().sum() / 300, noise[:, 2:].square().sum() / 300
    apart = (means - means.mean(0)).square().sum() / 3
    start = naive(inputs, labels)["separation_fuzziness"]
    for depth, layer in enumerate(profile, 1):
        ratio = (inside + outside * 0.4 ** (2 * depth)) / apart
        assert layer.nc1_trace_ratio == pytest.approx(float(ratio), rel=1e-4)
        assert layer.separation_fuzziness == pytest.approx(start, rel=1e-4)
    assert profile.law.ratio == pytest.approx(1, abs=1e-4)


def test_layers_that_shrink_the_deviations_keep_the_law_exactly():
    # x -> mean + (x - mean) / 2 in the one direction of the means: D falls by 4 a layer.
    class Shrink(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Identity()  # what has no parts is no block

        def forward(self, x):
            return torch.sign(x) + (x - torch.sign(x)) / 2

    body = nn.Sequential(*[Shrink() for _ in range(5)])
    model = nn.Sequential(body, nn.Linear(1, 2))
    inputs = torch.tensor([[0.5], [1.5], [-0.5], [-1.5]]).double()
    profile = nc.measure_layers(model.double(), [(inputs, torch.tensor([0, 0, 1, 1]))])
    np.testing.assert_allclose(profile["separation_fuzziness"], 0.25 ** np.arange(2, 7), rtol=1e-12)
    assert profile.law.ratio == pytest.approx(0.25, rel=1e-10)
    assert profile.law.initial == pytest.approx(0.25, rel=1e-10)
    assert profile.law.r_squared == pytest.approx(1)
    assert "falls by a factor of 4 per layer on average; close to the same" in str(profile)


def test_batches_do_not_matter(data):
    model = MLP(6, [9, 8], 3).eval()
    whole, parts = (nc.measure_layers(model, batches(data, size)) for size in (60, 7))
    for a, b in zip(whole, parts, strict=True):
        compare(b, {name: getattr(a, name) for name in ("nc1_pinv", "effective_rank")}, 1e-5)


def test_an_in_place_layer_does_not_change_the_one_before(data):
    model = MLP(6, [9], 3).eval()
    (norm, *_), (relu, *_) = (nc.measure_layers(model, [data], [name]) for name in
                              ("features.2", "features.3"))  # fmt: skip
    with torch.no_grad():
        compare(norm, naive(model.features[:3](data[0]), data[1]))
    assert norm.nc1_pinv != relu.nc1_pinv


class Convolutions(nn.Module):
    def __init__(self, reuse=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 4, 3)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4, 3)
        self.reuse = reuse

    def forward(self, x):
        x = self.relu(self.first(x))
        if self.reuse:
            x = self.relu(x - 0.1)
        return self.head(self.relu(self.second(x)).amax((2, 3)))


@pytest.fixture
def maps(generator):
    labels = torch.arange(60) % 3
    return torch.randn(60, 2, 4, 4, generator=generator) + labels[:, None, None, None], labels


@pytest.mark.parametrize(
    ("spatial", "reduce"),
    [
        ("mean", lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3])),
        ("flatten", lambda x: x.reshape(len(x), -1)),
        (lambda x: x[:, :, 0, 0], lambda x: x[:, :, 0, 0]),
    ],
    ids=["mean", "flatten", "function"],
)
def test_maps_become_features(maps, spatial, reduce):
    model = Convolutions()
    profile = nc.measure_layers(model, [maps], ["second", "first"], pool=spatial)
    assert [layer.layer for layer in profile] == ["first", "second", "input of head"]
    with torch.no_grad():
        outputs = model.first(maps[0])
        compare(next(iter(profile)), naive(reduce(outputs), maps[1]), 1e-3)
        top = model.relu(model.second(model.relu(outputs))).amax((2, 3))
        compare(list(profile)[2], naive(top, maps[1]), 1e-3)


def test_a_module_called_twice_is_two_layers(maps):
    profile = nc.measure_layers(Convolutions(reuse=True), [maps])
    names = ["relu", "relu (call 2)", "relu (call 3)", "input of head"]
    assert [layer.layer for layer in profile] == names


def test_tokens_are_averaged(generator):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return {"logits": self.head(self.layer(x)[:, 0])}

    x, labels = torch.randn(20, 3, 4, generator=generator), torch.arange(20) % 2
    model = Tokens().eval()
    layer, top = nc.measure_layers(model, [(x, labels)], ["layer"])
    with torch.no_grad():
        compare(layer, naive(model.layer(x).mean(1), labels), 1e-3)
        compare(top, naive(model.layer(x)[:, 0], labels), 1e-3)


def test_the_network_runs_once_and_is_left_as_it_was(data):
    model = MLP(6, [9, 8], 3).train()
    seen = []
    model.register_forward_hook(lambda *_: seen.append(model.training))
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    nc.measure_layers(model, batches(data, 20), feature_budget=0)
    assert seen == [False] * 3
    assert model.training
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks


def test_without_room_for_features_there_is_no_accuracy_but_everything_else(data):
    model = MLP(6, [9, 8], 3)
    kept, dropped = (
        nc.measure_layers(model, batches(data, 20), feature_budget=budget) for budget in (2**20, 99)
    )
    assert all(math.isnan(value) for value in dropped["ncc_accuracy"])
    assert not any(math.isnan(value) for value in kept["ncc_accuracy"])
    assert dropped["nc1_pinv"] == kept["nc1_pinv"]
    assert "nearest" not in "".join(dropped.readings())


class Odd(nn.Module):
    """A layer whose output `make` chooses, before a head."""

    def __init__(self, make):
        super().__init__()
        self.layer, self.head, self.make = Made(make), nn.Linear(6, 3), make

    def forward(self, x):
        self.layer(x)
        return self.head(x)


class Made(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x[:3], r"layer layer: expected features of shape \(60, d\), .* got \(3, 6\)"),
        (lambda x: x.sum(), r"layer layer: expected features of shape \(60, d\), .* got \(\)"),
        (lambda x: "text", "layer layer: expected a tensor as output, got str; leave it out"),
    ],
)
def test_outputs_that_are_no_features_are_refused(data, make, message):
    model = Odd(make)
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_layers(model, [data], ["layer"])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_tuple_is_taken_by_its_first_tensor(data):
    layer, *_ = nc.measure_layers(Odd(lambda x: (None, [2 * x])), [data], ["layer"])
    compare(layer, naive(2 * data[0], data[1]))


def test_nan_names_the_layer(data):
    with pytest.raises(NonFiniteError, match=r"layer layer: expected .*; find"):
        nc.measure_layers(Odd(lambda x: x / 0 * 0), [data], ["layer"])


def test_scatters_too_large_for_their_budget_are_refused(data):
    with pytest.raises(
        NeuralCollapseError,
        match=r"scatter_budget: expected at least 1,160 bytes for the scatters of 2 layers, got "
        r"1,000; the widest is features.3 with 9 features: use pool='mean'",
    ):
        nc.measure_layers(MLP(6, [9, 8], 3), [data], scatter_budget=1000)


def test_calls_that_come_and_go_are_refused(data):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.layer(x) if len(x) > 10 else x)

    with pytest.raises(NeuralCollapseError, match=r"same calls .* got .*layer in some only; leave"):
        nc.measure_layers(Moody(), batches(data, 55), ["layer"])


def test_an_empty_loader_is_refused():
    with pytest.raises(NeuralCollapseError, match="loader: expected at least one batch"):
        nc.measure_layers(MLP(6, [9], 3), [])


def test_the_table_the_frame_and_the_picture(tmp_path, data, capsys):
    profile = nc.measure_layers(MLP(6, [9, 8, 7, 5], 3), [data], progress=True)
    frame = profile.to_frame()
    assert frame["depth"].tolist() == [1, 2, 3, 4]
    assert frame["nc1_pinv"].tolist() == profile["nc1_pinv"]
    text = str(profile)
    assert "Collapse by layer of 60 samples, 3 classes" in text
    assert all(name in text for name in frame["layer"])
    assert "at collapse, 2." in text
    assert repr(profile) == "LayerProfile(4 layers, 60 samples)"
    drawing = profile.plot(tmp_path / "layers.png")
    height, width = imread(tmp_path / "layers.png").shape[:2]
    assert (width, height) == (1650, 1200)
    measured, law = drawing.axes[0].lines
    np.testing.assert_allclose(measured.get_ydata(), profile["separation_fuzziness"])
    assert law.get_ydata()[0] == pytest.approx(profile.law.at(1))


@pytest.mark.parametrize(
    ("accuracies", "sentence"),
    [
        ([1.0, 0.9, 1.0, 1.0], r"From depth 3 (c) on, the nearest class mean is right for all"),
        ([1.0] * 4, r"From depth 1 (a) on"),
        ([0.5, 1.0, 1.0, 0.75], r"is right for 75 % at the last layer."),
    ],
)
def test_what_is_said_of_the_nearest_mean(accuracies, sentence):
    layers = [
        LayerValues(n, 2, 1.0, 1.0, 1.0, 1.0, a) for n, a in zip("abcd", accuracies, strict=True)
    ]
    assert sentence in LayerProfile(tuple(layers), 9, 3).readings()[-1]


def test_a_profile_without_accuracy_or_law_can_be_drawn(data):
    profile = nc.measure_layers(MLP(6, [9], 3), [data], feature_budget=0)
    assert profile.law is None
    assert "Too few layers" in str(profile)
    drawing = profile.plot()
    assert [text.get_text() for text in drawing.axes[3].texts] == [
        "the features were too many to keep"
    ]


def test_networks_of_every_kind_are_profiled(generator):
    images, labels = torch.randn(40, 1, 8, 8, generator=generator), torch.arange(40) % 4
    for name in ("cnn", "vgg11", "resnet18", "densenet40"):
        network = build_network(name, (1, 8, 8), 4, width=0.0625)
        profile = nc.measure_layers(network, [(images, labels)])
        # Only a DenseNet has something between its last block and the average: its last ReLU.
        ends_at_head = profile.to_frame()["layer"].iloc[-1] == "input of head"
        assert ends_at_head == (name == "densenet40")
