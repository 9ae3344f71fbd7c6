"""Where a record comes from: versions and source."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from typing import Any

PACKAGES = ("neuralcollapse", "torch", "numpy", "scikit-learn")


def versions(*more: str) -> dict[str, Any]:
    """Return what a run's config.json says of software, ready for JSON.

    Parameters
    ----------
    more
        Names of further packages.

    Returns
    -------
    dict
        ``versions`` and ``git``: commit of the working directory and whether it has changes since;
        None outside a repository.
    """
    packages = {name: version(name) for name in (*PACKAGES, *more)}
    return {"versions": {"python": platform.python_version()} | packages, "git": git_state()}


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
