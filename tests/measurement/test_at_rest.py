"""A network and its loaders are left as they were."""

import copy
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.module import _global_forward_hooks
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.at_rest import bare, evaluating


class Merging(nn.Linear):
    """An adapter that adds itself to the weight in evaluation mode, as loralib's."""

    def __init__(self):
        super().__init__(6, 8)
        self.low, self.merged = nn.Parameter(0.1 * torch.randn(8, 6)), False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (-self.low if self.merged else self.low).data
            self.merged = not self.merged
        return self

    def forward(self, x):
        return super().forward(x) + (0 if self.merged else x @ self.low.T)


def network(first=None):
    torch.manual_seed(0)
    return nn.Sequential(first or nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def data(rows=60):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % 3
    return torch.randn(rows, 6, generator=generator) + labels[:, None], labels


def batches():
    return list(zip(*(part.split(20) for part in data()), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_module_that_merges_in_evaluation_mode_comes_back_bit_for_bit(training):
    model = network(Merging()).train(training)
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        nc.measure(model, batches())
    assert model[0].merged is not training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Caching(nn.Linear):
    """Makes buffers as it runs, which are no part of its state, and knows their size itself."""

    def __init__(self):
        super().__init__(6, 8)
        self.register_buffer("grown", torch.zeros(1), persistent=False)
        self.rows, self.known = 1, False

    def forward(self, x):
        if not self.known:
            self.register_buffer("scale", torch.ones(8))
            self.known = True
        if self.rows < len(x):
            self.grown, self.rows = torch.zeros(len(x)), len(x)
        return super().forward(x) * self.scale + self.grown[: len(x), None]


def test_caches_go_on_with_the_attributes_that_describe_them():
    model = network(Caching())
    nc.measure(model, batches())
    assert model(batches()[0][0]).shape == (20, 3)


def test_a_network_may_hold_a_sparse_buffer():
    model = network()
    edges = torch.eye(6).to_sparse()
    model[0].register_buffer("edges", edges)
    nc.measure(model, batches())
    assert model[0].edges is edges


def test_lazy_buffers_are_left_to_the_first_pass():
    model = nn.Sequential(nn.LazyBatchNorm1d(), nn.Linear(6, 3))
    nc.measure(model, batches())
    assert model[0].running_mean.tolist() == [0.0] * 6


def test_a_frozen_part_stays_frozen_and_parents_decide_first():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].eval()
            return self

    model = Frozen(nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    nc.measure(model, batches())
    assert [module.training for module in model.modules()] == modes == [True, False, False]


class Drawn(TensorDataset):
    """Draws from generators of its own, of every kind."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.torch = torch.Generator().manual_seed(3)
        self.numpy, self.old = np.random.default_rng(3), np.random.RandomState(3)
        self.python = random.Random(3)

    def draws(self):
        return (
            float(torch.rand(1, generator=self.torch)),
            self.numpy.random(),
            self.old.rand(),
            self.python.random(),
        )

    def __getitem__(self, index):
        self.draws()
        return super().__getitem__(index)


class Jittered(TensorDataset):
    """Draws from the random state of the process that it is read in."""

    def __getitem__(self, index):
        inputs, label = super().__getitem__(index)
        return inputs + torch.randn(()), label


def living_on():
    return DataLoader(Jittered(*data()), 20, shuffle=True, num_workers=1, persistent_workers=True)


def loaders():
    plain = TensorDataset(*data())
    seeded = [torch.Generator().manual_seed(n) for n in range(3)]
    return {
        "loader": DataLoader(plain, 20, shuffle=True, generator=seeded[0]),
        "sampler": DataLoader(plain, 20, sampler=RandomSampler(plain, generator=seeded[1])),
        "batch sampler": DataLoader(
            plain, batch_sampler=BatchSampler(RandomSampler(plain, generator=seeded[2]), 20, False)
        ),
        "data set": DataLoader(Drawn(*data()), 20),
        "global": DataLoader(plain, 20, shuffle=True),
        "workers": living_on(),
    }


@pytest.mark.parametrize("name", loaders())
def test_later_epochs_are_those_of_a_run_that_is_not_watched(name):
    orders = []
    for watched in (False, True):
        torch.manual_seed(5)
        loader, model, order = loaders()[name], network(), []
        torch.manual_seed(5)
        watch = nc.watch(model, loader, schedule=1) if watched else None
        for _ in range(3):
            order.append(torch.cat([x for x, _ in loader]))
            if watch:
                watch.epoch_end()
            if name == "data set":
                order.append(torch.tensor(loader.dataset.draws()))
        orders.append(torch.cat([part.flatten() for part in order]))
    assert torch.equal(*orders)


def test_workers_in_the_middle_of_an_epoch_are_left_alone():
    epochs = []
    for measured in (False, True):
        torch.manual_seed(5)
        loader, model, seen = living_on(), network(), []
        torch.manual_seed(5)
        for _ in range(2):
            for i, (inputs, _) in enumerate(loader):
                if measured and i == 1:
                    nc.measure(model, loader)
                seen.append(inputs)
        epochs.append(torch.cat(seen))
    assert torch.equal(*epochs)


def test_compiled_networks_run_as_they_were_written():
    wanted = nc.measure(network(), batches())
    whole, part, inside = (network() for _ in range(3))
    part[0] = torch.compile(part[0], backend="eager")
    inside.compile(backend="eager")
    for model in (torch.compile(whole, backend="eager"), part, inside):
        model.eval()
        with torch.no_grad():
            model(batches()[0][0])  # compiled now
        assert nc.measure(model, batches())["nc1_pinv"] == pytest.approx(wanted["nc1_pinv"])
        with pytest.raises(NeuralCollapseError, match="one that is compiled; use mode='pass'"):
            nc.watch(model, batches(), mode="batches")
    assert bare(torch.compile(nn.DataParallel(whole), backend="eager")) is whole


def test_what_cannot_be_heard_is_refused_with_a_way_out():
    x, _ = batches()[0]
    scripted = torch.jit.trace(network().eval(), x)
    exported = torch.export.export(network().eval(), (x,))
    for model in (scripted, exported.module()):
        with pytest.raises(NeuralCollapseError, match="call no hooks; pass the module it was made"):
            nc.measure(model, batches())
    for model in (exported, lambda x: x, batches()):
        kind = type(model).__name__
        with pytest.raises(
            NeuralCollapseError, match=f"an nn.Module, got {kind}; pass the network"
        ):
            nc.measure(model, batches())


def step(model, x, y):
    model.zero_grad()
    cross_entropy(model(x), y).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.01 * parameter.grad


def test_inside_batches_the_network_can_be_copied_pickled_and_left():
    model = network()
    watch = nc.watch(model, batches(), mode="batches")
    for x, y in watch.batches():
        step(model, x, y)
        twin = copy.deepcopy(model)
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), twin(x))
        assert not any(module._forward_hooks for module in twin.modules())
    record = watch.epoch_end()
    assert record["nc1_pinv"] > 0
    for _ in watch.batches():
        break
    assert not _global_forward_hooks
    for x, y in watch.batches():  # begins anew, and counts as ever
        step(model, x, y)
    assert watch.epoch_end()["epoch"] == 2


def test_a_batch_that_runs_elsewhere_is_refused_and_says_so():
    model = network()
    watched = nc.watch(copy.deepcopy(model), batches(), mode="batches").batches()
    x, _ = next(watched)
    model(x)
    with pytest.raises(NeuralCollapseError, match=r"no call of it .* the very model that was pass"):
        next(watched)
    assert not _global_forward_hooks


def test_a_batch_that_runs_twice_is_refused_and_says_so():
    model = network()
    watched = nc.watch(model, batches(), mode="batches").batches()
    x, _ = next(watched)
    model(x), model(x)
    with pytest.raises(NeuralCollapseError, match=r"2 calls of '2'; .* run each batch once"):
        next(watched)
    assert not _global_forward_hooks


def test_nothing_is_held_after_a_batch():
    import gc
    import weakref

    model, held = network(), []
    model[1].register_forward_hook(lambda m, a, out: held.append(weakref.ref(out)))
    watch = nc.watch(model, batches(), mode="batches")
    for x, y in watch.batches():
        step(model, x, y)
    gc.collect()
    assert len(held) == 3
    assert all(ref() is None for ref in held)
    watch.epoch_end()


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_inference_mode_around_any_of_it(mode):
    model, loader = network().eval(), batches()
    with torch.inference_mode():
        watch = nc.watch(model, loader, mode=mode)
        report = nc.measure(model, loader)
    for inside in (True, False):
        with torch.inference_mode(inside):
            for x, _ in watch.batches():
                model(x)
    record = watch.epoch_end()
    assert record["nc1_pinv"] == pytest.approx(report["nc1_pinv"], rel=1e-4)
    report.train.moments.update(torch.ones(1, 8), [0])  # no tensor of inference mode


def test_a_rehearsal_says_before_training_what_cannot_be_measured():
    calls = []
    model = network()
    model.register_forward_hook(lambda *_: calls.append(1))
    state = torch.get_rng_state()
    watch = nc.watch(model, batches())
    assert len(calls) == 1
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert watch.records == []
    with pytest.raises(NeuralCollapseError, match="labels from 0 to 7"):
        nc.watch(model, [(x, torch.full_like(y, 7) * (y > 0)) for x, y in batches()])
    nc.watch(model, iter(batches()))
    nc.watch(nn.Sequential(nn.LazyLinear(3)), batches())
    assert len(calls) == 2


def test_generators_are_restored_after_an_error_too():
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(TensorDataset(*data()), 20, shuffle=True, generator=generator)
    before = generator.get_state()

    def fail():
        with evaluating(network(), None, loader):
            next(iter(loader))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(before, generator.get_state())


class Noisy:
    """Draws from a generator of its own: as a collate function, or as a data set's transform."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, part):
        inputs, labels = torch.utils.data.default_collate(part)
        return inputs + torch.randn(inputs.shape, generator=self.generator), labels


@pytest.mark.parametrize("of", [lambda noisy: noisy, lambda noisy: noisy.__call__])
def test_generators_of_collate_functions_go_on_as_if_nothing_was_measured(of):
    data = TensorDataset(torch.randn(30, 6), torch.arange(30) % 3)

    def after(watched):
        loader = DataLoader(data, batch_size=10, collate_fn=of(Noisy()))
        if watched:
            nc.measure(nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)), loader, progress=False)
        return torch.cat([inputs for inputs, _ in loader])

    assert torch.equal(after(True), after(False))


class Counting(nn.Module):
    """A network whose forward pass changes its buffers in any mode: filled anew, replaced, new."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("cache", None)

    def forward(self, x):
        self.seen += x.mean(0)
        self.calls = self.calls + 1
        self.cache = x.detach().mean(0)
        return self.head(x)


def test_buffers_are_as_they_were():
    model = Counting()
    model(torch.ones(2, 3))
    objects = dict(model._buffers)
    values = {name: buffer.clone() for name, buffer in objects.items()}
    x, y = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2
    nc.measure(model, [(x, y)] * 2)
    for name, buffer in model._buffers.items():
        assert buffer is objects[name]
        assert torch.equal(buffer, values[name])


class Normalising(nn.Module):
    """Brings the rows of its head to norm 1 before it applies them, and replaces its scale."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.scale = nn.Linear(3, 2, bias=False), nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        with torch.no_grad():
            self.head.weight.copy_(nn.functional.normalize(self.head.weight, dim=1))
        self.scale = nn.Parameter(self.scale.detach() / 2)
        return self.head(x)


def test_weights_that_a_forward_pass_changes_are_as_they_were(monkeypatch):
    model, x = Normalising(), torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    objects, loader = dict(model.named_parameters()), [(x, torch.arange(20) % 2)] * 2
    values = copy.deepcopy(model.state_dict())
    report = nc.measure(model, loader)
    for weight in (report.weight, nc.extract_features(model, loader)["weight"]):
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(2))
    for name, weight in model.named_parameters():
        assert weight is objects[name]
        assert torch.equal(weight, values[name])
    monkeypatch.setattr("neuralcollapse.measurement.at_rest.WEIGHT_BUDGET", 0)
    with pytest.warns(UserWarning, match=r"changed its weights head\.weight as it ran, and keeps"):
        nc.measure(model, loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nc.measure(network(), batches())


class Growing(nn.Module):
    """A network with a table as long as the longest input, and a buffer that is no number."""

    def __init__(self):
        super().__init__()
        self.head, self.known = nn.Linear(3, 2), 0
        self.register_buffer("unknown", torch.full((1,), torch.nan).expand(4))
        self.register_buffer("empty", torch.full((2,), torch.nan))

    def forward(self, x):
        if x.shape[1] > self.known:
            self.known = x.shape[1]
            self.register_buffer("table", torch.arange(self.known).cos()[:, None])
        return self.head((x * self.table[: x.shape[1]]).mean(1))


def test_a_table_that_has_grown_stays_as_long_as_its_attribute_says():
    model = Growing()
    model(torch.ones(2, 4, 3))
    x = torch.randn(20, 9, 3, generator=torch.Generator().manual_seed(0))
    nc.measure(model, [(x, torch.arange(20) % 2)])
    assert model(x).shape == (20, 2)
