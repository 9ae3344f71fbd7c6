"""The folder of a run loses nothing, and one process at a time writes to it."""

import json
import os

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import read_run, remove_snapshots
from neuralcollapse.runs.folder import FORMAT, FolderInUseError, RunFolder
from neuralcollapse.training.run_folder import TrainingFolder
from training_runs import TINY, quiet


@pytest.fixture
def run(tmp_path):
    quiet(TINY, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "checkpoint.pt",
        "history.jsonl",
        "snapshots/epoch-000001.npz",
    ],
)
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_what_another_wrote_is_never_replaced(tmp_path, name, how):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}" if name == "config.json" else "MINE")
    with pytest.raises(NeuralCollapseError):
        quiet(TINY, tmp_path, **how)
    assert file.read_text() in ("{}", "MINE")
    assert {path.name for path in tmp_path.iterdir()} <= {name.split("/")[0], ".lock"}


def test_a_dangling_link_with_our_name_is_another_s(tmp_path):
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NeuralCollapseError, match=r"a folder whose model\.safetensors is of a run"):
        quiet(TINY, tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_ours_is_replaced_where_that_is_asked(run):
    before = (run / "model.safetensors").stat().st_mtime_ns
    quiet(TINY, run, overwrite=True)
    assert (run / "model.safetensors").stat().st_mtime_ns > before
    assert read_run(run).records[-1]["epoch"] == TINY.epochs


def test_a_config_of_version_0_1_0_is_ours(run):
    content = json.loads((run / "config.json").read_text())
    del content["format"], content["files"]
    (run / "config.json").write_text(json.dumps(content))
    assert quiet(TINY, run, resume=True)[-1]["epoch"] == TINY.epochs
    quiet(TINY, run, overwrite=True)
    assert json.loads((run / "config.json").read_text())["format"] == FORMAT


def test_a_finished_run_whose_checkpoint_was_pruned_keeps_its_history(run):
    text = (run / "history.jsonl").read_text()
    (run / "checkpoint.pt").unlink()
    records = quiet(TINY, run, resume=True)
    (run / "model.safetensors").unlink()
    assert quiet(TINY, run, resume=True) == records
    assert (run / "history.jsonl").read_text() == text


def test_records_without_their_checkpoint_are_kept(run):
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:-1]))
    for name in ("checkpoint.pt", "model.safetensors"):
        (run / name).unlink()
    with pytest.raises(NeuralCollapseError, match=r"got no checkpoint\.pt; restore it, start"):
        quiet(TINY, run, resume=True)
    assert (run / "history.jsonl").read_text() == "".join(lines[:-1])


def test_what_lies_beside_our_snapshots_is_left_alone(run):
    mine = run / "snapshots/epoch-best.npz"
    mine.write_text("MINE")
    assert len(read_run(run).snapshots) >= 1
    remove_snapshots(run)
    assert [path.name for path in (run / "snapshots").iterdir()] == ["epoch-best.npz"]


def test_one_writer_at_a_time(run):
    with TrainingFolder(run).locked():
        with pytest.raises(FolderInUseError, match=r"a folder that no other process writes to"):
            quiet(TINY, run, overwrite=True)
        quiet(TINY, run, resume=True)  # a finished run is only read
    assert read_run(run).records


def test_claimed_names_are_ours_and_others_are_not(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim("report.html")
    (folder.path / "report.html").write_text("ours")
    folder.claim("report.html")
    (folder.path / "figure.png").write_text("MINE")
    with pytest.raises(NeuralCollapseError, match=r"a folder whose figure\.png is of a run"):
        folder.claim("figure.png")


def test_a_history_that_links_elsewhere_is_refused(run, tmp_path):
    os.rename(run / "history.jsonl", tmp_path / "real.jsonl")
    (run / "history.jsonl").symlink_to(tmp_path / "real.jsonl")
    with pytest.raises(NeuralCollapseError, match="history: expected a plain file, got the link"):
        read_run(run)
    with pytest.raises(NeuralCollapseError, match="history: expected a plain file"):
        RunFolder(run).append({"epoch": 99})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"epoch": 1}', r"line 2: expected an epoch above 1, the one before, got 1"),
        ('{"epoch": 0}', r"line 2: expected an epoch above 1"),
        ('{"epoch": "2"}', r"line 2: expected a number of an epoch, got the epoch '2'"),
        ('{"epoch": 2, "accuracy": "high"}', r"line 2: expected a number as accuracy, got str"),
        ('{"epoch": 2, "layers": [1]}', r"line 2: expected a Mapping as layers, of .*, got list"),
        ('{"epoch": 2, "layers": {"a": 1}}', r"numbers by metric by layer, got dict"),
        ('{"epoch": 2, "alarms": {"a": 1}}', r"a Mapping as alarms, of sentences by alarm, got"),
        ('{"epoch": 2, "setting": {}}', r"a Mapping as setting, of class sizes and dimensions"),
        ('{"epoch": 2, "lr": 1' + "0" * 99 + "}", r"expected a number as lr, got int"),
        ('{"epoch": 1e300}', r"line 2: expected the number of an epoch, got 1e\+300"),
        ('{"epoch": 2, "num_classes": 1e8}', r"a whole number of classes, got num_classes = 1"),
        ('{"epoch": 2, "num_classes": 2.5}', r"a whole number of classes, got num_classes = 2.5"),
        ("[" * 100_000, r"line 2: expected one JSON object, got"),
    ],
)
def test_records_that_are_none_are_refused(tmp_path, line, message):
    (tmp_path / "history.jsonl").write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(NeuralCollapseError, match=message):
        read_run(tmp_path)


def test_a_history_that_is_no_utf8_is_refused(tmp_path):
    (tmp_path / "history.jsonl").write_bytes(b'{"epoch": 1, "mode": "\xff"}\n')
    with pytest.raises(NeuralCollapseError, match="expected a history in UTF-8, got 'utf-8' codec"):
        read_run(tmp_path)
