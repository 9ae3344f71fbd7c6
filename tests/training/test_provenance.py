import subprocess

from lightning_fabric import Fabric

from neuralcollapse.runs.provenance import git_state
from neuralcollapse.training.provenance import provenance


def git(*arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def test_the_source_is_named_with_whether_it_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    git("init")
    git("commit", "--allow-empty", "--message", "first")
    state = git_state()
    assert len(state["commit"]) == 40
    assert state["changed"] is False
    (tmp_path / "new").touch()
    assert git_state() == state | {"changed": True}


def test_without_git_there_is_no_source(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state() is None


def test_versions_and_machine():
    found = provenance(Fabric(accelerator="cpu", devices=1))
    assert {"python", "torch", "lightning-fabric", "neuralcollapse"} <= found["versions"].keys()
    assert found["hardware"]["accelerator"] == "cpu"
    assert found["threads"] >= 1
