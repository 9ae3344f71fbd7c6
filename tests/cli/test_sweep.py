import json

import pandas as pd

from cli_runner import run

SMALL = {"epochs": 1, "per_class": 5, "width": 0.0625}


def written(folder, spec):
    path = folder / "grid.json"
    path.write_text(json.dumps(spec))
    return path


def test_a_sweep_trains_all_and_tells_the_ends(tmp_path):
    file = written(tmp_path, {"base": SMALL, "grid": {"seed": [0, 1]}})
    result = run("sweep", file, "--out", tmp_path / "runs", "--workers", 1)
    assert result.exit_code == 0, result.output
    assert "2 runs: 2 finished" in result.stdout
    table = pd.read_csv(tmp_path / "runs/sweep.csv")
    assert table.seed.tolist() == [0, 1]
    assert table.epoch.tolist() == [1, 1]


def test_a_failed_run_is_told_by_the_status(tmp_path):
    file = written(tmp_path, {"base": SMALL | {"lr": 1e30, "batch_size": 10}})
    result = run("sweep", file, "--out", tmp_path / "runs", "--workers", 1)
    assert result.exit_code == 1
    assert "1 failed" in result.stdout
    assert "--retry" in result.stdout


def test_a_wrong_file_ends_in_one_line(tmp_path):
    result = run("sweep", written(tmp_path, {"grids": {}}), "--out", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: FILE: expected the keys base, grid, runs, got grids")
