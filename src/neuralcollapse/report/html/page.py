"""The page: all sections in one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.report_text import QUESTION
from neuralcollapse.report.html.alarms import alarm_data
from neuralcollapse.report.html.calibration import calibration_data
from neuralcollapse.report.html.cards import cards, lead
from neuralcollapse.report.html.certificate import certificate_data
from neuralcollapse.report.html.curves import charts, curve_data, grouped
from neuralcollapse.report.html.estimates import estimate_rows
from neuralcollapse.report.html.geometry import geometry_data
from neuralcollapse.report.html.layer_peeled import layer_peeled_data
from neuralcollapse.report.html.layers import layer_data
from neuralcollapse.report.html.margins import margin_data
from neuralcollapse.report.html.next_layer import next_layer_data
from neuralcollapse.report.html.packing import script_json
from neuralcollapse.report.html.settings import settings_data
from neuralcollapse.report.html.template import asset, filled, require_replaceable, write_html
from neuralcollapse.runs.run import Run

# One after the other in one script element: each file uses only those before it.
SCRIPTS = ("draw", "scale", "chart", "curves", "gram", "space", "geometry", "theory", "page")
MAX_RUNS = 6  # there are no more colours that all readers can tell apart


def write_page(runs: Sequence[Run], path: str | Path) -> Path:
    """Write the report of one or several runs, whole or not at all.

    Parameters
    ----------
    runs
        Of `read_runs`, 1 to 6.
    path
        The HTML file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NeuralCollapseError
        If there is no run, or more than 6; or the file is there and is no report of this library.
    """
    require_replaceable(path)  # before the work
    return write_html(path, render_page(runs))


def render_page(runs: Sequence[Run]) -> str:
    """Return the report of one or several runs as HTML.

    Parameters
    ----------
    runs
        As in `write_page`. Names of runs and classes may be any text: they are escaped.

    Raises
    ------
    NeuralCollapseError
        If there is no run, or more than 6.
    """
    if not 1 <= len(runs) <= MAX_RUNS:
        raise NeuralCollapseError(
            "runs", f"1 to {MAX_RUNS} runs", str(len(runs)), "write a report for each few of them"
        )
    found = charts(runs)
    sections = [_sections(run, len(runs)) for run in runs]
    theory = [_drawn(each["layer_peeled"], each["next_layer"]) for each in sections]
    curves, shapes = [curve_data(run) for run in runs], [geometry_data(run) for run in runs]
    data = {
        "classes": runs[0].class_names,
        "charts": found,
        "runs": [
            {
                "name": run.name,
                "curves": columns,
                "geometry": shape,
                "margins": each["margins"] and each["margins"]["picture"],
                "theory": drawn,
            }
            for run, columns, shape, each, drawn in zip(
                runs, curves, shapes, sections, theory, strict=True
            )
        ],
    }
    return filled(
        "page.html",
        runs=runs,
        title=" · ".join(run.name for run in runs),
        subtitle=_subtitle(runs),
        sections=sections,
        question=QUESTION,
        groups=grouped(found),
        tested=any(key.startswith("test_") for run in runs for key in run.records[-1]),
        stepped=all(columns["step"] is not None for columns in curves),
        geometry=shapes,
        settings=settings_data(runs),
        script=Markup("\n".join(asset(f"{name}.js") for name in SCRIPTS)),
        data=Markup(script_json(data)),
    )


def _subtitle(runs: Sequence[Run]) -> str:
    first, parts = runs[0], ["Neural collapse"]
    names = [str(first.config[key]) for key in ("net", "loss") if first.config.get(key)]
    if len(runs) > 1:
        parts.append(f"{len(runs)} runs")
    elif names and first.config.get("data"):
        parts.append(f"{', '.join(names)} on {first.config['data']}")
    if first.class_names:
        parts.append(f"{len(first.class_names)} classes")
    if len(runs) == 1:
        parts.append(f"{len(first.records)} measurements, to epoch {first.records[-1]['epoch']:g}")
    return " · ".join(parts)


def _sections(run: Run, runs: int) -> dict[str, Any]:
    """Return what the sections say about one run of several; None where it recorded nothing."""
    last = run.snapshots[-1] if run.snapshots else None
    certificate = None if last is None else certificate_data(last, runs)
    return {
        "name": run.name,
        "lead": lead(run, certificate),
        "cards": cards(run),
        "estimates": estimate_rows(run),
        "alarms": alarm_data(run),
        "layers": layer_data(run),
        "epoch": run.records[-1]["epoch"],
        "margins": last and margin_data(last),
        "layer_peeled": last and layer_peeled_data(last),
        "next_layer": last and next_layer_data(last),
        "certificate": certificate,
        "calibration": last and calibration_data(last),
    }


def _drawn(layer_peeled: dict[str, Any] | None, next_layer: dict[str, Any] | None) -> Any:
    """Return the numbers that the pictures of theory need, without the words."""
    model = layer_peeled if layer_peeled and not layer_peeled["missing"] else None
    return {
        "angles": model and model["angles"],
        "norms": model and model["norms"],
        "next": next_layer and {k: v for k, v in next_layer.items() if k != "text"},
    }
