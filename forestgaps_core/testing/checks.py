"""The check of each kind of component; callbacks have `check_callback`, which needs a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from forestgaps_core.testing import conformance
from forestgaps_core.testing.augmentation_conformance import check_augmentation
from forestgaps_core.testing.optimizer_conformance import check_optimizer

CHECKS: Mapping[str, Callable[[Any], None]] = {
    "augmentations": check_augmentation,
    "loss": conformance.check_loss,
    "metrics": conformance.check_metric,
    "optimizer": check_optimizer,
    "scheduler": conformance.check_scheduler,
    "normalization": conformance.check_normalization,
    "model": conformance.check_model,
    "data": conformance.check_data,
}
