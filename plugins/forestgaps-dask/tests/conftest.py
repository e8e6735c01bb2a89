"""Clusters of two worker processes on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

sys.path.insert(0, str(Path(__file__).parent))  # `worker_functions`, for the tests and for the workers


def two_workers() -> LocalCluster:
    settings = {"processes": True, "dashboard_address": ":0", "memory_limit": 0, "silence_logs": 50}
    return LocalCluster(n_workers=2, threads_per_worker=1, **settings)


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """For all who leave its workers alive."""
    with two_workers() as made:
        yield made


@pytest.fixture
def mortal() -> Iterator[LocalCluster]:
    """To kill workers of. Dask starts them again, and sets variables of this process while it does."""
    before = dict(os.environ)
    with two_workers() as made:
        yield made
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
