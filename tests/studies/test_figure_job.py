import gzip
import json

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies import FigureJob
from neuralcollapse.studies.kept_runs import read_kept_run
from neuralcollapse.studies.sweep.configs import run_name
from neuralcollapse.training import TrainConfig

CONFIGS = [
    TrainConfig(width=1 / 16, per_class=5, test_per_class=3, epochs=2, seed=seed)
    for seed in (1, 0, 2)
]


def kept_path(folder, config):
    return folder / f"{run_name(config)}.jsonl.gz"


def job(folder, **options):
    return FigureJob(folder, workers={"workers": 1}, **options)


def test_what_is_kept_is_read_and_not_trained(tmp_path):
    kept = tmp_path / "kept"
    first = job(tmp_path / "a", kept=kept).train(CONFIGS[:2])
    names = sorted(path.name for path in kept.iterdir())
    assert names == sorted(kept_path(kept, config).name for config in CONFIGS[:2])
    before = {path: path.read_bytes() for path in kept.iterdir()}
    # Another folder has the two without training, and adds the third.
    again = job(tmp_path / "b", kept=kept).train(CONFIGS)
    assert again[:2] == first
    assert len(list((tmp_path / "b/runs").iterdir())) == 1
    assert {path: path.read_bytes() for path in before} == before
    made, records = read_kept_run(kept_path(kept, CONFIGS[2]))
    assert made["config"] == CONFIGS[2].to_dict()
    assert records == again[2]


@pytest.mark.parametrize("argument", ["kept", "folder"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(
    tmp_path, argument, monkeypatch
):
    monkeypatch.setattr("neuralcollapse.studies.figure_job.sweep", None)  # not called
    (tmp_path / "taken").write_text("")
    places = {"folder": tmp_path / "a", "kept": tmp_path / "b"} | {argument: tmp_path / "taken/in"}
    with pytest.raises(NeuralCollapseError, match=f"{argument}: expected a folder that can be wr"):
        job(**places).train(CONFIGS[:1])


def test_a_kept_run_has_the_same_bytes_at_every_call(tmp_path):
    for kept in (tmp_path / "one", tmp_path / "two"):
        job(tmp_path / "a", kept=kept).train(CONFIGS[:1])
    assert kept_path(tmp_path / "one", CONFIGS[0]).read_bytes() == (
        kept_path(tmp_path / "two", CONFIGS[0]).read_bytes()
    )


def test_without_training_what_is_finished_is_kept_and_what_is_missing_named(tmp_path):
    job(tmp_path / "a").train(CONFIGS[:1])
    kept = tmp_path / "kept"
    with pytest.raises(NeuralCollapseError, match=r"1 of them missing.*seed2"):
        job(tmp_path / "a", kept=kept, training=False).train([CONFIGS[0], CONFIGS[2]])
    assert kept_path(kept, CONFIGS[0]).exists()
    found = job(tmp_path / "b", kept=kept, training=False).train(CONFIGS[:1])
    assert found[0][-1]["epoch"] == 2


def test_what_a_judge_says_is_kept_with_the_run(tmp_path):
    kept = tmp_path / "kept"

    def weights(run):
        return {"bytes": (run.folder / "model.safetensors").stat().st_size}

    histories, outcomes = job(tmp_path / "a", kept=kept).train_and_judge(CONFIGS[:2], weights)
    assert all(outcome["bytes"] > 1000 for outcome in outcomes)

    def never(run):
        raise AssertionError(run)

    again = job(tmp_path / "b", kept=kept, training=False).train_and_judge(CONFIGS[:2], never)
    assert again == (histories, outcomes)


def test_a_dry_job_trains_two_steps_of_each_network_once(tmp_path):
    large = [TrainConfig(data=data, net="cnn", epochs=100) for data in ("mnist", "cifar10")]
    dry = job(tmp_path, dry=True)
    histories = dry.train(dry.planned(large))
    assert histories[0] == histories[1]
    assert [record["step"] for record in histories[0]] == [2]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_setting_by_which_the_networks_differ_is_refused(tmp_path):
    decays = [TrainConfig(weight_decay=decay, lr=0.1) for decay in (0.0, 5e-4)]
    planned = job(tmp_path, settings={"lr": 0.5}).planned(decays)
    assert [(own.lr, own.weight_decay) for own in planned] == [(0.5, 0.0), (0.5, 5e-4)]
    message = "settings: expected what is the same in all.*got weight_decay=0.1, by which"
    with pytest.raises(NeuralCollapseError, match=message):
        job(tmp_path, settings={"weight_decay": 0.1}).planned(decays)
    with pytest.raises(NeuralCollapseError, match="got speed"):
        job(tmp_path, settings={"speed": 0.1}).planned(decays)


def test_seeds_asked_for_take_the_place_of_the_usual(tmp_path):
    assert job(tmp_path).seeds_or((0, 1)) == (0, 1)
    assert job(tmp_path, seeds=(5,)).seeds_or((0, 1)) == (5,)


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b"no json\n{}"),
        gzip.compress(b'["a list"]\n{}'),
        gzip.compress(b'{"epoch": 1}\n'),
        gzip.compress(b"\xff\xfe"),
        gzip.compress(json.dumps({"config": {}}).encode() + b"\n{}")[:-9],
        gzip.compress(b'{"config": {}}\n' + b" " * 2**26),
    ],
    ids=["foreign", "text", "list", "history", "binary", "cut", "bomb"],
)
def test_damaged_kept_runs_are_refused(tmp_path, content):
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(NeuralCollapseError, match=r"a run as keep_run writes it.*restore the file"):
        read_kept_run(path)


def test_a_kept_run_without_records_is_refused(tmp_path):
    path = tmp_path / "run.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"config": {}}\n'))
    with pytest.raises(NeuralCollapseError, match="at least one record"):
        read_kept_run(path)
