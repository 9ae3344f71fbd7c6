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
from neuralcollapse.report.html.cards import cards, figures, lead
from neuralcollapse.report.html.certificate import certificate_data
from neuralcollapse.report.html.comparison import (
    called_by_what_differs,
    comparison_data,
    differing,
    numeric_settings,
    setting_groups,
)
from neuralcollapse.report.html.curves import charts, curve_data, grouped
from neuralcollapse.report.html.estimates import estimate_rows
from neuralcollapse.report.html.geometry import geometry_data
from neuralcollapse.report.html.layer_peeled import layer_peeled_data
from neuralcollapse.report.html.layers import layer_data, layer_series
from neuralcollapse.report.html.margins import margin_data
from neuralcollapse.report.html.next_layer import next_layer_data
from neuralcollapse.report.html.packing import script_json
from neuralcollapse.report.html.settings import settings_data
from neuralcollapse.report.html.template import asset, filled, require_replaceable, write_html
from neuralcollapse.runs.optimizer import decay_of
from neuralcollapse.runs.run import Run

# One after the other in one script element: each file uses only those before it.
SCRIPTS = (
    "draw", "scale", "chart", "save", "bands", "curves", "sweep", "layers", "gram", "space",
    "geometry", "theory", "address", "page",
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
    """
    if not runs:
        raise NeuralCollapseError("runs", "at least one run", "none", "read the folder of one")
    recorded, found = runs, charts(runs)
    runs = called_by_what_differs(runs) if len(runs) > 1 else runs
    groups, group_names = setting_groups(runs)
    sections = [
        {"colour": group, **_sections(run, len(runs))}
        for run, group in zip(runs, groups, strict=True)
    ]
    uppers = [each["certificate"] and each["certificate"]["upper"] for each in sections]
    swept = numeric_settings(runs) if len(runs) > 2 else {}
    theory = [_drawn(each) for each in sections]
    curves, shapes = [curve_data(run) for run in runs], [geometry_data(run) for run in runs]
    data = {
        "classes": runs[0].class_names,
        "charts": found,
        "reload": RELOAD if live else None,
        "groups": group_names,
        "settings": swept,
        "runs": [
            {
                "name": run.name,
                "group": each["colour"],
                "layers": layer_series(run),
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
        title=_title(recorded),
        subtitle=_subtitle(runs),
        comparison=comparison_data(recorded, uppers) if len(runs) > 1 else None,
        swept=list(swept),
        charts=found,
        banded=len(group_names) < len(runs),
        layered=any(each["layers"] for each in sections),
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
        parts.append(f"{len(first.class_names)} classes")
    if len(runs) == 1:
        parts.append(f"{len(first.records)} measurements, to epoch {first.records[-1]['epoch']:g}")
    return " · ".join(parts)


def _sections(run: Run, runs: int) -> dict[str, Any]:
    """Return what the sections say about one run of several; None where it recorded nothing."""
    last = run.snapshots[-1] if run.snapshots else None
    certificate = None if last is None else certificate_data(last, runs)
    decay = decay_of(run.records[-1].get("optimizer"))
    return {
        "name": run.name,
        "lead": lead(run, certificate),
        "figures": figures(run, certificate),
        "cards": cards(run),
        "cautions": run.records[-1].get("cautions", []),
        "estimates": estimate_rows(run),
        "alarms": alarm_data(run),
        "layers": layer_data(run),
        "epoch": run.records[-1]["epoch"],
        "margins": last and margin_data(last),
        "layer_peeled": last and layer_peeled_data(last, decay),
        "next_layer": last and next_layer_data(last),
        "certificate": certificate,
        "calibration": last and calibration_data(last),
    }


def _drawn(section: dict[str, Any]) -> Any:
    """Return the numbers that the pictures of theory need, without the words."""
    layer_peeled, next_layer = section["layer_peeled"], section["next_layer"]
    model = layer_peeled if layer_peeled and not layer_peeled["missing"] else None
    trust = section["calibration"]
    return {
        "angles": model and model["angles"],
        "norms": model and model["norms"],
        "trust": trust and trust["points"],
        "next": next_layer and {k: v for k, v in next_layer.items() if k != "text"},
    }
