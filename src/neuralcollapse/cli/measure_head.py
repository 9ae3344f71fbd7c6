"""measure-head: what the head of a file of weights says by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neuralcollapse.cli.app import ClassNames, ToJson, app, tell
from neuralcollapse.plain_text import plain


@app.command("measure-head")
def measure_head(
    file: Annotated[Path, typer.Argument(help="safetensors, or a state dict saved by torch.")],
    key: Annotated[
        str | None, typer.Option(help="Name of the head's weight, such as lm_head.weight.")
    ] = None,
    class_names: ClassNames = None,
    json: ToJson = None,
) -> None:
    """Measure a head by itself, from a file of weights; no model is run.

    Example: neuralcollapse measure-head model.safetensors --key lm_head.weight
    """
    from neuralcollapse.files import write_json
    from neuralcollapse.measurement import measure_head as measure
    from neuralcollapse.measurement.array_files import read_class_names
    from neuralcollapse.measurement.head_files import head_from_file

    head = head_from_file(file, key)
    names = None if class_names is None else read_class_names(class_names)
    report = measure(head.weight, head.bias, names)
    tell(f"{plain(head.name)} of {plain(file.name)}")
    tell(report)
    if json is not None:
        write_json(json, report.values)
