"""Conformance checks and example data for the tests of any plugin."""

from forestgaps_core.testing.augmentation_conformance import check_augmentation as check_augmentation
from forestgaps_core.testing.augmentation_conformance import example_tiles as example_tiles
from forestgaps_core.testing.checks import CHECKS as CHECKS
from forestgaps_core.testing.conformance import THRESHOLDS as THRESHOLDS
from forestgaps_core.testing.conformance import build_component as build_component
from forestgaps_core.testing.conformance import check_callback as check_callback
from forestgaps_core.testing.conformance import check_config as check_config
from forestgaps_core.testing.conformance import check_config_class as check_config_class
from forestgaps_core.testing.conformance import check_data as check_data
from forestgaps_core.testing.conformance import check_loss as check_loss
from forestgaps_core.testing.conformance import check_metric as check_metric
from forestgaps_core.testing.conformance import check_model as check_model
from forestgaps_core.testing.conformance import check_normalization as check_normalization
from forestgaps_core.testing.conformance import check_scheduler as check_scheduler
from forestgaps_core.testing.conformance import example_batch as example_batch
from forestgaps_core.testing.conformance import example_logits as example_logits
from forestgaps_core.testing.conformance import fill_invalid_with_garbage as fill_invalid_with_garbage
from forestgaps_core.testing.conformance import require_close as require_close
from forestgaps_core.testing.exporter_conformance import check_export as check_export
from forestgaps_core.testing.exporter_conformance import check_exporter as check_exporter
from forestgaps_core.testing.optimizer_conformance import check_optimizer as check_optimizer
