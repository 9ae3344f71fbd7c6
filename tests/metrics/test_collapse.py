import copy
import io
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics import (
    CollapseMetrics,
    CollapseState,
    margin_scale,
    summarize,
)
from neuralcollapse.moments import ClassMoments
from ranks import together

K, D = 4, 6
SAMPLES = 120
FLOAT32 = 1e-6  # products of float32 features, split one way or another


def stream(seed=0, level=0.3):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(K, D, generator=generator) + 3
    labels = torch.randint(K, (SAMPLES,), generator=generator)
    features = means[labels] + level * torch.randn(SAMPLES, D, generator=generator)
    head = nn.Linear(D, K)
    with torch.no_grad():
        head.weight.copy_(means - means.mean(0))
        head.bias.copy_(torch.randn(K, generator=generator))
        logits = head(features)
    return features, labels, logits, head, means.double()


def metric_of(head, centers, **options):
    return CollapseMetrics(K, D, head=head, centers=centers, **options)


def fed(start=0, stop=SAMPLES, batch=16, seed=0, **options):
    features, labels, logits, head, centers = stream(seed)
    metric = metric_of(head, centers, **options)
    for low in range(start, stop, batch):
        part = slice(low, min(low + batch, stop))
        metric.update(features[part], labels[part], logits[part])
    return metric


def expected_values():
    features, labels, logits, head, centers = stream()
    moments = ClassMoments(K, D).update(features, labels)
    decisions = CollapseState(K, D, centers=centers)
    decisions.gather(features, labels, logits)
    normalized = decisions.margin_min / margin_scale(moments, head.weight, head.bias)
    return {
        **summarize(moments, head.weight, head.bias),
        "margin_normalized": normalized,
        "margin_collapse_ratio": normalized * (K - 1) / K,
        "accuracy": decisions.accuracy,
        "ncc_accuracy": decisions.ncc_accuracy,
        "nc4_agreement": decisions.agreement,
        "margin_min": decisions.margin_min,
    }


def assert_values(values, expected, rel=1e-10):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert value.dtype == torch.float64
        assert value.ndim == 0
        assert float(value) == pytest.approx(float(expected[name]), rel=rel, abs=1e-14), name


def plain(values):
    return {name: float(value) for name, value in values.items()}


# ----------------------------------------------------------------------- values


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_values_are_those_of_the_functions(batch):
    assert_values(fed(batch=batch).compute(), expected_values(), rel=FLOAT32)


def test_only_what_was_given_is_measured():
    features, labels, logits, head, centers = stream()
    everything = expected_values()
    inputs = {
        "margin_min": (logits, None, None),
        "margin_normalized": (logits, head, None),
        "ncc_accuracy": (None, None, centers),
        "nc4_agreement": (logits, None, centers),
    }
    of_features = set(summarize(ClassMoments(K, D).update(features, labels)))
    for name, (own_logits, own_head, own_centers) in inputs.items():
        metric = metric_of(own_head, own_centers)
        metric.update(features, labels, own_logits)
        names = set(of_features)
        names |= {n for n in everything if n.endswith("_head") or "nc3" in n} if own_head else set()
        names |= {"accuracy", "margin_min"} if own_logits is not None else set()
        if own_logits is not None and own_head:
            names |= {"margin_normalized", "margin_collapse_ratio"}
        names |= {"ncc_accuracy"} if own_centers is not None else set()
        names |= {"nc4_agreement"} if own_logits is not None and own_centers is not None else set()
        assert name in names
        assert_values(metric.compute(), {n: everything[n] for n in names}, rel=FLOAT32)


def test_the_head_is_read_when_computed():
    metric = fed()
    before = metric.compute()
    with torch.no_grad():
        metric._head[0].weight.mul_(-1)
    after = metric.compute()
    assert float(after["nc3_self_duality"]) != pytest.approx(float(before["nc3_self_duality"]))
    assert after["nc1_pinv"] == before["nc1_pinv"]
    assert not list(metric.parameters())


@pytest.mark.parametrize("scatter", ["per_class", False])
def test_other_scatters(scatter):
    values = fed(scatter=scatter).compute()
    names = expected_values().keys() - (set() if scatter else {"nc1_pinv", "vci"})
    assert_values(values, {name: expected_values()[name] for name in names}, rel=FLOAT32)


# ------------------------------------------------------------- what torchmetrics does


@given(data=st.data())
def test_merging_any_parts_in_any_order(data):
    cuts = sorted(data.draw(st.lists(st.integers(0, SAMPLES), min_size=3, max_size=3)))
    bounds = [0, *cuts, SAMPLES]
    parts = [fed(a, b) for a, b in itertools.pairwise(bounds)]
    order = data.draw(st.permutations(range(4)))
    total = parts[order[0]]
    for index in order[1:]:
        total.merge_state(parts[index])
    total.update(*(t[:0] for t in stream()[:3]))  # so that torchmetrics knows of an update
    assert_values(total.compute(), plain(fed().compute()), rel=FLOAT32)


