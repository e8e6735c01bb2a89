"""Callbacks of forestgaps: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {
        "activations": "forestgaps_callbacks.activations:ActivationsConfig",
        "ema_weights": "forestgaps_callbacks.ema_weights:EmaWeightsConfig",
        "time_limit": "forestgaps_callbacks.time_limit:TimeLimitConfig",
        "checkpoints": "forestgaps_callbacks.checkpoints:CheckpointsConfig",
        "confusion_pictures": "forestgaps_callbacks.confusion_pictures:ConfusionPicturesConfig",
        "remote_control": "forestgaps_callbacks.remote_control:RemoteControlConfig",
        "csv": "forestgaps_callbacks.csv_log:CsvLogConfig",
        "drop_path": "forestgaps_callbacks.drop_path:DropPathScheduleConfig",
        "early_stopping": "forestgaps_callbacks.early_stopping:EarlyStoppingConfig",
        "divergence_guard": "forestgaps_callbacks.divergence_guard:DivergenceGuardConfig",
        "json_lines": "forestgaps_callbacks.json_lines:JsonLinesConfig",
        "meter": "forestgaps_callbacks.meter:MeterConfig",
        "monitor": "forestgaps_callbacks.monitor:MonitorConfig",
        "pictures": "forestgaps_callbacks.pictures:PicturesConfig",
        "profiler": "forestgaps_callbacks.profiler:ProfilerConfig",
        "progress": "forestgaps_callbacks.progress:ProgressConfig",
        "learning_rate_finder": "forestgaps_callbacks.learning_rate_finder:LearningRateFinderConfig",
        "restore_best": "forestgaps_callbacks.restore_best:RestoreBestConfig",
    }
