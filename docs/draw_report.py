"""Draw the picture of a report, for README and site, from a run of ``neuralcollapse demo``.

``python docs/draw_report.py [FOLDER]`` takes the demo in FOLDER, or trains one. The picture keeps
the settings of its run, which a test holds against those of the command. Takes playwright and
Chromium.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, PngImagePlugin
from playwright.sync_api import sync_playwright

from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_runs

PICTURE = Path(__file__).parent / "figures/report.png"


def photograph(page: Path, picture: Path) -> None:
    """Photograph the top of a report: what a reader sees first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector("#curves path.curve")
        tab.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    if not (folder / "report.html").exists():
        demo = Path(sys.executable).with_name("neuralcollapse")
        subprocess.run([demo, "demo", "--out", folder], check=True)
    photograph(write_page(read_runs([folder]), folder / "report.html"), PICTURE)
    settings = PngImagePlugin.PngInfo()
    settings.add_text("config.json", (folder / "config.json").read_text())
    image = Image.open(PICTURE).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(PICTURE, pnginfo=settings, optimize=True)
