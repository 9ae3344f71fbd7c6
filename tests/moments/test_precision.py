"""What float32 cannot hold: strong directions beside weak ones, and very small numbers."""

import numpy as np
import pytest
import torch

from naive_collapse import NaiveMoments
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import load_report, measure_features
from neuralcollapse.metrics import cdnv, nc1_pinv, nc1_trace_ratio, vci
from neuralcollapse.metrics.collapse_index import loses_digits
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments import ClassMoments
from neuralcollapse.moments.precision import drowns


def features_with(strength, dim=64, strong=1, per_class=200, spread=0.01, order="mixed"):
    """Ten classes of float32 features, and directions of their own of this standard deviation."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.arange(10).repeat(per_class)
    if order == "sorted":
        labels = labels.sort().values
    directions = torch.linalg.qr(normal(dim, strong)).Q.T
    features = normal(10, dim)[labels] + spread * normal(len(labels), dim)
    return (features + strength * normal(len(labels), strong) @ directions).float(), labels


def collect(features, labels, batch=256):
    moments = ClassMoments(10, features.shape[1])
    for rows, part in zip(features.split(batch), labels.split(batch), strict=True):
        moments.update(rows, part)
    return moments


@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize(
    ("strength", "dim", "strong", "per_class"),
    [(1e4, 64, 1, 200), (1e2, 64, 1, 200), (1e3, 64, 5, 500), (1e4, 200, 1, 500), (1e5, 3, 1, 90)],
)
def test_a_strong_direction_drowns_no_other(strength, dim, strong, per_class, order):
    features, labels = features_with(strength, dim, strong, per_class, order=order)
    for batch in (256, 3000):
        narrow, wide = collect(features, labels, batch), collect(features.double(), labels, batch)
        # The features themselves are rounded before they are given.
        assert vci(narrow) == pytest.approx(vci(wide), rel=2e-3)
        assert nc1_pinv(narrow) == pytest.approx(nc1_pinv(wide), rel=1e-6)


def test_a_direction_that_grows_strong_later():
    calm, labels = features_with(0.0, per_class=700)
    wild, _ = features_with(1e4, per_class=700)
    features = torch.cat([calm, wild])
    twice = labels.repeat(2)
    assert vci(collect(features, twice)) == pytest.approx(
        vci(collect(features.double(), twice)), rel=2e-3
    )


def test_a_single_row_can_be_all_of_a_strong_direction():
    features, labels = features_with(0.0, per_class=400)
    features[1234] += 1e5 * torch.nn.functional.normalize(torch.randn(64), dim=0)
    assert vci(collect(features, labels)) == pytest.approx(
        vci(collect(features.double(), labels)), rel=2e-3
    )


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_ordinary_spectra_stay_in_float32(decay):
    generator = torch.Generator().manual_seed(0)
    deviations = torch.arange(1.0, 101) ** (-decay / 2)
    labels = torch.arange(3000) % 10
    features = deviations * torch.randn(3000, 100, generator=generator)
    moments = collect(features + 10 * torch.randn(10, 100, generator=generator)[labels], labels)
    assert moments.num_samples == 3000
    assert moments._sums.shift.dtype == torch.float32


def test_too_few_differences_tell_nothing():
    rows = torch.zeros(2000, 30)
    rows[:10] = torch.randn(10, 30)
    assert drowns(rows, rows.norm(dim=1)) is None


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1e-25, torch.float32),
        (1e-18, torch.float32),
        (1e-37, torch.float32),
        (1e-25, torch.bfloat16),
        (1e12, torch.float32),
        (1e-100, torch.float64),
        (1e39, torch.float64),
        (1e100, torch.float64),
    ],
)
@pytest.mark.parametrize("batch", [100, 2500])
def test_what_has_no_unit_does_not_depend_on_it(scale, dtype, batch):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2500) % 10
    noise = torch.randn(2500, 12, generator=generator)
    features = (torch.randn(10, 12, generator=generator)[labels] + 0.1 * noise).to(dtype)
    plain = collect(features, labels, batch)
    scaled = collect((features.double() * scale).to(dtype), labels, batch)
    rel = 1e-2 if dtype == torch.bfloat16 else 1e-5
    for metric in (nc1_trace_ratio, nc1_pinv, cdnv, vci):
        assert metric(scaled) == pytest.approx(metric(plain), rel=rel)


def test_zeros_are_no_small_numbers():
    moments = ClassMoments(2, 3).update(torch.zeros(4, 3), [0, 1, 0, 1])
    assert float(moments.within.abs().max()) == 0
    assert moments._sums.shift.dtype == torch.float32
    assert float(ClassMoments(2, 3).update(torch.zeros(4, 3).double(), [0] * 4).squared_norm) == 0


def test_squares_that_vanish_in_float64_are_refused():
    moments = ClassMoments(2, 3).update(torch.ones(2, 3).double(), [0, 1])
    with pytest.raises(NeuralCollapseError, match=r"squared and summed|squares can be summed"):
        moments.update(torch.full((2, 3), 1e-160, dtype=torch.float64), [0, 1])
    assert moments.num_samples == 2


@pytest.mark.parametrize("read_only", [False, True])
def test_arrays_of_numpy_are_features_and_labels(read_only):
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(50, 4)), generator.integers(3, size=50)
    features.flags.writeable = labels.flags.writeable = not read_only
    moments = ClassMoments(3, 4).update(features, labels)
    naive = NaiveMoments(np.array(features), np.array(labels), 3)
    np.testing.assert_allclose(moments.means, naive.means)
    np.testing.assert_allclose(moments.within, naive.within())
    one_hot = ClassMoments(3, 4).update(features, np.eye(3)[labels])
    assert torch.equal(one_hot.means, moments.means)


def test_complex_features_are_refused():
    with pytest.raises(NeuralCollapseError, match="features: expected real numbers, got dtype"):
        ClassMoments(2, 2).update(torch.ones(2, 2, dtype=torch.complex64), [0, 1])


def weak_direction(apart):
    """Two classes that differ along a direction of deviation 1e-4 alone, of 32."""
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(32, 32, generator=generator, dtype=torch.float64))[0]
    labels = torch.arange(2000) % 2
    features = torch.randn(2000, 32, generator=generator, dtype=torch.float64)
    features[:, 0] = 1e-4 * (features[:, 0] + apart * labels)
    return features @ rotation, labels


@pytest.mark.parametrize("apart", [1.0, 10.0])
def test_a_direction_too_weak_for_float32_is_said(apart):
    features, labels = weak_direction(apart)
    narrow, wide = (measure_features(rows, labels) for rows in (features.float(), features))
    # One direction r in units of its deviation: VCI = 1 / (1 + r^2 / 4), but for the other 31.
    assert wide["vci"] == pytest.approx(1 / (1 + apart**2 / 4), rel=0.1)
    assert [any("too little for float32" in c for c in r.cautions) for r in (narrow, wide)] == [
        True,
        False,
    ]


def test_it_is_said_of_a_report_and_of_a_state_that_travelled(tmp_path):
    features, labels = weak_direction(1.0)
    report = measure_features(features.float(), labels)
    report.save(tmp_path / "r.safetensors")
    assert load_report(tmp_path / "r.safetensors").cautions == report.cautions
    state = CollapseState(2, 32)
    state.gather(features.float(), labels, None)
    again = CollapseState.from_vector(state.to_vector(), 2, 32)
    assert loses_digits(again.moments)
    wide = CollapseState(2, 32)
    wide.gather(features, labels, None)
    assert not loses_digits(CollapseState.from_vector(wide.to_vector(), 2, 32).moments)
    wide.merge(again)
    assert loses_digits(wide.moments)


def through_a_bottleneck(rank, far):
    """Features of ten classes on a plane far from the origin, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    inside, centers, plane, away = (
        torch.randn(*sizes, generator=generator, dtype=torch.float64)
        for sizes in ((400, rank), (10, rank), (rank, 32), (32,))
    )
    return (inside + centers[labels]) @ plane + far * away, labels


