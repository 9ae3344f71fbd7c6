"""certify: what held-out decisions prove about the error, and whether to trust the confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import ClassNames, ToHtml, ToJson, app, tell


@app.command()
def certify(
    file: Annotated[
        Path,
        typer.Argument(
            help="npz, csv, safetensors or pt with logits (n, K), or features and a weight, and "
            "labels (n,) of samples that training never saw; beside training data, test_logits "
            "or test_features, and test_labels."
        ),
    ],
    confidence: Annotated[
        float, typer.Option(help="Confidence of each statement, in (0, 1).")
    ] = 0.95,
    tolerance: Annotated[
        float | None, typer.Option(help="Test each class against this error, by Holm's steps.")
    ] = None,
    bins: Annotated[
        int, typer.Option(help="Number of bins of confidence, for the calibration.")
    ] = 15,
    class_names: ClassNames = None,
    json: ToJson = None,
    html: ToHtml = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the bounds to this image.")] = None,
) -> None:
    """Certify the error on new data, and measure the calibration, of decisions in a file.

    Example: neuralcollapse certify test_logits.npz --html certificate.html
    """
    from neuralcollapse.files import write_json
    from neuralcollapse.generalization import calibration, error_certificate
    from neuralcollapse.generalization.calibration import FEWEST
    from neuralcollapse.generalization.decided_file import read_decided
    from neuralcollapse.measurement.array_files import read_class_names

    names = None if class_names is None else read_class_names(class_names)
    held_out = read_decided(file, names)
    certificate = error_certificate(
        held_out.margins,
        confidence,
        labels=held_out.labels,
        class_names=held_out.class_names,
        train_margins=held_out.train_margins,
        tolerance=tolerance,
    )
    trust, n = None, certificate.n
    if n >= FEWEST:
        trust = calibration(held_out.logits, held_out.labels, bins=bins, confidence=confidence)
    tell(certificate)
    tell("")
    tell(trust or f"Calibration is left out: it takes at least {FEWEST} samples, not {n}.")
    if json is not None:
        measured = None if trust is None else trust.to_dict()
        write_json(json, {"certificate": certificate.to_dict(), "calibration": measured})
    if html is not None:
        from neuralcollapse.report.html.certified import write_certified

        write_certified(html, file.name, certificate, trust)
    if plot is not None:
        certificate.plot(plot)
