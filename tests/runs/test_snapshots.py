import numpy as np
import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure_features
from neuralcollapse.moments import ClassMoments
from neuralcollapse.report.html.certificate import certificate_data
from neuralcollapse.runs import read_snapshots, remove_snapshots, write_snapshot
from neuralcollapse.runs.snapshots import snapshot

K, D, N = 5, 7, 60


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(N) % K
    features = 1e3 + torch.randn(K, D, generator=generator)[labels]
    features = features + 0.1 * torch.randn(N, D, generator=generator)
    weight = torch.randn(K, D, generator=generator)
    return {
        "features": features.double(),
        "labels": labels,
        "weight": weight.double(),
        "bias": torch.randn(K, generator=generator).double(),
        "test_features": features[:20].double() + 0.3,
        "test_labels": labels[:20],
        "class_names": ["a", "b", "<c>", "日", "."],
    }


def test_a_snapshot_is_the_report(tmp_path, data):
    report = measure_features(**data)
    path = write_snapshot(tmp_path, 12, report)
    assert path == tmp_path / "snapshots/epoch-000012.npz"
    (shot,) = read_snapshots(tmp_path)
    x, y = data["features"].numpy(), data["labels"].numpy()
    means = np.stack([x[y == k].mean(0) for k in range(K)])
    center = means.mean(0)
    np.testing.assert_allclose(shot.center, center, rtol=1e-12)
    # float32 of the centred means: the offset of 1000 costs no digits.
    np.testing.assert_allclose(shot.rows, means - center, rtol=1e-6, atol=1e-7)
    spread = [((x[y == k] - means[k]) ** 2).sum(1).mean() for k in range(K)]
    np.testing.assert_allclose(shot.trace_variances, spread, rtol=1e-9)
    assert shot.squared_norm == pytest.approx((x**2).sum(), rel=1e-12)
    assert shot.class_names == data["class_names"]
    assert (shot.epoch, shot.counts.tolist(), shot.present) == (12, [12] * K, list(range(K)))
    np.testing.assert_allclose(shot.weight, data["weight"], rtol=1e-6)
    np.testing.assert_array_equal(shot.bias, data["bias"])
    logits = x @ data["weight"].numpy().T + data["bias"].numpy()
    margins = np.array([s[k] - np.delete(s, k).max() for s, k in zip(logits, y, strict=True)])
    for k in range(K):
        expected = np.quantile(margins[y == k], [0, 0.05, 0.5])
        np.testing.assert_allclose(shot.margin_levels[k], expected, rtol=1e-6)
        for j in set(range(K)) - {k}:
            gap = (logits[:, k] - logits[:, j])[y == k].min()
            assert float(shot.pair_margins[k, j]) == pytest.approx(gap, rel=1e-5)
    assert shot.margin_median == pytest.approx(np.median(margins), rel=1e-6)
    np.testing.assert_allclose(shot.held_out_margins, report.test.state.margins.double(), rtol=1e-6)
    assert shot.held_out_labels.tolist() == data["test_labels"].tolist()
    i, j, value = shot.closest_pairs[0].tolist()
    worst = report.worst_pairs(1).iloc[0]
    assert data["class_names"][int(i)] == worst["class i"]
    assert data["class_names"][int(j)] == worst["class j"]
    assert value == worst["cdnv"]
    assert shot.before is None


def test_the_file_holds_no_objects(tmp_path, data):
    path = write_snapshot(tmp_path, 1, measure_features(**data))
    with np.load(path, allow_pickle=False) as archive:
        kinds = {archive[name].dtype.kind for name in archive.files}
    assert kinds <= set("iufU")


def test_without_a_head_there_are_no_margins(tmp_path, data):
    report = measure_features(
        data["features"],
        data["labels"],
        test_features=data["test_features"],
        test_labels=data["test_labels"],
    )
    write_snapshot(tmp_path, 1, report)
    (shot,) = read_snapshots(tmp_path)
    for name in ("weight", "bias", "margin_levels", "margin_median", "pair_margins"):
        assert getattr(shot, name) is None
    assert shot.held_out_margins is None
    assert shot.held_out_labels is None


def test_an_absent_class_is_absent(tmp_path, data):
    keep = data["labels"] != 3
    report = measure_features(
        data["features"][keep], data["labels"][keep], data["weight"], data["bias"]
    )
    write_snapshot(tmp_path, 1, report)
    (shot,) = read_snapshots(tmp_path)
    assert shot.present == [0, 1, 2, 4]
    assert shot.rows[3].isnan().all()
    assert shot.margin_levels[3].isnan().all()
    total = shot.rows[shot.present].sum(0)
    torch.testing.assert_close(total, torch.zeros(D).double(), atol=1e-5, rtol=0)


def test_the_layer_before_comes_along(tmp_path, data):
    earlier = ClassMoments(K, D).update(2 * data["features"], data["labels"])
    write_snapshot(tmp_path, 1, measure_features(**data), before=earlier)
    (shot,) = read_snapshots(tmp_path)
    torch.testing.assert_close(shot.before.means, earlier.means)
    torch.testing.assert_close(shot.before.within, earlier.within)
    assert shot.before.counts.tolist() == earlier.counts.tolist()
    for other in (
        ClassMoments(K, D).update(data["features"][1:], data["labels"][1:]),
        ClassMoments(K, D, scatter=False).update(data["features"], data["labels"]),
    ):
        with pytest.raises(NeuralCollapseError, match="before: expected moments of the same samp"):
            write_snapshot(tmp_path, 2, measure_features(**data), before=other)
    assert len(read_snapshots(tmp_path)) == 1


