"""Pictures of the report page at every size and in every state, to be looked at.

    python tests/screenshots.py [FOLDER] [--run RUN]...

Writes FOLDER/STATE-WIDTH-THEME.png, the whole page, for made-up runs: one, three, six and twelve
of them, two classes, a hundred, unequal sizes with long names, and no snapshots; or for the runs
that are given. Needs Chromium.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from made_up_run import write_run
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_runs

BROWSER = "/usr/bin/chromium"
WIDTHS, THEMES = (1280, 390), ("light", "dark")
LONG = ["a-name-of-a-class-without-any-place-to-break-it-" + letter * 30 for letter in "abcde"]
STATES = {
    "one": [{"num_classes": 5, "layers": 4}],
    "three": [{"num_classes": 5, "seed": seed, "layers": 3} for seed in range(3)],
    "six": [{"num_classes": 5, "seed": seed} for seed in range(6)],
    "twelve": [{"num_classes": 5, "seed": seed, "epochs": 8} for seed in range(12)],
    "two-classes": [{"num_classes": 2}],
    "hundred-classes": [{"num_classes": 100, "epochs": 12, "snapshots": 4}],
    "unequal": [{"num_classes": 5, "class_names": LONG, "sizes": [60, 40, 20, 12, 6]}],
    "no-snapshots": [{"num_classes": 5, "snapshots": 0, "tested": False}],
}


def made_up(folder: Path, state: str) -> list[Path]:
    return [
        write_run(folder / f"{state}-{number}", **options)
        for number, options in enumerate(STATES[state])
    ]


def shoot(pages: dict[str, Path], folder: Path) -> None:
    """Take a picture of each page at each width in each theme."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        for state, page in pages.items():
            tab.goto(page.as_uri())
            for width in WIDTHS:
                tab.set_viewport_size({"width": width, "height": 900})
                for theme in THEMES:
                    tab.emulate_media(color_scheme=theme)
                    path = folder / f"{state}-{width}-{theme}.png"
                    tab.screenshot(path=path, full_page=True)
                    print(path)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    parser.add_argument("--run", action="append", default=[], help="folder of a run")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        found = {"given": chosen.run} if chosen.run else {s: made_up(Path(made), s) for s in STATES}
        pages = {
            state: write_page(read_runs(runs), Path(made, f"{state}.html"))
            for state, runs in found.items()
        }
        shoot(pages, chosen.folder)


if __name__ == "__main__":
    main()
