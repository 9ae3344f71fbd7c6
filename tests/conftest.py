"""Shared set-up: few threads, one random state, hypothesis without deadlines."""

import pytest
import torch
from hypothesis import settings

from made_up_run import HOSTILE_NAMES, write_run

settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")
torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def tetrahedron(tmp_path_factory):
    """A recorded run of four classes with names that try to break out, and all that is kept."""
    folder = tmp_path_factory.mktemp("runs") / "tetrahedron"
    return write_run(folder, class_names=HOSTILE_NAMES, before=True, epochs=12, snapshots=6)
