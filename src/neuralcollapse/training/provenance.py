"""Where a run comes from: versions, source, machine."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch
from lightning_fabric import Fabric

from neuralcollapse.runs.provenance import versions


def provenance(fabric: Fabric) -> dict[str, Any]:
    """Return what a run's record says of its origin, ready for JSON.

    Parameters
    ----------
    fabric
        Of the run.

    Returns
    -------
    dict
        ``versions``, ``git`` (commit of the working directory and whether it has changes since;
        None outside a repository), ``hardware`` and ``threads``.
    """
    hardware = {
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "accelerator": fabric.device.type,
        "processes": fabric.world_size,
        "strategy": type(fabric.strategy).__name__,
    }
    if fabric.device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(fabric.device)
    threads = torch.get_num_threads()
    return {**versions("lightning-fabric"), "hardware": hardware, "threads": threads}
