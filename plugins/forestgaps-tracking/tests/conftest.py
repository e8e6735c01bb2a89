from __future__ import annotations

from collections.abc import Callable

import pytest

from forestgaps_core import Trainer
from forestgaps_core.testing.example_run import StandInTrainer, train_example


@pytest.fixture
def trainer() -> StandInTrainer:
    return StandInTrainer()


@pytest.fixture
def train() -> Callable[..., Trainer]:
    return train_example
