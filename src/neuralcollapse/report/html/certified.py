"""The page of one classifier on held-out samples: its certificate, and whether to trust it."""

from __future__ import annotations

import io
from pathlib import Path

from markupsafe import Markup

from neuralcollapse.generalization import ErrorCertificate
from neuralcollapse.generalization.calibration import Calibration
from neuralcollapse.report.html.calibration import trust_data
from neuralcollapse.report.html.certificate import in_words
from neuralcollapse.report.html.template import filled, write_html

# What matplotlib would write of itself and the day.
UNSAID = ("Date", "Creator", "Format", "Type")


def write_certified(
    path: str | Path, title: str, certificate: ErrorCertificate, trust: Calibration | None
) -> Path:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path
        The HTML file.
    title
        Any text.
    certificate, trust
        Of the same samples; None without a calibration.

    Raises
    ------
    NeuralCollapseError
        If the file is there and is no page of this library.
    """
    text = filled(
        "certified.html",
        title=title,
        certificate=in_words(certificate, remarks=certificate.remarks),
        trusted=trust and trust_data(trust),
        diagram=trust and _diagram(trust),
    )
    return write_html(path, text)


def _diagram(trust: Calibration) -> Markup:
    drawn = io.StringIO()
    trust.plot().savefig(drawn, format="svg", metadata=dict.fromkeys(UNSAID))
    return Markup(drawn.getvalue()[drawn.getvalue().index("<svg") :])
