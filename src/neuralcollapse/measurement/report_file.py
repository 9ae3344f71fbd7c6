"""A report in a file: everything except functions of your own, as tensors and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading
from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics.kept_samples import KeptSamples
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.tensor_files import load_tensors, save_tensors

FORMAT = "neuralcollapse report 1"
KEPT = ("labels", "margins", "decided", "confidences")  # of each sample


def save_report(report: CollapseValues, path: str | Path) -> None:
    """Write a report to a safetensors file, atomically; see `CollapseReport.save`."""
    require_safetensors(path)
    splits = {"train": report.train, **report.others}
    if report.test is not None:
        splits["test"] = report.test
    tensors: dict[str, Tensor] = {}
    about: dict[str, Any] = {
        "class_names": list(report.class_names),
        "notes": list(report.notes),
        "layers": {layer: dict(values) for layer, values in report.layers.items()},
        "splits": {},
    }
    for name, split in splits.items():
        found, about["splits"][name] = _packed(split)
        tensors |= {f"{name}.{key}": tensor for key, tensor in found.items()}
    for name, head in (("weight", report.weight), ("bias", report.bias)):
        if head is not None:
            tensors[name] = head
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    save_tensors(path, tensors, {"format": FORMAT, "report": json.dumps(about)})


def require_safetensors(path: str | Path) -> None:
    """Refuse a file name that `is_report` would not know again."""
    if Path(path).suffix.lower() != ".safetensors":
        raise NeuralCollapseError(
            "save", "a file name that ends in .safetensors", Path(path).name, "rename it"
        )


def read_report(path: str | Path) -> dict[str, Any]:
    """Return the fields of the report in a file; see `load_report`."""
    with reading(path, "a report, written by CollapseReport.save", "save the report again"):
        tensors, metadata = load_tensors(path)
        if metadata.get("format") != FORMAT:
            raise ValueError("a safetensors file of something else")
        about = json.loads(metadata["report"])
        splits = {
            name: _unpacked(
                {
                    k.removeprefix(f"{name}."): t
                    for k, t in tensors.items()
                    if k.startswith(f"{name}.")
                },
                told,
            )
            for name, told in about["splits"].items()
        }
        return {
            "train": splits.pop("train"),
            "test": splits.pop("test", None),
            "others": splits,
            **{name: tensors.get(name) for name in ("weight", "bias")},
            **{name: about[name] for name in ("class_names", "layers", "notes")},
        }


def is_report(path: str | Path) -> bool:
    """Return whether a file holds a report."""
    if Path(path).suffix.lower() != ".safetensors" or not Path(path).is_file():
        return False
    with reading(path, "a safetensors file", "save it again"), safe_open(path, "pt") as file:
        return (file.metadata() or {}).get("format") == FORMAT


def _packed(split: SplitReport) -> tuple[dict[str, Tensor], dict[str, Any]]:
    state = split.state
    moments = state.moments
    tensors = {"state": state.to_vector(), "left_out": state.left_out, "looked": state.looked}
    if state.samples is not None:
        tensors |= {name: getattr(state.samples, name) for name in KEPT}
    if state.pairs is not None:
        tensors["pairs"] = state.pairs
    about = {
        "sizes": [moments.num_classes, moments.dim, moments.scatter],
        "groups": moments.groups,
        # JSON has no NaN, and the repr of a float is exact.
        "values": {name: repr(float(value)) for name, value in split.values.items()},
    }
    return tensors, about


def _unpacked(tensors: dict[str, Tensor], about: dict[str, Any]) -> SplitReport:
    num_classes, dim, scatter = about["sizes"]
    state = CollapseState.from_vector(
        tensors["state"], num_classes, dim, scatter, bool(about["groups"])
    )
    state.left_out, state.looked = tensors["left_out"], tensors["looked"]
    if "labels" in tensors:
        state.samples = KeptSamples(0, *(tensors.get(name) for name in KEPT))
        state.samples.features = None
    state.pairs = tensors.get("pairs")
    state.keeps_pairs = state.pairs is not None
    values = {name: float(text) for name, text in about["values"].items()}
    if state.moments.num_classes < 1:
        raise NeuralCollapseError("path", "a report", "one without classes", "save it again")
    return SplitReport(values, state)
