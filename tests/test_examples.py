import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS = {"file_types": ("magika", "onnx"), "pitch": ("torchcrepe",)}  # what is no dependency


@pytest.mark.parametrize(
    "script",
    [
        # A cluster of its own takes half a minute to start.
        pytest.param(
            path, marks=pytest.mark.slow if path.stem.startswith("ray") else [], id=path.stem
        )
        for path in sorted((ROOT / "examples").glob("*.py"))
    ],
)
def test_it_runs(script, tmp_path, monkeypatch, capsys):
    missing = [name for name in NEEDS.get(script.stem, ()) if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(script), "--smoke"])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()
