"""All that a GPU makes: tests, the stream's speed, and every network figure at the scale medium.

    python benchmarks/gpu.py [--out gpu] [--minutes 25] [--smoke]

`make gpu` calls it. Everything goes on where it was when it is called again, and nothing new is
begun once the minutes are over; what is left is then told. The results are in one folder (figures,
runs without weights, and results.json with the card's name and the seconds of each step); weights
and checkpoints stay in its folder work/, which can be thrown away.

stream    one read of a stream on the device into ClassMoments, over one d x d product a batch.
training  one epoch of the trainer over one of a bare loop, ResNet18 on images of 28x28 pixels in
          batches of 128, bfloat16, channels last; and the trainer's images a second.

--smoke is a dry run on the CPU: every network is a sixteenth as wide, and trained for two steps on
a few digits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

import neuralcollapse as nc
from measure import median_ratios
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.studies import FigureJob, run_study
from neuralcollapse.training.execution import Execution
from training import Bare, Case, Trainer

# In order of importance.
FIGURES = (
    ("ji2022", 1), ("tirer2023", 3), ("gao2023", 4), ("gao2023", 3), ("tirer2023", 2),
    ("ji2022", 3), ("ji2022", 4), ("ji2022", 5), ("ji2022", 6),
)  # fmt: skip
MOST_BYTES = 60 * 2**20
SAME_TIME = 4  # networks on one GPU: a step of one keeps an H200 busy for 2.7 of 8.8 ms
ROOT = Path(__file__).parents[1]


def cuda_tests() -> dict[str, object]:
    """Run the tests that need CUDA."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_cuda.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"exit {run.returncode}\n{run.stdout}\n{run.stderr}")
    return {"summary": run.stdout.strip().splitlines()[-1:]}


def seconds() -> float:
    """Return the time at which all that the GPU was given is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def stream_ratio(device: str, rows: int, dim: int, classes: int, repeat: int) -> dict[str, object]:
    """Return what reading a stream into ClassMoments takes, over its floor."""
    generator = torch.Generator(device).manual_seed(0)
    data = torch.randn(rows, dim, generator=generator, device=device)
    labels = torch.randint(classes, (rows,), generator=generator, device=device)
    batches = list(zip(data.split(1024), labels.split(1024), strict=True))

    def floor() -> None:
        for features, _ in batches:
            torch.mm(features.T, features)

    def moments() -> None:
        state = nc.ClassMoments(classes, dim)
        for features, true in batches:
            state.update(features, true)

    for work in (floor, moments):  # the first calls allocate
        work()
    (ratio,) = median_ratios(repeat, floor, moments, clock=seconds)
    return {"rows": rows, "dim": dim, "classes": classes, "ratio": ratio}


def training_ratio(device: str, case: Case) -> dict[str, object]:
    """Return what the trainer takes over a bare loop, and its images a second."""
    execution = Execution("bf16", channels_last=True)
    trainer, bare = Trainer(case, device, execution), Bare(case, device, execution)
    for one in (trainer, bare):  # the first epochs allocate
        one.epoch()
    (ratio,) = median_ratios(case.repeat, bare.epoch, trainer.epoch, clock=seconds)
    begin = seconds()
    trainer.epoch()
    return {"ratio": ratio, "images_per_second": case.train / (seconds() - begin)}


def draw(paper: str, number: int, out: Path, smoke: bool) -> dict[str, object]:
    """Train the networks of a figure, and copy what was drawn."""
    job = FigureJob(
        out / "work" / paper,
        "medium",
        workers={"workers": 1 if smoke else SAME_TIME},
        kept=None if smoke else out / "kept",
        dry=smoke,
    )
    written = run_study(paper, job, number)
    for path in written:
        shutil.copy2(path, out / f"{paper}_{path.name}")
    return {"files": [f"{paper}_{path.name}" for path in written]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--smoke", action="store_true", help="a dry run on the CPU")
    options = parser.parse_args()
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            return work(Path(folder), "cpu", options.minutes, smoke=True)
    if not torch.cuda.is_available():
        print("no GPU that torch can use; --smoke is a dry run on the CPU")
        return 1
    return work(options.out, "cuda", options.minutes, smoke=False)


def work(out: Path, device: str, minutes: float, smoke: bool) -> int:
    """Do what is not done yet, and return 0 when all is."""
    begin = time.perf_counter()
    file = out / "results.json"
    out.mkdir(parents=True, exist_ok=True)
    done = json.loads(file.read_text()) if file.exists() else {}
    size = (200, 16, 4, 1) if smoke else (100_000, 2048, 1000, 9)
    case = Case("resnet18", 1.0, (1, 28, 28), 10_000, 10, 128, repeat=5)
    if smoke:
        case = replace(case, width=1 / 16, train=20, batch_size=10, repeat=1)
    steps: dict[str, Callable[[], dict[str, object]]] = {
        "stream": lambda: stream_ratio(device, *size),
        "training": lambda: training_ratio(device, case),
        **{
            f"{paper} figure {number}": partial(draw, paper, number, out, smoke)
            for paper, number in FIGURES
        },
    }
    if not smoke:
        steps = {"tests": cuda_tests} | steps
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU, dry run"
    for name, step in steps.items():
        if name in done:
            continue
        if time.perf_counter() - begin > 60 * minutes:
            print(f"{minutes:g} minutes are over")
            break
        start = time.perf_counter()
        try:
            result = step()
        # What else there is to do is worth its time all the same; torch tells of a full GPU so.
        except (NeuralCollapseError, RuntimeError) as error:
            print(f"{name}: {error}", flush=True)
            continue
        done[name] = result | {"card": card, "seconds": round(time.perf_counter() - start, 1)}
        file.write_text(json.dumps(done, indent=1) + "\n")
        print(f"{name}: {done[name]['seconds']} s", flush=True)
    kept = [p for p in out.rglob("*") if p.is_file() and "work" not in p.relative_to(out).parts]
    total = sum(path.stat().st_size for path in kept)
    print(f"{card}: {len(kept)} files, {total / 2**20:.1f} MiB in {out}")
    left = ", ".join(name for name in steps if name not in done)
    print(f"left: {left or 'nothing'}")
    return 0 if total <= MOST_BYTES and not left else 1


if __name__ == "__main__":
    sys.exit(main())