@pytest.mark.parametrize("far", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("rank", [2, 12])
def test_what_rounding_to_float32_adds_is_no_direction(rank, far):
    """Neither of the scatter, nor, with a rank below K - 1, of the class means."""
    features, labels = through_a_bottleneck(rank, far)
    wide, narrow = (collect(rows, labels) for rows in (features, features.float()))
    for metric in (vci, nc1_pinv):
        assert metric(narrow) == pytest.approx(metric(wide), rel=0.01)
    again = ClassMoments.from_state_dict(narrow.state_dict())
    assert vci(again) == pytest.approx(vci(narrow))
    assert [loses_digits(moments) for moments in (wide, narrow, again)] == [False, True, True]


def test_the_direction_that_a_layer_norm_takes_away_is_told_and_harms_no_vci():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(500) % 4
    rows = torch.randn(500, 8, generator=generator) + torch.eye(4, 8)[labels]
    norm = torch.nn.LayerNorm(8)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0, generator=generator)
    with torch.no_grad():
        narrow = measure_features(norm(rows), labels)
        wide = measure_features(norm.double()(rows.double()), labels)
    assert "after a LayerNorm always one" in narrow.cautions[0]
    assert not any("float32" in caution for caution in wide.cautions)
    assert narrow["vci"] == pytest.approx(wide["vci"], rel=1e-4)


