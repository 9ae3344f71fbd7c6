"""train: a network, its collapse measured on the way; nothing is lost if it is interrupted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.accelerators.cpu import CPUAccelerator
from lightning_fabric.utilities import rank_zero_only
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.utils.data import Dataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs.record import Record
from neuralcollapse.training.config import TrainConfig
from neuralcollapse.training.data import ImageData
from neuralcollapse.training.plan import RunPlan
from neuralcollapse.training.run import TrainingRun
from neuralcollapse.training.run_folder import TrainingFolder

MOST_A_CORE = 2  # processes


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    model: nn.Module | None = None,
    data: ImageData | tuple[Dataset, Dataset] | None = None,
    accelerator: str = "auto",
    devices: int | str | list[int] = 1,
    strategy: str = "auto",
    compile: bool = False,
    channels_last: bool = False,
    workers: int = 0,
    measure_every: int | None = None,
    measure_at: Sequence[int] | None = None,
    layers: Sequence[str] = (),
    checkpoint_every: int | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> list[Record]:
    """Train a network and measure its collapse on training and test data.

    The folder `out` gets ``config.json`` (what is used of the configuration, versions, source and
    machine), ``history.jsonl``, to which every measurement is added as it is made, ``snapshots``
    of the geometry of some (34 of 400 epochs), ``checkpoint.pt``, and at the end
    ``model.safetensors``. The same configuration gives the same history, `seconds` apart, on the
    same machine with the same number of threads, also if the run was interrupted, in whatever way
    and however often, and continued by ``resume=True``.

    Parameters
    ----------
    config
        What to train, on what, and how.
    out
        Folder of the run; made if it is not there.
    model
        A network to train in place, instead of the one that the configuration names; a fixed head
        of the configuration replaces its own. Processes that are spawned train copies: the
        weights are then in the folder alone.
    data
        What to train and test on, instead of what the configuration names: `ImageData` of float32
        images, or a pair of data sets of inputs and labels. It is used as it is: `per_class`,
        `test_per_class`, `imbalance` and `label_noise` of the configuration must be left out.
    accelerator, devices, strategy
        As in `lightning_fabric.Fabric`: ``"cpu"``, ``"cuda"``, ...; how many; ``"ddp"``, which
        runs the calling script once per process, ``"ddp_spawn"``, ... Processes share each batch.
        Batch norm uses the whole batch on GPUs, and on CPUs that of each process.
    compile
        Whether to train through `torch.compile`.
    channels_last
        Whether to lay images out with their channels last, which speeds up convolutions on recent
        GPUs and some processors. With the precision ``"auto"`` a trial decides.
    workers
        Number of processes that read data, unless it is in memory as tensors.
    measure_every, measure_at
        Measure after every so many epochs, or after these, and after the last. If omitted, after
        each of the first 20 and then 20 times while their number grows tenfold.
    layers
        Names of further modules of the network to measure, in the same pass.
    checkpoint_every, checkpoint_seconds
        Write a checkpoint after so many epochs (None: never for this reason), and at the end of an
        epoch if so many seconds have passed since the last.
    resume
        Whether to continue the run in `out`. If there is none, one is started; if it has finished,
        its records are returned.
    overwrite
        Whether a run that is there already may be replaced.
    progress
        Whether to show a progress bar, or plain lines where the output is no terminal.

    Returns
    -------
    list of dict
        The records of ``history.jsonl``: ``epoch``, ``step`` (updates so far), ``seconds`` (spent
        on the run, measuring included), ``lr`` (of the last update), ``train_loss`` (mean over
        the epoch's samples as they were trained on), ``num_classes``, what `measure` returns
        for training images and, with the prefix ``test_``, for test images; and ``layers``, by
        name NC1, NC1~ and NC2 as Tirer et al. 2023 define them and CDNV, if there are any.

    Raises
    ------
    NeuralCollapseError
        If the data is not there; `out` has a run already and is neither to be resumed nor
        replaced, or another configuration than the one to be resumed; the checkpoint is damaged;
        the folder cannot be written; the accelerator is not here, or has not so many devices; or
        network, data and configuration do not go together, as where a batch norm would get a batch
        of one sample.
    NonFiniteError
        If the loss or the weights are NaN or infinite; the message names the step, and the
        checkpoint before it stays.

    Examples
    --------
    >>> import tempfile
    >>> from neuralcollapse.training import TrainConfig, train
    >>> config = TrainConfig(data="digits", net="mlp", epochs=2, per_class=10)
    >>> with tempfile.TemporaryDirectory() as folder:  # yours: train(config, "runs/mine")
    ...     records = train(config, folder, progress=False)
    >>> [record["epoch"] for record in records], "nc1_trace_ratio" in records[-1]
    ([1, 2], True)
    """
    plan = RunPlan(
        config=config,
        folder=TrainingFolder(out),
        model=model,
        data=data,
        compile=compile,
        channels_last=channels_last,
        workers=workers,
        measure_every=measure_every,
        measure_at=measure_at,
        layers=layers,
        checkpoint_every=checkpoint_every,
        checkpoint_seconds=checkpoint_seconds,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    folder = plan.folder
    if getattr(rank_zero_only, "rank", 0) == 0:
        if resume and folder.used:
            folder.require_same(
                plan.identity(), {"config": lambda made: plan.used(_completed(made))}
            )
        elif not overwrite:
            folder.require_unused()
        folder.require_ours()
    if resume and folder.finished:
        return folder.records()
    fabric = _fabric(accelerator, strategy, devices)
    # Bound and not passed: Fabric looks through arguments, and stops at frozen dataclasses.
    return fabric.launch(partial(_run, plan=plan))


def _fabric(accelerator: str, strategy: str, devices: int | str | list[int]) -> Fabric:
    try:
        fabric = Fabric(accelerator=accelerator, strategy=strategy, devices=devices)
    except (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException) as error:
        expected = f"accelerator {accelerator!r}, strategy {strategy!r} and {devices} devices here"
        raise NeuralCollapseError(
            "accelerator", expected, str(error), "choose cpu or auto, and devices that are there"
        ) from error
    most = MOST_A_CORE * (os.cpu_count() or 1)
    if isinstance(fabric.accelerator, CPUAccelerator) and fabric.world_size > most:
        expected = f"at most {most} processes on this machine, {MOST_A_CORE} a core"
        raise NeuralCollapseError("devices", expected, str(devices), "choose fewer")
    return fabric


def _completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration in a config.json, perhaps of an earlier version, as of now."""
    return TrainConfig().to_dict() | TrainConfig.named_as_now(config)


def _run(fabric: Fabric, plan: RunPlan) -> list[Record]:
    """Run in each process; the first alone writes and measures, and the others get its records.

    Measuring is rare by its schedule, and on one process it is the same sums in the same order
    whatever the number of processes.
    """
    run, checkpoint = TrainingRun(fabric, plan), None
    with plan.folder.locked() if fabric.is_global_zero else nullcontext():
        if fabric.is_global_zero:
            if plan.resume and plan.folder.used:
                checkpoint = plan.folder.resume()
            else:
                made = plan.description(fabric, run.execution)
                plan.folder.begin(made, run.bytes_to_write(), plan.overwrite)
        run.restore(fabric.broadcast(checkpoint))
        return run.train()
