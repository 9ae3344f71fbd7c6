import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import naive_collapse as naive
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics import CollapseState, pair_margins
from neuralcollapse.metrics.head import Head

BUDGET = 2**30


def gathered(case, batch=1000, with_logits=True, **options):
    state = CollapseState(case.num_classes, case.features.shape[1], **options)
    for features, logits, labels in batches(case, batch):
        state.gather(features, labels, logits if with_logits else None)
    return state


def batches(case, size=7):
    logits = case.features @ case.weight.T + case.bias
    for start in range(0, len(case.labels), size):
        part = slice(start, start + size)
        yield case.features[part], logits[part], case.labels[part]


def unique_winner(scores):
    best = max(scores)
    winners = [k for k, score in enumerate(scores) if score == best]
    return winners[0] if len(winners) == 1 else None


# ----------------------------------------------------------------------- values


@pytest.mark.parametrize("way", ["kept", "again", "centers"])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_as_defined(case, way, batch):
    means = case.moments.means
    if way == "centers":
        state = gathered(case, batch, keep=True, centers=means)
    else:
        state = gathered(case, batch, keep=True, feature_budget=BUDGET if way == "kept" else 0)
        assert math.isnan(state.agreement)
        assert math.isnan(state.ncc_accuracy)
        assert state.whole == (way == "kept")
        # The second look may come in another order.
        state.settle(means, None if way == "kept" else reversed(list(batches(case))))
        assert not state.whole
    labels = case.labels.numpy()
    logits = case.features @ case.weight.T + case.bias
    nearest = naive.nearest_center(case.features, means.numpy())
    margins = naive.sample_margins(logits, labels)
    right, agreeing = nearest == labels, nearest == logits.argmax(1).numpy()
    assert state.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(state.margins, margins, rtol=1e-9, atol=1e-9)
    assert state.ncc_accuracy == pytest.approx(right.mean())
    assert state.agreement == pytest.approx(agreeing.mean())
    assert state.accuracy == pytest.approx((margins > 0).mean())
    assert state.margin_min == pytest.approx(margins.min(), rel=1e-9)
    assert state.ties == 0
    assert torch.equal(state.pair_margins.isnan(), torch.eye(case.num_classes).bool())
    expected = pair_margins(logits, case.labels)
    torch.testing.assert_close(state.pair_margins, expected, equal_nan=True)
    table = state.per_class()
    for k in range(case.num_classes):
        own = labels == k
        for name, values in [
            ("ncc_accuracy", right),
            ("nc4_agreement", agreeing),
            ("accuracy", margins > 0),
        ]:
            expected = values[own].mean() if own.any() else math.nan
            assert float(table[name][k]) == pytest.approx(expected, nan_ok=True)
        least = margins[own].min() if own.any() else math.nan
        assert float(table["margin_min"][k]) == pytest.approx(least, rel=1e-9, nan_ok=True)


def test_without_logits_only_the_nearest_mean_is_judged(case):
    state = gathered(case, with_logits=False, keep=True, centers=case.moments.means)
    assert math.isnan(state.accuracy)
    assert math.isnan(state.agreement)
    assert math.isnan(state.margin_min)
    assert len(state.margins) == 0
    assert state.pair_margins is None
    assert set(state.per_class()) == {"ncc_accuracy"}


@pytest.mark.parametrize("num_classes", [3, 10, 140, 300])  # logits and distances by one product
@pytest.mark.parametrize("offset", [0.0, 1e3])  # or, where means are far from the origin, by two
def test_a_head_decides_when_samples_are_settled_as_when_they_are_gathered(num_classes, offset):
    generator = torch.Generator().manual_seed(num_classes)
    weight = torch.nn.functional.normalize(torch.randn(num_classes, 6, generator=generator))
    weight[1] = weight[0]  # these tie, to the last digit
    labels = torch.arange(900) % (num_classes - 1)  # the last class is absent
    features = 9 * weight[labels] + torch.randn(900, 6, generator=generator) + offset
    head = Head("", weight, -offset * weight.sum(1))
    early, late = (CollapseState(num_classes, 6, keep=True, feature_budget=BUDGET) for _ in "ab")
    early.gather(features, labels, head.logits(features))
    late.gather(features, labels)
    early.settle(early.moments.means)
    late.settle(late.moments.means, head=head)
    np.testing.assert_array_equal(late.counts.table[:-1], early.counts.table[:-1])
    assert late.ties == early.ties > 0
    assert late.decided.tolist() == early.decided.tolist()
    size = float(head.logits(features).abs().max())
    np.testing.assert_allclose(late.margins, early.margins, rtol=0, atol=1e-6 * size)
    if num_classes <= 256:
        np.testing.assert_allclose(late.pair_margins, early.pair_margins, rtol=0, atol=1e-6 * size)


def test_nothing_yet():
    state = CollapseState(2, 2, keep=True)
    assert math.isnan(state.ncc_accuracy)
    assert state.labels.tolist() == []
    assert state.per_class() == {}
    assert state.shares() == {}
    state.gather(torch.empty(0, 2), torch.arange(0), torch.empty(0, 2))
    assert state.shares() == {}


