import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "perturbation.py"


def test_smoke():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--smoke"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("operator", "minimiser", "flow"):
        assert name in done.stdout
