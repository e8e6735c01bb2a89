from __future__ import annotations

import importlib.util

import pytest

from forestgaps_baselines import Bulldozer, ClothSimulation, Dsm2Dtm
from forestgaps_core.errors import PluginError


@pytest.mark.parametrize(("config", "extra"), [(ClothSimulation(), "csf"), (Dsm2Dtm(), "dsm2dtm"), (Bulldozer(), "bulldozer")])
def test_a_missing_package_is_named_with_what_to_install(config, extra, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    with pytest.raises(PluginError, match=rf"not installed: pip install 'forestgaps-baselines\[{extra}\]'"):
        config.build()
