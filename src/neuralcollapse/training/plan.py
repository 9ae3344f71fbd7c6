"""What a run is asked for: its configuration, and how and where it is carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.folder import require_one
from neuralcollapse.runs.schedule import Schedule
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.execution import Execution
from neuralcollapse.training.provenance import provenance
from neuralcollapse.training.run_folder import TrainingFolder


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The arguments of `train`, as every process gets them."""

    config: TrainConfig
    folder: TrainingFolder
    model: nn.Module | None
    data: Any
    compile: bool
    channels_last: bool
    workers: int
    measure_every: int | None
    measure_at: Sequence[int] | None
    layers: Sequence[str]
    checkpoint_every: int | None
    checkpoint_seconds: float
    resume: bool
    overwrite: bool
    progress: bool

    def __post_init__(self) -> None:
        given: Any = self.config
        if not isinstance(given, TrainConfig):
            got, remedy = type(given).__name__, "pass TrainConfig(...)"
            raise NeuralCollapseError("config", "a TrainConfig", got, remedy)
        require_one(self.resume, self.overwrite)
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            got = str(self.checkpoint_every)
            remedy = "leave it out to write by the clock alone"
            raise NeuralCollapseError("checkpoint_every", "at least 1 epoch", got, remedy)
        if self.compile and self.config.loss == "dot-regression":
            expected = "False if loss is 'dot-regression', which watches the features"
            raise NeuralCollapseError("compile", expected, "True", "leave it out")
        self.measuring  # noqa: B018 - refuses bad values

    @cached_property
    def measuring(self) -> Schedule:
        """After which epochs to measure: often while much changes, then evenly in log time."""
        every, at = self.measure_every, self.measure_at
        if every is not None and at is not None:
            raise NeuralCollapseError(
                "measure_every, measure_at", "at most one of them", "both", "leave one out"
            )
        if every is not None and every < 1:
            raise NeuralCollapseError(
                "measure_every", "at least 1 epoch", str(every), "use 1 for every epoch"
            )
        if every is not None:
            return Schedule(at=tuple(range(every, self.config.epochs + 1, every)))
        if at is not None:
            return Schedule(at=tuple(at))
        return Schedule(every=None, per_decade=20, dense=20)

    def identity(self) -> dict[str, Any]:
        """Return the part of config.json that must be the same for a run to be continued."""
        at = None if self.measure_at is None else list(self.measure_at)
        return {
            "config": self.used(self.config.to_dict()),
            "given": {
                "model": None if self.model is None else type(self.model).__qualname__,
                "data": None if self.data is None else type(self.data).__qualname__,
            },
            "measurement": {
                "measure_every": self.measure_every,
                "measure_at": at,
                "layers": list(self.layers),
            },
        }

    def used(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration without what a given network or data takes the place of."""
        replaced = {("net", "width"): self.model, ("data", "data_root"): self.data}
        unused = {name for names, given in replaced.items() if given is not None for name in names}
        return {name: value for name, value in config.items() if name not in unused}

    def description(self, fabric: Fabric, execution: Execution) -> dict[str, Any]:
        """Return the content of config.json."""
        how = {"compile": self.compile} | asdict(execution)
        return self.identity() | {"execution": how} | provenance(fabric)