def test_pairs_of_many_classes_are_not_kept():
    for num_classes in (256, 257):
        state = CollapseState(num_classes, num_classes, scatter=False, keep=True)
        rows = torch.eye(num_classes)
        state.gather(rows, torch.arange(num_classes), rows)
        assert (state.pair_margins is None) == (num_classes > 256)


@given(
    scores=st.lists(
        st.tuples(*[st.integers(-2, 2)] * 3, st.integers(0, 2)), min_size=1, max_size=20
    )
)
@settings(max_examples=60)
def test_a_tie_is_wrong_and_agrees_with_nothing(scores):
    logits = torch.tensor([row[:3] for row in scores], dtype=torch.float32)
    labels = torch.tensor([row[3] for row in scores])
    means = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    features = logits[:, :2]
    state = CollapseState(3, 2, keep=True, centers=means)
    state.gather(features, labels, logits)
    heads = [unique_winner(row) for row in logits.tolist()]
    nearest = [
        unique_winner([-((x - a) ** 2) - (y - b) ** 2 for a, b in means.tolist()])
        for x, y in features.tolist()
    ]
    own, total = labels.tolist(), len(labels)
    assert state.accuracy == sum(h == y for h, y in zip(heads, own, strict=True)) / total
    assert state.ncc_accuracy == sum(n == y for n, y in zip(nearest, own, strict=True)) / total
    alike = sum(h is not None and h == n for h, n in zip(heads, nearest, strict=True))
    assert state.agreement == alike / total
    assert state.ties == heads.count(None)
    assert (state.margins > 0).double().mean() == pytest.approx(state.accuracy)


# ---------------------------------------------------------------------- merging


def split_in(case, parts, **options):
    pieces = [CollapseState(case.num_classes, case.features.shape[1], **options) for _ in parts]
    for piece, rows in zip(pieces, parts, strict=True):
        logits = case.features[rows] @ case.weight.T + case.bias
        piece.gather(case.features[rows], case.labels[rows], logits)
    return pieces


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_parts_merge_in_any_order(case, order):
    means, total = case.moments.means, len(case.labels)
    parts = [slice(0, total // 3), slice(total // 3, total // 3), slice(total // 3, total)]
    pieces = split_in(case, parts, keep=True, feature_budget=BUDGET)
    merged = pieces[order[0]]
    for index in order[1:]:
        merged.merge(pieces[index])
    merged.settle(means)
    whole = gathered(case, keep=True, centers=means)
    assert merged.shares() == pytest.approx(whole.shares(), rel=1e-12)
    torch.testing.assert_close(merged.pair_margins, whole.pair_margins, equal_nan=True)
    torch.testing.assert_close(merged.margins.sort().values, whole.margins.sort().values)
    torch.testing.assert_close(merged.moments.means, means, equal_nan=True, rtol=1e-12, atol=1e-12)


def test_a_vector_holds_what_counts(case):
    means = case.moments.means
    state = gathered(case, scatter="per_class", centers=means)
    sizes = (case.num_classes, case.features.shape[1], "per_class")
    again = CollapseState.from_vector(state.to_vector(), *sizes)
    assert again.values(case.weight, case.bias) == pytest.approx(
        state.values(case.weight, case.bias), rel=1e-9, abs=1e-12, nan_ok=True
    )
    for name, column in state.per_class().items():
        assert torch.equal(again.per_class()[name].nan_to_num(), column.nan_to_num())
    again.merge(state)
    assert again.moments.num_samples == 2 * len(case.labels)


def test_features_of_a_part_that_were_dropped_are_dropped_of_the_whole(case):
    kept, dropped = split_in(case, [slice(0, 3), slice(3, 5)], keep=True, feature_budget=BUDGET)
    dropped.samples.features = None
    kept.merge(dropped)
    assert not kept.whole


# --------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((torch.ones(2, 3), [0, 0]), r"features: expected shape \(n, 2\)"),
        ((torch.ones(2, 2), [0]), "labels: expected 2 labels, one per row"),
        ((torch.ones(2, 2), [0, 2]), "below 2, the number of classes"),
        (
            (torch.ones(2, 2), [0, 1], torch.ones(2, 3)),
            r"logits: expected shape \(2, 2\), got \(2, 3\); pass one column per class",
        ),
        ((torch.ones(2, 2) * math.nan, [0, 1], torch.eye(2)), "features in batch 0"),
        ((torch.ones(2, 2), [0, 1], torch.eye(2) * math.nan), "logits: expected a finite margin"),
    ],
)
def test_a_bad_batch_is_refused_and_leaves_no_trace(batch, message):
    state = CollapseState(2, 2, keep=True, centers=torch.eye(2))
    with pytest.raises(NeuralCollapseError, match=message):
        state.gather(*batch)
    assert state.shares() == {}
    assert state.moments.num_samples == len(state.labels) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("column", [0, 1, 299])
def test_no_logit_that_is_nan_or_infinite_counts(bad, column):
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(0))
    logits[2, column] = bad
    state = CollapseState(300, 2)
    with pytest.raises(NonFiniteError, match="for 1 of them"):
        state.gather(torch.randn(4, 2), [0, 1, 2, 3], logits)


