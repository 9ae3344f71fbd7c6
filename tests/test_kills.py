"""Twenty kills at random moments of each command that writes: nothing is lost or corrupted."""

import json
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_history, read_run
from neuralcollapse.runs.folder import FolderInUseError
from neuralcollapse.studies import FigureJob
from neuralcollapse.studies.kept_runs import read_kept_run
from neuralcollapse.studies.sweep import expand, run_name, sweep
from neuralcollapse.training import TrainConfig
from neuralcollapse.training.run_folder import TrainingFolder
from training_runs import TINY, apart, quiet, running, without_seconds

pytestmark = pytest.mark.slow
KILLS = 20
OPTIONS = {"measure_every": 1, "checkpoint_every": 1}
LONG = TrainConfig(**TINY.to_dict() | {"epochs": 200})
GRID = {"base": TINY.to_dict() | {"epochs": 30, "milestones": None}, "grid": {"seed": [0, 1, 2, 3]}}
FEW = GRID | {"grid": {"seed": [0, 1]}}
EPOCHS = 300


def whole(folder):
    """Read all that a run's folder holds, if there is a record."""
    path = Path(folder) / "history.jsonl"
    if not path.exists() or not path.stat().st_size:
        return []
    json.loads((Path(folder) / "config.json").read_text())
    return read_run(folder).records


def killed(target, *arguments, longest, seed, after=lambda: None, **options):
    """Start a function again and again, kill it at random moments, and at last let it end."""
    moments = random.Random(seed)
    for _ in range(KILLS):
        with running(target, *arguments, **options) as process:
            process.join(moments.uniform(0, longest))
        after()
    with running(target, *arguments, **options) as process:
        process.join()
        assert process.exitcode == 0
    after()


def keeping(folder):
    """Return a check that records once written stay, as they are, in the order of epochs."""
    known = []

    def check():
        now = without_seconds(whole(folder))
        assert now[: len(known)] == known
        known[:] = now

    return check


def left_over(folder):
    return [path for path in Path(folder).rglob(".*") if path.name != ".lock"]


def test_train(tmp_path):
    expected = apart(LONG, tmp_path / "whole", **OPTIONS)
    seconds = expected[-1]["seconds"]
    out = tmp_path / "killed"
    killed(quiet, LONG, out, longest=seconds / 6, seed=1, resume=True,
           after=lambda: whole(out), **OPTIONS)  # fmt: skip
    assert without_seconds(read_history(out)) == without_seconds(expected)
    assert left_over(out) == []


def watched(folder):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 5), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = [(inputs, labels)]
    with nc.watch(
        model, loader, val_loader=loader, history=folder, epochs=EPOCHS, resume=True
    ) as collapse:
        while collapse.epoch < EPOCHS:
            optimizer.zero_grad()
            cross_entropy(model(inputs), labels).backward()
            optimizer.step()
            collapse.epoch_end()


def test_watch(tmp_path):
    out = tmp_path / "run"
    start = time.perf_counter()
    with running(watched, tmp_path / "whole") as process:
        process.join()
    longest = (time.perf_counter() - start) / 6
    killed(watched, out, longest=longest, seed=2, after=keeping(out))
    assert [record["epoch"] for record in read_history(out)] == list(range(1, EPOCHS + 1))
    assert read_run(out).snapshots[-1].epoch == EPOCHS
    assert left_over(out) == []


def reported(folder, path):
    write_page([read_run(folder)], path)


def test_report(tmp_path, tetrahedron):
    page = tmp_path / "report.html"
    start = time.perf_counter()
    with running(reported, tetrahedron, page) as process:
        process.join()
    longest = time.perf_counter() - start
    before = page.read_text()

    def check():
        assert page.read_text() == before

    killed(reported, tetrahedron, page, longest=longest, seed=3, after=check)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def swept(out, engine="processes", workers=2):
    report = sweep(expand(GRID), out, engine=engine, workers=workers, progress=False,
                   accelerator="cpu", **OPTIONS)  # fmt: skip
    assert not report.failed


def released(out):
    """Wait until the workers of a killed sweep have ended, and read what they left."""
    for folder in [path.parent for path in Path(out).glob("*/.lock")]:
        held = True
        while held:
            with suppress(FolderInUseError), TrainingFolder(folder).locked():
                held = False
            time.sleep(0.05 * held)
        with suppress(NeuralCollapseError):  # which `assert_all_whole` would meet again
            whole(folder)


def assert_all_whole(out, reference):
    for config in expand(GRID):
        expected = apart(config, reference / run_name(config), **OPTIONS)
        assert without_seconds(read_history(out / run_name(config))) == without_seconds(expected)
    assert left_over(out) == []


@pytest.mark.parametrize(("engine", "longest"), [("processes", 12), ("ray", 25)])
def test_sweep(tmp_path, engine, longest):
    out = tmp_path / "sweep"
    killed(swept, out, engine, longest=longest, seed=4, after=lambda: released(out))
    assert_all_whole(out, tmp_path / "alone")


def studied(folder):
    job = FigureJob(folder, workers={"workers": 1})
    job.train(expand(FEW), accelerator="cpu", **OPTIONS)


def test_study(tmp_path):
    out = tmp_path / "study"
    start = time.perf_counter()
    with running(studied, tmp_path / "whole") as process:
        process.join()
    longest = (time.perf_counter() - start) / 2
    killed(studied, out, longest=longest, seed=5, after=lambda: released(out / "runs"))
    for name in map(run_name, expand(FEW)):  # of as many threads, which a run alone has not
        runs = [read_history(folder / "runs" / name) for folder in (out, tmp_path / "whole")]
        kept = [read_kept_run(out / "kept" / f"{name}.jsonl.gz")[1]]
        first, *others = (without_seconds(records) for records in runs + kept)
        assert others == [first, first]
    assert left_over(out) == []
