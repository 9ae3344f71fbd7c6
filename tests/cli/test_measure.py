import json

import numpy as np
import torch

import neuralcollapse as nc
from cli_runner import run
from neuralcollapse.measurement import write_features


def test_measure_prints_writes_and_draws(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    weight = nc.simplex_etf(3, 4, "axis")
    features = weight[labels] + 0.1 * torch.randn(60, 4, generator=generator)
    write_features(tmp_path / "f.npz", features=features, labels=labels, weight=weight)
    json_file, plot = tmp_path / "r.json", tmp_path / "r.png"
    result = run("measure", tmp_path / "f.npz", "--per-class", "--json", json_file, "--plot", plot)
    assert result.exit_code == 0, result.output
    report = nc.measure_features(features, labels, weight)
    assert f"{report['nc1_pinv']:.4g}" in result.output
    assert "trace_variance" in result.output
    assert json.loads(json_file.read_text())["values"] == report.to_dict()
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_measure_refuses_objects_in_one_line(tmp_path):
    np.savez(tmp_path / "f.npz", features=np.array([{}], dtype=object), labels=np.zeros(1))
    result = run("measure", tmp_path / "f.npz")
    assert result.exit_code == 2
    assert "f.npz: expected an npz file of plain arrays" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
