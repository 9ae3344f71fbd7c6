"""What a sweep trains: a list of configurations, or a grid about one of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json
from neuralcollapse.training import TrainConfig

KEYS = ("base", "grid", "runs")


def expand(spec: Mapping[str, Any]) -> list[TrainConfig]:
    """Return the configurations that a sweep is made of.

    Parameters
    ----------
    spec
        ``"base"``: values for all runs, as in `TrainConfig`. ``"grid"``: a list of values for
        each name, of which every combination is run, the last name varying fastest. ``"runs"``:
        a list of mappings, each combined with every point of the grid. All may be left out.

    Returns
    -------
    list of TrainConfig
        No two alike.

    Raises
    ------
    NeuralCollapseError
        If a key or a value is wrong, or a configuration comes twice.

    Examples
    --------
    >>> from neuralcollapse.studies.sweep import expand
    >>> configs = expand({"base": {"epochs": 3}, "grid": {"net": ["mlp", "cnn"], "seed": [0, 1]}})
    >>> [(config.net, config.seed) for config in configs]
    [('mlp', 0), ('mlp', 1), ('cnn', 0), ('cnn', 1)]
    """
    unknown = sorted(set(_mapping("sweep", spec)) - set(KEYS))
    if unknown:
        raise NeuralCollapseError(
            "sweep", f"the keys {', '.join(KEYS)}", ", ".join(unknown), "check the spelling"
        )
    base, runs = _mapping("base", spec.get("base", {})), spec.get("runs", [{}])
    grid = _mapping("grid", spec.get("grid", {}))
    if not isinstance(runs, list) or not runs:
        raise NeuralCollapseError(
            "runs", "a list of at least one mapping", repr(runs), "leave it out for the grid alone"
        )
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise NeuralCollapseError(
                f"grid, {name}", "a list of at least one value", repr(values), "put it in base"
            )
    points = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    configs = [
        TrainConfig.from_dict({**base, **_mapping("runs", run), **point})
        for run in runs
        for point in points
    ]
    for number, config in enumerate(configs):
        if config in configs[:number]:
            raise NeuralCollapseError(
                "sweep", "configurations that differ", f"{run_name(config)} twice", "remove one"
            )
    return configs


def read_sweep(path: str | Path) -> list[TrainConfig]:
    """Read the configurations of a sweep from a JSON file, see `expand`.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    NeuralCollapseError
        If there is no such file, or it is no JSON object, or as `expand` does.
    """
    return expand(read_json(path))


def run_name(config: TrainConfig) -> str:
    """Return the folder name of a run, the same for configurations written alike and no others.

    It depends only on the values that differ from the defaults, so that a run is still found when
    a later version has more options or renames one; a number is named as it is written, 2 and 2.0
    apart. Of data or a network named by a path, only what follows the last colon is told, with a
    hyphen for each run of characters that a folder's name cannot have.

    Parameters
    ----------
    config
        Of the run.

    Examples
    --------
    >>> from neuralcollapse.studies.sweep import run_name
    >>> from neuralcollapse.training import TrainConfig
    >>> run_name(TrainConfig(net="cnn", seed=3))
    'digits-cnn-seed3-431cf9af'
    """
    values, defaults = config.to_dict(), TrainConfig().to_dict()
    own = {name: value for name, value in values.items() if value != defaults[name]}
    own = TrainConfig.named_as_once(own)
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
    data, net = (_folder_word(name.rpartition(":")[2]) for name in (config.data, config.net))
    return f"{data}-{net}-seed{config.seed}-{digest}"


def _folder_word(name: str) -> str:
    """Return a name without the characters that a folder's name cannot have."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-")[-40:] or "run"


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise NeuralCollapseError(
            name, "names and values ({...} in JSON)", repr(value), "see neuralcollapse sweep --help"
        )
    return value