def test_merging_a_state_is_exact_to_round_off_in_double_precision():
    features, labels, logits, head, centers = stream()
    features, logits = features.double(), logits.double()
    parts = [metric_of(head, centers) for _ in range(3)]
    for part, (a, b) in zip(parts, [(0, 31), (31, 33), (33, SAMPLES)], strict=True):
        part.update(features[a:b], labels[a:b], logits[a:b])
    parts[1].merge_state(parts[0])
    parts[1].merge_state(parts[2])
    whole = metric_of(head, centers)
    whole.update(features, labels, logits)
    assert_values(parts[1].compute(), plain(whole.compute()))


def test_forward_gives_the_batch_and_keeps_the_rest():
    features, labels, logits, head, centers = stream()
    metric = metric_of(head, centers)
    for start in range(0, SAMPLES, 30):
        part = slice(start, start + 30)
        value = metric(features[part], labels[part], logits[part])
        alone = metric_of(head, centers)
        alone.update(features[part], labels[part], logits[part])
        assert_values(value, plain(alone.compute()))
    assert_values(metric.compute(), expected_values(), rel=FLOAT32)


@pytest.mark.parametrize("scatter", ["pooled", False])
def test_forward_of_a_single_class_is_nan_and_counted(scatter):
    features, labels, logits, head, centers = stream()
    metric = metric_of(head, centers, scatter=scatter)
    for k in range(K):
        own = labels == k
        values = metric(features[own], labels[own], logits[own])
        assert math.isnan(values["cdnv"])
        assert 0 <= float(values["ncc_accuracy"]) <= 1
    total = metric.compute()
    assert total.keys() == values.keys()
    names = total.keys()
    assert_values(total, {name: expected_values()[name] for name in names}, rel=FLOAT32)


def test_reset_forgets():
    metric = fed(seed=1)
    metric.reset()
    features, labels, logits, *_ = stream()
    metric.update(features, labels, logits)
    values = metric.compute()
    for name in ("nc1_pinv", "cdnv", "accuracy", "margin_min"):
        assert float(values[name]) == pytest.approx(expected_values()[name], rel=FLOAT32)


def test_a_checkpoint_goes_on():
    metric = fed(0, 50)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    *_, head, centers = stream()
    resumed = metric_of(head, centers)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    features, labels, logits, *_ = stream()
    for each in (metric, resumed):  # the one saved goes on as well
        each.update(features[50:], labels[50:], logits[50:])
        assert_values(each.compute(), expected_values(), rel=FLOAT32)


@pytest.mark.parametrize("duplicate", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_copies_go_on_apart(duplicate):
    metric = fed(0, 50)
    other = duplicate(metric)
    features, labels, logits, *_ = stream()
    other.update(features[50:], labels[50:], logits[50:])
    assert_values(other.compute(), expected_values(), rel=FLOAT32)
    assert_values(metric.compute(), plain(fed(0, 50).compute()), rel=FLOAT32)


def test_pickles_hold_no_buffer():
    metric = CollapseMetrics(K, 256)
    metric.update(torch.randn(8, 256), torch.arange(8) % K)
    slab = 2048 * 256 * 4
    assert len(pickle.dumps(metric)) < 2 * 256 * 256 * 8 + 100_000 < slab


def test_in_a_collection_beside_others():
    features, labels, _, head, _ = stream()
    collection = MetricCollection(
        {"collapse": CollapseMetrics(K, D), "again": CollapseMetrics(K, D, head=head)}
    )
    for start in range(0, SAMPLES, 16):
        part = slice(start, start + 16)
        collection.update(features[part], labels[part])
    values = collection.compute()
    expected = expected_values()
    assert float(values["again_nc3_product"]) == pytest.approx(expected["nc3_product"], rel=FLOAT32)
    assert float(values["collapse_nc1_pinv"]) == pytest.approx(expected["nc1_pinv"], rel=FLOAT32)
    assert float(values["again_nc1_pinv"]) == pytest.approx(expected["nc1_pinv"], rel=FLOAT32)
    mixed = MetricCollection([CollapseMetrics(K, D, head=head), MulticlassAccuracy(K)])
    assert len({hash(metric) for metric in mixed.values()}) == 2


@pytest.mark.parametrize("by", ["half", "to", "bfloat16", "set_dtype"])
def test_module_conversions_leave_the_state_alone(by):
    metric = fed()
    if by == "set_dtype":
        metric.set_dtype(torch.float16)
    elif by == "to":  # how a trainer makes a whole model bfloat16
        nn.ModuleList([metric]).to(torch.bfloat16)
    else:
        getattr(nn.ModuleList([metric]), by)()
    assert metric.packed.dtype == torch.float64
    assert_values(metric.compute(), expected_values(), rel=FLOAT32)
    assert metric in {metric}


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.ones(2, 5), [0, 1]), r"features: expected shape \(n, 6\)"),
        ((torch.ones(2, 6), [0, 4]), "below 4, the number of classes"),
        ((torch.ones(2, 6), [0, 1], torch.ones(2, 3)), r"logits: expected shape \(2, 4\), got"),
        ((torch.full((2, 6), math.nan), [0, 1], torch.ones(2, 4)), "got 12 NaN"),
    ],
)
@pytest.mark.parametrize("call", ["update", "forward"])
def test_a_refused_batch_leaves_no_trace(batch, message, call):
    metric = fed()
    with pytest.raises(NeuralCollapseError, match=message):
        getattr(metric, call)(*batch)
    assert_values(metric.compute(), expected_values(), rel=FLOAT32)


