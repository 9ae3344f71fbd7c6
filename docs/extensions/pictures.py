"""What scripts of the gallery wrote is shown: their pictures, and on the front page a report."""

import os
import runpy
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst


def setup(app: Sphinx) -> dict[str, bool]:
    """Put the report of the gallery's script beside the front page."""
    app.connect("build-finished", keep_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def written_pictures(block: tuple, block_vars: dict[str, Any], gallery_conf: dict) -> str:
    """Move each new PNG of the script's folder to the gallery; return the text that shows them."""
    written = sorted(Path(block_vars["src_file"]).parent.glob("*.png"))
    paths = [next(block_vars["image_path_iterator"]) for _ in written]
    for source, path in zip(written, paths, strict=True):
        shutil.move(source, path)
    return figure_rst(paths, gallery_conf["src_dir"])


def without_places(gallery_conf: dict, script: str) -> None:
    """Let the warnings of scripts say what they say, and no path of the machine that builds."""
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"


def keep_report(app: Sphinx, exception: Exception | None) -> None:
    """Copy the page that ``report_page.py`` wrote; a short one where the gallery was not run."""
    script = Path(app.srcdir, "scripts", "report_page.py")
    page = script.with_name("report.html")
    if exception is not None:
        return
    if not page.exists():
        here = Path.cwd()
        try:
            os.chdir(script.parent)
            with patch.object(sys, "argv", [str(script), "--smoke"]):
                runpy.run_path(str(script), run_name="__main__")
        finally:
            os.chdir(here)
    shutil.copy(page, Path(app.outdir, "_static", "report.html"))
