"""Every kind of head is read as it is applied, and found among what else runs."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.ao.nn.quantized import dynamic
from torch.nn.functional import linear, normalize
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import FeatureTap
from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.head import as_it_stands, read_head
from neuralcollapse.measurement.layer_call import LayerCall
from neuralcollapse.training import FixedHead

K, DIM = 3, 6


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", amount=0.5)


def old(wrap):
    def make(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a successor
            return wrap(layer)

    return make


class NoBias(nn.Module):
    """A layer without an attribute `bias`."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(K, DIM))

    def forward(self, x):
        return linear(x, self.weight)


class Rows(nn.Module):
    """A matrix under another name, and turned."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(DIM, K))

    def forward(self, x):
        return x @ self.kernel + 1.0


class Low(nn.Linear):
    """An adapter that is a subclass: its weight is the base."""

    def __init__(self):
        super().__init__(DIM, K)
        self.a, self.b = nn.Parameter(torch.randn(2, DIM)), nn.Parameter(torch.randn(K, 2))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return super().forward(x) + self.dropout(x) @ self.a.T @ self.b.T


class Cosine(nn.Module):
    def __init__(self, scale=7.0):
        super().__init__()
        self.prototypes, self.scale = nn.Parameter(torch.randn(K, DIM)), scale

    def forward(self, x):
        return self.scale * linear(normalize(x), normalize(self.prototypes))


HEADS = {
    "linear": lambda: nn.Linear(DIM, K),
    "fixed": lambda: FixedHead(nc.simplex_etf(K, DIM)),
    "weight norm": lambda: parametrizations.weight_norm(nn.Linear(DIM, K)),
    "weight norm, old": lambda: old(weight_norm)(nn.Linear(DIM, K)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(DIM, K)),
    "spectral norm, old": lambda: old(spectral_norm)(nn.Linear(DIM, K)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(DIM, K)),
    "pruned": lambda: pruned(nn.Linear(DIM, K)),
    "no attribute bias": NoBias,
    "other name": Rows,
    "adapter": Low,
    "cosine": Cosine,
}


class Network(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(4, DIM), nn.Tanh()), head

    def forward(self, x):
        return self.head(self.body(x))


def network(kind):
    torch.manual_seed(0)
    return Network(HEADS[kind]())


def batches(rows=60, classes=K):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % classes
    inputs = torch.randn(rows, 4, generator=generator) + labels[:, None]
    return list(zip(inputs.split(20), labels.split(20), strict=True))


@pytest.mark.parametrize("kind", HEADS)
def test_logits_are_products_with_the_weight_that_is_applied(kind):
    model = network(kind)
    state = copy.deepcopy(model.state_dict())
    report = nc.measure(model, batches())
    model.eval()
    inputs, labels = (torch.cat(part) for part in zip(*batches(), strict=True))
    with torch.no_grad():
        features, logits = model.body(inputs), model(inputs)
    assert any("scaled to norm 1" in note for note in report.notes) == (kind == "cosine")
    if kind == "cosine":
        features = normalize(features)
        torch.testing.assert_close(
            report.weight.norm(dim=1).double(), torch.full((K,), 7.0).double()
        )
    bias = 0 if report.bias is None else report.bias.double()
    expected = features.double() @ report.weight.double().T + bias
    torch.testing.assert_close(expected, logits.double(), atol=2e-5, rtol=1e-4)
    assert report["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    direct = nc.measure_features(features, labels, report.weight, report.bias)
    for name in ("nc3_self_duality", "nc2_etf_head", "margin_normalized", "nc1_pinv"):
        assert report[name] == pytest.approx(direct[name], rel=1e-3, abs=1e-5), name
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("mode", ["pass", "batches"])
@pytest.mark.parametrize("kind", HEADS)
def test_every_head_is_watched_and_trains_on(kind, mode):
    states = []
    for watched in (False, True):
        torch.manual_seed(0)
        model, data = network(kind), batches()
        watch = nc.watch(model, data, mode=mode) if watched else None
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, labels in watch.batches() if watched else data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
        if watched:
            record = watch.epoch_end()
            assert record["nc3_self_duality"] > 0
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_a_layer_with_one_logit_has_two_classes():
    torch.manual_seed(0)
    model = Network(nn.Linear(DIM, 1))
    data = [(x, y[:, None].float()) for x, y in batches(classes=2)]  # as binary losses take them
    report = nc.measure(model, data)
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    torch.testing.assert_close(report.weight, torch.cat([-weight / 2, weight / 2]))
    torch.testing.assert_close(report.bias, torch.cat([-bias / 2, bias / 2]))
    inputs, labels = (torch.cat(part) for part in zip(*batches(classes=2), strict=True))
    right = (model(inputs).squeeze(1) > 0) == labels.bool()
    assert report["accuracy"] == pytest.approx(float(right.float().mean()))


def test_pixels_and_tied_embeddings():
    torch.manual_seed(0)
    maps = nn.Sequential(nn.Conv2d(3, DIM, 3, padding=1), nn.Tanh(), nn.Conv2d(DIM, K, 1))
    images, labels = torch.randn(4, 3, 5, 5), torch.randint(K, (4, 5, 5))
    report = nc.measure(maps, [(images, labels)])
    rows = maps[:2](images).detach().permute(0, 2, 3, 1).reshape(-1, DIM)
    direct = nc.measure_features(
        rows, labels.flatten(), maps[2].weight.flatten(1).detach(), maps[2].bias.detach()
    )
    for name, value in direct.items():
        assert report[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    words = nn.Embedding(9, DIM)
    language = nn.Sequential(words, nn.Tanh(), nn.Linear(DIM, 9, bias=False))
    language[2].weight = words.weight
    ids = torch.randint(9, (8, 5))
    report = nc.measure(language, [(ids, ids)])
    assert torch.equal(report.weight, words.weight.detach())
    assert report.train.moments.num_samples == 40


def test_the_adapters_of_peft_are_read_as_applied():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    for merged, dora in ((False, False), (True, False), (False, True)):
        config = peft.LoraConfig(target_modules=["head"], r=2, lora_dropout=0.5, use_dora=dora)
        model = peft.get_peft_model(Network(nn.Linear(DIM, K)), config)
        layer = model.base_model.model.head
        nn.init.normal_(layer.lora_B["default"].weight)
        if merged:
            layer.merge()
        base = layer.base_layer.weight.detach().clone()
        report = nc.measure(model, batches())
        with torch.no_grad():
            model.eval()
            eye = layer(torch.eye(DIM)) - layer(torch.zeros(1, DIM))
        torch.testing.assert_close(report.weight, eye.T)
        assert merged or not torch.allclose(report.weight, base)
        assert layer.merged == merged
        assert torch.equal(layer.base_layer.weight, base)
    with pytest.raises(NeuralCollapseError) as error:
        nc.measure(nn.Sequential(model, nn.Softmin(1)), batches())  # which turns decisions round
    assert "head'" in str(error.value)
    assert "lora" not in str(error.value)
    assert "base_layer" not in str(error.value)
    part = r"expected a whole layer, got '[\w.]*head\.base_layer', a part of .*; pass head='"
    with pytest.raises(NeuralCollapseError, match=part):
        nc.measure(model, batches(), head=layer.base_layer)
    saved = peft.LoraConfig(target_modules=["body.0"], modules_to_save=["head"])
    model = peft.get_peft_model(Network(nn.Linear(DIM, K)), saved)
    assert nc.measure(model, batches()).weight.shape == (K, DIM)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quantised_and_meta_weights():
    torch.manual_seed(0)
    model = network("linear")
    exact = nc.measure(model, batches())
    if "fbgemm" in torch.backends.quantized.supported_engines:
        packed = Network(dynamic.Linear.from_float(_with_qconfig(model.head)))
        packed.body = model.body
        report = nc.measure(packed, batches())
        torch.testing.assert_close(report.weight, exact.weight, atol=0.02, rtol=0)
        assert report["nc3_self_duality"] == pytest.approx(exact["nc3_self_duality"], rel=0.1)
    with pytest.raises(NeuralCollapseError, match="head 'head': expected a weight with numbers"):
        nc.measure(network("linear").to("meta"), [(x.to("meta"), y) for x, y in batches()])


def _with_qconfig(layer):
    layer = copy.deepcopy(layer)
    layer.qconfig = torch.ao.quantization.default_dynamic_qconfig
    return layer


class Squared(nn.Linear):
    """Its logits are no product with a weight."""

    def forward(self, x):
        return super().forward(x).square()


def test_logits_of_no_weight_are_measured_without_it():
    torch.manual_seed(0)
    model = Network(Squared(DIM, K))
    with pytest.warns(UserWarning, match=r"'head' \(Squared\) are not h W\^T \+ b of a weight"):
        report = nc.measure(model, batches())
    assert report.weight is None
    assert "nc3_self_duality" not in report
    assert "nc4_agreement" in report
    inputs, labels = (torch.cat(part) for part in zip(*batches(), strict=True))
    right = model.eval()(inputs).argmax(1) == labels
    assert report["accuracy"] == pytest.approx(float(right.float().mean()))


class Returning(nn.Module):
    """Class scores, and whatever `wrap` returns beside them."""

    def __init__(self, wrap):
        super().__init__()
        self.f, self.cls, self.box = nn.Linear(4, DIM), nn.Linear(DIM, K), nn.Linear(DIM, 4)
        self.same, self.wrap = nn.Linear(DIM, K), wrap

    def forward(self, x):
        h = self.f(x).relu()
        return self.wrap(self, h, self.cls(h))


CLEAR = {
    "features": lambda m, h, z: (z, h),
    "probabilities and features": lambda m, h, z: {"p": z.softmax(1), "h": h},
    "temperature": lambda m, h, z: z / 0.07,
    "boxes not of a layer": lambda m, h, z: (z.log_softmax(1), h[:, :4].cumsum(1)),
    "attention": lambda m, h, z: (z, torch.rand(len(h), 2, 5, 5)),
    "logits by name beside a box": lambda m, h, z: {"logits": z, "box": m.box(h)},
    "half": lambda m, h, z: z.bfloat16(),
    "reshaped": lambda m, h, z: z.view(len(z), K, 1).squeeze(2),
}
UNCLEAR = {
    "scores and box": lambda m, h, z: (z.softmax(1), m.box(h)),
    "two heads": lambda m, h, z: (z, m.same(h)),
    "an average of two": lambda m, h, z: (z + m.same(h)) / 2,
    "prototypes": lambda m, h, z: (
        -torch.cdist(z, torch.tensor([[0.0, 3, 0], [1, 0, 0], [0, 0, -2]]))
    ),
    "logits of nothing": lambda m, h, z: {"logits": z.cos(), "aux": z},
    "another opinion": lambda m, h, z: (z, z.flip(1)),
}


@pytest.mark.parametrize("wrap", CLEAR.values(), ids=CLEAR)
def test_other_outputs_make_nothing_ambiguous(wrap):
    torch.manual_seed(0)
    model = Returning(wrap)
    with FeatureTap(model) as tap, torch.no_grad():
        model(torch.randn(30, 4))
        tap.take()
    assert tap.name == "cls"


@pytest.mark.parametrize("wrap", UNCLEAR.values(), ids=UNCLEAR)
def test_what_no_head_alone_explains_is_asked_for(wrap):
    torch.manual_seed(0)
    with pytest.raises(NeuralCollapseError, match="of these candidates: 'cls'") as refused:
        nc.measure(Returning(wrap), batches())
    assert "'f'" not in str(refused.value)  # whose outputs are more than what is returned


class Waves(nn.Module):
    def forward(self, x):
        return x.mul(3).cos()


def test_a_layer_of_maps_is_offered_where_their_channels_come_second(generator):
    model = nn.Sequential(nn.Conv2d(2, DIM, 1), nn.ReLU(), nn.Conv2d(DIM, K, 1), Waves())
    inputs = torch.randn(4, 2, 9, 9, generator=generator)
    with pytest.raises(NeuralCollapseError, match="these candidates: '2'; pass"):
        nc.measure(model, [(inputs, torch.zeros(4, 9, 9, dtype=torch.int64))])


OTHERS = {
    "reordered": lambda m, h, z: z.cos(),
    "fewer": lambda m, h, z: z[:, :2],
    "an average": lambda m, h, z: (z + 3 * m.same(h)) / 4,
    "a loss": lambda m, h, z: z.sum(),
}
ALIKE = {
    "itself": lambda m, h, z: z,
    "scaled": lambda m, h, z: {"p": (z / 9).softmax(1), "loss": z.sum()},
    "the largest": lambda m, h, z: nn.functional.one_hot(z.argmax(1), K).float(),
}


@pytest.mark.parametrize("wrap", [*OTHERS.values(), *ALIKE.values()], ids=[*OTHERS, *ALIKE])
def test_the_accuracy_of_a_head_that_is_told_is_said_to_be_its_own(wrap):
    torch.manual_seed(0)
    report = nc.measure(Returning(wrap), batches(), head="cls")
    said = [line for line in report.notes if "the logits of 'cls', nor any" in line]
    assert len(said) == (wrap in OTHERS.values())
    assert {*said} <= {*cautions(report)}


def test_the_check_of_logits_is_as_sharp_as_their_precision():
    torch.manual_seed(0)
    layer, features = nn.Linear(512, 10), torch.randn(100, 512)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        layer, rows = layer.to(dtype), features.to(dtype)
        logits = layer(rows).detach()
        eps = torch.finfo(dtype).eps
        size = float(
            rows.double().norm(dim=1).max() * layer.weight.detach().double().norm(dim=1).max()
        )
        call = LayerCall("fc", layer, rows, logits)
        assert read_head(call)[1] is as_it_stands
        off = logits.clone()
        off[7, 3] += 64 * eps * 512**0.5 * size
        assert read_head(LayerCall("fc", layer, rows, off)) == (None, None)


class Tied(nn.Module):
    """A language model that multiplies by its embedding, or by a matrix, itself."""

    def __init__(self, product):
        super().__init__()
        self.words, self.inner = nn.Embedding(9, DIM), nn.Linear(DIM, DIM)
        self.kernel = nn.Parameter(torch.randn(DIM, 9))
        self.offset, self.product = nn.Parameter(torch.randn(9)), product

    def features(self, ids):
        return self.inner(self.words(ids)).tanh()

    def forward(self, ids):
        return self.product(self, self.features(ids))


PRODUCTS = {
    "linear": lambda m, h: linear(h, m.words.weight, m.offset),
    "matmul": lambda m, h: h @ m.words.weight.T,
    "turned": lambda m, h: torch.matmul(h, m.kernel),
    "sum": lambda m, h: torch.addmm(m.offset, h.flatten(0, 1), m.kernel).unflatten(0, (8, 5)),
    "bias after": lambda m, h: m.offset + h @ m.words.weight.T,
    "bias in place": lambda m, h: (h @ m.kernel).add_(m.offset),
    "einsum": lambda m, h: torch.einsum("btd,kd->btk", h, m.words.weight),
    "weight first": lambda m, h: torch.einsum("kd,btd->btk", m.words.weight, h),
}


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_a_matrix_that_a_network_multiplies_by_itself_is_its_head(product):
    torch.manual_seed(0)
    model, ids, labels = Tied(product), torch.randint(9, (8, 5)), torch.randint(9, (8, 5))
    report = nc.measure(model, [(ids, labels)])
    transposed = ("turned", "sum", "bias in place")
    added = ("linear", "sum", "bias after", "bias in place")
    turned, biased = (map(PRODUCTS.get, names) for names in (transposed, added))
    weight = model.kernel.T if product in turned else model.words.weight
    bias = model.offset.detach() if product in biased else None
    torch.testing.assert_close(report.weight, weight.detach())
    assert (report.bias is None) == (bias is None)
    direct = nc.measure_features(
        model.features(ids).detach().flatten(0, 1), labels.flatten(), weight.detach(), bias
    )
    for name, value in direct.items():
        assert report[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_the_head_may_be_told_by_the_name_of_its_matrix_and_is_let_go_after_an_error():
    torch.manual_seed(0)
    ids = torch.randint(9, (8, 5))
    model = Tied(lambda m, h: (h.mean(1) @ m.words.weight.T).sort(-1).values)
    with pytest.raises(NeuralCollapseError, match="head"):
        nc.measure(model, [(ids, ids)])
    with FeatureTap(model, "words.weight") as tap:
        model(ids)
        features, logits = tap.take(None)
    torch.testing.assert_close(logits, features @ model.words.weight.T.detach())
    assert tap.name == "words.weight"
    model = Tied(PRODUCTS["bias after"])
    with FeatureTap(model, "words.weight") as tap:
        for _ in range(2):
            model(ids)
            features, logits = tap.take(None)
            whole = features @ model.words.weight.T.detach() + model.offset.detach()
            torch.testing.assert_close(logits, whole)
            torch.testing.assert_close(tap.bias, model.offset.detach())

    def broken(model, h):
        raise ValueError("mine")

    with FeatureTap(Tied(broken)) as tap, pytest.raises(ValueError, match="mine"):
        tap.model(ids)
    assert not torch.overrides._get_current_function_mode_stack()


def test_weights_that_are_swapped_in_for_the_call_alone_are_not_those_of_the_head(generator):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    data = [(torch.randn(30, 5, generator=generator), torch.arange(30) % 3)]
    own = model.state_dict()
    others = {n: torch.randn(w.shape, generator=generator) for n, w in own.items()}

    def measured(weights):
        call = torch.func.functional_call
        return nc.measure(model, data, forward=lambda network, x: call(network, weights, (x,)))

    with pytest.raises(NeuralCollapseError, match="that keeps the weights it was called with, got"):
        measured(others)
    assert measured(own)["nc3_self_duality"] == nc.measure(model, data)["nc3_self_duality"]


@pytest.mark.parametrize("transform", ["vmap", "jvp"])
def test_a_network_inside_a_transform_of_functions_is_not_heard(transform):
    model, inputs = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3)), torch.randn(9, 5)
    forward = {
        "vmap": lambda network, x: torch.func.vmap(lambda row: network(row[None])[0])(x),
        "jvp": lambda network, x: torch.func.jvp(network, (x,), (x,))[0],
    }[transform]
    with pytest.raises(NeuralCollapseError, match=r"forward: .* a call inside a transform of tor"):
        nc.measure(model, [(inputs, torch.arange(9) % 3)], forward=forward)
