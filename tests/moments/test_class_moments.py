import copy
import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from allocations import LargestTensor
from naive_collapse import NaiveMoments
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.metrics import nc1_pinv, nc1_trace_ratio
from neuralcollapse.moments import ClassMoments


def make_data(num_classes, dim, num_samples, level, seed=0, offset=100.0):
    """Float32 features with class means of norm 10 and NC1 about `level`, classes in turn."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    means = 10 * means / means.norm(dim=1, keepdim=True) + offset
    labels = torch.arange(num_samples) % num_classes
    noise = torch.randn(num_samples, dim, generator=generator, dtype=torch.float64)
    return (means[labels] + noise * math.sqrt(100 * level / dim)).float(), labels


def collect(features, labels, num_classes, batch=256, **options):
    moments = ClassMoments(num_classes, features.shape[1], **options)
    for rows, row_labels in zip(features.split(batch), labels.split(batch), strict=True):
        moments.update(rows, row_labels)
    return moments


def assert_as_naive(moments, naive, rtol=1e-9):
    """Counts, means, trace variances and scatters, each relative to its own size."""
    np.testing.assert_array_equal(moments.counts, naive.counts)
    np.testing.assert_array_equal(moments.present, naive.counts > 0)
    scale = np.nanmax(np.abs(naive.means))
    error = np.linalg.norm(np.asarray(moments.means) - naive.means, axis=1)[naive.present]
    assert (error <= 1e-12 * scale + rtol * np.sqrt(naive.variances[naive.present])).all()
    assert torch.isnan(moments.means[~moments.present]).all()
    tiny = 1e-14 * scale**2
    np.testing.assert_allclose(moments.trace_variances, naive.variances, rtol=rtol, atol=tiny)
    if moments.scatter:
        assert_close_in_norm(moments.within, naive.within(), rtol, tiny)
    if moments.scatter == "per_class":
        assert_close_in_norm(moments.within_scatter("balanced"), naive.within("balanced"), rtol)


def assert_close_in_norm(actual, expected, rtol, atol=0.0):
    error = np.linalg.norm(np.asarray(actual) - expected)
    assert error <= rtol * np.linalg.norm(expected) + atol


# ------------------------------------------------------------------- precision


@pytest.mark.parametrize("level", [1e-2, 1e-6, 1e-10])
@pytest.mark.parametrize(("num_classes", "dim"), [(10, 64), (100, 128)])
@pytest.mark.parametrize("order", ["shuffled", "sorted"])
def test_nc1_is_exact_near_collapse(level, num_classes, dim, order):
    features, labels = make_data(num_classes, dim, 6000, level)
    if order == "sorted":
        index = labels.argsort(stable=True)
    else:
        index = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    features, labels = features[index], labels[index]
    moments = collect(features, labels, num_classes)
    naive = NaiveMoments(features, labels, num_classes)
    assert nc1_trace_ratio(moments) == pytest.approx(naive.nc1_trace_ratio(), rel=1e-6)
    assert nc1_pinv(moments) == pytest.approx(naive.nc1_pinv(), rel=1e-6)
    assert nc1_trace_ratio(moments) == pytest.approx(level, rel=0.5)  # the case is what it says


@pytest.mark.parametrize("scatter", ["pooled", "per_class", False])
def test_one_huge_batch_and_single_rows_agree(scatter):
    features, labels = make_data(5, 12, 2500, 1e-4)
    naive = NaiveMoments(features, labels, 5)
    for batch in (1, 2500):
        moments = collect(features, labels, 5, batch=batch, scatter=scatter)
        assert_as_naive(moments, naive, rtol=1e-6)


@pytest.mark.parametrize("sorted_labels", [False, True])
@pytest.mark.parametrize("first_batch", [1, 40])
def test_an_outlier_in_the_first_batch_of_a_rare_class(sorted_labels, first_batch):
    features, labels = make_data(3, 64, 30_000, 1e-8)
    rare = (labels == 2).nonzero().squeeze(1)
    labels[rare] = torch.arange(len(rare)) % 2
    labels[rare[:8000]] = 2
    features[rare[8000:]] = features[labels[rare[8000:]]]
    if sorted_labels:  # the rare class first, its outlier alone in the first slab
        index = torch.cat([(labels != 2).nonzero()[:2047], (labels == 2).nonzero()]).squeeze(1)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[index] = False
        index = torch.cat([index, rest.nonzero().squeeze(1)])
        features, labels = features[index], labels[index]
    features[(labels == 2).nonzero()[0]] += 300.0
    moments = ClassMoments(3, 64, "per_class").update(features[:first_batch], labels[:first_batch])
    moments.merge(collect(features[first_batch:], labels[first_batch:], 3, scatter="per_class"))
    streamed = collect(features, labels, 3, scatter="per_class")
    # Until the shift is judged, float32 sums run over its constant miss, so rounding errors all
    # have one sign: n eps / 2 = 2.4e-4 with the at most 4,096 rows between flushes.
    naive = NaiveMoments(features, labels, 3)
    assert_as_naive(moments, naive, rtol=2.4e-4)
    assert_as_naive(streamed, naive, rtol=2.4e-4)
    for k in (0, 1):
        assert float(moments.trace_variances[k]) == pytest.approx(naive.variances[k], rel=1e-6)


def test_an_outlier_spoils_no_other_direction():
    # The outlier lies on the first axis: the spread along the others is 1e10 times less, and must
    # be read off as if the outlier were not there.
    features, labels = make_data(2, 6, 40_000, 1e-8, offset=0.0)
    features[labels == 1, 0] = 5.0
    features[1, 0] = 1e4
    moments = collect(features, labels, 2, scatter="per_class")
    naive = NaiveMoments(features, labels, 2)
    spread = naive.scatters[1][1:, 1:] / naive.counts[1]
    centered = moments.state_dict()["scatter"][1][1:, 1:] / naive.counts[1]
    assert_close_in_norm(centered, spread, 1e-5)


def test_values_too_large_to_square_in_float32_are_refused_and_taken_in_float64():
    features = torch.tensor([[1e20], [3e20], [-1e20]])
    labels = torch.tensor([0, 0, 1])
    moments = ClassMoments(2, 1)
    message = r"features in batch 0: expected values whose squares can be summed in torch.float32"
    with pytest.raises(NeuralCollapseError, match=message + ", got values up to 3e.20; rescale"):
        moments.update(features, labels)
    assert moments.num_samples == 0
    moments.update(features.double(), labels)
    assert_as_naive(moments, NaiveMoments(features, labels, 2))


def test_the_largest_accepted_float32_values_do_not_overflow():
    features = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    features *= 1e13
    labels = torch.arange(20_000) % 2
    assert_as_naive(collect(features, labels, 2), NaiveMoments(features, labels, 2), rtol=1e-6)


# ---------------------------------------------------------------------- merging


@given(data=st.data(), seed=st.integers(0, 1000))
def test_merging_in_any_order_and_grouping(data, seed):
    features, labels = make_data(4, 5, 90, 1e-3, seed)
    labels = labels[torch.randperm(90, generator=torch.Generator().manual_seed(seed))]
    ranks = data.draw(st.lists(st.integers(0, 5), min_size=90, max_size=90))
    scatter = data.draw(st.sampled_from(["pooled", "per_class", False]))
    parts = []
    for rank in range(6):  # some ranks may be empty, or miss classes
        own = torch.tensor(ranks) == rank
        parts.append(collect(features[own], labels[own], 4, batch=7, scatter=scatter))
    while len(parts) > 1:
        first = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts[data.draw(st.integers(0, len(parts) - 1))].merge(first)
    assert_as_naive(parts[0], NaiveMoments(features, labels, 4), rtol=1e-6)


def test_merging_leaves_the_other_as_it_was():
    features, labels = make_data(4, 5, 90, 1e-3)
    other = collect(features[:40], labels[:40], 4)
    before = other.state_dict()
    moments = collect(features[40:], labels[40:], 4).merge(other)
    assert_same_state(other.state_dict(), before)
    moments.update(features, labels)
    assert_same_state(other.state_dict(), before)


def test_merging_with_itself_counts_every_sample_twice():
    features, labels = make_data(4, 5, 90, 1e-3)
    moments = collect(features, labels, 4)
    moments.merge(moments)
    assert_as_naive(moments, NaiveMoments(features.repeat(2, 1), labels.repeat(2), 4), rtol=1e-6)


def test_merging_continues_across_precisions():
    features, labels = make_data(3, 4, 60, 1e-4)
    naive = NaiveMoments(features, labels, 3)
    for first, second in [(features[:30].double(), features[30:])] * 2:
        moments = collect(first, labels[:30], 3).merge(collect(second, labels[30:], 3))
        assert_as_naive(moments, naive, rtol=1e-6)
        moments = collect(second, labels[30:], 3).merge(collect(first, labels[:30], 3))
        assert_as_naive(moments, naive, rtol=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        ClassMoments(3, 5),
        ClassMoments(4, 6),
        ClassMoments(4, 5, "per_class"),
        ClassMoments(4, 5, groups=True),
    ],
)
def test_moments_of_another_kind_are_not_merged(other):
    message = "other: expected num_classes, dim, scatter, groups = 4, 5, 'pooled', False, got"
    with pytest.raises(NeuralCollapseError, match=message):
        ClassMoments(4, 5).merge(other)


# ------------------------------------------------------------------ input types


DTYPES = [
    torch.bfloat16,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int16,
    torch.uint8,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype):
    features, labels = make_data(4, 6, 300, 0.3)
    features = features.to(dtype)
    moments = collect(features, labels, 4)
    assert moments.means.dtype == torch.float64
    assert_as_naive(moments, NaiveMoments(features, labels, 4), rtol=1e-6)


def test_dtypes_mixed_over_batches():
    features, labels = make_data(4, 6, 700, 0.3)
    moments, values = ClassMoments(4, 6), []
    for dtype, rows, row_labels in zip(DTYPES, features.split(100), labels.split(100), strict=True):
        moments.update(rows.to(dtype), row_labels)
        values.append(rows.to(dtype).double())
    assert_as_naive(moments, NaiveMoments(torch.cat(values), labels, 4), rtol=1e-6)


def test_float64_features_keep_float64_accuracy():
    features, labels = make_data(4, 6, 300, 1e-2)
    features = features.double() + torch.rand(300, 6, dtype=torch.float64) * 1e-9
    assert_as_naive(collect(features, labels, 4), NaiveMoments(features, labels, 4), rtol=1e-12)


def test_autocast_changes_nothing():
    features, labels = make_data(4, 6, 3000, 1e-6)
    expected = collect(features, labels, 4).state_dict()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moments = collect(features, labels, 4)
        state = moments.state_dict()
    assert_same_state(state, expected)


def test_features_keep_neither_gradient_nor_alias():
    features = torch.ones(3, 2, requires_grad=True)
    moments = ClassMoments(1, 2).update(features, [0, 0, 0])
    assert not moments.means.requires_grad
    with torch.no_grad():
        features += 5
    assert moments.means.tolist() == [[1.0, 1.0]]


def test_reading_does_not_change_what_follows():
    features, labels = make_data(4, 6, 900, 1e-3)
    moments = ClassMoments(4, 6)
    for rows, row_labels in zip(features.split(100), labels.split(100), strict=True):
        moments.update(rows, row_labels)
        assert torch.isfinite(moments.within).all()
    moments.means.zero_()
    moments.counts.zero_()
    assert_as_naive(moments, NaiveMoments(features, labels, 4), rtol=1e-6)


# -------------------------------------------------------------------- quantities


@pytest.mark.parametrize("center", ["class_mean", "sample_mean"])
@pytest.mark.parametrize("weighting", ["pooled", "balanced"])
def test_scatters_and_centers_of_unequal_classes(center, weighting):
    features, labels = make_data(4, 6, 400, 0.1)
    labels[labels == 1] = torch.where(torch.arange(100) < 99, 0, 1)  # n_1 = 1
    labels[labels == 2] = 3  # class 2 is absent
    naive = NaiveMoments(features, labels, 4)
    moments = collect(features, labels, 4, scatter="per_class")
    assert_close_in_norm(moments.center(center), naive.center(center), 1e-12)
    assert_close_in_norm(
        moments.centered_means(center), naive.means[naive.present] - naive.center(center), 1e-12
    )
    assert_close_in_norm(moments.within_scatter(weighting), naive.within(weighting), 1e-6)
    between = naive.between(weighting, center)
    assert_close_in_norm(moments.between_scatter(weighting, center), between, 1e-10)
    weights = [naive.weight(k, weighting) if naive.counts[k] else 0 for k in range(4)]
    np.testing.assert_allclose(moments.class_weights(weighting), weights, rtol=1e-14)
    assert moments.squared_norm == pytest.approx(float(features.double().square().sum()))
    assert moments.num_samples == 400
    assert moments.device == torch.device("cpu")
    assert repr(moments) == "ClassMoments(num_classes=4, dim=6, scatter='per_class'): 400 samples"


def test_total_scatter_is_within_plus_between():
    features, labels = make_data(4, 6, 397, 0.1)
    moments = collect(features, labels, 4)
    centered = features.double() - features.double().mean(0)
    total = centered.T @ centered / 397
    parts = moments.within + moments.between_scatter("pooled", "sample_mean")
    assert_close_in_norm(parts, total.numpy(), 1e-7)
    assert_close_in_norm(moments.between, moments.between.T.numpy(), 1e-15)
    assert_close_in_norm(moments.within, moments.within.T.numpy(), 1e-15)


def test_an_absent_class_is_nan_and_leaves_the_others_alone():
    features, labels = make_data(4, 6, 400, 0.1)
    labels = torch.tensor([0, 3, 5, 6])[labels]
    moments = collect(features, labels, 8)
    assert moments.present.tolist() == [True, False, False, True, False, True, True, False]
    assert torch.isnan(moments.means[[1, 2, 4, 7]]).all()
    assert torch.isnan(moments.trace_variances[[1, 2, 4, 7]]).all()
    dense = collect(features, torch.arange(400) % 4, 4)
    torch.testing.assert_close(moments.means[moments.present], dense.means, rtol=0, atol=0)
    torch.testing.assert_close(moments.within, dense.within, rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.between, dense.between, rtol=1e-12, atol=0)


def test_equal_class_means_have_no_distance():
    moments = ClassMoments(3, 2).update(torch.full((3, 2), 0.1), [0, 1, 2])
    assert torch.equal(moments.centered_means(), torch.zeros(3, 2).double())
    features = torch.tensor([[0.1], [0.5], [0.2], [0.4], [0.3]], dtype=torch.float64)
    moments = ClassMoments(3, 1).update(features, [0, 0, 1, 1, 2])
    assert torch.equal(moments.centered_means("sample_mean"), torch.zeros(3, 1).double())


def test_without_a_scatter_no_d_by_d_tensor_is_formed():
    dim = 20_000
    features = torch.randn(12, dim, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    with LargestTensor() as largest:
        moments = ClassMoments(3, dim, scatter=False)
        moments.update(features[:8], labels[:8]).update(features[8:], labels[8:])
        ratio = nc1_trace_ratio(moments)
        ClassMoments.from_state_dict(moments.state_dict()).merge(moments)
    assert largest.numel < 2100 * dim  # the slab
    spread = sum(features[labels == k].double().var(0, correction=0).sum() for k in range(3)) / 3
    assert ratio == pytest.approx(
        float(spread / moments.centered_means().square().sum() * 3), rel=1e-6
    )


# ------------------------------------------------------------------------ state


def assert_same_state(state, expected):
    assert state.keys() == expected.keys()
    for name in state:
        assert torch.equal(state[name], expected[name]), name


@pytest.mark.parametrize("scatter", ["pooled", "per_class", False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_state_goes_round_and_on(scatter, dtype, tmp_path):
    features, labels = make_data(3, 5, 200, 1e-4)
    features = features.to(dtype)
    half = collect(features[:90], labels[:90], 4, scatter=scatter)  # class 3 is absent
    half.save(tmp_path / "new" / "moments.safetensors")
    loaded = ClassMoments.load(tmp_path / "new" / "moments.safetensors")
    assert loaded.scatter == scatter
    torch.testing.assert_close(loaded.means, half.means, rtol=0, atol=0, equal_nan=True)
    for rebuilt in (loaded, ClassMoments.from_state_dict(half.state_dict()), copy.deepcopy(half)):
        assert_as_naive(rebuilt, NaiveMoments(features[:90], labels[:90], 4), rtol=1e-6)
        rebuilt.update(features[90:], labels[90:])
        assert_as_naive(rebuilt, NaiveMoments(features, labels, 4), rtol=1e-6)
    state = half.state_dict()
    assert {t.dtype for t in state.values()} == {torch.float64}
    assert not any(torch.isnan(t).any() for t in state.values())
    del state["coarse"]  # as in a file of version 0.1
    assert not ClassMoments.from_state_dict(state).coarse


def changed(**tensors):
    state = collect(*make_data(3, 5, 30, 1e-2), 3).state_dict()
    return {name: t for name, t in {**state, **tensors}.items() if t is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            changed(means=None),
            r"state: expected the tensors .*, got \['coarse', 'counts', 'scatter', 'trace",
        ),
        (changed(more=torch.zeros(1)), "'more'"),
        (changed(means=torch.zeros(3, 4)), r"the file is not whole"),
        (changed(means=torch.zeros(3)), r"the file is not whole"),
        (changed(counts=torch.zeros(4)), r"expected finite counts \(K,\)"),
        (changed(scatter=torch.zeros(2, 5, 5)), r"scatter \(0, 1 or K; d; d\)"),
        (changed(scatter=torch.zeros(5, 5)), "the file is not whole"),
        (changed(counts=torch.tensor([10.0, -1, 10])), "the file is not whole"),
        (changed(trace_variances=torch.tensor([1.0, 1, -1])), "the file is not whole"),
        (changed(means=torch.full((3, 5), math.nan)), "the file is not whole"),
        (changed(coarse=torch.tensor([0.25])), "the file is not whole"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(state, message):
    with pytest.raises(NeuralCollapseError, match=message):
        ClassMoments.from_state_dict(state)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "moments.safetensors"
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(
        NeuralCollapseError, match=r"path: expected a safetensors file in .*moments"
    ):
        ClassMoments.load(path)


# ----------------------------------------------------------------------- errors


def filled():
    features, labels = make_data(3, 5, 200, 1e-4)
    return collect(features, labels, 3, batch=100)


NAN, INF = math.nan, math.inf
REFUSED = [
    ([[NAN] * 5, [1.0] * 5], [0, 1], "features in batch 2: expected finite numbers, got 5 NaN or"),
    ([[INF, -INF, 0, 0, 0]], [0], "got 2 NaN or infinite of 5; find where"),
    ([[1.0] * 5], [3], "labels of at least 0 and below 3, .* got labels from 3 to 3"),
    ([[1.0] * 5], [-1], "labels: expected labels of at least 0"),
    ([[1.0] * 5], [0, 1], r"labels: expected 1 labels, one per row, got shape \(2,\)"),
    ([[1.0] * 5], [[1, 1, 0]], r"rows of at least 0 that sum to 1 and have one largest entry"),
    ([[1.0] * 5], [1.0], "integers or strings, got dtype float64"),
    ([[1.0] * 5], ["ant"], "labels: expected whole numbers.*, got text such as 'ant'"),
    ([[1.0] * 5], [True], "labels: expected whole numbers, got dtype torch.bool"),
    ([[1.0] * 4], [0], r"features: expected shape \(n, 5\), got \(1, 4\)"),
    ([1.0] * 5, [0], r"features: expected shape \(n, 5\), got \(5,\)"),
    ([[1e19] * 5], [0], "squares can be summed in torch.float32, got values up to 1e.19"),
]


@pytest.mark.parametrize(("features", "labels", "message"), REFUSED)
def test_a_refused_batch_leaves_the_moments_as_they_were(features, labels, message):
    moments, untouched = filled(), filled()
    with pytest.raises(NeuralCollapseError, match=message):
        moments.update(torch.tensor(features), labels)
    assert_same_state(moments.state_dict(), untouched.state_dict())
    good = torch.full((1, 5), 100.0)
    moments.update(good, [0])
    assert_same_state(moments.state_dict(), untouched.update(good, [0]).state_dict())


def test_float16_overflow_is_hinted_at():
    features = torch.tensor([[7e4]]).half()
    with pytest.raises(NonFiniteError, match="float16 overflows at 65504: measure in bfloat16"):
        ClassMoments(1, 1).update(features, [0])


def test_an_empty_batch_changes_nothing():
    moments, untouched = filled(), filled()
    moments.update(torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    assert_same_state(moments.state_dict(), untouched.state_dict())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClassMoments(0, 3), "num_classes: expected at least 1, got 0"),
        (lambda: ClassMoments(3, 2).center(), "moments: expected at least one sample, got none"),
        (lambda: ClassMoments(3, 2).between, "call update with features first"),
        (lambda: ClassMoments(3, 2, False).within, "scatter: expected 'pooled' or 'per_class'"),
        (
            lambda: (
                ClassMoments(2, 1).update(torch.ones(3, 1), [0, 0, 1]).within_scatter("balanced")
            ),
            "scatter: expected 'per_class' for the balanced within-class scatter of classes of un",
        ),
    ],
)
def test_what_was_not_collected_is_not_there(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_an_unknown_scatter_is_refused():
    init = inspect.unwrap(ClassMoments.__init__)  # below the type check of the test run
    with pytest.raises(
        NeuralCollapseError, match="one of pooled, per_class, True, False, got 'full'"
    ):
        init(ClassMoments.__new__(ClassMoments), 3, 2, "full")


def test_balanced_scatter_of_equal_classes_needs_no_scatter_per_class():
    features, labels = make_data(3, 5, 300, 1e-2)
    moments = collect(features, labels, 3)
    torch.testing.assert_close(moments.within_scatter("balanced"), moments.within)


def test_moments_with_a_changed_byte_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    filled().save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(NeuralCollapseError, match="other content than was saved"):
        ClassMoments.load(path)


def test_no_sample_of_inference_mode_is_lost():
    features, labels = torch.arange(12.0).view(6, 2), torch.arange(6) % 2
    moments = ClassMoments(2, 2)
    with torch.inference_mode():
        moments.update(features, labels)
    means = moments.means
    assert moments.update(features, labels).num_samples == 12
    assert torch.equal(moments.means, means)
    assert not moments.means.is_inference()
