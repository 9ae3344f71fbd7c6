"""The page: all sections in one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.report_text import QUESTION
from neuralcollapse.report.html.comparison import (
    called_by_what_differs,
    comparison_data,
    differing,
    numeric_settings,
    setting_groups,
)
from neuralcollapse.report.html.curves import charts, curve_data, grouped
from neuralcollapse.report.html.geometry import geometry_data
from neuralcollapse.report.html.layers import layer_series
from neuralcollapse.report.html.packing import script_json
from neuralcollapse.report.html.run_section import RunSection, run_section, theory_pictures
from neuralcollapse.report.html.settings import settings_data
from neuralcollapse.report.html.template import asset, filled, require_replaceable, write_html
from neuralcollapse.runs.run import Run
from neuralcollapse.wording import counted

# One after the other in one script element: each file uses only those before it.
SCRIPTS = (
    "draw", "scale", "chart", "save", "bands", "curves", "sweep", "layers", "gram", "space",
    "geometry", "theory", "terms", "address", "page",
)  # fmt: skip
RELOAD = 5  # seconds between two looks of a live page
NAMED = 3  # runs in the title


def write_page(runs: Sequence[Run], path: str | Path, live: bool = False) -> Path:
    """Write the report of one or several runs, whole or not at all.

    Parameters
    ----------
    runs
        Of `read_runs`, at least one.
    path
        The HTML file.
    live
        Let the open page reload itself, every few seconds.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NeuralCollapseError
        If there is no run; or the file is there and is no report of this library.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.report.html import write_page
    >>> from neuralcollapse.runs import Run
    >>> run = Run("mine", [{"epoch": e, "nc1_trace_ratio": 1 / e} for e in (1, 10, 100)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_page([run], f"{folder}/report.html").name
    'report.html'
    """
    require_replaceable(path)  # before the work
    return write_html(path, render_page(runs, live))


def render_page(runs: Sequence[Run], live: bool = False) -> str:
    """Return the report of one or several runs as HTML.

    Parameters
    ----------
    runs, live
        As in `write_page`. Names of runs and classes may be any text: they are escaped.

    Raises
    ------
    NeuralCollapseError
        If there is no run.

    Examples
    --------
    >>> from neuralcollapse.report.html import render_page
    >>> from neuralcollapse.runs import Run
    >>> run = Run("mine", [{"epoch": e, "nc1_trace_ratio": 1 / e} for e in (1, 10, 100)])
    >>> render_page([run])[:15]
    '<!DOCTYPE html>'
    """
    if not runs:
        raise NeuralCollapseError("runs", "at least one run", "none", "read the folder of one")
    recorded, found = runs, charts(runs)
    runs = called_by_what_differs(runs) if len(runs) > 1 else runs
    groups, group_names = setting_groups(runs)
    swept = numeric_settings(runs) if len(runs) > 2 else {}
    sections = [run_section(*each, len(runs)) for each in zip(runs, groups, strict=True)]
    drawn = [_drawn(*each) for each in zip(runs, sections, strict=True)]
    data = {
        "classes": runs[0].class_names,
        "charts": found,
        "reload": RELOAD if live else None,
        "groups": group_names,
        "settings": swept,
        "runs": drawn,
    }
    uppers = [each.certificate.upper if each.certificate else None for each in sections]
    return filled(
        "page.html",
        runs=runs,
        title=_title(recorded),
        subtitle=_subtitle(runs),
        comparison=comparison_data(recorded, uppers) if len(runs) > 1 else None,
        swept=list(swept),
        charts=found,
        banded=len(group_names) < len(runs),
        layered=any(each.layers for each in sections),
        sections=sections,
        question=QUESTION,
        groups=grouped(found),
        tested=any(key.startswith("test_") for run in runs for key in run.records[-1]),
        stepped=all(each["curves"]["step"] is not None for each in drawn),
        geometry=[each["geometry"] for each in drawn],
        settings=settings_data(runs),
        script=Markup("\n".join(asset(f"{name}.js") for name in SCRIPTS)),
        data=Markup(script_json(data)),
    )


def _drawn(run: Run, section: RunSection) -> dict[str, Any]:
    """Return what the scripts of the page draw of a run."""
    return {
        "name": run.name,
        "group": section.colour,
        "layers": layer_series(run),
        "curves": curve_data(run),
        "geometry": geometry_data(run),
        "margins": section.margins and section.margins.picture,
        "theory": theory_pictures(section),
    }


def _title(runs: Sequence[Run]) -> str:
    return " · ".join(run.name for run in runs) if len(runs) <= NAMED else f"{len(runs)} runs"


def _subtitle(runs: Sequence[Run]) -> str:
    first, parts = runs[0], ["Neural collapse"]
    names = [str(first.config[key]) for key in ("net", "loss") if first.config.get(key)]
    if 1 < len(runs) <= NAMED:
        parts.append(f"{len(runs)} runs")
    if names and first.config.get("data") and not {"net", "loss", "data"} & set(differing(runs)):
        parts.append(f"{', '.join(names)} on {first.config['data']}")
    if first.class_names:
        parts.append(counted(len(first.class_names), "class", "classes"))
    if len(runs) == 1:
        measured = counted(len(first.records), "measurement")
        parts.append(f"{measured}, to epoch {first.records[-1]['epoch']:g}")
    return " · ".join(parts)