def test_what_does_not_fit_is_refused():
    with pytest.raises(NeuralCollapseError, match=r"head: expected shape \(4, 6\), got \(4, 5\)"):
        CollapseMetrics(4, 6, head=nn.Linear(5, 4))
    with pytest.raises(NeuralCollapseError, match=r"centers: .* \(4, 6\), got \(3, 6\)"):
        CollapseMetrics(4, 6, centers=torch.ones(3, 6))
    with pytest.raises(NeuralCollapseError, match="state: expected 101 numbers for"):
        CollapseMetrics(4, 6).load_state_dict({"packed": torch.zeros(3).double()})
    with pytest.raises(NeuralCollapseError, match="the file is not whole"):
        CollapseMetrics(4, 6).load_state_dict({"packed": torch.full((101,), -1.0).double()})


def test_a_state_of_other_sizes_is_not_merged():
    metric = fed()
    for other in (CollapseMetrics(K + 1, D), CollapseMetrics(K, D, scatter=False).metric_state):
        with pytest.raises(NeuralCollapseError, match="state: expected 101 numbers for"):
            metric.merge_state(other)
    assert_values(metric.compute(), expected_values(), rel=FLOAT32)


@pytest.mark.parametrize("call", ["update", "forward"])
@pytest.mark.parametrize("later", ["compute", "copy", "reset"])
def test_samples_added_in_inference_mode_count_outside_of_it(call, later):
    features, labels, logits, head, centers = stream()
    metric = metric_of(head, centers)
    with torch.inference_mode():
        getattr(metric, call)(features[:50], labels[:50], logits[:50])
    metric = copy.deepcopy(metric) if later == "copy" else metric
    if later == "reset":
        metric.reset()
        metric.update(features[:50], labels[:50], logits[:50])
    metric.update(features[50:], labels[50:], logits[50:])
    assert_values(metric.compute(), expected_values(), rel=FLOAT32)


def test_a_head_that_is_not_finite_is_refused():
    metric = fed()
    nn.init.constant_(metric._head[0].weight, math.nan)
    with pytest.raises(NonFiniteError, match="weight: expected finite numbers, got 24 NaN"):
        metric.compute()


def test_one_class_alone_is_refused():
    metric = CollapseMetrics(3, 2)
    metric.update(torch.randn(4, 2), [1, 1, 1, 1])
    with pytest.raises(NeuralCollapseError, match="at least 2 classes, got samples of 1"):
        metric.compute()
    metric.update(torch.randn(4, 2), [2, 2, 2, 2])
    assert math.isfinite(metric.compute()["nc1_pinv"])


# -------------------------------------------------------------------- many ranks

WORLD = 2
SHARES = {"unequal": [0, 83, SAMPLES], "one without samples": [0, 0, SAMPLES]}


def _rank(rank, world, folder):
    features, labels, logits, head, centers = stream()
    features, logits = features.double(), logits.double()
    results = {}
    for name, bounds in SHARES.items():
        own = slice(bounds[rank], bounds[rank + 1])
        metric = metric_of(head, centers)
        middle = own.start + (own.stop - own.start) // 2
        for part in (slice(own.start, middle), slice(middle, own.stop)):
            metric.update(features[part], labels[part], logits[part])
            results[name] = plain(metric.compute())  # the first is of half the samples
        metric.sync()
        results[f"{name}, synced"] = plain(metric._values(metric._unpacked()))
        metric.unsync()
        results[f"{name}, own samples"] = metric._unpacked().moments.num_samples
    lonely = CollapseMetrics(K, D)
    lonely.update(features[labels == 0], labels[labels == 0])
    try:
        lonely.compute()
    except NeuralCollapseError as error:
        results["refused"] = str(error)
    if rank == 0:  # a refusal does not leave the rank with the sum of all
        results["lonely"] = lonely._unpacked().moments.num_samples
    torch.save(results, f"{folder}/{rank}.pt")


def test_ranks_compute_what_a_single_process_does(tmp_path):
    together(_rank, WORLD, tmp_path)
    features, labels, logits, head, centers = stream()
    whole = metric_of(head, centers)
    whole.update(features.double(), labels, logits.double())
    expected = plain(whole.compute())
    for rank in range(WORLD):
        results = torch.load(tmp_path / f"{rank}.pt")
        for name, bounds in SHARES.items():
            assert results[name] == pytest.approx(expected, rel=1e-10, abs=1e-13)
            assert results[f"{name}, synced"] == pytest.approx(expected, rel=1e-10, abs=1e-13)
            assert results[f"{name}, own samples"] == bounds[rank + 1] - bounds[rank]
        assert "samples of at least 2 classes" in results["refused"]
    assert torch.load(tmp_path / "0.pt")["lonely"] == int((labels == 0).sum())
