"""Networks for other engines: the table of contents."""

from __future__ import annotations

from collections.abc import Mapping

from forestgaps_core import hookimpl
from forestgaps_core.kinds import Command


@hookimpl
def forestgaps_commands() -> Mapping[str, Command]:
    return {
        "export": Command(
            target="forestgaps_export.commands:export", help="Write a trained network for another engine: ONNX, or compiled."
        )
    }


@hookimpl
def forestgaps_exporters() -> Mapping[str, str]:
    return {"onnx": "forestgaps_export.exporters:Onnx", "pt2": "forestgaps_export.exporters:Pt2"}


@hookimpl
def forestgaps_engines() -> Mapping[str, str]:
    return {
        "aoti": "forestgaps_export.aoti:Aoti",
        "onnxruntime": "forestgaps_export.onnx_runtime:OnnxRuntime",
    }
