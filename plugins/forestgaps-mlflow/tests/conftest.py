from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from forestgaps_mlflow.store import DATABASE, MlflowStore


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow: making its tables takes seconds, copying them does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy")  # as above; marks do not reach fixtures
        MlflowStore(uri=DATABASE + path.as_posix(), experiment="empty", name="empty").open()
    return path
