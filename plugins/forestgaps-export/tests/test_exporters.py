from __future__ import annotations

import pytest

from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import check_export, check_exporter
from forestgaps_export.exporters import Onnx, Pt2


def test_onnx_keeps_the_contract_and_computes_what_torch_does() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    export = check_export(Onnx(), plugins=Plugins.discover())
    assert (export.engine, export.file) == ("onnxruntime", "model.onnx")


def test_pt2_is_a_function_of_network_and_source() -> None:
    check_exporter(Pt2())
