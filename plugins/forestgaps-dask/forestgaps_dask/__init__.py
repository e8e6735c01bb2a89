"""Dask for forestgaps: compute on a cluster."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl


@hookimpl
def forestgaps_executors() -> Mapping[str, str]:
    return dict.fromkeys(("tcp", "tls", "ucx"), "forestgaps_dask.executor:DaskExecutor")
