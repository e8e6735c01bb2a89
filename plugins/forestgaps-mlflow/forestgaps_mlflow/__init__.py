"""MLflow for forestgaps: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_callbacks() -> Mapping[str, str]:
    return {"mlflow": "forestgaps_mlflow.tracker:MlflowConfig"}
