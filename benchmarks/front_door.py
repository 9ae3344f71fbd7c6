"""How long the library and its command line keep a user waiting, over what they cannot avoid.

Ratios of whole processes, medians of interleaved runs. Goals: to import the library and touch its
front door at most 1.3 times as long as `import torch, torchmetrics`; `--help` within 0.5 s. Then
the first `measure` of a process that has used torch already, its import of the library included:
CPU time of that process, in seconds and as a share of its own `import torch`. Goal: 0.1 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

FLOOR = "import torch, torchmetrics"
CASES = {
    "import neuralcollapse": "import neuralcollapse",
    "and touch measure and CollapseMetrics": (
        "import neuralcollapse as nc; nc.measure, nc.CollapseMetrics"
    ),
    "neuralcollapse --help": "import neuralcollapse.cli as c; c.app(['--help'])",
    "neuralcollapse train --help": "import neuralcollapse.cli as c; c.app(['train', '--help'])",
}

# A user's modules are compiled once and kept; a shell that forbids it would have every run compile.
ENVIRONMENT = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
FIRST_CALL = """
from time import process_time as now
start = now()
import torch
imported = now()
from torch.utils.data import DataLoader, TensorDataset
network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
loader = DataLoader(TensorDataset(torch.randn(200, 8), torch.arange(200) % 4), batch_size=50)
for inputs, _ in loader: network(inputs)
used = now()
import neuralcollapse as nc
nc.measure(network, loader)
print(imported - start, now() - used)
"""


def seconds(program: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, env=ENVIRONMENT
    )
    return time.perf_counter() - start


def first_call() -> tuple[float, float]:
    """CPU seconds of `import torch`, and of the first measurement after it."""
    result = subprocess.run(
        [sys.executable, "-c", FIRST_CALL],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    torch_import, measurement = map(float, result.stdout.split())
    return torch_import, measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one run of two, to see it works")
    smoke = parser.parse_args().smoke
    repeats, cases = (1, dict([*CASES.items()][-1:])) if smoke else (9, CASES)
    times: dict[str, list[float]] = {name: [] for name in ("floor", *cases)}
    for _ in range(repeats):
        for name, program in (("floor", FLOOR), *cases.items()):
            times[name].append(seconds(program))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{FLOOR}: {medians['floor']:.2f} s")
    for name in cases:
        print(f"{name}: {medians[name]:.2f} s, {medians[name] / medians['floor']:.2f} of that")
    floors, firsts = zip(*(first_call() for _ in range(repeats)), strict=True)
    first, floor = statistics.median(firsts), statistics.median(floors)
    print(f"first measure: {first:.2f} s of CPU time, {first / floor:.2f} of `import torch`")


if __name__ == "__main__":
    main()