def test_snapshots_come_in_order_and_can_be_removed(tmp_path, data):
    report = measure_features(**data)
    for epoch in (100, 2, 30):
        write_snapshot(tmp_path, epoch, report)
    assert [shot.epoch for shot in read_snapshots(tmp_path)] == [2, 30, 100]
    remove_snapshots(tmp_path, after=30)
    assert [shot.epoch for shot in read_snapshots(tmp_path)] == [2, 30]
    remove_snapshots(tmp_path)
    assert read_snapshots(tmp_path) == []
    remove_snapshots(tmp_path / "never there")


def test_bad_input_is_refused(tmp_path, data):
    report = measure_features(**data)
    with pytest.raises(NeuralCollapseError, match="epoch: expected 0 or later, got -1"):
        write_snapshot(tmp_path, -1, report)
    path = write_snapshot(tmp_path, 1, report)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NeuralCollapseError, match=r"epoch-000001\.npz: expected an npz file"):
        read_snapshots(tmp_path)
    np.savez(path, format=np.array(1), rows=np.array([{}], dtype=object))
    with pytest.raises(NeuralCollapseError, match="save numeric arrays"):
        read_snapshots(tmp_path)
    np.savez(path, format=np.array(2))
    with pytest.raises(NeuralCollapseError, match="written by a later version"):
        read_snapshots(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "rows",
            np.zeros((K, D + 1), np.float32),
            r"rows of shape|center of shape|weight of shape",
        ),
        ("rows", np.zeros(K * D, np.float32), r"rows of shape \(35,\)"),
        ("counts", np.full(K, -1), "counts from -1 to -1"),
        ("counts", np.full(K, 2.5), "counts that are not whole"),
        ("trace_variances", np.full(K, -1.0), "trace_variances below 0"),
        ("margin_levels", np.zeros((K, 1)), r"margin_levels of shape \(5, 1\)"),
        ("held_out_labels", np.full(20, K), "held_out_labels from 5 to 5"),
        ("closest_pairs", np.full((1, 3), 9.0), "closest_pairs of other classes"),
        ("epoch", np.array([1]), "an array as epoch"),
        ("squared_norm", np.array(-1.0), "squared_norm = -1"),
        ("trace_variances", np.zeros(K, complex), "trace_variances of complex128"),
        ("extra", np.zeros(3), "unexpected keyword argument"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(data, tmp_path, name, value, message):
    path = write_snapshot(tmp_path, 1, measure_features(**data))
    arrays = dict(np.load(path))
    arrays[name] = value
    np.savez(path, **arrays)
    with pytest.raises(NeuralCollapseError, match=message):
        read_snapshots(tmp_path)


def test_numbers_of_another_byte_order_are_the_same(data, tmp_path):
    path = write_snapshot(tmp_path, 1, measure_features(**data))
    (before,) = read_snapshots(tmp_path)
    swapped = {
        n: a.astype(a.dtype.newbyteorder(">")) if a.dtype.kind in "if" else a
        for n, a in np.load(path).items()
    }
    np.savez(path, **swapped)
    (after,) = read_snapshots(tmp_path)
    assert torch.equal(before.rows, after.rows)
    assert torch.equal(before.counts, after.counts)


def test_of_very_many_test_samples_some_are_kept(data, tmp_path, monkeypatch):
    monkeypatch.setattr("neuralcollapse.runs.snapshots.MOST_HELD_OUT", 8)
    report = measure_features(**data)
    shot, again = snapshot(1, report), snapshot(2, report)
    kept = shot.held_out_margins
    assert (len(kept), shot.held_out_total) == (8, len(report.test.state.margins))
    assert torch.equal(kept, again.held_out_margins)
    state = report.test.state
    pairs = set(zip(state.margins.tolist(), state.labels.tolist(), strict=True))
    assert set(zip(kept.tolist(), shot.held_out_labels.tolist(), strict=True)) <= pairs
    write_snapshot(tmp_path, 1, report)
    (read,) = read_snapshots(tmp_path)
    assert read.held_out_total == shot.held_out_total
    assert certificate_data(read).of == str(shot.held_out_total)


@pytest.mark.parametrize("unit", [1e60, 1e-60])
def test_a_snapshot_holds_sizes_that_float32_does_not(tmp_path, data, unit):
    plain = measure_features(data["features"], data["labels"], data["weight"])
    scaled = measure_features(unit * data["features"], data["labels"], data["weight"] / unit)
    shots = []
    for folder, report in (("plain", plain), ("scaled", scaled)):
        write_snapshot(tmp_path / folder, 1, report)
        shots += read_snapshots(tmp_path / folder)
    one, other = shots
    torch.testing.assert_close(other.rows / unit, one.rows, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.weight * unit, one.weight, rtol=1e-6, atol=1e-6)
    assert snapshot(1, scaled).rows.isfinite().all()
