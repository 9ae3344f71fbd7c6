import io
import json
import shutil
import time
from contextlib import suppress

import pandas as pd
import pytest
import ray
from rich.console import Console

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.folder import FolderInUseError
from neuralcollapse.studies.sweep import expand, sweep
from neuralcollapse.studies.sweep.progress_table import progress_table
from neuralcollapse.training import DATASETS, train
from neuralcollapse.training.run_folder import TrainingFolder
from training_runs import running, wait_for

GRID = {
    "base": {"epochs": 2, "per_class": 10, "width": 0.0625, "weight_decay": 0.0},
    "grid": {"seed": [0, 1], "lr": [0.05, 0.1]},
}
BROKEN = {"base": GRID["base"] | {"lr": 1e30, "batch_size": 20}}
QUIET = {"progress": False, "workers": 2}


def same(ours, theirs):
    ours, theirs = (pd.DataFrame(run).drop(columns="seconds") for run in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)


def modified(out):
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    return out, sweep(expand(GRID), out, **QUIET)


def test_every_run_is_what_training_it_alone_gives(swept, tmp_path):
    _, report = swept
    assert [run.state for run in report.runs] == ["finished"] * 4
    for run in report.runs[1:3]:
        alone = train(run.config, tmp_path / run.folder.name, progress=False)
        same(run.records, alone)


def test_finished_runs_are_skipped_and_new_ones_added(swept):
    out, report = swept
    before = modified(out)
    again = sweep(expand(GRID), out, **QUIET)
    assert modified(out) == before
    same(again.runs[0].records, report.runs[0].records)
    more = expand({"base": GRID["base"], "grid": GRID["grid"] | {"seed": [0, 2]}})
    sweep(more, out, **QUIET)
    assert {path: time for path, time in modified(out).items() if path in before} == before
    assert len(list(out.iterdir())) == 6


def test_the_table_of_results_shows_what_varies(swept):
    frame = swept[1].to_frame()
    assert list(frame.columns[:4]) == ["run", "lr", "seed", "state"]
    assert set(zip(frame.seed, frame.lr, strict=True)) == {
        (s, r) for s in (0, 1) for r in (0.05, 0.1)
    }
    assert (frame.epoch == 2).all()
    assert "batch_size" not in frame


def test_a_failure_is_reported_and_stops_no_other_run(tmp_path):
    configs = expand(GRID)[:1] + expand(BROKEN)
    report = sweep(configs, tmp_path, **QUIET)
    good, bad = report.runs
    assert (good.state, bad.state) == ("finished", "failed")
    assert report.failed == [bad]
    assert bad.error.startswith("NonFiniteError: train_loss: expected a finite loss, got nan")
    assert "Traceback" in json.loads((bad.folder / "failure.json").read_text())["traceback"]
    # Without retry it is only told again; with retry it is run again, and fails again.
    before = modified(bad.folder)
    assert sweep(configs, tmp_path, **QUIET).failed == [bad]
    assert modified(bad.folder) == before
    assert sweep(configs, tmp_path, retry=True, **QUIET).failed == [bad]
    assert modified(bad.folder) != before


def test_the_progress_table_puts_failures_first_and_counts_the_rest(tmp_path):
    configs = expand(GRID)[:1] + expand(BROKEN)
    report = sweep(configs, tmp_path, **QUIET)
    console = Console(width=200, file=io.StringIO())
    console.print(progress_table(report.runs))
    text = console.file.getvalue()
    assert "2 runs: 1 failed, 1 finished" in text
    assert text.index("NonFiniteError") < text.index("2/2")


def test_ray_gives_the_same_histories(swept, tmp_path, monkeypatch):
    _, report = swept
    monkeypatch.chdir(tmp_path)
    again = sweep(expand(GRID)[:1], "here", engine="ray", **QUIET)
    assert all(run.folder.parent == tmp_path / "here" for run in again.runs)
    assert not ray.is_initialized()  # the cluster that the sweep started is gone
    same(again.runs[0].records, report.runs[0].records)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slurm"}, "engine: expected one of processes, ray, got 'slurm'"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"address": "auto"}, "address: expected the engine ray, got processes"),
        ({"gpus_per_run": 1}, "gpus_per_run: expected the engine ray, got processes"),
        ({"engine": "ray", "address": "127.0.0.1:1"}, "address: expected a running Ray cluster"),
        ({"engine": "ray", "address": "nowhere"}, "address: expected a running Ray cluster"),
    ],
)
def test_an_engine_that_is_not_there_is_refused(options, message, tmp_path):
    with pytest.raises(NeuralCollapseError, match=message):
        sweep(expand(GRID), tmp_path, progress=False, **options)


def test_no_configuration_is_refused(tmp_path):
    with pytest.raises(NeuralCollapseError, match="configs: expected at least one configuration"):
        sweep([], tmp_path)


@pytest.mark.slow
def test_a_killed_sweep_goes_on(swept, tmp_path):
    """Killed in its first run, then called again."""
    with running(sweep, expand(GRID), tmp_path, progress=False, workers=1) as process:
        wait_for(lambda: list(tmp_path.rglob("history.jsonl")), process)
        process.kill()
        process.join()
    assert process.exitcode == -9
    report = sweep(expand(GRID), tmp_path, **QUIET)
    for ours, theirs in zip(report.runs, swept[1].runs, strict=True):
        assert ours.state == "finished"
        same(ours.records, theirs.records)


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed(tmp_path):
    """The sweep alone is killed; its workers' runs, which would take hours, are soon free."""
    endless = {"base": GRID["base"] | {"epochs": 10**6}, "grid": {"seed": [0, 1]}}
    with running(sweep, expand(endless), tmp_path, **QUIET) as process:
        while len(histories := list(tmp_path.rglob("history.jsonl"))) < 2:
            assert process.is_alive()
            process.join(0.05)
        with pytest.raises(FolderInUseError), TrainingFolder(histories[0].parent).locked():
            pass
        process.kill()
        process.join()
        waiting = {history.parent for history in histories}
        while waiting:  # the suite's own limit of time ends a failure
            for folder in list(waiting):
                with suppress(FolderInUseError), TrainingFolder(folder).locked():
                    waiting.remove(folder)
            time.sleep(0.05)


def test_a_broken_history_is_a_failure_and_told_as_it_is(swept, tmp_path):
    shutil.copytree(swept[0], tmp_path / "copy")
    history = next((tmp_path / "copy").rglob("history.jsonl"))
    history.write_text(history.read_text() + history.read_text())
    report = sweep(expand(GRID), tmp_path / "copy", **QUIET)
    assert [run.state for run in report.runs].count("failed") == 1
    assert "expected an epoch above 2" in report.failed[0].error
    console = Console(width=300, file=io.StringIO())
    (report.failed[0].folder / "failure.json").write_text('{"error": "[red]\\u001b[2J[/nope]"}')
    console.print(progress_table(report.runs))
    assert "[red]\\x1b[2J[/nope]" in console.file.getvalue()


def test_workers_know_the_data_sets_that_were_put_under_a_name(tmp_path, monkeypatch):
    """A function of this module's own, which no worker could import."""
    digits = DATASETS["digits"]
    monkeypatch.setitem(DATASETS, "mine", lambda root: digits(root).subset(3, 3))
    mine = expand({"base": GRID["base"] | {"data": "mine", "per_class": None, "epochs": 1}})
    report = sweep(mine, tmp_path, **QUIET)
    assert [run.error for run in report.runs] == [None]
    assert report.runs[0].last["setting"]["class_sizes"] == [[3, 10]]