def test_features_that_never_vary_are_no_weak_directions():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 8, generator=generator)
    features[:, 5] = 2.0
    moments = collect(features, torch.arange(500) % 4)
    assert not loses_digits(moments)
    assert moments.coarse
    assert not collect(features.double(), torch.arange(500) % 4).coarse
    labels = torch.arange(40) % 4
    report = measure_features(torch.eye(4, 6)[labels] + 0.1, labels)  # nothing varies in a class
    assert report["vci"] == 0
    assert report.cautions == []
    assert "NC1 collapsed" in str(report)


def test_a_few_rows_with_a_strong_direction_are_float64():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(12) % 3
    strong = torch.nn.functional.normalize(torch.randn(6, generator=generator), dim=0)
    rows = torch.randn(3, 6, generator=generator)[labels]
    rows = rows + 0.01 * torch.randn(12, 6, generator=generator)
    rows = rows + 1e5 * torch.randn(12, 1, generator=generator) * strong
    narrow, wide = (measure_features(r, labels)["nc1_pinv"] for r in (rows, rows.double()))
    assert narrow == pytest.approx(wide, rel=1e-4)
    assert wide > 0


@pytest.mark.parametrize("every", [30, 300])
def test_loud_classes_do_not_drown_the_scatter_of_another(every):
    """One class in so many rows has deviation 1 but for a direction of 1e5; others 1e5 in all."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(9000) % 3
    labels[::every] = 3
    features = 1e5 * torch.randn(9000, 12, generator=generator)
    features[::every, 1:] /= 1e5
    features = features @ torch.linalg.qr(torch.randn(12, 12, generator=generator))[0]
    spectra = [
        torch.linalg.eigvalsh(ClassMoments(4, 12, "per_class").update(x, labels).class_scatters)
        for x in (features, features.double())
    ]
    torch.testing.assert_close(*spectra, rtol=2e-2, atol=0)


def test_collapsed_float32_features_have_lost_no_digits():
    labels = torch.arange(60) % 3
    moments = ClassMoments(3, 3).update(torch.eye(3)[labels], labels)
    assert not loses_digits(moments)
    assert "float32" not in " ".join(measure_features(torch.eye(3)[labels], labels).cautions)


@pytest.mark.parametrize("seed", range(4))
def test_round_off_of_float64_features_is_no_direction(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(200) % 5
    plain = torch.randn(5, 8, generator=generator).double()[labels]
    plain += 0.2 * torch.randn(200, 8, generator=generator).double()
    wide = 1e10 + plain @ torch.randn(8, 10, generator=generator).double()  # 8 directions of 10
    total = CollapseState(5, 10)
    for part in torch.arange(200).split(20):
        state = CollapseState(5, 10)
        state.gather(wide[part], labels[part])
        total.merge(CollapseState.from_vector(state.to_vector(), 5, 10))
    expected = vci(ClassMoments(5, 8).update(plain, labels))
    assert vci(total.moments) == pytest.approx(expected, rel=1e-4)
    assert not loses_digits(total.moments)
