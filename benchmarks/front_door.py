"""How long the library and its command line keep a user waiting, over what they cannot avoid.

Ratios of whole processes, medians of interleaved runs. Goals: to import the library and touch its
front door at most 1.3 times as long as `import torch, torchmetrics`; `--help` within 0.5 s.
"""

from __future__ import annotations

import argparse
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


def seconds(program: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - start


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


if __name__ == "__main__":
    main()
