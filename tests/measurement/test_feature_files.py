import numpy as np
import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import read_features, write_features


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_what_is_written_is_read(tmp_path, ending):
    path = tmp_path / f"features.{ending}"
    arrays = {"features": torch.randn(6, 2), "labels": torch.arange(6) % 2}
    arrays |= {"weight": torch.randn(2, 2), "bias": torch.zeros(2)}
    write_features(path, **arrays)
    read = read_features(path)
    assert set(read) == set(arrays)
    assert nc.measure_features(**read) == nc.measure_features(**arrays)


def test_objects_are_refused(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, features=np.array([{"a": 1}], dtype=object), labels=np.zeros(1))
    with pytest.raises(NeuralCollapseError, match=r"Object arrays cannot.*\.astype\(str\)"):
        read_features(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.pkl", b"", r"or \.npz file, got f.pkl"),
        ("f.npz", b"damaged", "f.npz: expected an npz file of plain arrays, got File is not a zip"),
        ("f.safetensors", b"damaged", "f.safetensors: expected a safetensors file, got "),
        ("f.npz", None, "expected a file, got nothing at"),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NeuralCollapseError, match=message):
        read_features(tmp_path / name)


def test_foreign_samples_are_passed_over(tmp_path):
    """One file serves every command; a name that none knows is still refused."""
    kept = {"features": np.zeros((2, 2)), "labels": np.arange(2)}
    np.savez(tmp_path / "f.npz", **kept, foreign_features=np.ones((3, 2)))
    assert set(read_features(tmp_path / "f.npz")) == set(kept)
    np.savez(tmp_path / "g.npz", **kept, foreign_feature=np.ones((3, 2)))
    with pytest.raises(NeuralCollapseError, match="no others, got 'foreign_feature' in"):
        read_features(tmp_path / "g.npz")


def test_missing_arrays_and_unknown_names(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.zeros((2, 2)))
    with pytest.raises(NeuralCollapseError, match="arrays named 'features' and 'labels'"):
        read_features(tmp_path / "f.npz")
    (tmp_path / "f.csv").write_text("length,species\n1.5,0\n")
    with pytest.raises(NeuralCollapseError, match="name the column of labels one of label"):
        read_features(tmp_path / "f.csv")
    with pytest.raises(NeuralCollapseError, match=r"names among .*, got \['logit'\]"):
        write_features(tmp_path / "g.npz", logit=[0])
    assert not (tmp_path / "g.npz").exists()
