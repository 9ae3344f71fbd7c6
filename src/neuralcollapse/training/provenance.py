"""Where a run comes from: versions, source, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

import torch
from lightning_fabric import Fabric

PACKAGES = ("neuralcollapse", "torch", "lightning-fabric", "numpy", "scikit-learn")


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
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
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
    return {"versions": versions, "git": git_state(), "hardware": hardware, "threads": threads}


def git_state() -> dict[str, Any] | None:
    """Return commit and cleanness of the working directory, None outside a repository."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "changed": bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