def test_a_class_masked_out_by_minus_infinity_is_no_error():
    state = CollapseState(3, 2, keep=True)
    state.gather(torch.eye(2), [0, 1], torch.tensor([[1.0, 0.0, -math.inf]] * 2))
    assert state.margins.tolist() == [1.0, -1.0]


def test_settling_needs_the_same_samples(case):
    state = gathered(case)
    with pytest.raises(NeuralCollapseError, match=r"in the second pass, got 0; raise feature_"):
        state.settle(case.moments.means)
    with pytest.raises(NeuralCollapseError, match="loader: expected the same"):
        state.settle(case.moments.means, list(batches(case, 1))[1:])
    with pytest.raises(NeuralCollapseError, match=r"centers: expected shape \(3, 2\)"):
        CollapseState(3, 2, centers=torch.eye(2))
    with pytest.raises(NeuralCollapseError, match=r"means: expected a class with samples"):
        CollapseState(2, 2, centers=torch.eye(2) * math.nan)


def test_every_kind_of_array_is_gathered_alike():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    labels = torch.arange(20) % 4
    logits = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    found = []
    for read in (torch.clone, torch.Tensor.numpy, torch.Tensor.tolist):
        state = CollapseState(4, 3)
        state.gather(read(features), read(labels), read(logits))
        found.append(state.to_vector().tolist())
    assert found[0] == found[1] == found[2]
    with pytest.raises(NeuralCollapseError, match="logits: expected real numbers"):
        CollapseState(4, 3).gather(features, labels, logits.to(torch.complex64))


@pytest.mark.parametrize("way", ["merge", "vector"])
def test_float64_keeps_its_digits_through_merging_and_packing(way):
    labels, generator = torch.arange(300) % 3, torch.Generator().manual_seed(0)
    spread = 1e-4 * torch.randn(300, 4, generator=generator, dtype=torch.float64)
    features = 1e10 + torch.eye(3, 4, dtype=torch.float64)[labels] + spread
    plain, again = CollapseState(3, 4), CollapseState(3, 4)
    plain.gather(features, labels)
    if way == "merge":
        again.merge(plain)
    else:
        again = CollapseState.from_vector(plain.to_vector(), 3, 4)
    expected = plain.moments.trace_variances
    torch.testing.assert_close(again.moments.trace_variances, expected, rtol=1e-12, atol=0)


def test_a_class_of_one_sample_has_no_spread_after_merging():
    row = torch.tensor([[0.1, 0.3]], dtype=torch.float64)
    total = CollapseState(3, 2)
    for rows, label in ((row, 0), (row, 1), (row + 1, 2)):
        part = CollapseState(3, 2)
        part.gather(rows, [label])
        total.merge(CollapseState.from_vector(part.to_vector(), 3, 2))
    assert total.moments.trace_variances.tolist() == [0.0] * 3
    distances, _ = total.measured().pairs
    assert (distances.undefined, total.values()["cdnv"]) == (1, 0.0)


@pytest.mark.parametrize("made", ["inside", "outside"])
@pytest.mark.parametrize("budget", [0, 2**20])
def test_a_state_begun_in_inference_mode_goes_on_outside_of_it(made, budget):
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    logits, options = features[:, :3], {"keep": True, "feature_budget": budget, "intervals": True}
    expected, state = CollapseState(3, 4, **options), CollapseState(3, 4, **options)
    expected.gather(features, labels, logits)
    expected.settle(expected.moments.means, [(features, logits, labels)])
    with torch.inference_mode():
        state = CollapseState(3, 4, **options) if made == "inside" else state
        state.gather(features[:30], labels[:30], logits[:30])
        part = CollapseState(3, 4, **options)
        part.gather(features[30:], labels[30:], logits[30:])
    state.merge(part)
    state.settle(state.moments.means, [(features, logits, labels)])
    assert state.shares() == expected.shares()
    torch.testing.assert_close(state.pair_margins, expected.pair_margins, equal_nan=True)
    torch.testing.assert_close(state.moments.means, expected.moments.means)


@pytest.mark.untyped
@pytest.mark.parametrize("shape", [(2, 4), (5, 4), (3, 2)])
def test_means_of_other_sizes_are_refused(shape):
    state = CollapseState(3, 4, feature_budget=2**20)
    state.gather(torch.randn(6, 4), [0, 1, 2] * 2)
    with pytest.raises(NeuralCollapseError, match=r"means: expected shape \(3, 4\), got"):
        state.settle(torch.randn(shape))
    with pytest.raises(NeuralCollapseError, match=r"centers: expected shape \(3, 4\), got"):
        CollapseState(3, 4, centers=torch.randn(shape).tolist())


@pytest.mark.untyped
def test_centers_come_in_any_array():
    features, labels = torch.eye(3, 4), [0, 1, 2]
    for centers in (features, features.numpy(), features.tolist()):
        state = CollapseState(3, 4, centers=centers)
        state.gather(features, labels)
        assert state.ncc_accuracy == 1
