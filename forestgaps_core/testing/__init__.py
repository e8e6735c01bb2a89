"""Checks, fixtures and example data for the tests of any plugin."""

from forestgaps_core.testing.building import build_component as build_component
from forestgaps_core.testing.checks import Check as Check
from forestgaps_core.testing.checks import check_augmentation as check_augmentation
from forestgaps_core.testing.checks import check_callback as check_callback
from forestgaps_core.testing.checks import check_component as check_component
from forestgaps_core.testing.checks import check_config as check_config
from forestgaps_core.testing.checks import check_data as check_data
from forestgaps_core.testing.checks import check_exporter as check_exporter
from forestgaps_core.testing.checks import check_loss as check_loss
from forestgaps_core.testing.checks import check_metric as check_metric
from forestgaps_core.testing.checks import check_model as check_model
from forestgaps_core.testing.checks import check_normalization as check_normalization
from forestgaps_core.testing.checks import check_optimizer as check_optimizer
from forestgaps_core.testing.checks import check_postprocessor as check_postprocessor
from forestgaps_core.testing.checks import check_reader as check_reader
from forestgaps_core.testing.checks import check_report_section as check_report_section
from forestgaps_core.testing.checks import check_scheduler as check_scheduler
from forestgaps_core.testing.checks import list_checks as list_checks
from forestgaps_core.testing.checks import parametrize_checks as parametrize_checks
from forestgaps_core.testing.comparison import require_close as require_close
from forestgaps_core.testing.examples import THRESHOLDS as THRESHOLDS
from forestgaps_core.testing.examples import example_batch as example_batch
from forestgaps_core.testing.examples import example_logits as example_logits
from forestgaps_core.testing.examples import example_tiles as example_tiles
from forestgaps_core.testing.examples import fill_invalid_with_garbage as fill_invalid_with_garbage
from forestgaps_core.testing.rules.exporter import check_export as check_export
