"""What checking the claims costs: process CPU time of each, slowest first, and of all.

    python benchmarks/verify.py [--smoke]

All of them should take at most 3 minutes on two quiet cores, one of which `verify` uses.
"""

from __future__ import annotations

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table

from neuralcollapse.studies import judge, load_study
from neuralcollapse.studies.papers import PAPERS

MOST = 180


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one claim, to see that it runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    claims = [claim for paper in PAPERS for claim in load_study(paper).claims]
    spent = []
    for claim in claims[:1] if options.smoke else claims:
        start = time.process_time()
        outcome = judge(claim).outcome
        spent.append((time.process_time() - start, claim.id, outcome))
    table = Table("claim", "outcome", "CPU seconds")
    for seconds, id, outcome in sorted(spent, reverse=True):
        table.add_row(id, outcome, f"{seconds:.2f}")
    total = sum(seconds for seconds, *_ in spent)
    table.add_row("all", "", f"{total:.1f}, at most {MOST}")
    Console().print(table)


if __name__ == "__main__":
    main()
