"""What a run is asked for: its configuration, and how and where it is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, Dataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.schedule import Schedule
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.data import ImageData, load_dataset
from neuralcollapse.training.etf_placement import fix_head
from neuralcollapse.training.execution import Execution
from neuralcollapse.training.networks import build_network
from neuralcollapse.training.provenance import provenance
from neuralcollapse.training.run_folder import TrainingFolder


@dataclass(frozen=True)
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
        if self.resume and self.overwrite:
            raise NeuralCollapseError(
                "resume, overwrite",
                "at most one of them",
                "both",
                "go on with a run or replace it",
            )
        if self.checkpoint_every is not None and self.checkpoint_every < 1:
            raise NeuralCollapseError(
                "checkpoint_every",
                "at least 1 epoch",
                str(self.checkpoint_every),
                "leave it out to write by the clock alone",
            )
        if self.compile and self.config.loss == "dot-regression":
            raise NeuralCollapseError(
                "compile",
                "False if loss is 'dot-regression', which watches the features",
                "True",
                "leave it out",
            )
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
            "config": self.config.to_dict(),
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

    def description(self, fabric: Fabric, execution: Execution) -> dict[str, Any]:
        """Return the content of config.json."""
        how = {"compile": self.compile} | asdict(execution)
        return self.identity() | {"execution": how} | provenance(fabric)

    def network_and_data(self) -> tuple[nn.Module, Dataset, Dataset, Sequence[str] | None]:
        """Return the untrained network, training data, test data and names of the classes.

        Raises
        ------
        NeuralCollapseError
            If the data is not there, or network and configuration do not go together.
        """
        config, data, model = self.config, self.data, self.model
        if data is None:
            data = load_dataset(
                config.data,
                config.data_root,
                per_class=config.per_class,
                test_per_class=config.test_per_class,
                imbalance=config.imbalance,
                label_noise=config.label_noise,
                seed=config.seed,
            )
        if model is None:
            if not isinstance(data, ImageData):
                raise NeuralCollapseError(
                    "model", "a network for the data sets given", "none", "pass model= too"
                )
            model = build_network(
                config.net,
                data.input_shape,
                data.num_classes,
                width=config.width,
                head_bias=config.head == "etf" or config.head_bias,
                seed=config.seed,
            )
        train, test = (data.train, data.test) if isinstance(data, ImageData) else data
        if config.head == "etf":
            # A generator of its own: the loader would otherwise draw from the global one.
            some, _ = next(iter(DataLoader(train, batch_size=2, generator=torch.Generator())))
            parameter = next(model.parameters(), None)
            fix_head(model, some if parameter is None else some.to(parameter.device), config)
        head = getattr(model, "head", None)
        if isinstance(head, nn.Linear) and (head.bias is not None) != config.head_bias:
            raise NeuralCollapseError(
                "head_bias",
                f"{head.bias is not None}, as the network's head is",
                str(config.head_bias),
                "correct the configuration or the network",
            )
        names = data.class_names if isinstance(data, ImageData) else None
        return model, train, test, names
