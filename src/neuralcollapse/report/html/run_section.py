"""What the page says of one run, section by section."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neuralcollapse.report.html.alarms import RungAlarm, alarm_data
from neuralcollapse.report.html.calibration import Trust, calibration_data
from neuralcollapse.report.html.cards import Card, cards, figures, lead
from neuralcollapse.report.html.certificate import CertifiedError, certificate_data
from neuralcollapse.report.html.estimates import EstimateRow, estimate_rows
from neuralcollapse.report.html.layer_peeled import LayerPeeled, layer_peeled_data
from neuralcollapse.report.html.layers import LayerTable, layer_data
from neuralcollapse.report.html.margins import Margins, margin_data
from neuralcollapse.report.html.next_layer import NextLayerCurve, next_layer_data
from neuralcollapse.runs.optimizer import decay_of
from neuralcollapse.runs.run import Run


@dataclass(frozen=True)
class RunSection:
    """What the sections say of one run of several; None where it recorded nothing.

    Attributes
    ----------
    name, colour, epoch
        Of the run, of its group, of its last measurement.
    lead, figures, cards, cautions
        The first screen.
    estimates, alarms, layers, margins, layer_peeled, next_layer, certificate, calibration
        One section each.
    """

    name: str
    colour: int
    epoch: float
    lead: str
    figures: list[tuple[str, str]]
    cards: list[Card]
    cautions: list[str]
    estimates: list[EstimateRow]
    alarms: list[RungAlarm] | None
    layers: LayerTable | None
    margins: Margins | None
    layer_peeled: LayerPeeled | None
    next_layer: NextLayerCurve | None
    certificate: CertifiedError | None
    calibration: Trust | None


def run_section(run: Run, colour: int = 0, runs: int = 1) -> RunSection:
    """Return what the page says of a run.

    Parameters
    ----------
    run
        At least one record.
    colour
        Of its group.
    runs
        How many there are on the page.
    """
    end = run.records[-1]
    last = run.snapshots[-1] if run.snapshots else None
    certificate = certificate_data(last, runs) if last else None
    return RunSection(
        name=run.name,
        colour=colour,
        epoch=end["epoch"],
        lead=lead(run, certificate),
        figures=figures(run, certificate),
        cards=cards(run),
        cautions=end.get("cautions", []),
        estimates=estimate_rows(run),
        alarms=alarm_data(run),
        layers=layer_data(run),
        margins=margin_data(last) if last else None,
        layer_peeled=layer_peeled_data(last, decay_of(end.get("optimizer"))) if last else None,
        next_layer=next_layer_data(last) if last else None,
        certificate=certificate,
        calibration=calibration_data(last) if last else None,
    )


def theory_pictures(section: RunSection) -> dict[str, Any]:
    """Return the numbers that the pictures of theory need, without the words."""
    model, following, trust = section.layer_peeled, section.next_layer, section.calibration
    return {
        "angles": model and model.angles,
        "norms": model and model.norms,
        "trust": trust and trust.points,
        "next": following and {k: v for k, v in asdict(following).items() if k != "text"},
    }
