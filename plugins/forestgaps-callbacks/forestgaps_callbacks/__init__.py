"""Callbacks of forestgaps: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {
        "activations": "forestgaps_callbacks.activations:ActivationsConfig",
        "averaged_weights": "forestgaps_callbacks.averaged_weights:AveragedWeightsConfig",
        "budget": "forestgaps_callbacks.budget:BudgetConfig",
        "checkpoints": "forestgaps_callbacks.checkpoints:CheckpointsConfig",
        "confusion_pictures": "forestgaps_callbacks.confusion_pictures:ConfusionPicturesConfig",
        "control": "forestgaps_callbacks.control:ControlConfig",
        "csv": "forestgaps_callbacks.csv_log:CsvLogConfig",
        "drop_path": "forestgaps_callbacks.drop_path:DropPathScheduleConfig",
        "early_stopping": "forestgaps_callbacks.early_stopping:EarlyStoppingConfig",
        "guard": "forestgaps_callbacks.guard:GuardConfig",
        "json_lines": "forestgaps_callbacks.json_lines:JsonLinesConfig",
        "meter": "forestgaps_callbacks.meter:MeterConfig",
        "monitor": "forestgaps_callbacks.monitor:MonitorConfig",
        "pictures": "forestgaps_callbacks.pictures:PicturesConfig",
        "profiler": "forestgaps_callbacks.profiler:ProfilerConfig",
        "progress": "forestgaps_callbacks.progress:ProgressConfig",
        "rate_finder": "forestgaps_callbacks.rate_finder:RateFinderConfig",
        "restore_best": "forestgaps_callbacks.restore_best:RestoreBestConfig",
    }
