from __future__ import annotations

from forestgaps_core.plugins.registry import Plugins


def test_the_command_and_the_engines_are_offered() -> None:
    plugins = Plugins.discover()
    assert plugins.commands()["export"][0].distribution == "forestgaps-export"
    assert {name for name, (owner, _) in plugins.engines().items() if owner.distribution == "forestgaps-export"} == {
        "aoti",
        "onnxruntime",
    }
    assert {
        name for name, rows in plugins.components("exporter").items() if rows[0].plugin.distribution == "forestgaps-export"
    } == {
        "onnx",
        "pt2",
    }
    assert plugins.engine("onnxruntime").data_only
    assert not plugins.engine("aoti").data_only
