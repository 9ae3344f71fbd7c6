"""measure: the collapse of saved features, or of a network and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuralcollapse.cli.app import ClassNames, ToHtml, ToJson, app, tell


@app.command()
def measure(
    what: Annotated[
        str,
        typer.Argument(
            help="A file (npz, npy, csv, safetensors, or tensors in pt) with features (N, d) and "
            "labels (N,), and if wanted weight (K, d), bias (K,), logits (N, K), class_names, "
            "test_features, test_labels, test_logits; or package.module:model."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="For a model: package.module:loader, a function of no arguments or a loader, or a "
            "pair of them, for training and test data; or the name of a data set."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Also print a paper's numbers, such as papyan2020.")
    ] = None,
    class_names: ClassNames = None,
    json: ToJson = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Write the values; NAME-classes.csv and NAME-pairs.csv beside it."),
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write the same tables for LaTeX to this file.")
    ] = None,
    html: ToHtml = None,
    save: Annotated[
        Path | None, typer.Option(help="Keep the report, for compare: a safetensors file.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the report to this image.")] = None,
    per_class: Annotated[bool, typer.Option(help="Also print a line for each class.")] = False,
) -> None:
    """Measure the collapse of features that were saved, or of a network on its data.

    Examples: neuralcollapse measure features.npz --plot collapse.png, or
    neuralcollapse measure my_models:resnet --data my_data:loaders
    """
    from neuralcollapse.measurement.array_files import read_class_names
    from neuralcollapse.measurement.report_tables import require_beside
    from neuralcollapse.metrics import preset as paper
    from neuralcollapse.metrics.presets import require_preset

    if preset is not None:
        require_preset(preset)
    if csv is not None:
        require_beside(csv, "csv")
    names = None if class_names is None else read_class_names(class_names)
    report = _measured(what, data, names)
    if save is not None:
        report.save(save)
    print(report)
    if per_class:
        tell(report.per_class.to_string(index=False, float_format="{:.4g}".format))
    if preset is not None:
        values = paper(preset, report.train.moments, report.weight, report.bias)
        tell("\n".join([preset, *(f"  {name}  {value:.4g}" for name, value in values.items())]))
    if json is not None:
        report.to_json(json)
    if csv is not None:
        report.to_csv(csv)
    if latex is not None:
        report.to_latex(latex)
    if html is not None:
        from neuralcollapse.report.html import write_report

        write_report(report, html, Path(what).name)
    if plot is not None:
        report.plot(plot)


def _measured(what: str, data: str | None, names: list[str] | None) -> Any:
    from neuralcollapse.errors import NeuralCollapseError
    from neuralcollapse.measurement import measure as of_network
    from neuralcollapse.measurement import measure_features, read_features
    from neuralcollapse.training.import_path import IMPORT_PATH

    if not IMPORT_PATH.fullmatch(what) or Path(what).exists():
        if data is not None:
            raise NeuralCollapseError(
                "data", "package.module:model before it", f"the file {what}", "leave --data out"
            )
        arrays = read_features(what)
        return measure_features(**arrays | ({} if names is None else {"class_names": names}))
    if data is None:
        raise NeuralCollapseError(
            "data", "package.module:loader, or the name of a data set", "none", "pass --data"
        )
    from neuralcollapse.training.imported_data import imported_loaders, imported_model

    train, test, known = imported_loaders(data)
    model = imported_model(what)
    return of_network(model, train, test_loader=test, class_names=names or known)
