"""The report's page: how large it is, how long it takes to write, and to open in a browser.

    python benchmarks/report.py [--smoke]

The run has 300 epochs and 100 classes. Opening is timed from navigation to the last chart, in
headless Chromium, with nothing in a cache; without Chromium that row is left out. The goals are
5 MB and 1.5 s.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

import neuralcollapse as nc
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import append_record, read_runs, write_snapshot
from neuralcollapse.runs.schedule import KEPT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LAST_DRAWN = "document.querySelector('[data-theory=norms] svg')"


def made_up_run(folder: Path, classes: int, epochs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    dim = classes + 28
    labels = torch.arange(20 * classes) % classes
    head = nc.simplex_etf(classes, dim, generator=generator)
    noise = torch.randn(len(labels), dim, generator=generator)
    kept = set(KEPT.epochs(epochs))
    for epoch in range(1, epochs + 1):
        if epoch in kept:
            features = head[labels] + noise / epoch
            report = nc.measure_features(
                features, labels, head, test_features=features, test_labels=labels
            )
            write_snapshot(folder, epoch, report)
        values = {name: value * (1 + 1 / epoch) for name, value in report.to_dict().items()}
        record = {"epoch": epoch, "step": 100 * epoch, "num_classes": classes}
        append_record(folder / "history.jsonl", record | values)


def opening_times(page: Path, repeat: int) -> list[float]:
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(repeat):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            tab = context.new_page()
            start = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_function(LAST_DRAWN)
            times.append(time.perf_counter() - start)
            context.close()
        browser.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    smoke = parser.parse_args().smoke
    classes, epochs, repeat = (4, 5, 1) if smoke else (100, 300, 5)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        run.mkdir()
        made_up_run(run, classes, epochs)
        start = time.perf_counter()
        page = write_page(read_runs([run]), Path(folder, "report.html"))
        print(f"{classes} classes, {epochs} epochs, {torch.get_num_threads()} threads")
        print(f"read and write  {time.perf_counter() - start:.2f} s")
        print(f"size            {page.stat().st_size / 1e6:.2f} MB (goal: at most 5)")
        if CHROMIUM is None:
            print("open            no Chromium here")
            return
        times = opening_times(page, repeat)
        print(
            f"open            {median(times):.2f} s (goal: at most 1.5), "
            f"median of {repeat}, {min(times):.2f} to {max(times):.2f}"
        )


if __name__ == "__main__":
    main()
